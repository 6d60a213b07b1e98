"""Accuracy of brain extraction in heads, with and without the average brain that guides it.

    python Testing/benchmarks/brain_extraction.py SCAN... [--picture sheet.png]

Prints for every scan, of whatever contrast but QSM, the volume of the mask that BET finds alone and with the average
brain, how much of a true brain each overlaps with where the scan is a simulated one, and the time; and draws both
outlines, BET's own in yellow and the guided one in red.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from CMMDetectLib.bet import bet
from CMMDetectLib.errors import CMMDetectError
from CMMDetectLib.orientation import canonical_turn
from CMMDetectLib.scan import Modality, Scan, read_mask, read_scan

matplotlib.use("Agg")
import matplotlib.pyplot as plt

AXIAL_PARTS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
SAGITTAL_PARTS = (0.5, 0.35)

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """What was found in a scan, and how long the guided one took."""

    scan: Scan
    alone: Mask
    guided: Mask
    truth: Mask | None
    seconds: float


def find(path: Path) -> Found:
    """Extract the brain in both ways."""
    scan = read_scan(path, Modality.T2STAR)
    truth = _truth_of(path)
    brain = read_mask(truth, scan) if truth else None
    turn = canonical_turn(scan.affine)
    scan, brain = scan.turned(turn), None if brain is None else turn.apply(brain)
    alone = bet(scan.array, scan.spacing_mm)
    start = time.perf_counter()
    guided = bet(scan.array, scan.spacing_mm, scan.affine)
    return Found(scan, alone, guided, brain, time.perf_counter() - start)


def _truth_of(path: Path) -> Path | None:
    subject = path.resolve().parents[1]
    truth = subject.parent / "derivatives" / "truth" / subject.name / f"{subject.name}_brain.nii.gz"
    return truth if truth.is_file() else None


def row(found: Found) -> str:
    """Give a line of the table."""
    voxel_ml = float(np.prod(found.scan.spacing_mm)) / 1000
    cells = [found.scan.name, *(f"{np.count_nonzero(mask) * voxel_ml:.0f}" for mask in (found.alone, found.guided))]
    cells += ["" if found.truth is None else f"{_dice(mask, found.truth):.3f}" for mask in (found.alone, found.guided)]
    return f"| {' | '.join(cells)} | {found.seconds:.1f} |"


def _dice(mask: Mask, truth: Mask) -> float:
    return 2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))


def draw(all_found: Sequence[Found], path: Path) -> None:
    """Draw slices of every scan with both outlines."""
    columns = len(AXIAL_PARTS) + len(SAGITTAL_PARTS)
    figure, axes = plt.subplots(len(all_found), columns, squeeze=False, figsize=(1.6 * columns, 1.9 * len(all_found)))
    for found, line in zip(all_found, axes, strict=True):
        i_mm, j_mm, k_mm = found.scan.spacing_mm
        shape = found.scan.array.shape
        cuts = [(np.s_[:, :, int(part * shape[2])], j_mm / i_mm) for part in AXIAL_PARTS]
        cuts += [(np.s_[int(part * shape[0])], k_mm / j_mm) for part in SAGITTAL_PARTS]
        for panel, (cut, aspect) in zip(line, cuts, strict=True):
            white = np.percentile(found.scan.array, 99)
            panel.imshow(found.scan.array[cut].T, cmap="gray", origin="lower", aspect=aspect, vmin=0, vmax=white)
            for mask, color in ((found.alone, "yellow"), (found.guided, "red")):
                if mask[cut].any():
                    panel.contour(mask[cut].T, [0.5], colors=color, linewidths=0.7)
            panel.axis("off")
        line[0].set_title(found.scan.name, fontsize=7, loc="left")
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Print the table, and draw the picture if one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", nargs="+", type=Path)
    parser.add_argument("--picture", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(
        "| scan | BET alone, mL | guided, mL | overlap (Dice) alone | guided | guided, s |\n|---|---|---|---|---|---|"
    )
    all_found = []
    try:
        for path in options.scan:
            all_found.append(find(path))
            print(row(all_found[-1]), flush=True)
    except CMMDetectError as error:
        raise SystemExit(f"{error}") from None
    if options.picture:
        draw(all_found, options.picture)


if __name__ == "__main__":
    main()
