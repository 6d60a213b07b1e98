"""What of a data set is left out, in a line each: nobody shall take a part of it for the whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from CMMDetectLib.results import LABELS
from CMMDetectLib.scan import NO_MAGNITUDE, guess_modality

from .evaluation_set import ScanEntry, find_scans, images_by_stem, subject_of
from .scan_rows import some_of


def left_out(
    dataset: Path, taken: Sequence[ScanEntry], modality: str | None = None, subjects: Sequence[str] = ()
) -> list[str]:
    """Return notes on scans of a data set that are left out, perhaps unintentionally: unchecked or unlabeled ones.

    Parameters
    ----------
    taken : those that are not
    modality, subjects : that were asked for; of others nothing is said

    Raises
    ------
    InputError
        As of `find_scans`.
    """
    names = {entry.name for entry in taken}
    unchecked = [entry.name for entry in find_scans(dataset, modality, subjects, all_here=False)]
    unchecked = [name for name in unchecked if name not in names]
    bare = [name for name in sorted(images_by_stem(dataset)) if _is_asked_for(name, modality, subjects)]
    bare = [name for name in bare if name not in names and name not in unchecked]
    return [
        *([f"Left out, still to be checked: {some_of(unchecked)}"] if unchecked else []),
        *([f"Left out, without <scan>{LABELS}.nii.gz, which may be empty: {some_of(bare)}"] if bare else []),
    ]


def _is_asked_for(name: str, modality: str | None, subjects: Sequence[str]) -> bool:
    """Whether an image is a scan by its name, and one that the user wants."""
    kind = guess_modality(name)
    if kind is None or NO_MAGNITUDE.search(name):
        return False
    return (not modality or kind == modality.lower()) and (not subjects or subject_of(name) in subjects)
