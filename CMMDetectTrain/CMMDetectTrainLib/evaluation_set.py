"""A data set with known microbleeds, as the evaluation reads it.

It is a folder with scans and, for each, a label map ``<scan>_microbleeds.nii.gz`` on the scan's grid, beside it or
anywhere in the folder: what ``cmmdetect simulate`` writes, or a site's own scans with masks. The names tell which
scans are of one subject, see `subject_of`. Where the truth table of a simulated scan lies beside the map, its regions,
visibility and mimics are used.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.bundle import checksum
from CMMDetectLib.candidates import MISSING
from CMMDetectLib.errors import InputError
from CMMDetectLib.orientation import canonical_turn
from CMMDetectLib.results import LABELS, is_detection
from CMMDetectLib.review_file import content_checksum
from CMMDetectLib.scan import (
    IMAGE_SUFFIXES,
    Modality,
    Scan,
    guess_modality,
    parse_modality,
    read_labels,
    read_scan,
    stem_of,
    to_world,
)
from CMMDetectLib.tables import read_tsv
from CMMDetectLib.wording import counted

from .conspicuity import conspicuity
from .label_map import IntArray, numbered
from .metrics import Lesion
from .simulation.truth_files import TruthRecord, read_truth

ENTITY = r"_(?:ses|acq|ce|rec|dir|run|echo|part|chunk)-"
"""What BIDS tells scans of a subject apart by; others put it behind names of their own."""
TRUTH = "_truth.tsv"
"""Added to the name of a simulated scan: the table that lists its labels."""
WIDEST_MM = 50.0
"""Extent of a label from which it is no microbleed, which are up to 10 mm wide, but a class of them or a region."""


@dataclass(frozen=True, kw_only=True)
class ScanEntry:
    """A scan of a data set and where its truth is.

    Attributes
    ----------
    scan, labels : files
    brain : the data set's brain mask, None if it has none
    subject : the scans of one subject share it
    groups : what the scan can be grouped by, and its value
    """

    scan: Path
    labels: Path
    brain: Path | None
    subject: str
    modality: Modality
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Stem of the scan's file."""
        return stem_of(self.scan)

    def truth_file(self, ending: str) -> Path:
        """Path of a file that belongs to the scan, beside its label map."""
        return self.labels.with_name(self.name + ending)

    def checksums(self, with_brain: bool) -> dict[str, str]:
        """SHA-256 of each file that the scan's evaluation reads, by file name."""
        files = [self.scan, self.labels, self.truth_file(TRUTH), self.truth_file("_mimics.nii.gz")]
        files += [self.brain] if with_brain and self.brain else []
        return {path.name: checksum(path) for path in files if path.is_file()}

    @cached_property
    def content(self) -> str:
        """Checksum of what the scan shows, whatever its file's format and name; see `content_checksum`."""
        return content_checksum(read_scan(self.scan, self.modality))


def find_scans(
    dataset: Path, modality: str | None = None, subjects: Sequence[str] = (), all_here: bool = True
) -> list[ScanEntry]:
    """Find the scans of a data set that have a label map of microbleeds.

    A label map beside a table of candidates is a detection and no truth.

    Parameters
    ----------
    modality : only scans of this one; it also tells it of scans whose name does not
    subjects : only these; all if there are none
    all_here : whether every one of these subjects must have such a scan in this data set

    Raises
    ------
    InputError
        If there is no such scan, also of one of the subjects, a label map's scan is missing or ambiguous, a modality
        is not known, or a folder or the table of participants cannot be read.
    """
    images = images_by_stem(dataset)
    wanted = parse_modality(modality) if modality else None
    people = _read_participants(dataset / "participants.tsv")
    entries = []
    for name in sorted(images):
        stem = name.removesuffix(LABELS)
        labels = [path for path in images[name] if not is_detection(path.parent, stem)]
        subject = subject_of(stem)
        kind = guess_modality(stem) or wanted
        if name == stem or not labels or (subjects and subject not in subjects) or (wanted and kind is not wanted):
            continue
        if kind is None:
            raise InputError(
                f"{labels[0]}: the name does not tell the modality; say --modality swi, t2star or qsm, or let the "
                "names of scans end in _swi, _T2starw or _Chimap"
            )
        entry = ScanEntry(
            scan=_only(images.get(stem, []), stem, dataset),
            labels=_only(labels, name, dataset),
            brain=next(iter(images.get(f"{stem}_brain") or images.get(f"{subject}_brain") or []), None),
            subject=subject,
            modality=kind,
            groups={"modality": kind.value, **people.get(subject, {})},
        )
        entries.append(entry)
    if subjects and (all_here or not entries):
        check_named(subjects, entries, str(dataset))
    if not entries:
        raise InputError(f"{dataset}: no scan with truth here; beside <scan>.nii.gz put <scan>{LABELS}.nii.gz")
    return entries


