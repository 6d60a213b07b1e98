"""What simulation costs: one whole scan with all modalities, and training patches.

python Testing/benchmarks/simulation.py [--protocol ukbb] [--patches 60]
"""

from __future__ import annotations

import argparse
import os
import resource
import time

# one thread for the linear algebra: cost is stated for a core
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from CMMDetectTrainLib.simulation.patches import PatchSource
from CMMDetectTrainLib.simulation.protocols import find_protocol
from CMMDetectTrainLib.simulation.simulate import simulate_scan
from CMMDetectTrainLib.simulation.template import load_template


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", default="ukbb")
    parser.add_argument("--patches", type=int, default=60)
    options = parser.parse_args()
    load_template()
    for share in (0.0, 0.2, 1.0):
        source, rng = PatchSource(anatomy_share=share), np.random.default_rng(0)
        source.draw(rng)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(options.patches):
            source.draw(rng)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(
            f"48^3 patches, {share:.0%} of heads: {options.patches / wall:.1f} a second, "
            f"{options.patches / cpu:.1f} a core second"
        )
    protocol = find_protocol(options.protocol)
    wall, cpu = time.perf_counter(), time.process_time()
    simulate_scan(protocol, seed=1, lesions=10)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{options.protocol} {protocol.shape}: {wall:.0f} s, {cpu:.0f} core seconds, {memory:.1f} GB at most")


if __name__ == "__main__":
    main()
