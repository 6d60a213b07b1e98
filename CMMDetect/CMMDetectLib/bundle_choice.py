"""Which of the user's own models CMMDetect uses: a small file in the folder of those models."""

from __future__ import annotations

import json
from pathlib import Path

from .bundle import DESCRIPTION_FILE
from .candidates import write_json

CHOICE_FILE = "in-use.json"


def chosen_bundle(models: Path) -> Path | None:
    """Return the folder of the model that the user chose; None for the one that comes with CMMDetect.

    A choice that cannot be read, or of a model that is gone, counts as none: detection must not fail because of it.
    """
    try:
        name = json.loads((models / CHOICE_FILE).read_text(encoding="utf-8"))["bundle"]
        folder = models / name
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # a name, not a path that leads out of the folder
    return folder if folder.parent == models and (folder / DESCRIPTION_FILE).is_file() else None


def choose_bundle(models: Path, name: str | None) -> None:
    """Choose a model by the name of its folder, or with None the one that comes with CMMDetect.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    write_json(models / CHOICE_FILE, {"bundle": name})
