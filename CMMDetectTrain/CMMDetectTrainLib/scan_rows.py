"""Selection of the rows of one scan from a table of points of many scans."""

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
"""Columns that name the file or the subject of a row's scan; the first one that a table has is used."""
SESSION_COLUMNS = ("session", "session_id", "ses")
"""Columns that distinguish the scans of a subject, if the name of the scan has a session."""
LISTED = 3
"""Number of names that a message lists."""


def scan_column(names: Sequence[str]) -> str | None:
    """Return the column of a table that names the scan of each row; None if there is none."""
    return next((column for column in SCAN_COLUMNS if column in names), None)


def is_of(row: Mapping[str, str], column: str, name: str) -> bool:
    """Whether a row belongs to the scan of this name.

    Parameters
    ----------
    row : cells by the names of their columns
    column : the column that names the scan, see `scan_column`

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
    """Return the first few different names as text, with the number of the others.

    >>> some_of(["b", "a", "b"]), some_of(["b", "a", "c", "d", "e"])
    ('b, a', 'b, a, c and 2 more')
    """
    different = list(dict.fromkeys(names))
    more = len(different) - LISTED
    return ", ".join(different[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _plain(text: str) -> str:
    """Return a name without its BIDS prefix and leading zeros, which spreadsheets drop."""
    return re.sub(r"^(sub|ses)-", "", text.strip()).lstrip("0").lower()
