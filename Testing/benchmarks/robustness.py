"""Whether the final candidates are the same when the same head is stored in another way.

    python Testing/benchmarks/robustness.py [SCAN [--labels FILE]] [--modality swi] [--model DIR | --method classical]

The scan, a simulated one where none is given, is mirrored, turned, resampled, stored otherwise, scaled, damaged and
masked otherwise, and detected each time. A final candidate has stayed if there is one within 3 mm or 1.5 slices of its
place, one to one. The table says, a row a change, how many stayed, of those on known microbleeds and of all, and what
took the others: the brain mask, stage 1 ('detection') or what stage 2 or 3 says. After an exact change all voxels hold
the same or only another scale of it: there probabilities differ by rounding (of bfloat16, where it is used), and with
an oblique header by what it brings that the average brain is laid over the head anew.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from CMMDetectLib.candidates import Candidate, Stage, at_stage
from CMMDetectLib.cli import add_method_options, method_job
from CMMDetectLib.detector import Detector
from CMMDetectLib.errors import CMMDetectError
from CMMDetectLib.head_grid import resample
from CMMDetectLib.job import choose_method
from CMMDetectLib.matching import CENTER_DISTANCE_MM, match_centers, shared_voxels
from CMMDetectLib.orientation import Turn
from CMMDetectLib.preprocessing import find_brain
from CMMDetectLib.scan import Modality, Scan, read_labels, read_scan, to_voxel, to_world, write_image
from CMMDetectTrainLib.simulation.protocols import find_protocol
from CMMDetectTrainLib.simulation.simulate import simulate_scan

SLICES = 1.5
ANGLE_DEG = 10.0
ERODED_MM, DILATED_MM = 2.0, 3.0
SIGNAL_LEFT, SPIKE, SPIKE_PERIOD_VOX = 0.4, 0.3, 6.0
NOISE, OFFSET = 0.05, 0.1
PPB = 1000.0
"""Of one ppm."""
STORED_LEVEL = 200.0
"""What ordinary tissue measures when a magnitude is stored as whole numbers."""

Mask = NDArray[np.bool_]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """The same head as another scan.

    Attributes
    ----------
    mask : brain mask that is given with it; None lets it be found
    moved : (4, 4), from a place in the head before to the place after, RAS mm
    exact : whether all voxels hold the same, so that nothing may change but by rounding; see the module
    """

    name: str
    scan: Scan
    mask: Mask | None = None
    moved: Matrix = field(default_factory=lambda: np.eye(4))
    exact: bool = False


@dataclass(frozen=True)
class Detected:
    """The candidates of a scan, their clusters and the brain that they lie in."""

    candidates: list[Candidate]
    clusters: NDArray[np.int32]
    brain: Mask

    @property
    def final(self) -> list[Candidate]:
        """Candidates that passed all stages."""
        return at_stage(self.candidates, Stage.FINAL)


def changes_of(scan: Scan, brain: Mask) -> Iterator[Change]:
    """Change a scan in canonical orientation, whose slices are the last axis, in every way."""
    level = float(np.percentile(np.abs(scan.array[brain]), 90))
    yield from _stored_otherwise(scan)
    yield from _moved(scan)
    yield from _scaled(scan, level)
    yield from _damaged(scan, brain, level)
    yield from _masked(scan, brain)


def _stored_otherwise(scan: Scan) -> Iterator[Change]:
    """Other axes of the array, each with the affine that leaves all in its place."""
    turns = {
        "voxels flipped (left-handed)": Turn((0, 1, 2), (True, False, False)),
        "axes turned by 90 degrees": Turn((1, 0, 2), (True, False, False)),
        "stored as PIR": Turn((1, 2, 0), (True, True, False)),
    }
    for name, turn in turns.items():
        yield Change(name, scan.turned(turn), exact=True)
    turned = _rotation(scan)
    yield Change("oblique header, 10 degrees", replace(scan, affine=turned @ scan.affine), moved=turned, exact=True)


def _moved(scan: Scan) -> Iterator[Change]:
    mirror = Turn((0, 1, 2), (True, False, False)).matrix(scan.array.shape)
    moved = scan.affine @ mirror @ np.linalg.inv(scan.affine)
    yield Change("head mirrored left to right", replace(scan, array=scan.array[::-1].copy()), moved=moved)
    turned = _rotation(scan)
    old_from_new = np.linalg.inv(scan.affine) @ np.linalg.inv(turned) @ scan.affine
    array = ndimage.affine_transform(scan.array, old_from_new, order=3, mode="nearest")
    if scan.modality.lesions_are_dark:
        array = np.maximum(array, 0)
    yield Change("head turned by 10 degrees in plane", replace(scan, array=array), moved=turned)
    for factor in (0.8, 1.25):
        yield Change(f"pixels of {factor:g} times the size", _resampled(scan, factor))


def _rotation(scan: Scan) -> Matrix:
    """Rotation about the line through the slices' centers, RAS mm to RAS mm."""
    normal = scan.affine[:3, 2] / np.linalg.norm(scan.affine[:3, 2])
    center = to_world(scan.affine, (np.array(scan.array.shape) - 1) / 2)
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_rotvec(np.deg2rad(ANGLE_DEG) * normal).as_matrix()
    turned[:3, 3] = center - turned[:3, :3] @ center
    return turned


