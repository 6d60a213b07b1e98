"""JSON files that a command wrote earlier and a user may have changed since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from CMMDetectLib.errors import InputError


def read_object(path: Path, mend: str) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Parameters
    ----------
    mend : end of the error message, which says what to do

    Raises
    ------
    InputError
        If the file cannot be read or holds anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path}: damaged; {mend}")
    return content
