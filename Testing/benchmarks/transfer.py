"""How many microbleeds inserted into an acquired scan are found, and what is marked without them.

    python Testing/benchmarks/transfer.py SCAN [--modality t2star] [--echo 3] [--field 3 --te 20] [--width 2 4]
        [--noise SIGMA] [--model DIR]

SCAN is best one of a person without microbleeds: what is marked in it as it is counts as its own. Microbleeds of three
kinds are put in, a few at a time: those of the simulation, which the model has learnt from, and two that know nothing
of dipoles and only take signal away, or on QSM add susceptibility: spheres that are as strong throughout, and soft
balls that fade out. In simulated patches, but in no scan, the model has seen spots that are something like these
(`lesions.draw_spot`). One counts as found if a candidate shares a voxel with it, and a candidate as false if it shares
none and lies on none of the scan's own. With --noise the scan is made noisier after that, which says what a worse
scanner would leave to find.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from robustness import points_of
from scipy.spatial.distance import cdist

from CMMDetectLib.candidates import Stage, at_stage
from CMMDetectLib.cli import add_method_options, method_job
from CMMDetectLib.detector import DetectionResult, Detector
from CMMDetectLib.errors import CMMDetectError
from CMMDetectLib.job import choose_method
from CMMDetectLib.matching import CENTER_DISTANCE_MM, shared_voxels
from CMMDetectLib.preprocessing import find_brain
from CMMDetectLib.scan import Modality, Scan, read_scan, to_voxel
from CMMDetectTrainLib.inserted_scans import TE_MS, with_inserted
from CMMDetectTrainLib.simulation.insertion import draw_centers, insert_microbleeds
from CMMDetectTrainLib.simulation.protocols import Protocol

BALL_DARKNESS = (0.5, 0.9)
"""Share of the signal that it takes away in its center."""
BALL_PPM = (0.2, 0.6)
"""What it adds on QSM."""
FWHM_IN_SIGMAS = 2.355
PARTS = 4
"""Of a voxel along each axis, where a sphere ends in it."""

Labels = NDArray[np.int32]
Put = Callable[[Scan, NDArray[np.bool_], Protocol, np.random.Generator, int], tuple[Scan, Labels]]
"""Puts so many microbleeds into a scan and gives it with their labels."""
Shape = Callable[[Scan, NDArray[np.float64], float], NDArray[np.float32]]


def simulated(
    scan: Scan, brain: NDArray[np.bool_], protocol: Protocol, rng: np.random.Generator, count: int
) -> tuple[Scan, Labels]:
    """Put microbleeds in by the simulation's physics, as wide as it draws them; label those that can be seen."""
    insertion = insert_microbleeds(scan, brain, protocol, rng, count)
    return insertion.scan, with_inserted(np.zeros(scan.array.shape, np.int32), insertion)


