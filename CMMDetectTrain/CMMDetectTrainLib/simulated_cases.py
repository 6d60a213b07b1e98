"""Cases out of the simulator: patches with known microbleeds, written once and read in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from CMMDetectLib.network_grid import SCANS_OWN, NetworkVoxel, Shape
from CMMDetectLib.preprocessing import TISSUE_LEVEL, PreparedScan, normalize_susceptibility
from CMMDetectLib.scan import Modality, Scan

from .cases import NOT_JUDGED, Case, CaseArrays, arrays_of, read_shelf, seen_key, write_shelf
from .patches import DETECTOR_PATCH_VOX
from .simulation.patches import PatchSource, SimulatedPatch

PATCHES_PER_SHELF = 50
FREE_SHELVES = 3
"""One shelf in so many is of free tissue, which is cheap and unlike anything else; the others are of heads, whose
sulci, sinuses and veins are what a scan's false positives are made of."""
LEAST_BRAIN_SHARE = 0.02
"""A patch with less brain than this teaches nothing."""


def simulated_cases(
    shelves: Path,
    count: int,
    modalities: tuple[Modality, ...],
    seed: int,
    processes: int = 1,
    voxel: NetworkVoxel = SCANS_OWN,
    told: Callable[[float], None] | None = None,
) -> list[Case]:
    """Simulate patches, unless they are there already.

    Every shelf has a seed of its own, so the patches are the same however many processes make them and wherever an
    interruption fell; more patches of the same seed begin with the same ones.

    Parameters
    ----------
    shelves : folder of the shelves
    count : patches, rounded up to whole shelves of `PATCHES_PER_SHELF`
    modalities : drawn with equal chance
    voxel : of the networks' grid
    told : is told the fraction that is done

    Raises
    ------
    OutputError
        If a shelf cannot be written.
    """
    numbers = range(-(-count // PATCHES_PER_SHELF))
    jobs = [_Job(shelves, number, modalities, seed, voxel) for number in numbers]
    cases = []
    for number, shelf in enumerate(_shelves(jobs, processes), 1):
        cases += shelf
        if told is not None:
            told(number / len(numbers))
    return cases


class _Job(NamedTuple):
    """A shelf to fill."""

    shelves: Path
    number: int
    modalities: tuple[Modality, ...]
    seed: int
    voxel: NetworkVoxel


def _shelves(jobs: Sequence[_Job], processes: int) -> Iterator[list[Case]]:
    if processes < 2:
        yield from map(_shelf, jobs)
        return
    # a fork of a process in which torch has threads may hang
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(_shelf, jobs)


# the many small matrices of a patch take five times as long where threads share each of them
@threadpool_limits.wrap(limits=1, user_api="blas")
def _shelf(job: _Job) -> list[Case]:
    shelves, number, modalities, seed, voxel = job
    described = {"simulated": PATCHES_PER_SHELF, "seed": seed, "shelf": number, "modalities": list(modalities)}
    described |= seen_key(voxel)
    folder = shelves / f"simulated-{seed}-{number:05d}"
    if found := read_shelf(folder, described):
        return found
    own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    shape = voxel.patch_shape(DETECTOR_PATCH_VOX)
    source = PatchSource(modalities, shape, anatomy_share=float(_is_of_heads(number)), voxel=voxel)
    drawn = (patch for patch in source.stream(own_seed) if patch.brain.mean() > LEAST_BRAIN_SHARE)
    named = zip((f"{folder.name}-{index:02d}" for index in range(PATCHES_PER_SHELF)), drawn, strict=False)
    write_shelf(folder, [arrays_of_patch(patch, name, folder.name, shape, voxel) for name, patch in named], described)
    return read_shelf(folder, described)


def _is_of_heads(number: int) -> bool:
    # moved on by one every ten shelves, so that a choice of every so manieth shelf has its share of both
    return (number + number // 10) % FREE_SHELVES != 2


def arrays_of_patch(
    patch: SimulatedPatch, name: str, subject: str, shape: Shape, voxel: NetworkVoxel = SCANS_OWN
) -> CaseArrays:
    """Give a simulated patch the scale of a prepared scan, and its channels.

    Parameters
    ----------
    subject : patches that may be of one head share it
    shape : voxels on the networks' grid, (I, J, K), that the patch covers
    voxel : of that grid
    """
    scan = Scan(patch.image, patch.grid.affine, patch.modality, name)
    if patch.modality.lesions_are_dark:
        image = 1 - patch.image * np.float32((1 - TISSUE_LEVEL) / _tissue_signal(patch))
        image = np.where(patch.brain, np.clip(image, 0, 1), 0).astype(np.float32)
    else:
        image, _ = normalize_susceptibility(patch.image, patch.brain)
    whole = (slice(None), slice(None), slice(None))
    prepared = PreparedScan(scan, whole, image, patch.brain, "given", patch.tissue_signal)
    labels = patch.truth.microbleeds.astype(np.int16)
    bleeds = [record for record in patch.truth.records if record.kind == "microbleed"]
    unseen = [number for number, record in enumerate(bleeds, 1) if not record.visible]
    labels[np.isin(labels, unseen)] = NOT_JUDGED
    return _trimmed(arrays_of(prepared, labels, name, subject, voxel), shape)


def _tissue_signal(patch: SimulatedPatch) -> float:
    """Give what a whole scan would have taken for the signal of ordinary tissue.

    The simulation knows that signal, which a patch full of CSF could not tell; but it knows it before phase mask and
    filters have changed it, and a scan's own is what most of its voxels measure. In between lies what scans have.
    """
    return float(np.sqrt(patch.tissue_signal * np.median(patch.image[patch.brain])))


def _trimmed(arrays: CaseArrays, shape: Shape) -> CaseArrays:
    """Cut what patches of large voxels have too much, less than a voxel: those of a shelf are of one shape."""
    cut = tuple(slice(size) for size in shape)
    return replace(arrays, channels=arrays.channels[:, *cut], labels=arrays.labels[cut], mask=arrays.mask[cut])
