"""Checks of file names before they reach the libraries that cannot handle all of them."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import CMMDetectError, InputError


def check_name(path: Path | str, kind: type[CMMDetectError] = InputError) -> None:
    """Refuse a name that is not UTF-8, with which SimpleITK would end the process.

    Raises
    ------
    kind
        If the name is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode(errors="backslashreplace").decode()
        raise kind(f"{shown}: the name is not valid UTF-8; give it another one") from None


def check_there(path: Path, missing: str = "no such file or folder") -> None:
    """Refuse a file or folder that does not exist or cannot be read; ``missing`` is the message if it does not exist.

    Raises
    ------
    InputError
        If the name is not UTF-8 or too long, nothing is there, or the user lacks the permission to read it.
    """
    check_name(path)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: {missing}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be reached ({error.strerror})") from None
    if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
        raise InputError(f"{path}: cannot be read; you lack the permission")