def along_axes_mm(scan: Scan, center_mm: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Distance of the voxels from a point along each axis of the scan."""
    middles = to_voxel(scan.affine, center_mm)
    axes = zip(scan.array.shape, middles, scan.spacing_mm, strict=True)
    return [(np.arange(size) - middle) * step_mm for size, middle, step_mm in axes]


def gaussian(scan: Scan, center_mm: NDArray[np.float64], width_mm: float) -> NDArray[np.float32]:
    """A ball as dark as its depth in the middle alone, as high as wide but no less high than a slice."""
    sigma_mm = np.maximum(width_mm, scan.spacing_mm) / FWHM_IN_SIGMAS
    i, j, k = (
        np.exp(-((distance / sigma) ** 2) / 2).astype(np.float32)
        for distance, sigma in zip(along_axes_mm(scan, center_mm), sigma_mm, strict=True)
    )
    return i[:, None, None] * j[:, None] * k


def sphere(scan: Scan, center_mm: NDArray[np.float64], width_mm: float) -> NDArray[np.float32]:
    """A ball that is equally dark throughout: of each voxel, the share of its parts that lie inside."""
    parts = (np.arange(PARTS) + 0.5) / PARTS - 0.5
    i, j, k = (
        (distance[:, None] + parts * step_mm) ** 2
        for distance, step_mm in zip(along_axes_mm(scan, center_mm), scan.spacing_mm, strict=True)
    )
    radius_2 = (width_mm / 2) ** 2
    near = tuple(np.flatnonzero(axis.min(axis=1) < radius_2) for axis in (i, j, k))
    i, j, k = (axis[rows].ravel() for axis, rows in zip((i, j, k), near, strict=True))
    inside = i[:, None, None] + j[:, None] + k < radius_2
    shares = inside.reshape(len(near[0]), PARTS, len(near[1]), PARTS, len(near[2]), PARTS).mean(axis=(1, 3, 5))
    shape = np.zeros(scan.array.shape, np.float32)
    shape[np.ix_(*near)] = shares
    return shape


def balls(shape_of: Shape, limits_mm: tuple[float, float]) -> Put:
    """Put balls of a shape and a range of widths in: less signal, or on QSM more susceptibility, and nothing else.

    Labels reach to half their depth.
    """

    def put(
        scan: Scan, brain: NDArray[np.bool_], _: Protocol, rng: np.random.Generator, count: int
    ) -> tuple[Scan, Labels]:
        array, labels = scan.array.copy(), np.zeros(scan.array.shape, np.int32)
        for number, center in enumerate(draw_centers(scan, brain, rng, count), 1):
            shape = shape_of(scan, center, rng.uniform(*limits_mm))
            if scan.modality.lesions_are_dark:
                array *= 1 - np.float32(rng.uniform(*BALL_DARKNESS)) * shape
            else:
                array += np.float32(rng.uniform(*BALL_PPM)) * shape
            labels[shape >= 0.5 * shape.max()] = number
        return replace(scan, array=array), labels

    return put


def noisy(scan: Scan, sigma: float, rng: np.random.Generator) -> Scan:
    """Add noise of a standard deviation in the scan's own unit: to a map within the head, to magnitude as Rician."""
    if not sigma:
        return scan
    real, imaginary = (rng.normal(0.0, sigma, scan.array.shape) for _ in range(2))
    if scan.modality is Modality.QSM:
        array = np.where(scan.array == 0, 0, scan.array + real)
    else:
        array = np.hypot(scan.array + real, imaginary)
    return replace(scan, array=array.astype(np.float32))


@dataclass(frozen=True)
class Tally:
    """What came out of one scan with microbleeds put in."""

    inserted: int
    after_stage_1: int
    final: int
    false: int

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def tally(result: DetectionResult, labels: Labels, own_mm: NDArray[np.float64]) -> Tally:
    """Count what was found of the labels, and the final candidates away from them and from the scan's own."""
    candidates = result.candidates
    touch = shared_voxels(result.clusters, labels, len(candidates), int(labels.max())) > 0
    last = np.array([item.stage is Stage.FINAL for item in candidates], bool)
    own = (cdist(points_of(candidates), own_mm) <= CENTER_DISTANCE_MM).any(axis=1)
    false = int((last & ~touch.any(axis=1) & ~own).sum())
    return Tally(int(labels.max()), int(touch.any(axis=0).sum()), int(touch[last].any(axis=0).sum()), false)


def tallies(
    detector: Detector, scan: Scan, brain: NDArray[np.bool_], protocol: Protocol, options: argparse.Namespace
) -> Iterator[str]:
    """Give the rows of the table."""
    alone = noisy(scan, options.noise, np.random.default_rng(options.seed))
    own = at_stage(detector.detect(alone).candidates, Stage.FINAL)
    yield f"| as it is | | | | {len(own)} |"
    spheres, soft_balls = balls(sphere, options.width), balls(gaussian, options.width)
    for name, put in (("simulated", simulated), ("spheres", spheres), ("soft balls", soft_balls)):
        total = Tally(0, 0, 0, 0)
        for number in range(options.rounds):
            rng = np.random.default_rng([options.seed, number])
            changed, labels = put(scan, brain, protocol, rng, options.count)
            result = detector.detect(noisy(changed, options.noise, rng))
            total += tally(result, labels, points_of(own))
        yield f"| {name} | {total.inserted} | {total.after_stage_1} | {total.final} | {total.false} |"


def main() -> None:
    """Put in, detect, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan")
    parser.add_argument("--modality", choices=[*Modality])
    parser.add_argument("--echo", type=int, metavar="N", help="which volume of a 4D file, from 1")
    parser.add_argument("--field", type=float, choices=list(TE_MS), default=3.0, metavar="T", help="default: 3")
    parser.add_argument("--te", type=float, metavar="MS", help="echo time (default: the field's usual one)")
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="scans of each kind (default: 6)")
    parser.add_argument("--count", type=int, default=10, metavar="N", help="microbleeds in each (default: 10)")
    width = "of balls, of soft ones at half of what they take away (default: 2 4)"
    parser.add_argument("--width", type=float, nargs=2, default=(2.0, 4.0), metavar="MM", help=width)
    noise = "standard deviation of noise to add, in the scan's own unit (default: none)"
    parser.add_argument("--noise", type=float, default=0.0, metavar="SIGMA", help=noise)
    parser.add_argument("--seed", type=int, default=0)
    add_method_options(parser)
    options = parser.parse_args()
    if options.noise < 0:
        parser.error("--noise must not be negative")
    job = method_job(options)
    try:
        scan = read_scan(options.scan, options.modality, options.echo)
        brain, _ = find_brain(scan, "bet")
        protocol = Protocol("own", field_t=options.field, te_ms=options.te or TE_MS[options.field])
        print("| microbleeds | put in | found by stage 1 | found | marked elsewhere |")
        print("|---|---|---|---|---|")
        for row in tallies(Detector(choose_method(job, scan.modality)), scan, brain, protocol, options):
            print(row, flush=True)
    except CMMDetectError as error:
        raise SystemExit(f"{error}") from None


if __name__ == "__main__":
    main()
