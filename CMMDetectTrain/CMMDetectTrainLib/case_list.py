"""The cases of a data set: which scans are labeled, by whom, and which are still to be checked.

A data set is a folder that ``cmmdetect train`` and ``cmmdetect evaluate`` read directly: ``<scan>.nii.gz`` beside
``<scan>_microbleeds.nii.gz``, with names as in BIDS that give subject and modality. The files are decisive. The table
``cases.tsv`` adds what they do not contain: where the points came from, who read the scan, whether the case was
checked, and checksums of scan and points, by which duplicates are recognized.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.results import LABELS, is_detection, prepare_folder
from CMMDetectLib.review_export import BIDS_NAMES
from CMMDetectLib.review_file import content_checksum
from CMMDetectLib.scan import IMAGE_SUFFIXES, Modality, Scan, guess_modality, read_scan, stem_of, write_image
from CMMDetectLib.tables import MISSING, read_tsv, write_tsv
from CMMDetectLib.wording import counted

from .evaluation_set import ScanEntry, files_in, find_scans, subject_of
from .label_map import numbered
from .simulation.truth_files import TRUTH

TABLE = "cases.tsv"
SAME_POINTS_MM = 0.1
"""Coordinates are rounded to this before they are compared."""
LONGEST_STEM = 60
"""Longer file names fail on Windows in deeply nested folders."""


class CaseStatus(StrEnum):
    """Whether a case may be used for training."""

    OK = "ok"
    TO_CHECK = "to check"


@dataclass(frozen=True, kw_only=True)
class TrainingCase:
    """One labeled scan of a data set: a row of ``cases.tsv``.

    Attributes
    ----------
    volume, mask : paths relative to the data set
    subject, modality : as in the file name
    points : where the coordinates came from
    reader : who marked them
    microbleeds : number of lesions in the mask, as `label_map.numbered` separates them
    note : what a user should know, such as regions that followed a vessel
    copied : whether the scan's file was written by `add_case` and is removed with the case
    scan_checksum, points_checksum : checksums of the content; None if the files were not written by `add_case`
    """

    volume: str
    mask: str
    subject: str
    modality: Modality
    points: str | None = None
    reader: str | None = None
    status: CaseStatus = CaseStatus.OK
    microbleeds: int | None = None
    note: str | None = None
    copied: bool = False
    scan_checksum: str | None = None
    points_checksum: str | None = None

    @property
    def name(self) -> str:
        """Stem of the scan's file."""
        return stem_of(Path(self.volume))


@dataclass(frozen=True, kw_only=True)
class NewCase:
    """A scan with its labels that is to be added to a data set.

    Attributes
    ----------
    scan : its name becomes that of the file, see `case_name`
    labels : (I, J, K), on the scan's grid; all 0 for a scan without microbleeds
    points_mm : (N, 3) RAS mm, as they were given
    points : where the coordinates came from
    subject : the user's name of the person; "" takes it from the name of the scan
    case : name of the case whose file the scan is; "" where it is none, or its subject is said
    """

    scan: Scan
    labels: NDArray[np.integer]
    points_mm: ArrayLike = ()
    points: str = ""
    subject: str = ""
    reader: str = ""
    status: CaseStatus = CaseStatus.OK
    note: str = ""
    case: str = ""

    @property
    def name(self) -> str:
        """Stem of the scan's file in the data set."""
        return self.case or case_name(self.scan.name, self.scan.modality, self.subject)


def case_name(name: str, modality: Modality, subject: str = "") -> str:
    """Make a BIDS-like stem from the user's names of a scan and its subject.

    >>> case_name("sub-01_ses-2_swi", Modality.SWI)
    'sub-01_ses-2_swi'
    >>> case_name("Patient 7 (SWAN)", Modality.SWI), case_name("SWAN", Modality.SWI, "Patient 7")
    ('sub-Patient7SWAN_swi', 'sub-Patient7_acq-SWAN_swi')
    """
    stem = re.sub(r"[^A-Za-z0-9_-]+", "", name)
    # Slicer appends a number to the name of a scan that is loaded again
    once = re.sub(r"_\d+$", "", stem) if stem.startswith("sub-") else stem
    if guess_modality(once) is not None:
        stem = once.rpartition("_")[0]
    first, _, rest = stem.partition("_") if stem.startswith("sub-") else ("", "", _plain(stem))
    wanted = _plain(subject.removeprefix("sub-"))
    if first:
        parts = [f"sub-{wanted}" if wanted else first, rest]
    else:
        parts = [f"sub-{wanted}", rest and f"acq-{rest}"] if wanted else [f"sub-{rest or 'scan'}"]
    head = "_".join(part for part in parts if part)[:LONGEST_STEM]
    return f"{head}_{BIDS_NAMES[modality]}"