def subject_of(name: str) -> str:
    """Tell whose scan it is by its name, so that all of a person's scans are learnt from or none is.

    >>> [subject_of(name) for name in ("sub-01_ses-2_swi", "P01_ses-2_run-1_T2starw", "P01_swi", "patient_7")]
    ['sub-01', 'P01', 'P01', 'patient_7']
    """
    if name.startswith("sub-"):
        return name.partition("_")[0]
    without_modality = name.rpartition("_")[0] if guess_modality(name) else name
    return re.split(ENTITY, without_modality)[0] or name


def check_named(subjects: Sequence[str], entries: Iterable[ScanEntry], where: str) -> None:
    """Make sure that each of the subjects that a user named has a scan.

    Parameters
    ----------
    where : the data sets, for the message

    Raises
    ------
    InputError
        With the names of those that have none.
    """
    there = {entry.subject for entry in entries}
    if missing := [name for name in dict.fromkeys(subjects) if name not in there]:
        names = ", ".join(missing)
        raise InputError(f"{where}: no scan with truth of {names}; name subjects as their files do, such as sub-01")


def check_brains(entries: Sequence[ScanEntry], wanted: bool) -> int:
    """Count the scans that have a brain mask in the data set.

    Raises
    ------
    InputError
        If they are wanted and there is none.
    """
    count = sum(entry.brain is not None for entry in entries)
    if wanted and not count:
        raise InputError(
            "--brain-masks: no scan has one; beside <scan>.nii.gz put <scan>_brain.nii.gz, or leave it out"
        )
    return count


