"""Agreement of two readers of one scan, and a third session that settles their differences.

Lesions of two readers match one to one if they were marked within 3 mm of each other. Lesions are the union of both
lists; one that a reader does not have was not seen as a microbleed and counts as rejected.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .candidates import Candidate, write_json
from .errors import InputError
from .placement import motion
from .review import ReviewSession
from .review_names import reader_names
from .review_records import (
    Verdict,
    free_id,
    marked_position,
    pair_up,
    position_of,
    positions_of,
    taken_along,
)
from .review_state import ReviewState
from .tables import write_tsv

COLUMNS = (
    *("id_first", "id_second", "x", "y", "z", "distance_mm", "agreement"),
    *("verdict_first", "verdict_second", "certainty_first", "certainty_second"),
    *("mimic_first", "mimic_second", "note_first", "note_second"),
)
ABSENT = "absent"


@dataclass(frozen=True)
class ComparedLesion:
    """One lesion as each reader has it; None where a reader does not have it."""

    first: Candidate | None
    second: Candidate | None

    @property
    def known(self) -> Candidate:
        """The first reader's record, else the second's."""
        return self.first or self.second  # type: ignore[return-value]

    @property
    def verdicts(self) -> tuple[str, str]:
        """Verdict of each reader, or 'absent'."""
        first, second = (item.verdict if item else ABSENT for item in (self.first, self.second))
        return str(first), str(second)

    @property
    def is_open(self) -> bool:
        """Whether a reader who has the lesion left it undecided."""
        return Verdict.UNDECIDED in self.verdicts

    @property
    def agreed(self) -> bool | None:
        """Whether both readers agree; None while one has not decided."""
        accepted = [verdict == Verdict.ACCEPTED for verdict in self.verdicts]
        return None if self.is_open else accepted[0] == accepted[1]

    @property
    def distance_mm(self) -> float | None:
        """Distance between the positions of both readers, mm; None if one does not have the lesion."""
        if self.first is None or self.second is None:
            return None
        return float(np.linalg.norm(np.subtract(position_of(self.first), position_of(self.second))))


@dataclass(frozen=True)
class Agreement:
    """Agreement of two readers.

    Attributes
    ----------
    readers : their names
    lesions : the union of both lists
    both, only_first, only_second, neither : number of lesions accepted by these readers, of those that both decided
    undecided : number of lesions that a reader has left undecided; not in the other numbers
    kappa : Cohen's kappa of the decided lesions; None if it is undefined (all verdicts are the same)
    positive_agreement : 2 * both / (2 * both + only_first + only_second); None if nobody accepted any
    same_certainty : number of lesions that both accepted with the same certainty
    with_certainty : number of lesions that both accepted and gave a certainty
    """

    readers: tuple[str, str]
    lesions: tuple[ComparedLesion, ...]
    both: int
    only_first: int
    only_second: int
    neither: int
    undecided: int
    kappa: float | None
    positive_agreement: float | None
    same_certainty: int
    with_certainty: int

    def summary(self) -> dict[str, Any]:
        """Return the numbers without the list of lesions."""
        return {name: value for name, value in vars(self).items() if name != "lesions"}


def compare_readers(first: ReviewSession, second: ReviewSession) -> Agreement:
    """Compare two readers' sessions of the same scan.

    Raises
    ------
    InputError
        If they are of different scans, or one is a blind read that has not ended.
    """
    lesions = _union(first, second)
    decided = [tuple(word == Verdict.ACCEPTED for word in item.verdicts) for item in lesions if not item.is_open]
    counts = {pair: decided.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))}
    both, only_first, only_second, neither = counts.values()
    sure = [
        (item.first.certainty, item.second.certainty)
        for item in lesions
        if item.first and item.second and item.verdicts == (Verdict.ACCEPTED, Verdict.ACCEPTED)
    ]
    sure = [pair for pair in sure if None not in pair]
    positive = 2 * both + only_first + only_second
    return Agreement(
        readers=_names(first, second),
        lesions=tuple(lesions),
        both=both,
        only_first=only_first,
        only_second=only_second,
        neither=neither,
        undecided=len(lesions) - len(decided),
        kappa=cohens_kappa(both, only_first, only_second, neither),
        positive_agreement=2 * both / positive if positive else None,
        same_certainty=sum(a == b for a, b in sure),
        with_certainty=len(sure),
    )


def cohens_kappa(both: int, only_first: int, only_second: int, neither: int) -> float | None:
    """Agreement beyond chance of two readers who say yes or no; None if chance agreement is complete.

    >>> round(cohens_kappa(20, 5, 10, 15), 3), cohens_kappa(4, 0, 0, 0)
    (0.4, None)
    """
    total = both + only_first + only_second + neither
    yes = (both + only_first) * (both + only_second)
    no = (only_second + neither) * (only_first + neither)
    by_chance = (yes + no) / total**2 if total else 1.0
    return None if by_chance == 1 else ((both + neither) / total - by_chance) / (1 - by_chance)


def agreement_path(folder: Path, stem: str, readers: tuple[str, str]) -> Path:
    """Return where the agreement of two readers goes, with their names if that of two others has the scan's name.

    >>> agreement_path(Path("out"), "sub-01_swi", ("Ben", "Ada")).name
    'sub-01_swi_agreement.tsv'
    """
    path = folder / f"{stem}_agreement.tsv"
    if not path.exists() or _compared_in(path) == set(readers):
        return path
    names = (name or longer for name, longer in map(reader_names, sorted(readers)))
    return folder / "_".join([stem, *(f"reader-{name}" for name in names), "agreement.tsv"])


def _compared_in(path: Path) -> set[str]:
    """Return the readers that a table compares; none if it does not say."""
    try:
        return set(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["readers"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def write_agreement(path: Path, agreement: Agreement) -> None:
    """Write one row per lesion as TSV and, beside it, the numbers as JSON.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    write_tsv(path, COLUMNS, [_row(lesion) for lesion in agreement.lesions])
    write_json(path.with_suffix(".json"), agreement.summary())