def read_cases(dataset: Path) -> list[TrainingCase]:
    """List the labeled scans of a data set, with their rows of the table; none if there is no data set yet.

    Raises
    ------
    InputError
        If a label map has no scan or an unknown modality, or the table cannot be read.
    """
    if not dataset.exists():
        return []
    masks = (path for path in files_in(dataset) if f"{LABELS}." in path.name)
    # find_scans treats an empty data set as a mistake; here it was just begun
    if all(is_detection(mask.parent, mask.name.partition(LABELS)[0]) for mask in masks):
        return []
    rows = _read_table(dataset / TABLE)
    return [_case_of(entry, dataset, rows) for entry in find_scans(dataset)]


def checked_scans(
    dataset: Path, modality: str | None = None, subjects: Sequence[str] = (), all_here: bool = True
) -> list[ScanEntry]:
    """Return the scans for training or evaluation: all except cases still to be checked; see `find_scans`.

    Raises
    ------
    InputError
        If there are none, or none of one of the subjects, or the data set cannot be read.
    """
    entries = find_scans(dataset, modality, subjects, all_here)
    rows = _read_table(dataset / TABLE)
    ready = [entry for entry in entries if _case_of(entry, dataset, rows).status is not CaseStatus.TO_CHECK]
    if not ready:
        raise InputError(
            f"{dataset}: {counted(len(entries), 'case')}, all still to be checked; mark those that are right as ok"
        )
    there = {entry.subject for entry in entries}
    if unchecked := sorted(there.intersection(subjects) - {entry.subject for entry in ready}):
        names = ", ".join(unchecked)
        raise InputError(
            f"{dataset}: the cases of {names} are still to be checked; mark those that are right as ok, "
            "or leave the subjects out"
        )
    return ready


def add_case(dataset: Path, new: NewCase, again: bool = False) -> TrainingCase:
    """Add a scan and its labels to a data set.

    Parameters
    ----------
    again : whether the labels of the same scan may be replaced

    Raises
    ------
    InputError
        If the scan is in the data set already, under this or another name; if another scan has its name; if the truth
        table of a simulation lists its labels; if the points are those of another subject; or if the folder holds a
        detection of the scan.
    OutputError
        If the data set cannot be written.
    """
    _check_grid(new)
    prepare_folder(dataset)
    cases = read_cases(dataset)
    checksum = content_checksum(new.scan)
    old = _same_scan(cases, new, checksum, again)
    _check_points(cases, new)
    if old is None:
        _check_detection(dataset, new)
    volume = _volume_in(dataset, new, checksum)
    is_new = not (dataset / volume).exists()
    # labels without points are those of the old case, kept or corrected
    corrected = old if old is not None and new.labels.any() and not len(np.asarray(new.points_mm)) else None
    case = TrainingCase(
        volume=volume,
        mask=old.mask if old else f"{new.name}{LABELS}.nii.gz",
        subject=subject_of(new.name),
        modality=new.scan.modality,
        points=new.points or (corrected.points if corrected else None),
        reader=new.reader or None,
        status=new.status,
        microbleeds=len(numbered(new.labels)[1]),
        note=new.note or (corrected.note if corrected else None),
        copied=is_new or (old is not None and old.copied),
        scan_checksum=checksum,
        points_checksum=corrected.points_checksum if corrected else points_checksum(new.points_mm),
    )
    _check_truth(dataset / case.mask, new.name)
    if is_new:
        write_image(dataset / volume, new.scan.array, new.scan.affine)
    write_image(dataset / case.mask, new.labels.astype(np.int16), new.scan.affine)
    _write_table(dataset, [*(other for other in cases if other.mask != case.mask), case])
    return case


def set_status(dataset: Path, name: str, status: CaseStatus) -> None:
    """Set whether a case may be used for training."""
    cases = read_cases(dataset)
    _find(cases, name)
    _write_table(dataset, [replace(case, status=status) if case.name == name else case for case in cases])


def remove_case(dataset: Path, name: str) -> None:
    """Remove a case: its label map, and its scan if that is a copy.

    Raises
    ------
    InputError
        If there is no case of that name, or the table cannot be read.
    OutputError
        If a file cannot be removed.
    """
    cases = read_cases(dataset)
    case = _find(cases, name)
    files = [case.mask, *([case.volume] if case.copied else [])]
    try:
        for file in files:
            (dataset / file).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{dataset / file}: cannot be removed ({error.strerror})") from None
    _write_table(dataset, [other for other in cases if other.name != name])


def points_checksum(points_mm: ArrayLike) -> str | None:
    """Return a checksum of coordinates, whatever their order; None without points.

    >>> points_checksum([[1, 2, 3], [4, 5, 6]]) == points_checksum([[4, 5, 6], [1, 2, 3.001]])
    True
    """
    rounded = np.rint(np.reshape(np.asarray(points_mm, np.float64), (-1, 3)) / SAME_POINTS_MM).astype(int)
    return hashlib.sha256(repr(sorted(rounded.tolist())).encode()).hexdigest() if len(rounded) else None


