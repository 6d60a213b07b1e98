"""A list of candidates with unlimited undo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidate
from .errors import InputError
from .review_records import problem_of, taken_along, with_decision


@dataclass(frozen=True)
class Edit:
    """One candidate before and after a change; None if it is not in the list, which it enters or leaves at `index`."""

    before: Candidate | None
    after: Candidate | None
    index: int = -1

    @property
    def id(self) -> str:
        """Id of the candidate."""
        known = self.before or self.after
        return known.id if known else ""


@dataclass(frozen=True)
class Change:
    """One undo step: its description and its edits."""

    text: str
    edits: tuple[Edit, ...]

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the candidates that it changes."""
        return frozenset(edit.id for edit in self.edits)


class CandidateHistory:
    """Candidates by id, in order, with the changes done and undone.

    Raises
    ------
    InputError
        If two candidates have the same id, or one cannot be saved (NaN, an unknown verdict).

    >>> one = Candidate(id="a", x=0, y=0, z=0)
    >>> history = CandidateHistory([one])
    >>> history.do(Change("Remove a", (Edit(one, None, 0),)))
    >>> list(history.items), history.undo().text, list(history.items)
    ([], 'Remove a', ['a'])
    """

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self.items: dict[str, Candidate] = {}
        self.done: list[Change] = []
        self.undone: list[Change] = []
        for item in candidates:
            if problem := problem_of(item):
                raise InputError(f"not a candidate that can be reviewed ({problem})")
            if item.id in self.items:
                raise InputError(f"two candidates are named {item.id}; names must differ")
            self.items[item.id] = item

    def do(self, change: Change) -> None:
        """Apply a change; changes that were undone can no longer be redone."""
        self.done.append(change)
        self.undone.clear()
        self._apply(change.edits)

    def undo(self) -> Change | None:
        """Take back the last change and return it; None if there is none."""
        if not self.done:
            return None
        change = self.done.pop()
        self.undone.append(change)
        self._apply([Edit(edit.after, edit.before, edit.index) for edit in reversed(change.edits)])
        return change

    def redo(self) -> Change | None:
        """Redo the change that was undone last and return it; None if there is none."""
        if not self.undone:
            return None
        change = self.undone.pop()
        self.done.append(change)
        self._apply(change.edits)
        return change

    def removal(self, candidate: Candidate) -> Edit:
        """Return the edit that removes a candidate from the list."""
        return Edit(candidate, None, list(self.items).index(candidate.id))

    def addition(self, candidate: Candidate) -> Edit:
        """Return the edit that appends a candidate to the list."""
        return Edit(None, candidate, len(self.items))

    def merge(self, text: str, pairs: Sequence[tuple[Candidate, Candidate]]) -> None:
        """Remove the first candidate of each pair and give its decision to the second, as one undo step."""
        merged = {point.id for point, _ in pairs}
        # from the end of the list, so that the indices of earlier ones stay valid
        gone = [self.removal(item) for item in reversed(self.items.values()) if item.id in merged]
        same = [Edit(item, with_decision(item, point)) for point, item in pairs]
        self.do(Change(text, (*same, *gone)))

    @property
    def known(self) -> list[Candidate]:
        """All candidates that are in the list or may come back, as they are and as they were."""
        edits = [edit for change in (*self.done, *self.undone) for edit in change.edits]
        sides = [side for edit in edits for side in (edit.before, edit.after) if side is not None]
        return [*self.items.values(), *sides]

    def take_along(self, motion: NDArray[np.float64]) -> None:
        """Lay all candidates where they lie when their scan is moved, as if it had always been there."""
        self.items = {name: taken_along(item, motion) for name, item in self.items.items()}
        for changes in (self.done, self.undone):
            changes[:] = [
                Change(change.text, tuple(_taken_along(edit, motion) for edit in change.edits)) for change in changes
            ]

    def _apply(self, edits: Iterable[Edit]) -> None:
        for edit in edits:
            if edit.after is None:
                del self.items[edit.id]
            elif edit.before is None:
                listed = list(self.items.values())
                listed.insert(edit.index, edit.after)
                self.items = {item.id: item for item in listed}
            else:
                self.items[edit.id] = edit.after


def _taken_along(edit: Edit, motion: NDArray[np.float64]) -> Edit:
    before, after = (None if side is None else taken_along(side, motion) for side in (edit.before, edit.after))
    return Edit(before, after, edit.index)
