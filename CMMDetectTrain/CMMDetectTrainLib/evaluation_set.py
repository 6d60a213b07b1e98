"""A data set with known microbleeds, as the evaluation reads it.

It is a folder with scans and, for each, a label map ``<scan>_microbleeds.nii.gz`` on the scan's grid, beside the scan
or anywhere else in the folder: the output of ``cmmdetect simulate``, or a site's own scans with masks. The file names
give the subjects, see `subject_of`. If the truth table of a simulated scan lies beside the map, its regions,
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
from .simulation.truth_files import TRUTH, TruthRecord, read_truth

ENTITY = r"_(?:ses|acq|ce|rec|dir|run|echo|part|chunk)-"
"""BIDS entities that distinguish scans of a subject; some sites append them to names of their own."""
WIDEST_MM = 50.0
"""A label wider than this is a class or region, not a microbleed, which is at most 10 mm wide."""


@dataclass(frozen=True, kw_only=True)
class ScanEntry:
    """A scan of a data set and where its truth is.

    Attributes
    ----------
    scan, labels : files
    brain : the data set's brain mask, None if it has none
    subject : name shared by the scans of one subject
    groups : group names, such as 'modality', and the scan's values
    original : of a copy with simulated microbleeds, the scan that they were inserted into
    """

    scan: Path
    labels: Path
    brain: Path | None
    subject: str
    modality: Modality
    groups: Mapping[str, str] = field(default_factory=dict)
    original: Path | None = None

    @property
    def name(self) -> str:
        """Stem of the scan's file."""
        return stem_of(self.scan)

    def truth_file(self, ending: str) -> Path:
        """Path of a file that belongs to the scan, beside its label map."""
        return self.labels.with_name(self.name + ending)

    def checksums(self, with_brain: bool) -> dict[str, str]:
        """SHA-256 of each file that the evaluation of the scan reads, by file name."""
        files = [self.scan, self.labels, self.truth_file(TRUTH), self.truth_file("_mimics.nii.gz")]
        files += [self.brain] if with_brain and self.brain else []
        return {path.name: checksum(path) for path in files if path.is_file()}

    @cached_property
    def content(self) -> str:
        """Checksum of the voxels of the scan, or of its original, whatever the file format and name."""
        return content_checksum(read_scan(self.original or self.scan, self.modality))


def find_scans(
    dataset: Path, modality: str | None = None, subjects: Sequence[str] = (), all_here: bool = True
) -> list[ScanEntry]:
    """Find the scans of a data set that have a label map of microbleeds.

    A label map beside a table of candidates is a detection, not truth.

    Parameters
    ----------
    modality : only scans of this modality; also that of scans whose name does not give it
    subjects : only these subjects; all if empty
    all_here : whether every one of these subjects must have a scan in this data set

    Raises
    ------
    InputError
        If there is no such scan, or none of one of the subjects; if the scan of a label map is missing or ambiguous;
        if a modality is not known; or if a folder or the table of participants cannot be read.
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
    """Return the subject of a scan name, so that all scans of a person are used for training or none is.

    >>> [subject_of(name) for name in ("sub-01_ses-2_swi", "P01_ses-2_run-1_T2starw", "P01_swi", "patient_7")]
    ['sub-01', 'P01', 'P01', 'patient_7']
    """
    if name.startswith("sub-"):
        return name.partition("_")[0]
    without_modality = name.rpartition("_")[0] if guess_modality(name) else name
    return re.split(ENTITY, without_modality)[0] or name


def check_named(subjects: Sequence[str], entries: Iterable[ScanEntry], where: str) -> None:
    """Make sure that each subject that the user named has a scan.

    Parameters
    ----------
    where : the data sets, for the message

    Raises
    ------
    InputError
        With the names of those without a scan.
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
        If masks are wanted and there are none.
    """
    count = sum(entry.brain is not None for entry in entries)
    if wanted and not count:
        raise InputError(
            "--brain-masks: no scan has one; beside <scan>.nii.gz put <scan>_brain.nii.gz, or leave it out"
        )
    return count


def files_in(dataset: Path) -> list[Path]:
    """List the files of a data set, following links to folders, without hidden files and folders.

    Raises
    ------
    InputError
        If a folder cannot be read, since its scans would silently be left out.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})")

    found: list[Path] = []
    seen: set[str] = set()
    for folder, folders, names in os.walk(dataset, onerror=refuse, followlinks=True):
        if not os.access(folder, os.X_OK):
            raise InputError(f"{folder}: its files cannot be read (permission denied)")
        if (real := os.path.realpath(folder)) in seen:
            # a link to a parent folder would recurse forever
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder) / name for name in names if not name.startswith(".")]
    return sorted(found)


def read_lesions(entry: ScanEntry, scan: Scan) -> tuple[tuple[Lesion, ...], IntArray]:
    """Return the true lesions of a scan and the label map in which lesion ``n`` has the label ``n + 1``.

    In a map with several labels each label is a lesion and names it; a map with a single label, whatever its value, is
    split into 26-connected clusters (4.1). Centers are those of the masks. A simulated lesion that is not visible in
    its scan, or that has no voxels of its own in the map, is listed but not counted.

    Raises
    ------
    InputError
        If the map cannot be read, lies on another grid, or has a negative label or one too wide for a lesion; or if
        the truth table cannot be read or lists fewer microbleeds than the map has labels.
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
    """Whether a scan has visible microbleeds.

    Raises
    ------
    InputError
        As in `read_lesions`, or if the scan cannot be read.
    """
    lesions, _ = read_lesions(entry, read_scan(entry.scan, entry.modality))
    return any(lesion.counted for lesion in lesions)


def read_mimics(entry: ScanEntry, scan: Scan) -> tuple[IntArray, list[str]] | None:
    """Return the label map of known mimics and the kind of each label from 1; None if there is no map.

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
    """Read a label map and check its labels against the number of rows of the truth table, if there is one."""
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
    """Whether a file is the header of a pair of .hdr and .img, which is one image, represented by its voxels."""
    voxels = {".hdr": ".img", ".HDR": ".IMG"}.get(path.suffix)
    return voxels is not None and path.with_suffix(voxels).is_file()


def _only(paths: list[Path], stem: str, dataset: Path) -> Path:
    if len(paths) != 1:
        found = "is missing" if not paths else f"is there {len(paths)} times"
        raise InputError(f"{dataset}: {stem}.nii.gz {found}; every label map needs exactly one scan of its name")
    return paths[0]


def _read_participants(path: Path) -> dict[str, dict[str, str]]:
    """Return protocol and field strength of each subject, if a BIDS table of participants has them."""
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
    """Measure a lesion from its voxels, (N, 3); values of the truth table take precedence."""
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
    """Refuse labels that are too wide for one lesion: raters may number classes, say 1 certain and 2 possible."""
    for number, box in zip(numbers, ndimage.find_objects(labels), strict=True):
        extent = np.array([part.stop - part.start for part in box]) * scan.spacing_mm
        if extent.max() > WIDEST_MM:
            raise InputError(
                f"{path}: lesion {number} is {extent.max():.0f} mm wide; number every microbleed, or label all alike"
            )