def adjudicate(first: ReviewSession, second: ReviewSession, reader: str = "") -> ReviewSession:
    """Begin a third session: agreed verdicts are adopted, the rest is undecided with both opinions in the note.

    Raises
    ------
    InputError
        If they are of different scans, or one is a blind read that has not ended.
    """
    names = _names(first, second)
    taken: set[str] = set()
    candidates = []
    for lesion in _union(first, second):
        name = free_id(lesion.known.id, taken)
        taken.add(name)
        candidates.append(replace(_settled(lesion, names), id=name))
    added = max(first.state.last_added, second.state.last_added)
    return ReviewSession(first.scan, candidates, first.run, ReviewState(reader=reader, last_added=added))


def _union(first: ReviewSession, second: ReviewSession) -> list[ComparedLesion]:
    checksums = {session.scan.sha256 for session in (first, second)} - {None}
    if len(checksums) > 1:
        raise InputError(
            f"{second.scan.name}: read on another scan than {first.scan.name}; two reviews of one scan are needed"
        )
    for session, name in zip((first, second), _names(first, second), strict=True):
        if session.blind:
            raise InputError(f"{session.scan.name}: {name} is still in the blind read; show the candidates first")
    one, other = first.candidates, second.candidates
    # the scan may lie elsewhere for the one reader than for the other
    moved = motion(positions_of(other), second.scan.affine, first.scan.affine)
    other = [taken_along(item, moved) for item in other]
    pairs = pair_up(one, other)
    partner = dict(pairs.both)
    lesions = [
        ComparedLesion(item, other[partner[index]] if index in partner else None) for index, item in enumerate(one)
    ]
    return lesions + [ComparedLesion(None, other[index]) for index in pairs.only_second]


def _names(first: ReviewSession, second: ReviewSession) -> tuple[str, str]:
    names = (first.reader or "Reader 1", second.reader or "Reader 2")
    return names if names[0] != names[1] else (f"{names[0]} (1)", f"{names[1]} (2)")


def _settled(lesion: ComparedLesion, names: tuple[str, str]) -> Candidate:
    """Return the candidate of the third session, at the first reader's position, else at the second's."""
    known = lesion.known
    said = zip(names, (lesion.first, lesion.second), strict=True)
    note = "; ".join(f"{name}: {_words(item)}" for name, item in said)
    if not lesion.agreed or lesion.first is None or lesion.second is None:
        return replace(known, verdict=Verdict.UNDECIDED.value, certainty=None, mimic=None, note=note, reader=None)
    same: dict[str, Any] = {
        name: getattr(known, name) if getattr(lesion.first, name) == getattr(lesion.second, name) else None
        for name in ("certainty", "mimic")
    }
    return replace(known, **same, note=note, reader=" + ".join(names))


def _words(item: Candidate | None) -> str:
    if item is None:
        return "not marked"
    return ", ".join(word for word in (item.verdict, item.certainty, item.mimic, item.note) if word)


def _row(lesion: ComparedLesion) -> dict[str, Any]:
    words = {True: "agree", False: "disagree", None: "open"}
    distance = lesion.distance_mm
    row: dict[str, Any] = dict(zip("xyz", (f"{value:.4f}" for value in marked_position(lesion.known)), strict=True))
    row |= {"agreement": words[lesion.agreed], "distance_mm": None if distance is None else f"{distance:.4f}"}
    for side, item, verdict in zip(("first", "second"), (lesion.first, lesion.second), lesion.verdicts, strict=True):
        record = asdict(item) if item else {}
        row |= {f"{name}_{side}": record.get(name) for name in ("id", "certainty", "mimic")}
        # a tab or line break in a note would break the table
        row |= {f"verdict_{side}": verdict, f"note_{side}": " ".join((record.get("note") or "").split()) or None}
    return row