def _resampled(scan: Scan, factor: float) -> Scan:
    """Give the scan with pixels of another size and the same center."""
    target = np.array(scan.spacing_mm) * (factor, factor, 1)
    array = resample(scan.array, scan.spacing_mm, target.tolist())
    affine = scan.affine @ np.diag([factor, factor, 1, 1])
    middle_vox = [(np.array(shape) - 1) / 2 for shape in (scan.array.shape, array.shape)]
    affine[:3, 3] += to_world(scan.affine, middle_vox[0]) - to_world(affine, middle_vox[1])
    return replace(scan, array=array, affine=affine)


def _scaled(scan: Scan, level: float) -> Iterator[Change]:
    magnitude = scan.modality.lesions_are_dark
    for factor in (0.01, 1000.0):
        # susceptibility has a unit: ppm or ppb, and what is neither has to be guessed
        exact = magnitude or factor == PPB
        yield Change(
            f"intensities times {factor:g}", replace(scan, array=scan.array * np.float32(factor)), exact=exact
        )
    if magnitude:
        yield Change("offset of 10 % of tissue", replace(scan, array=scan.array + np.float32(OFFSET * level)))
    scale = STORED_LEVEL / level if magnitude else PPB
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stored.nii.gz"
        write_image(path, np.clip(np.round(scan.array * scale), -32768, 32767).astype(np.int16), scan.affine)
        yield Change("stored as int16", read_scan(path, scan.modality))


def _damaged(scan: Scan, brain: Mask, level: float) -> Iterator[Change]:
    """One slice in the middle of the brain with an artifact, and noise everywhere."""
    middle = int(np.median(np.nonzero(brain)[2]))
    dropped, striped = scan.array.copy(), scan.array.copy()
    dropped[:, :, middle] *= np.float32(SIGNAL_LEFT)
    yield Change("a slice lost 60 % of its signal", replace(scan, array=dropped))
    i, j = np.indices(scan.array.shape[:2])
    stripes = SPIKE * level * np.cos(2 * np.pi / SPIKE_PERIOD_VOX * (0.8 * i + 0.6 * j))
    striped[:, :, middle] += stripes.astype(np.float32)
    noise = NOISE * level * np.random.default_rng(0).standard_normal(scan.array.shape)
    noisy = scan.array + noise.astype(np.float32)
    for name, array in {"a spike in a slice": striped, "noise of 5 % of tissue": noisy}.items():
        # a susceptibility map is made within a mask after the scan, which leaves its background as it is
        real = np.abs(array) if scan.modality.lesions_are_dark else np.where(brain, array, scan.array)
        yield Change(name, replace(scan, array=real))


def _masked(scan: Scan, brain: Mask) -> Iterator[Change]:
    yield Change("already stripped", replace(scan, array=np.where(brain, scan.array, np.float32(0))))
    inside = ndimage.distance_transform_edt(brain, scan.spacing_mm)
    outside = ndimage.distance_transform_edt(~brain, scan.spacing_mm)
    yield Change("mask eroded by 2 mm", scan, mask=inside > ERODED_MM)
    yield Change("mask dilated by 3 mm", scan, mask=outside <= DILATED_MM)


def detect(detector: Detector, scan: Scan, mask: Mask | None) -> Detected:
    """Detect as `Detector` does by itself, but keep the brain mask."""
    if mask is None:
        turn = scan.upright
        mask = turn.undo(find_brain(scan.turned(turn))[0])
    result = detector.detect(scan, mask)
    return Detected(result.candidates, result.clusters, mask)


