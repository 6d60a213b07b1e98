"""What simulation costs: one whole scan with all modalities, and training patches.

python Testing/benchmarks/simulation.py [--protocol ukbb]
"""

from __future__ import annotations

import argparse
import os
import resource
import time

# one thread for the linear algebra: cost is stated for a core
os.environ.setdefault("OMP_NUM_THREADS", "1")

from CMMDetectTrainLib.simulated_cases import HEAD_SHELVES, PATCHES_PER_SHELF
from CMMDetectTrainLib.simulation.patches import PatchSource
from CMMDetectTrainLib.simulation.protocols import find_protocol
from CMMDetectTrainLib.simulation.simulate import simulate_scan
from CMMDetectTrainLib.simulation.template import load_template


def seconds_per_patch(anatomy_share: float) -> float:
    """Draw a shelf of patches as `simulated_cases` does: processor time of one patch in seconds."""
    source = PatchSource(anatomy_share=anatomy_share).stream(seed=0)
    start = time.process_time()
    for _ in range(PATCHES_PER_SHELF):
        next(source)
    return (time.process_time() - start) / PATCHES_PER_SHELF


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", default="ukbb")
    options = parser.parse_args()
    load_template()
    free, heads = (seconds_per_patch(share) for share in (0.0, 1.0))
    for what, seconds in (
        ("of free tissue", free),
        ("of heads, their drawing included", heads),
        (f"as for training, one shelf in {HEAD_SHELVES} of heads", free + (heads - free) / HEAD_SHELVES),
    ):
        print(f"48^3 patches {what}: {1 / seconds:.1f} a core second")
    protocol = find_protocol(options.protocol)
    wall, cpu = time.perf_counter(), time.process_time()
    simulate_scan(protocol, seed=1, lesions=10)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{options.protocol} {protocol.shape}: {wall:.0f} s, {cpu:.0f} core seconds, {memory:.1f} GB at most")


if __name__ == "__main__":
    main()
