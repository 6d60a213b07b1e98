"""A site's own scans with simulated microbleeds inserted: more training data for a site that has few."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CMMDetectLib.errors import CMMDetectError, InputError
from CMMDetectLib.preprocessing import find_brain
from CMMDetectLib.progress import Tick
from CMMDetectLib.results import LABELS, all_or_none
from CMMDetectLib.scan import read_mask, read_scan, write_image

from .evaluation_set import ScanEntry, read_lesions
from .metrics import Lesion
from .simulation.insertion import Insertion, insert_microbleeds
from .simulation.protocols import Protocol
from .simulation.truth_files import TRUTH, TruthRecord, write_truth_table

TE_MS = {1.5: 40.0, 3.0: 20.0, 7.0: 15.0}
"""Usual echo time (ms) of a susceptibility-weighted scan by field strength (T)."""


def insert_into_scans(
    entries: Sequence[ScanEntry],
    folder: Path,
    count: int,
    field_t: float,
    seed: int,
    tick: Tick,
    brain_extraction: str = "bet",
    given_brain: bool = False,
) -> list[ScanEntry]:
    """Write copies of scans with simulated microbleeds in addition to their own, unless they are there already.

    Only for training scans: models must be evaluated on real microbleeds.

    Parameters
    ----------
    folder : folder of the copies
    count : microbleeds per scan; fewer if there is no room
    field_t : field strength of the scans, T
    seed : of the random positions and sizes
    tick : called with the finished fraction
    brain_extraction, given_brain : as in `evaluation.evaluate_dataset`

    Raises
    ------
    InputError
        If a scan cannot be used, or the field strength is none of 1.5, 3 and 7 T.
    OutputError
        If the copies cannot be written.
    """
    if field_t not in TE_MS:
        raise InputError(f"field strength {field_t:g} T: choose 1.5, 3 or 7")
    protocol = Protocol("site", field_t=field_t, te_ms=TE_MS[field_t])
    copies = []
    for number, entry in enumerate(entries, 1):
        scan, labels = folder / f"{entry.name}.nii.gz", folder / f"{entry.name}{LABELS}.nii.gz"
        copy = replace(entry, scan=scan, labels=labels, original=entry.scan)
        if not _is_current(copy, entry):
            _write_copy(entry, folder, count, protocol, seed, brain_extraction, given_brain)
        copies.append(copy)
        tick(number / len(entries))
    return copies


def with_inserted(own: NDArray[np.int32], insertion: Insertion) -> NDArray[np.int32]:
    """Return the labels of a scan's own microbleeds and, numbered consecutively, of the visible inserted ones."""
    visible = [int(record.id.rpartition("-")[2]) for record in _visible(insertion)]
    new = np.zeros(len(insertion.truth.records) + 1, np.int32)
    new[visible] = int(own.max()) + np.arange(1, len(visible) + 1)
    return np.where(own > 0, own, new[insertion.truth.microbleeds]).astype(np.int32)


def _visible(insertion: Insertion) -> list[TruthRecord]:
    return [record for record in insertion.truth.records if record.kind == "microbleed" and record.visible]


def _truth(lesions: Sequence[Lesion], insertion: Insertion) -> list[TruthRecord]:
    """Return the table of the labels of `with_inserted`, which also says which of the scan's own are not visible."""
    own = [
        TruthRecord(
            id=lesion.id,
            kind="microbleed",
            region=lesion.region or "unknown",
            x=lesion.x,
            y=lesion.y,
            z=lesion.z,
            moment_ppm_mm3=None,
            true_diameter_mm=lesion.diameter_mm,
            apparent_diameter_mm=lesion.diameter_mm,
            volume_mm3=lesion.volume_mm3,
            visible=lesion.counted,
        )
        for lesion in lesions
    ]
    numbered = [*own, *_visible(insertion)]
    return [replace(record, id=f"cmb-{number:04d}") for number, record in enumerate(numbered, 1)]


def _write_copy(
    entry: ScanEntry,
    folder: Path,
    count: int,
    protocol: Protocol,
    seed: int,
    brain_extraction: str,
    given_brain: bool,
) -> None:
    scan = read_scan(entry.scan, entry.modality)
    lesions, own = read_lesions(entry, scan)
    try:
        given = read_mask(entry.brain, scan) if given_brain and entry.brain else None
        brain = find_brain(scan, brain_extraction)[0] if given is None else given
        # seeded by name, so that a scan gets the same ones whatever else is in the data set
        digest = int.from_bytes(hashlib.sha256(entry.name.encode()).digest()[:8], "big")
        insertion = insert_microbleeds(scan, brain, protocol, np.random.default_rng([seed, digest]), count)
    except CMMDetectError as error:
        raise InputError(f"{entry.scan}: {error}") from None
    with all_or_none(folder) as beside:
        write_image(beside / f"{entry.name}.nii.gz", insertion.scan.array, scan.affine)
        write_image(beside / f"{entry.name}{LABELS}.nii.gz", with_inserted(own, insertion), scan.affine)
        # the last ones may have no voxel: their numbers are the inserted ones' then
        write_truth_table(beside / f"{entry.name}{TRUTH}", _truth(lesions[: own.max()], insertion))


def _is_current(copy: ScanEntry, entry: ScanEntry) -> bool:
    """Whether the files of a copy exist and are newer than the files they were made from."""
    copies = copy.scan, copy.labels, copy.truth_file(TRUTH)
    if not all(path.exists() for path in copies):
        return False
    oldest = min(path.stat().st_mtime_ns for path in copies)
    sources = entry.scan, entry.labels, entry.truth_file(TRUTH)
    return all(path.stat().st_mtime_ns <= oldest for path in sources if path.exists())