def _same_scan(cases: Sequence[TrainingCase], new: NewCase, checksum: str, again: bool) -> TrainingCase | None:
    """Find the case that already has this scan; raise an error if that was not expected."""
    named = next((case for case in cases if case.name == new.name), None)
    old = next((case for case in cases if case.scan_checksum == checksum), None)
    if old is None and named is not None:
        if named.scan_checksum is not None:
            raise InputError(
                f"{new.name}: another scan of that name is in the data set; give this one another subject"
            )
        old = named
    if old is not None and old.name != new.name:
        raise InputError(f"{new.name}: the same scan is in the data set already, as {old.name}; one of them is enough")
    if old is not None and not again:
        raise InputError(f"{new.name}: is in the data set already; save it again to replace its labels")
    return old


def _check_grid(new: NewCase) -> None:
    if new.labels.shape != new.scan.array.shape:
        raise InputError(
            f"{new.name}: the labels have {_size(new.labels)} voxels, the scan {_size(new.scan.array)}; "
            "make the labels on the scan's own grid"
        )


def _check_detection(dataset: Path, new: NewCase) -> None:
    if is_detection(dataset, new.name):
        raise InputError(
            f"{dataset}: holds what was detected in {new.name}, and the labels would be mistaken for it; "
            "choose another folder for the data set"
        )


def _check_truth(mask: Path, name: str) -> None:
    """Refuse to replace the labels of a simulated scan, which its truth table lists."""
    if mask.with_name(name + TRUTH).exists():
        raise InputError(
            f"{name}: the labels of a simulated scan, which its truth table lists, stay as they are; "
            "choose another folder for the data set to save others"
        )


def _check_points(cases: Iterable[TrainingCase], new: NewCase) -> None:
    points, subject = points_checksum(new.points_mm), subject_of(new.name)
    for case in cases:
        if points is not None and case.points_checksum == points and case.subject != subject:
            raise InputError(
                f"{new.name}: has the same coordinates as {case.name}, a scan of another subject; "
                f"choose the points of this scan, or name the subject '{case.subject.removeprefix('sub-')}' too"
            )


def _volume_in(dataset: Path, new: NewCase, checksum: str) -> str:
    """Path of the scan in the data set, existing or new; an existing file of the user is not touched."""
    images = (path for path in files_in(dataset) if path.name.lower().endswith(IMAGE_SUFFIXES))
    there = [path for path in images if stem_of(path) == new.name]
    if not there:
        return f"{new.name}.nii.gz"
    if content_checksum(read_scan(there[0], new.scan.modality)) != checksum:
        raise InputError(f"{there[0]}: another scan of that name is in the data set; give this one another subject")
    return _relative(there[0], dataset)


def _case_of(entry: ScanEntry, dataset: Path, rows: Mapping[str, TrainingCase]) -> TrainingCase:
    mask = _relative(entry.labels, dataset)
    volume = _relative(entry.scan, dataset)
    unknown = TrainingCase(volume=volume, mask=mask, subject=entry.subject, modality=entry.modality)
    return replace(rows.get(mask, unknown), volume=volume, subject=entry.subject, modality=entry.modality)


def _read_table(path: Path) -> dict[str, TrainingCase]:
    """Return the rows of the table by mask."""
    if not path.exists():
        return {}
    try:
        cases = [_parse(row) for row in read_tsv(path)]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a list of cases ({error}); correct it, or delete it to begin a new one"
        ) from None
    return {case.mask: case for case in cases}


def _parse(row: Mapping[str, str]) -> TrainingCase:
    cells: dict[str, Any] = {field.name: row[field.name] for field in fields(TrainingCase)}
    values = {name: None if cell == MISSING else cell for name, cell in cells.items()}
    return TrainingCase(
        **{
            **values,
            "modality": Modality(cells["modality"]),
            "status": CaseStatus(cells["status"]),
            "microbleeds": None if values["microbleeds"] is None else int(cells["microbleeds"]),
            "copied": cells["copied"] == "yes",
        }
    )


def _write_table(dataset: Path, cases: Iterable[TrainingCase]) -> None:
    rows = [{**asdict(case), "copied": "yes" if case.copied else "no"} for case in cases]
    for row in rows:
        # a line break or tab in a free text would break the table
        row.update({name: " ".join(cell.split()) for name, cell in row.items() if isinstance(cell, str)})
    rows.sort(key=lambda row: row["volume"])
    write_tsv(dataset / TABLE, [field.name for field in fields(TrainingCase)], rows)


def _find(cases: Iterable[TrainingCase], name: str) -> TrainingCase:
    found = next((case for case in cases if case.name == name), None)
    if found is None:
        raise InputError(f"{name}: is not in the data set any more")
    return found


def _relative(path: Path, dataset: Path) -> str:
    return path.relative_to(dataset).as_posix()


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "", text)


def _size(array: NDArray[Any]) -> str:
    return " x ".join(str(length) for length in array.shape)
