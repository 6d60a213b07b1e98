"""Cases from the simulator: patches with known microbleeds, written once and read in every epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from CMMDetectLib.network_grid import SCANS_OWN, NetworkVoxel, Shape
from CMMDetectLib.preprocessing import TISSUE_LEVEL, PreparedScan, normalize_susceptibility
from CMMDetectLib.progress import Tick
from CMMDetectLib.scan import Modality, Scan

from .cases import NOT_JUDGED, Case, CaseArrays, arrays_of, channels_key, read_shelf, write_shelf
from .patches import DETECTOR_PATCH_VOX
from .simulation.patches import PatchSource, SimulatedPatch

PATCHES_PER_SHELF = 50
FREE_SHELVES = 3
"""One shelf in this many holds free-form tissue, which is cheap and varied; the others hold parts of heads, whose
sulci, sinuses and veins cause the false positives of scans."""
LEAST_BRAIN_SHARE = 0.02
"""Patches with a smaller share of brain are not used."""


def simulated_cases(
    shelves: Path,
    count: int,
    modalities: tuple[Modality, ...],
    seed: int,
    processes: int = 1,
    voxel: NetworkVoxel = SCANS_OWN,
    tick: Tick = lambda _: None,
) -> list[Case]:
    """Simulate patches, or read those simulated before.

    Every shelf has a seed of its own, so that the patches depend neither on the number of processes nor on
    interruptions, and a larger number of patches starts with the same ones.

    Parameters
    ----------
    shelves : folder of the shelves
    count : number of patches, rounded up to whole shelves of `PATCHES_PER_SHELF`
    modalities : drawn with equal probability
    voxel : voxel size of the networks' grid
    tick : called with the finished fraction

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
        tick(number / len(numbers))
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
    # a forked process may hang if torch has started threads
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(_shelf, jobs)


# the many small matrices of a patch take five times as long if each is shared among threads
@threadpool_limits.wrap(limits=1, user_api="blas")
def _shelf(job: _Job) -> list[Case]:
    shelves, number, modalities, seed, voxel = job
    described = {"simulated": PATCHES_PER_SHELF, "seed": seed, "shelf": number, "modalities": list(modalities)}
    described |= channels_key(voxel)
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
    # shifted by one every ten shelves, so that every tenth shelf, taken for validation, has its share of both kinds
    return (number + number // 10) % FREE_SHELVES != 2


def arrays_of_patch(
    patch: SimulatedPatch, name: str, subject: str, shape: Shape, voxel: NetworkVoxel = SCANS_OWN
) -> CaseArrays:
    """Return a simulated patch, scaled like a prepared scan, with its channels.

    Parameters
    ----------
    subject : shared by patches that may come from one head
    shape : voxels on the networks' grid that the patch covers, (I, J, K)
    voxel : voxel size of that grid
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
    """Return the signal of ordinary tissue as it would have been estimated from a whole scan.

    The simulation knows that signal, which cannot be measured in a patch full of CSF, but only as it was before phase
    mask and filters. The median of the patch includes these. The signal of whole scans lies in between.
    """
    return float(np.sqrt(patch.tissue_signal * np.median(patch.image[patch.brain])))


def _trimmed(arrays: CaseArrays, shape: Shape) -> CaseArrays:
    """Cut a patch of large voxels, which may exceed `shape` by a part of a voxel: all patches of a shelf are alike."""
    cut = tuple(slice(size) for size in shape)
    return replace(arrays, channels=arrays.channels[:, *cut], labels=arrays.labels[cut], mask=arrays.mask[cut])
