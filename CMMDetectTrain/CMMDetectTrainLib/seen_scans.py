"""Which scans a model was trained with: what is measured on them says little of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from CMMDetectLib.progress import Tick

from .evaluation_set import ScanEntry
from .scan_rows import some_of
from .training_job import read_training


def seen_scans(bundle: Path | None) -> dict[str, str]:
    """Return the scans that a bundle, or the one it was fine-tuned from, was trained with: names by content.

    They include the scans by which its thresholds were chosen. The result is empty for no bundle, or one without such
    a record.
    """
    record = read_training(bundle) if bundle is not None else None
    scans = (record or {}).get("scans")
    return {str(content): str(name) for content, name in scans.items()} if isinstance(scans, dict) else {}


def to_record(entries: Iterable[ScanEntry], start: Path | None) -> dict[str, str]:
    """Return what `seen_scans` reads of a bundle that was trained with these scans, from another bundle."""
    return {**seen_scans(start), **{entry.content: entry.name for entry in entries}}


def seen_note(bundle: Path, entries: Sequence[ScanEntry], tick: Tick) -> str:
    """Return a sentence about those of the scans that a bundle was trained with, "" if there are none.

    Raises
    ------
    InputError
        If a scan cannot be read.
    """
    known = seen_scans(bundle)
    seen = []
    for number, entry in enumerate(entries, 1):
        if known and entry.content in known:
            seen.append(entry.subject)
        tick(number / len(entries))
    if not seen:
        return ""
    return (
        f"The model was trained with {len(set(seen))} of these {len({entry.subject for entry in entries})} subjects "
        f"({some_of(seen)}), so these figures are too good; choose others with --subjects."
    )
