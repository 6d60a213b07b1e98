"""Names of review files: neither the name of a scan nor that of a reader is unique."""

from __future__ import annotations

import glob
import hashlib
import re
from pathlib import Path

from .errors import InputError
from .review_file import SUFFIX, read_review
from .review_state import ScanIdentity


def review_path(folder: Path, stem: str, reader: str = "") -> Path:
    """Return the path of the review file of a scan; each named reader has a file of their own.

    File names cannot contain all characters and, on some systems, do not distinguish capitals. If the review of "A B"
    already has the file name that "A. B." would get, a part of the checksum of the reader's name is added.

    >>> review_path(Path("out"), "sub-01_swi").name, review_path(Path("out"), "sub-01_swi", "Dr. Ada Lo").name
    ('sub-01_swi_review.json', 'sub-01_swi_reader-Dr-Ada-Lo_review.json')
    """
    name, longer = reader_names(reader)
    path = folder / (f"{stem}_reader-{name}{SUFFIX}" if name else f"{stem}{SUFFIX}")
    if not reader:
        return path
    alike = [found for found in reviews_of(folder, stem) if found.name.casefold() == path.name.casefold()]
    own = folder / f"{stem}_reader-{longer}{SUFFIX}"
    if own.exists():
        return own
    return next((found for found in alike if _may_be_of(found, reader)), path if name and not alike else own)


def reader_names(reader: str) -> tuple[str, str]:
    """Return what names a reader in file names, and a longer form that no other reader has; the first may be empty.

    >>> reader_names("Dr. Ada Lo"), reader_names("?")
    (('Dr-Ada-Lo', 'Dr-Ada-Lo-218f53d4'), ('', '8a8de823'))
    """
    name = "-".join(re.findall(r"\w+", reader))
    return name, f"{name}-{hashlib.sha256(one_spaced(reader).encode()).hexdigest()[:8]}".strip("-")


def _may_be_of(path: Path, reader: str) -> bool:
    """Whether a review belongs to a reader; a damaged one does not tell, and must not be passed over in silence."""
    try:
        return one_spaced(read_review(path).reader) == one_spaced(reader)
    except InputError:
        return True


def one_spaced(name: str) -> str:
    """Return a name without redundant spaces."""
    return " ".join(name.split())


def reviews_of(folder: Path, stem: str) -> list[Path]:
    """Find the review files of a scan name, those of all readers."""
    name = glob.escape(stem)
    return sorted([*folder.glob(f"{name}{SUFFIX}"), *folder.glob(f"{name}_reader-*{SUFFIX}")])


def may_have_reviews(folder: Path, name: str) -> bool:
    """Whether a folder has reviews of any scan with this name, without reading the scan itself; see `own_stem`."""
    return bool(reviews_of(folder, name)) or any(folder.glob(f"{glob.escape(name)}-????????_*{SUFFIX[1:]}"))


def own_stem(folder: Path, scan: ScanIdentity) -> str:
    """Return the stem that the files of a scan have in a folder: its name, or more where another scan's have that.

    Names of volumes come from the scanner and are the same for many patients.

    Raises
    ------
    InputError
        If all reviews of that name are damaged: whose they are cannot be told.
    """
    longer = f"{scan.name}-{str(scan.sha256)[:8]}"
    if reviews_of(folder, longer):
        return longer
    owners, damaged = set(), None
    for path in reviews_of(folder, scan.name):
        try:
            owners.add(read_review(path).scan.sha256)
        except InputError as error:
            damaged = error
    if damaged is not None and not owners:
        raise damaged
    return scan.name if not owners or {scan.sha256, None} & owners else longer
