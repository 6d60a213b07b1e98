"""The review: the single source of truth for what a reader decided.

A `ReviewSession` holds the candidates of a run and every decision about them. Tables, markups and files are views of
it: they call its methods and are notified of every change. It depends on no file format and no user interface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .candidates import Candidate, Stage
from .errors import InputError
from .placement import motion
from .review_history import CandidateHistory, Change, Edit
from .review_records import (
    Certainty,
    Mimic,
    Origin,
    Verdict,
    added_id,
    as_position,
    carried_over,
    is_touched,
    pair_up,
    positions_of,
    sound,
)
from .review_state import BlindRead, ReviewProgress, ReviewState, ScanIdentity, ShownFilter

NEARBY_MM = 5.0
"""A new point this close to a known one may mark the same lesion."""

Clock = Callable[[], datetime]
Listener = Callable[[frozenset[str]], None]
"""Called with the ids of candidates that changed, appeared or went; empty if only the session itself changed."""


class ReviewSession:
    """The candidates of a scan and what a reader says about them.

    Every method that changes something raises KeyError for a candidate that is not visible, notifies the listeners and
    then saves; if saving fails, the change stays and `OutputError` is raised. A method that changes nothing adds no
    undo step.

    Parameters
    ----------
    scan : the scan that the candidates lie in
    candidates : the candidates of a run, in its order; decisions that they carry are kept
    run : provenance of the run
    state : state of a session that is continued
    clock : returns the time of decisions

    Raises
    ------
    InputError
        If two candidates have the same id, or one cannot be saved (NaN, an unknown verdict).
    """

    def __init__(
        self,
        scan: ScanIdentity,
        candidates: Iterable[Candidate],
        run: Mapping[str, Any] | None = None,
        state: ReviewState | None = None,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self.scan = scan
        self.run: Mapping[str, Any] = dict(run or {})
        self.state = state or ReviewState()
        self.save: Callable[[ReviewSession], None] | None = None
        """Called after each change and after all listeners; see `review_file.Autosave`."""
        self._clock = clock
        self._history = CandidateHistory(candidates)
        self._listeners: list[Listener] = []

    # ------------------------------------------------------------------ content

    @property
    def candidates(self) -> list[Candidate]:
        """All candidates, also hidden ones: the detector's in the order of the run, then the reader's."""
        return list(self._history.items.values())

    @property
    def visible(self) -> list[Candidate]:
        """The candidates that the reader may see: in a blind read only their own."""
        return [item for item in self._history.items.values() if self._may_see(item)]

    @property
    def accepted(self) -> list[Candidate]:
        """The reader's microbleeds."""
        return [item for item in self.visible if item.verdict == Verdict.ACCEPTED]

    @property
    def reader(self) -> str:
        """Name of the reader, "" if not given."""
        return self.state.reader

    @property
    def blind(self) -> bool:
        """Whether the detector's candidates are hidden."""
        return self.state.blind

    @property
    def searched(self) -> bool:
        """Whether a detector has searched the scan, be it in vain."""
        return bool(self.run) or any(item.origin == Origin.DETECTOR for item in self.candidates)

    def __contains__(self, candidate_id: object) -> bool:
        return candidate_id in self._history.items and self._may_see(self._history.items[str(candidate_id)])

    def __getitem__(self, candidate_id: str) -> Candidate:
        item = self._history.items[candidate_id]
        if not self._may_see(item):
            raise KeyError(candidate_id)
        return item

    def shown(self, view: ShownFilter | None = None) -> list[Candidate]:
        """Return the visible candidates that pass a filter."""
        view = view or ShownFilter()
        return [item for item in self.visible if view.shows(item)]

    def progress(self, candidates: Iterable[Candidate] | None = None) -> ReviewProgress:
        """Count the decisions on all visible candidates or on those given."""
        verdicts = [item.verdict for item in (self.visible if candidates is None else candidates)]
        undecided = verdicts.count(Verdict.UNDECIDED)
        return ReviewProgress(len(verdicts), len(verdicts) - undecided, verdicts.count(Verdict.ACCEPTED))

    def nearby(self, position_mm: ArrayLike, but: str | None = None) -> list[tuple[Candidate, float]]:
        """Find the visible candidates within 5 mm of a point (RAS mm), the nearest first, with their distance in mm.

        Parameters
        ----------
        but : id of a candidate to leave out, for example the one that is moved
        """
        items = [item for item in self.visible if item.id != but]
        distances = np.linalg.norm(positions_of(items) - as_position(position_mm), axis=1)
        near = np.flatnonzero(distances <= NEARBY_MM)
        return [(items[at], float(distances[at])) for at in near[np.argsort(distances[near], kind="stable")]]

    # ------------------------------------------------------------------ navigation

    def next_undecided(self, current: str | None, order: Sequence[str] | None = None) -> str | None:
        """Return the next undecided candidate after the current one, wrapping around; None if all are decided.

        Parameters
        ----------
        order : ids as they are listed, by default all visible ones; ids that are gone are skipped
        """
        ids = [name for name in self._order(order) if name == current or self[name].verdict == Verdict.UNDECIDED]
        following = _step(ids, current, 1)
        return None if following is None or self[following].verdict != Verdict.UNDECIDED else following

    def next(self, current: str | None, order: Sequence[str] | None = None) -> str | None:
        """Return the candidate after the current one, wrapping around; the first if there is no current one."""
        return _step(self._order(order), current, 1)

    def previous(self, current: str | None, order: Sequence[str] | None = None) -> str | None:
        """Return the candidate before the current one, wrapping around; the last if there is no current one."""
        return _step(self._order(order), current, -1)

    # ------------------------------------------------------------------ decisions

    def judge(self, candidate_id: str, verdict: Verdict) -> None:
        """Accept, reject or leave undecided. An accepted candidate that a stage rejected keeps the stage's reason.

        Certainty belongs to accepted candidates and mimic to rejected ones; a verdict clears the field of the other.
        """
        item = self[candidate_id]
        verdict = Verdict(verdict)
        certainty = item.certainty if verdict == Verdict.ACCEPTED else None
        mimic = item.mimic if verdict == Verdict.REJECTED else None
        words = {Verdict.ACCEPTED: "Accept", Verdict.REJECTED: "Reject", Verdict.UNDECIDED: "Leave open"}
        self._edit(item, words[verdict], verdict=verdict.value, certainty=certainty, mimic=mimic)

    def set_certainty(self, candidate_id: str, certainty: Certainty | None) -> None:
        """Set the certainty of a microbleed, which also accepts it; None clears the certainty."""
        self._say_more(candidate_id, Verdict.ACCEPTED, Certainty, certainty)

    def set_mimic(self, candidate_id: str, mimic: Mimic | None) -> None:
        """Set what a candidate is instead, which also rejects it; None clears the mimic."""
        self._say_more(candidate_id, Verdict.REJECTED, Mimic, mimic)

    def set_note(self, candidate_id: str, note: str) -> None:
        """Set the note; an empty text clears it."""
        self._edit(self[candidate_id], "Note on", note=sound(note) or None)

    def move(self, candidate_id: str, position_mm: ArrayLike) -> None:
        """Correct a position (RAS mm). The detector's is kept as well; a point of the reader is simply moved."""
        item = self[candidate_id]
        x, y, z = as_position(position_mm).tolist()
        if item.origin == Origin.READER:
            self._edit(item, "Move", x=x, y=y, z=z)
        else:
            self._edit(item, "Move", reader_x=x, reader_y=y, reader_z=z)

    def put_back(self, candidate_id: str) -> None:
        """Restore the detector's position of a candidate."""
        self._edit(self[candidate_id], "Put back", reader_x=None, reader_y=None, reader_z=None)

    def add(self, position_mm: ArrayLike, certainty: Certainty | None = None) -> str:
        """Add a microbleed that the detector missed, as accepted; return its id (``cmb-r001``)."""
        x, y, z = as_position(position_mm).tolist()
        # a table that was reviewed before may hold such points
        number = next(n for n in count(self.state.last_added + 1) if added_id(n) not in self._history.items)
        sure = Certainty(certainty).value if certainty else None
        item = Candidate(id=added_id(number), x=x, y=y, z=z, stage=Stage.FINAL, origin=Origin.READER.value)
        item = self._signed(replace(item, verdict=Verdict.ACCEPTED.value, certainty=sure))
        self.state = replace(self.state, last_added=number)
        self._do(Change(f"Add {item.id}", (self._history.addition(item),)))
        return item.id

    def remove(self, candidate_id: str) -> None:
        """Remove a point that the reader added.

        Raises
        ------
        InputError
            If the detector found the candidate: it can only be rejected.
        """
        item = self[candidate_id]
        if item.origin != Origin.READER:
            raise InputError(f"{candidate_id} was found by the detector and stays in the list: reject it instead")
        self._do(Change(f"Remove {candidate_id}", (self._history.removal(item),)))

    # ------------------------------------------------------------------ undo

    @property
    def undo_text(self) -> str | None:
        """Description of what `undo` would take back; None if there is nothing."""
        return self._history.done[-1].text if self._history.done else None

    @property
    def redo_text(self) -> str | None:
        """Description of what `redo` would do again; None if there is nothing."""
        return self._history.undone[-1].text if self._history.undone else None

    def undo(self) -> Change | None:
        """Take back the last change and return it; None if there is none."""
        change = self._history.undo()
        if change is not None:
            self._changed(change.ids)
        return change

    def redo(self) -> Change | None:
        """Redo the change that was undone last and return it; None if there is none."""
        change = self._history.redo()
        if change is not None:
            self._changed(change.ids)
        return change

    # ------------------------------------------------------------------ the session as a whole

    def set_reader(self, name: str) -> None:
        """Set the name of the reader, which signs all further decisions."""
        name = sound(name).strip()
        if name != self.state.reader:
            self.state = replace(self.state, reader=name)
            self._changed(frozenset())

    def start_blind(self) -> None:
        """Hide the detector's candidates until `reveal`.

        Raises
        ------
        InputError
            If the reader has seen them: they were shown before, or one of them was judged.
        """
        told = any(item.origin == Origin.DETECTOR and is_touched(item) for item in self.candidates)
        if told or self.state.blind_read is not None:
            raise InputError("a blind read comes first: the detector's candidates of this scan were seen already")
        if not self.state.blind:
            self.state = replace(self.state, blind=True)
            self._changed(frozenset(self._history.items))

    def reveal(self) -> dict[str, str]:
        """End the blind read: show the detector's candidates, and match the reader's own points with them.

        A point within 3 mm of a candidate is merged with it: the candidate is accepted at the reader's position, and
        both positions are kept; `ReviewState.blind_read` keeps the points as they were. Undo separates them again, but
        does not hide the candidates. Before the scan was searched there is nothing to see: the reader only stops
        reading blind, and may begin again.

        Returns
        -------
        dict
            Maps the id of each matched point to that of its candidate.
        """
        if not self.state.blind:
            return {}
        own = [item for item in self.candidates if item.origin == Origin.READER]
        found = [item for item in self.candidates if item.origin == Origin.DETECTOR]
        wanted = [item for item in own if item.verdict == Verdict.ACCEPTED]
        pairs = [(wanted[at], found[to]) for at, to in pair_up(wanted, found).both]
        matches = {point.id: candidate.id for point, candidate in pairs}
        read = BlindRead(tuple(own), matches, self._now()) if self.searched else None
        self.state = replace(self.state, blind=False, blind_read=read)
        if pairs:
            self._history.merge("Match with the detector", pairs)
        self._changed(frozenset(self._history.items) | frozenset(matches))
        return matches

    def take_run(self, candidates: Sequence[Candidate], run: Mapping[str, Any] | None = None) -> None:
        """Continue with the candidates of a new run on the same scan; see `carried_over`. Undo ends here.

        Raises
        ------
        InputError
            If two candidates have the same id.
        """
        before = frozenset(self._history.items)
        self._history = CandidateHistory(carried_over(self.candidates, candidates, self.blind))
        self.run = dict(run or {})
        self._changed(before | frozenset(self._history.items))

    def follow_scan(self, scan: ScanIdentity) -> bool:
        """Follow a scan that was moved: every position moves with its voxel. Return whether any had to move.

        It is no step of undo, and is saved with the next decision. If the scan has other voxels now, positions stay.
        """
        known, before = self._history.known, self.scan.affine if self.scan.may_be(scan) else None
        moved = motion(positions_of(known), before, scan.affine)
        # shifts that are too small to count must not add up
        stays = scan.affine is None or (moved is None and bool(known))
        self.scan = replace(scan, affine=before or scan.affine) if stays else scan
        if moved is not None:
            self._history.take_along(moved)
            self.state = self.state.taken_along(moved)
            self._tell(frozenset(self._history.items))
        return moved is not None

    def add_listener(self, listener: Listener) -> None:
        """Call a function after every change."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling a function; one that is not registered is ignored."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def _may_see(self, item: Candidate) -> bool:
        return not self.state.blind or item.origin == Origin.READER

    def _order(self, order: Sequence[str] | None) -> list[str]:
        return [item.id for item in self.visible] if order is None else [name for name in order if name in self]

    def _signed(self, item: Candidate) -> Candidate:
        return replace(item, reader=self.state.reader or None, reviewed_at=self._now())

    def _now(self, precision: str = "seconds") -> str:
        return self._clock().astimezone(UTC).isoformat(timespec=precision)

    def _edit(self, item: Candidate, words: str, **values: Any) -> None:
        after = replace(item, **values)
        if after != item:
            self._do(Change(f"{words} {item.id}", (Edit(item, self._signed(after)),)))

    def _say_more(self, candidate_id: str, verdict: Verdict, kind: type[StrEnum], said: StrEnum | None) -> None:
        """Set a detail of a verdict, and the verdict with it; None clears the detail."""
        values = {} if said is None else {"verdict": verdict.value, "certainty": None, "mimic": None}
        values |= {kind.__name__.lower(): None if said is None else kind(said).value}
        self._edit(self[candidate_id], f"{kind.__name__} of", **values)

    def _do(self, change: Change) -> None:
        self._history.do(change)
        self._changed(change.ids)

    def _changed(self, ids: frozenset[str]) -> None:
        """Stamp, notify, save: a view that fails must not prevent saving, nor a full disk an update of the views."""
        # a clock that was set back must not make a newer copy of the review look older
        now = max(self._now("milliseconds"), self.state.changed_at)
        self.state = replace(self.state, revision=self.state.revision + 1, changed_at=now)
        try:
            self._tell(ids)
        finally:
            if self.save is not None:
                self.save(self)

    def _tell(self, ids: frozenset[str]) -> None:
        for listener in list(self._listeners):
            listener(ids)


def _step(ids: Sequence[str], current: str | None, by: int) -> str | None:
    """Return the neighbor of an id in a circular list."""
    if not ids:
        return None
    if current not in ids:
        return ids[0] if by > 0 else ids[-1]
    return ids[(list(ids).index(str(current)) + by) % len(ids)]
