"""A sheet of nine simulated scans, three modalities in three protocols, beside real tissue if an image is given.

python Testing/benchmarks/simulation_contact_sheet.py sheet.jpg [--real Mag.nii --echo 3]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from CMMDetectLib.scan import Modality, read_scan
from CMMDetectTrainLib.simulation.protocols import draw_protocol
from CMMDetectTrainLib.simulation.simulate import SimulatedScan, simulate_scan

PROTOCOLS = ("ukbb", "tich2", "oxvasc")
LEVELS = (0.36, 0.5, 0.68)


def main() -> None:
    """Simulate, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--real", type=Path, help="a T2*-weighted magnitude to show beside them")
    parser.add_argument("--echo", type=int)
    options = parser.parse_args()
    figure, axes = plt.subplots(4 if options.real else 3, 9, figsize=(18, 10.6 if options.real else 8.2))
    for row, name in enumerate(PROTOCOLS):
        protocol = draw_protocol(np.random.default_rng(options.seed + row), name)
        scan = simulate_scan(protocol, options.seed + row, lesions=12)
        for column, modality in enumerate((Modality.T2STAR, Modality.SWI, Modality.QSM)):
            for number, level in enumerate(LEVELS):
                show_slice(axes[row, 3 * column + number], scan, modality, level, name)
    if options.real:
        show_real(axes[3], read_scan(options.real, "t2star", options.echo).array)
    figure.tight_layout(pad=0.4, h_pad=0.8)
    figure.savefig(options.output, dpi=90)


def show_slice(axes: Axes, scan: SimulatedScan, modality: Modality, level: float, name: str) -> None:
    """Draw one axial slice, the face up, and mark microbleeds."""
    image, labels = scan.images[modality], scan.truth[modality].microbleeds
    k = int(level * image.shape[2])
    low, high = (-0.12, 0.25) if modality is Modality.QSM else (0.0, 1.5 * scan.tissue_signal)
    ratio = scan.grid.spacing_mm[1] / scan.grid.spacing_mm[0]
    axes.imshow(upright(image[..., k], scan), cmap="gray", vmin=low, vmax=high, aspect=ratio)
    axes.contour(upright(labels[..., k] > 0, scan), levels=[0.5], colors="red", linewidths=0.4)
    protocol = scan.protocol
    voxel = "x".join(f"{step:g}" for step in protocol.spacing_mm)
    axes.set_title(f"{name} {modality} {protocol.field_t:g} T, {protocol.te_ms:g} ms\n{voxel} mm", fontsize=8)
    axes.axis("off")


def upright(image: NDArray[np.generic], scan: SimulatedScan) -> NDArray[np.generic]:
    """Turn a slice so that the face is up and the patient's right on the left."""
    flip_i, flip_j = np.diag(scan.grid.affine)[:2] > 0
    image = image[::-1] if flip_i else image
    return np.rot90(image if flip_j else image[:, ::-1])


def show_real(axes: NDArray[np.object_], array: NDArray[np.float32]) -> None:
    """Draw slices of the real image."""
    for axis, k in zip(axes, np.linspace(2, array.shape[2] - 3, len(axes)).astype(int), strict=True):
        axis.imshow(np.rot90(array[..., k]), cmap="gray", vmin=0, vmax=1.5 * np.median(array))
        axis.set_title(f"real tissue, slice {k}", fontsize=8)
        axis.axis("off")


if __name__ == "__main__":
    main()