def on_microbleeds(found: Detected, labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Say which of the final candidates share a voxel with a known microbleed."""
    shared = shared_voxels(found.clusters, labels, len(found.candidates), int(labels.max()))
    # the final candidates are the first of all
    return np.any(shared[: len(found.final)] > 0, axis=1)


@dataclass(frozen=True)
class Outcome:
    """What N final candidates before a change are after it.

    Attributes
    ----------
    stayed : (N,) whether they are final candidates again
    lost_by : what took the others, counted
    new : final candidates, true or false, where there was none
    largest : largest change of the probability of stage 2, to the nearest candidate of stage 1
    """

    stayed: NDArray[np.bool_]
    lost_by: Counter[str]
    new: int
    largest: float


def compare(before: list[Candidate], found: Detected, change: Change) -> Outcome:
    """Look for every final candidate after a change."""
    places = to_world(change.moved, points_of(before))
    reach = np.full(len(before), max(CENTER_DISTANCE_MM, SLICES * max(change.scan.spacing_mm)))
    after = points_of(found.candidates)
    stages = list(Stage)
    priority = [stages.index(item.stage) + (item.p_discrimination or 0.0) for item in found.candidates]
    partners = match_centers(after, places, reach, priority).candidate_of
    reasons = []
    for place, partner in zip(places, partners, strict=True):
        gone = "detection" if _lies_in(found.brain, change.scan, place) else "brain mask"
        reasons.append(gone if partner < 0 else found.candidates[partner].rejected_by)
    largest = 0.0
    if before and found.candidates:
        p = np.array([item.p_discrimination or 0.0 for item in found.candidates])
        p_before = [item.p_discrimination or 0.0 for item in before]
        largest = float(np.abs(p[cdist(places, after).argmin(axis=1)] - p_before).max())
    return Outcome(
        stayed=np.array([reason is None for reason in reasons], bool),
        lost_by=Counter(reason for reason in reasons if reason),
        new=int(np.count_nonzero(match_centers(points_of(found.final), places, reach).is_false)),
        largest=largest,
    )


def points_of(candidates: list[Candidate]) -> NDArray[np.float64]:
    """Give the positions of candidates, (N, 3), RAS mm."""
    return np.array([(item.x, item.y, item.z) for item in candidates], np.float64).reshape(-1, 3)


def _lies_in(brain: Mask, scan: Scan, place_mm: NDArray[np.float64]) -> bool:
    voxel = np.round(to_voxel(scan.affine, place_mm)).astype(int)
    return bool((voxel >= 0).all() and (voxel < brain.shape).all() and brain[tuple(voxel)])


def try_scan(detector: Detector, scan: Scan, labels: NDArray[np.int32] | None, wanted: str) -> None:
    """Detect the scan and its changes, and print a row of each."""
    turn = scan.upright
    scan, labels = scan.turned(turn), None if labels is None else turn.apply(labels)
    base = detect(detector, scan, None)
    true = np.ones(len(base.final), bool) if labels is None else on_microbleeds(base, labels)
    known = "no microbleeds are known" if labels is None else f"{true.sum()} of them on microbleeds"
    print(f"\n{scan.name}, {scan.modality}, {_milliliters(scan, base)} mL of brain: {true.size} finals, {known}\n")
    print(f"| {'change':36} | exact | brain mL | finals | true stayed | all stayed | new | change of p | lost by |")
    print("|---|---|---|---|---|---|---|---|---|")
    for change in changes_of(scan, base.brain):
        if wanted in change.name:
            exact = "yes" if change.exact else ""
            print(f"| {change.name:36} | {exact:5} | {_row(detector, base, true, change)} |", flush=True)


def _row(detector: Detector, base: Detected, true: Mask, change: Change) -> str:
    """Detect after a change; give the row's cells behind the first two."""
    try:
        found = detect(detector, change.scan, change.mask)
    except CMMDetectError as error:
        return f"failed: {error} | | | | | |"
    made = compare(base.final, found, change)
    cells = [
        f"{_milliliters(change.scan, found):8}",
        f"{true.size} to {len(found.final)}",
        f"{made.stayed[true].sum()} of {true.sum()}",
        f"{made.stayed.sum()} of {true.size}",
        str(made.new),
        f"{made.largest:.2g}",
        ", ".join(f"{what} {count}" for what, count in made.lost_by.items()),
    ]
    return " | ".join(cells)


def _milliliters(scan: Scan, found: Detected) -> str:
    return f"{np.count_nonzero(found.brain) * np.prod(scan.spacing_mm) / 1000:.0f}"


def scans_of(options: argparse.Namespace) -> Iterator[tuple[Scan, NDArray[np.int32] | None]]:
    """Give the scan that is asked for with its known microbleeds, or simulate one in each modality."""
    if options.scan:
        scan = read_scan(options.scan, options.modality[0] if options.modality else None)
        yield scan, read_labels(options.labels, scan) if options.labels else None
        return
    simulated = simulate_scan(find_protocol(options.protocol), options.seed, options.lesions)
    for modality in options.modality or Modality:
        kind = Modality(modality)
        name = f"simulated {options.protocol}, seed {options.seed}"
        yield simulated.scan(kind, name), simulated.truth[kind].microbleeds.astype(np.int32)


def main() -> None:
    """Try and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", nargs="?", help="default: a simulated one")
    parser.add_argument("--labels", help="label map of the scan's microbleeds")
    parser.add_argument("--modality", nargs="+", choices=[*Modality], help="of the scan; simulated: all")
    parser.add_argument("--protocol", default="fast", help="of the simulated scan")
    parser.add_argument("--lesions", type=int, default=12, help="of the simulated scan")
    parser.add_argument("--seed", type=int, default=3, help="of the simulated scan")
    parser.add_argument("--only", default="", metavar="TEXT", help="only changes whose name holds this")
    add_method_options(parser)
    options = parser.parse_args()
    job = method_job(options)
    try:
        for scan, labels in scans_of(options):
            try_scan(Detector(choose_method(job, scan.modality)), scan, labels, options.only)
    except CMMDetectError as error:
        raise SystemExit(f"{error}") from None


if __name__ == "__main__":
    main()
