"""What simulation costs: one whole scan with all modalities, and training patches on two grids, the scans' own and
that of the model that comes with CMMDetect.

python Testing/benchmarks/simulation.py [--protocol ukbb]
"""

from __future__ import annotations

import argparse
import os
import resource
import time

# one thread for the linear algebra: cost is stated for a core
os.environ.setdefault("OMP_NUM_THREADS", "1")

from CMMDetectLib.bundle import SHIPPED_BUNDLE, read_bundle
from CMMDetectLib.network_grid import SCANS_OWN, NetworkVoxel
from CMMDetectTrainLib.patches import DETECTOR_PATCH_VOX
from CMMDetectTrainLib.simulated_cases import FREE_SHELVES, PATCHES_PER_SHELF
from CMMDetectTrainLib.simulation.patches import PatchSource
from CMMDetectTrainLib.simulation.protocols import find_protocol
from CMMDetectTrainLib.simulation.simulate import simulate_scan
from CMMDetectTrainLib.simulation.template import load_template


def seconds_per_patch(anatomy_share: float, voxel: NetworkVoxel) -> float:
    """Draw a shelf of patches as `simulated_cases` does: processor time of one patch in seconds."""
    shape = voxel.patch_shape(DETECTOR_PATCH_VOX)
    source = PatchSource(size=shape, anatomy_share=anatomy_share, voxel=voxel).stream(seed=0)
    start = time.process_time()
    for _ in range(PATCHES_PER_SHELF):
        next(source)
    return (time.process_time() - start) / PATCHES_PER_SHELF


def print_patches(voxel: NetworkVoxel) -> None:
    """Measure and print what patches on a grid cost."""
    free, heads = (seconds_per_patch(share, voxel) for share in (0.0, 1.0))
    size = "x".join(map(str, voxel.patch_shape(DETECTOR_PATCH_VOX)))
    grid = (
        "the scans' own grid"
        if voxel == SCANS_OWN
        else f"pixels of {voxel.pixel_mm} and slices of {voxel.slice_mm} mm"
    )
    for what, seconds in (
        ("of free tissue", free),
        ("of heads, their drawing included", heads),
        (f"as for training, one shelf in {FREE_SHELVES} of free tissue", heads + (free - heads) / FREE_SHELVES),
    ):
        print(f"patches of {size}, {grid}, {what}: {1 / seconds:.1f} a core second", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", default="ukbb")
    options = parser.parse_args()
    load_template()
    print_patches(SCANS_OWN)
    print_patches(read_bundle(SHIPPED_BUNDLE).description.voxel)
    protocol = find_protocol(options.protocol)
    wall, cpu = time.perf_counter(), time.process_time()
    simulate_scan(protocol, seed=1, lesions=10)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{options.protocol} {protocol.shape}: {wall:.0f} s, {cpu:.0f} core seconds, {memory:.1f} GB at most")


if __name__ == "__main__":
    main()
