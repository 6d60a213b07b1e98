"""Which rows of a table of points are of one scan: a reader may have one table for many scans."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from CMMDetectLib.scan import stem_of

from .evaluation_set import subject_of

SCAN_COLUMNS = (
    "scan",
    "file",
    "filename",
    "subject",
    "subject_id",
    "participant",
    "participant_id",
    "patient",
    "patient_id",
)
"""Columns that say whose row it is, by the scan's file or its subject; the first that is there counts."""
SESSION_COLUMNS = ("session", "session_id", "ses")
"""Columns that tell the scans of a subject apart, where the name of the scan has a session."""
LISTED = 3
"""Names that a message gives as examples."""


def scan_column(names: Sequence[str]) -> str | None:
    """Return the column of a table that names the scan of a row, None if there is none."""
    return next((column for column in SCAN_COLUMNS if column in names), None)


def is_of(row: Mapping[str, str], column: str, name: str) -> bool:
    """Whether a row is of the scan of this name.

    Parameters
    ----------
    row : cells by the names of their columns
    column : that says whose row it is

    >>> row = {"file": "data/sub-01_swi.nii.gz"}
    >>> is_of(row, "file", "sub-01_swi"), is_of(row, "file", "sub-01_T2starw")
    (True, False)
    >>> [is_of({"subject": cell}, "subject", "sub-01_swi") for cell in ("sub-01", "01", "1", "11", "")]
    [True, True, True, False, False]
    >>> [is_of({"subject": "1", "session": cell}, "subject", "sub-01_ses-02_swi") for cell in ("1", "ses-02")]
    [False, True]
    """
    stem = stem_of(Path(re.split(r"[/\\]", row.get(column, ""))[-1]))
    session = next((row[other] for other in SESSION_COLUMNS if row.get(other)), None)
    of_name = re.search(r"_ses-([^_]+)", name)
    if session is not None and of_name is not None and _plain(session) != _plain(of_name[1]):
        return False
    return stem == name or (bool(_plain(stem)) and _plain(stem) == _plain(subject_of(name)))


def some_of(names: Sequence[str]) -> str:
    """List the first few of different names, and say how many more there are.

    >>> some_of(["b", "a", "b"]), some_of(["b", "a", "c", "d", "e"])
    ('b, a', 'b, a, c and 2 more')
    """
    different = list(dict.fromkeys(names))
    more = len(different) - LISTED
    return ", ".join(different[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _plain(text: str) -> str:
    """A name as spreadsheets leave it: without what stands before the number, and its zeros."""
    return re.sub(r"^(sub|ses)-", "", text.strip()).lstrip("0").lower()
