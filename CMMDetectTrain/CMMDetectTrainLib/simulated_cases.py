"""Cases out of the simulator: patches with known microbleeds, written once and read in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from CMMDetectLib.preprocessing import TISSUE_LEVEL, PreparedScan, normalize_susceptibility
from CMMDetectLib.scan import Modality, Scan

from .cases import NOT_JUDGED, Case, CaseArrays, arrays_of, read_shelf, write_shelf
from .simulation.patches import PatchSource, SimulatedPatch

PATCHES_PER_SHELF = 50
HEAD_SHELVES = 4
"""One shelf in so many is of heads, the others are of free tissue: a head takes as long to draw as five patches."""
LEAST_BRAIN_SHARE = 0.02
"""A patch with less brain than this teaches nothing."""


def simulated_cases(
    shelves: Path,
    count: int,
    modalities: tuple[Modality, ...],
    seed: int,
    processes: int = 1,
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
    told : is told the fraction that is done

    Raises
    ------
    OutputError
        If a shelf cannot be written.
    """
    numbers = range(-(-count // PATCHES_PER_SHELF))
    cases = []
    for number, shelf in enumerate(_shelves(shelves, numbers, modalities, seed, processes), 1):
        cases += shelf
        if told is not None:
            told(number / len(numbers))
    return cases


def _shelves(
    shelves: Path, numbers: range, modalities: tuple[Modality, ...], seed: int, processes: int
) -> Iterator[list[Case]]:
    jobs = [(shelves, number, modalities, seed) for number in numbers]
    if processes < 2:
        yield from map(_shelf, jobs)
        return
    # a fork of a process in which torch has threads may hang
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(_shelf, jobs)


# the many small matrices of a patch take five times as long where threads share each of them
@threadpool_limits.wrap(limits=1, user_api="blas")
def _shelf(job: tuple[Path, int, tuple[Modality, ...], int]) -> list[Case]:
    shelves, number, modalities, seed = job
    described = {"simulated": PATCHES_PER_SHELF, "seed": seed, "shelf": number, "modalities": list(modalities)}
    folder = shelves / f"simulated-{seed}-{number:05d}"
    if found := read_shelf(folder, described):
        return found
    own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    source = PatchSource(modalities, anatomy_share=float(_is_of_heads(number)))
    drawn = (patch for patch in source.stream(own_seed) if patch.brain.mean() > LEAST_BRAIN_SHARE)
    named = zip((f"{folder.name}-{index:02d}" for index in range(PATCHES_PER_SHELF)), drawn, strict=False)
    write_shelf(folder, [arrays_of_patch(patch, name, folder.name) for name, patch in named], described)
    return read_shelf(folder, described)


def _is_of_heads(number: int) -> bool:
    # moved on by one every ten shelves, so that a choice of every so manieth shelf has its share of both
    return (number + number // 10) % HEAD_SHELVES == 2


def arrays_of_patch(patch: SimulatedPatch, name: str, subject: str) -> CaseArrays:
    """Give a simulated patch the scale of a prepared scan, and its channels.

    Parameters
    ----------
    subject : patches that may be of one head share it
    """
    scan = Scan(patch.image, patch.grid.affine, patch.modality, name)
    if patch.modality.lesions_are_dark:
        # the simulation knows the signal of ordinary tissue, which a patch full of CSF could not tell
        image = 1 - patch.image * np.float32((1 - TISSUE_LEVEL) / patch.tissue_signal)
        image = np.where(patch.brain, np.clip(image, 0, 1), 0).astype(np.float32)
    else:
        image, _ = normalize_susceptibility(patch.image, patch.brain)
    whole = (slice(None), slice(None), slice(None))
    prepared = PreparedScan(scan, whole, image, patch.brain, "given", patch.tissue_signal)
    labels = patch.truth.microbleeds.astype(np.int16)
    bleeds = [record for record in patch.truth.records if record.kind == "microbleed"]
    unseen = [number for number, record in enumerate(bleeds, 1) if not record.visible]
    labels[np.isin(labels, unseen)] = NOT_JUDGED
    return arrays_of(prepared, labels, name, subject)