def files_in(dataset: Path) -> list[Path]:
    """List the files of a data set but for hidden ones and those in hidden folders; also where links to folders lead.

    Raises
    ------
    InputError
        If a folder cannot be read: scans would be left out in silence.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})")

    found: list[Path] = []
    seen: set[str] = set()
    for folder, folders, names in os.walk(dataset, onerror=refuse, followlinks=True):
        if not os.access(folder, os.X_OK):
            raise InputError(f"{folder}: its files cannot be read (permission denied)")
        if (real := os.path.realpath(folder)) in seen:
            # a link to a folder around it goes round in circles
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder) / name for name in names if not name.startswith(".")]
    return sorted(found)


def read_lesions(entry: ScanEntry, scan: Scan) -> tuple[tuple[Lesion, ...], IntArray]:
    """Give the true lesions of a scan and the label map whose label ``n + 1`` is lesion ``n``.

    In a map with several labels each is a lesion and is named after its label; one with a single label, whichever
    number that is, is split into 26-connected clusters (4.1). Centers are those of the masks. A simulated lesion that
    its scan does not show, or that has no voxel of its own in the map, is listed but not counted.

    Raises
    ------
    InputError
        If the map cannot be read, lies on another grid or has a negative label or one that is no lesion's, or the
        truth table is none or lists fewer microbleeds than the map has labels.
    """
    table = entry.truth_file(TRUTH)
    truth = [item for item in read_truth(table) if item.kind == "microbleed"] if table.exists() else None
    labels = _read_truth_map(entry.labels, scan, "microbleed", table, None if truth is None else len(truth))
    records: Sequence[TruthRecord] = truth or ()
    if truth is None:
        labels, numbers = numbered(labels)
        _check_extent(entry.labels, labels, numbers, scan)
    else:
        numbers = list(range(1, len(records) + 1))
    lesions = []
    for number, box in enumerate(ndimage.find_objects(labels, max_label=len(numbers)), 1):
        known = records[number - 1] if records else None
        if box is not None:
            voxels = np.argwhere(labels[box] == number) + [part.start for part in box]
            seen = conspicuity(scan, labels, number, box)
            lesions.append(_measured(numbers[number - 1], voxels, scan, known, seen))
        elif known is not None:
            lesions.append(_unseen(known))
    return tuple(lesions), labels


def has_microbleeds(entry: ScanEntry) -> bool:
    """Whether a scan has microbleeds that can be seen.

    Raises
    ------
    InputError
        As of `read_lesions`, or if the scan cannot be read.
    """
    lesions, _ = read_lesions(entry, read_scan(entry.scan, entry.modality))
    return any(lesion.counted for lesion in lesions)


def read_mimics(entry: ScanEntry, scan: Scan) -> tuple[IntArray, list[str]] | None:
    """Give the label map of known mimics and the kind of each label from 1; None where there is none.

    Raises
    ------
    InputError
        If a file cannot be read, or the map lies on another grid, has a negative label or more labels than the truth
        table lists mimics.
    """
    table, path = entry.truth_file(TRUTH), entry.truth_file("_mimics.nii.gz")
    if not table.exists() or not path.exists():
        return None
    kinds = [item.kind for item in read_truth(table) if item.kind != "microbleed"]
    return _read_truth_map(path, scan, "mimic", table, len(kinds)), kinds


def _read_truth_map(path: Path, scan: Scan, what: str, table: Path, listed: int | None) -> IntArray:
    """Read a label map and hold its labels against the number of rows that the table has for them, if there is one."""
    labels = read_labels(path, scan)
    if (least := int(labels.min())) < 0:
        raise InputError(f"{path}: has the label {least}; 0 is background, {what}s have numbers above it")
    if listed is not None and (most := int(labels.max())) > listed:
        raise InputError(f"{table}: lists {counted(listed, what)}, but {path.name} has the label {most}")
    return labels


def images_by_stem(dataset: Path) -> dict[str, list[Path]]:
    """List the images of a data set by their name; raises as `files_in`."""
    images: dict[str, list[Path]] = defaultdict(list)
    for path in files_in(dataset):
        if path.name.lower().endswith(IMAGE_SUFFIXES) and not _has_voxels_beside(path):
            images[stem_of(path)].append(path)
    return images


def _has_voxels_beside(path: Path) -> bool:
    """Whether a file is the header of a pair, .hdr and .img, which is one image; its voxels are what may change."""
    voxels = {".hdr": ".img", ".HDR": ".IMG"}.get(path.suffix)
    return voxels is not None and path.with_suffix(voxels).is_file()


def _only(paths: list[Path], stem: str, dataset: Path) -> Path:
    if len(paths) != 1:
        found = "is missing" if not paths else f"is there {len(paths)} times"
        raise InputError(f"{dataset}: {stem}.nii.gz {found}; every label map needs exactly one scan of its name")
    return paths[0]


def _read_participants(path: Path) -> dict[str, dict[str, str]]:
    """Give protocol and field strength of each subject, where a BIDS table of participants tells them."""
    rows = read_tsv(path) if path.exists() else []
    columns = {"protocol": ("protocol", ""), "field_t": ("field strength", " T")}
    return {
        row["participant_id"]: {
            name: row[column] + unit
            for column, (name, unit) in columns.items()
            if row.get(column) not in (None, "", MISSING)
        }
        for row in rows
        if row.get("participant_id")
    }


def _measured(
    number: int, voxels: NDArray[np.intp], scan: Scan, known: TruthRecord | None, seen: float | None
) -> Lesion:
    """Measure a lesion that has voxels, (N, 3); what the truth table knows of it goes before."""
    x, y, z = (round(float(value), 3) for value in to_world(scan.affine, voxels.mean(axis=0)))
    across = canonical_turn(scan.affine).order[2]
    pixel_mm2 = float(np.prod(np.delete(scan.spacing_mm, across)))
    area = np.bincount(voxels[:, across]).max() * pixel_mm2
    diameter = known.apparent_diameter_mm if known else round(2 * float(np.sqrt(area / np.pi)), 3)
    return Lesion(
        id=known.id if known else f"cmb-{number:04d}",
        x=x,
        y=y,
        z=z,
        diameter_mm=diameter,
        volume_mm3=round(len(voxels) * float(np.prod(scan.spacing_mm)), 3),
        region=known.region if known else None,
        diameter_vox=round(diameter / float(np.sqrt(pixel_mm2)), 3),
        conspicuity=seen,
        counted=known.visible if known else True,
    )


def _unseen(known: TruthRecord) -> Lesion:
    return Lesion(
        id=known.id,
        x=known.x,
        y=known.y,
        z=known.z,
        diameter_mm=known.apparent_diameter_mm,
        volume_mm3=0.0,
        region=known.region,
        counted=False,
    )


def _check_extent(path: Path, labels: IntArray, numbers: Sequence[int], scan: Scan) -> None:
    """Refuse what is counted as one lesion and cannot be: raters may number classes, say 1 sure and 2 possible."""
    for number, box in zip(numbers, ndimage.find_objects(labels), strict=True):
        extent = np.array([part.stop - part.start for part in box]) * scan.spacing_mm
        if extent.max() > WIDEST_MM:
            raise InputError(
                f"{path}: lesion {number} is {extent.max():.0f} mm wide; number every microbleed, or give all the same"
            )
