"""The reader's fields of a candidate, and which records of two lists are the same candidate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .candidates import Candidate, Stage
from .matching import match_centers
from .scan import to_world

SAME_RECORD_MM = 0.01
"""Positions of one run agree to this after they were read from a table, which has four decimals."""
EARLIER = "-earlier"
"""Added to the id of a candidate of an earlier run that the last run lacks and that is kept for its verdict."""


class Verdict(StrEnum):
    """Whether a candidate is a microbleed."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNDECIDED = "undecided"


class Certainty(StrEnum):
    """Certainty of an accepted microbleed (the terms of MARS; BOMBS says certain and uncertain)."""

    DEFINITE = "definite"
    POSSIBLE = "possible"


class Origin(StrEnum):
    """Who marked a candidate first."""

    DETECTOR = "detector"
    READER = "reader"


class Mimic(StrEnum):
    """What a rejected candidate is instead."""

    VESSEL = "vessel"
    SULCUS = "sulcus"
    CALCIFICATION = "calcification"
    IRON = "iron"
    AIR_TISSUE = "air_tissue"
    CAVERNOMA = "cavernoma"
    VENOUS_ANOMALY = "venous_anomaly"
    HEMORRHAGE = "hemorrhage"
    SIDEROSIS = "siderosis"
    PARTIAL_VOLUME = "partial_volume"
    ARTIFACT = "artifact"
    OTHER = "other"


READER_FIELDS = ("verdict", "certainty", "mimic", "note", "reader", "reviewed_at", "reader_x", "reader_y", "reader_z")
LEVELS: dict[str, type[StrEnum]] = {"stage": Stage, "verdict": Verdict, "certainty": Certainty, "origin": Origin}
"""Allowed values of these fields; a mimic may be any text, since tables come from other programs too."""
Position = tuple[float, float, float]


@dataclass(frozen=True)
class Pairs:
    """Which records of two lists are the same: the indices of each pair, and of records without a partner."""

    both: tuple[tuple[int, int], ...]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]


def marked_position(candidate: Candidate) -> Position:
    """Original position of a candidate, from the detector or the reader who added it, RAS mm."""
    return candidate.x, candidate.y, candidate.z


def position_of(candidate: Candidate) -> Position:
    """Current position of a candidate, corrected by the reader or else original, RAS mm.

    >>> position_of(Candidate(id="a", x=1.0, y=2.0, z=3.0, reader_x=1.5, reader_y=2.0, reader_z=3.0))
    (1.5, 2.0, 3.0)
    """
    x, y, z = candidate.reader_x, candidate.reader_y, candidate.reader_z
    return marked_position(candidate) if x is None or y is None or z is None else (x, y, z)


def moved_mm(candidate: Candidate) -> float:
    """Distance in mm by which the reader moved a candidate."""
    return float(np.linalg.norm(np.subtract(position_of(candidate), marked_position(candidate))))


def positions_of(candidates: Iterable[Candidate]) -> NDArray[np.float64]:
    """Return the (N, 3) positions of candidates, as `position_of` does."""
    return np.reshape([position_of(item) for item in candidates], (-1, 3)).astype(np.float64)


def taken_along(candidate: Candidate, motion: NDArray[np.float64] | None) -> Candidate:
    """Return a candidate moved with its scan; see `placement.motion`."""
    if motion is None:
        return candidate
    x, y, z = to_world(motion, marked_position(candidate)).tolist()
    if candidate.reader_x is None:
        return replace(candidate, x=x, y=y, z=z)
    reader_x, reader_y, reader_z = to_world(motion, position_of(candidate)).tolist()
    return replace(candidate, x=x, y=y, z=z, reader_x=reader_x, reader_y=reader_y, reader_z=reader_z)


def problem_of(candidate: Candidate) -> str | None:
    """Say why a record cannot be reviewed and saved (a wrong type, NaN, an unknown value); None if it can.

    >>> problem_of(Candidate(id="cmb-0001", x=0.0, y=0.0, z=0.0, verdict="maybe"))
    "cmb-0001: verdict is 'maybe'"
    """
    for field in fields(Candidate):
        value = getattr(candidate, field.name)
        if value is None and str(field.type).endswith("None"):
            continue
        if str(field.type).startswith("float"):
            right = isinstance(value, int | float) and math.isfinite(value)
        else:
            right = isinstance(value, str) and (field.name not in LEVELS or value in set(LEVELS[field.name]))
        if not right:
            return f"{candidate.id}: {field.name} is {value!r}"
    return None


def is_touched(candidate: Candidate) -> bool:
    """Whether a reader has said anything about a candidate, or added it."""
    said = any(getattr(candidate, name) != getattr(_UNTOUCHED, name) for name in READER_FIELDS)
    return said or candidate.origin == Origin.READER


def is_decided(candidates: Iterable[Candidate]) -> bool:
    """Whether a reader has said anything about one of them, or added one."""
    return any(map(is_touched, candidates))


def same_run(first: Iterable[Candidate], second: Iterable[Candidate]) -> bool:
    """Whether two lists have the same candidates of the detector: the same ids at the same positions."""
    one, other = (
        {item.id: item for item in items if item.origin == Origin.DETECTOR} for items in (list(first), list(second))
    )
    return one.keys() == other.keys() and all(_same_place(item, other[name]) for name, item in one.items())


def pair_up(first: Sequence[Candidate], second: Sequence[Candidate]) -> Pairs:
    """Find the records of two lists that are the same candidate.

    First those with the same id at the same position, then one to one those marked within 3 mm of each other.
    """
    by_id = {item.id: index for index, item in enumerate(second)}
    both = [
        (index, by_id[item.id])
        for index, item in enumerate(first)
        if item.id in by_id and _same_place(item, second[by_id[item.id]])
    ]
    left = _others(len(first), {pair[0] for pair in both})
    right = _others(len(second), {pair[1] for pair in both})
    centers = [marked_position(second[index]) for index in right]
    found = match_centers([marked_position(first[index]) for index in left], centers, np.zeros(len(right)))
    near = [(left[at], right[to]) for to, at in enumerate(found.candidate_of.tolist()) if at >= 0]
    both = sorted(both + near)
    only_first = _others(len(first), {pair[0] for pair in both})
    return Pairs(tuple(both), tuple(only_first), tuple(_others(len(second), {pair[1] for pair in both})))


def with_decision(candidate: Candidate, decided: Candidate) -> Candidate:
    """Return a candidate with the reader's fields of another record of it.

    If the reader added or moved the other record, the candidate takes that position as the reader's, and keeps its
    own.
    """
    said = {name: getattr(decided, name) for name in READER_FIELDS}
    if decided.origin == Origin.READER:
        x, y, z = position_of(decided)
        said |= {"reader_x": x, "reader_y": y, "reader_z": z}
    return replace(candidate, **said)


def carried_over(old: Sequence[Candidate], new: Sequence[Candidate], blind: bool) -> list[Candidate]:
    """Transfer a reader's decisions to the candidates of a new run on the same scan.

    They are matched by id if the run is the same, else by position (3 mm). A judged candidate that the new run does
    not have is kept under an id of its own. In a blind read the reader's own points are not matched with the
    detector's.
    """
    apart = [item for item in old if blind and item.origin == Origin.READER]
    rest = [item for item in old if is_touched(item) and not (blind and item.origin == Origin.READER)]
    result = list(new)
    if same_run(old, new):
        place = {item.id: index for index, item in enumerate(new)}
        both = [(index, place[item.id]) for index, item in enumerate(rest) if item.id in place]
        lone = [item for item in rest if item.id not in place]
    else:
        pairs = pair_up(rest, new)
        both, lone = list(pairs.both), [rest[index] for index in pairs.only_first]
    for index, other in both:
        result[other] = with_decision(new[other], rest[index])
    taken = {item.id for item in new}
    for item in [*lone, *apart]:
        name = free_id(item.id if item.origin == Origin.READER else item.id + EARLIER, taken)
        taken.add(name)
        result.append(replace(item, id=name))
    return result


def added_id(number: int) -> str:
    """Return the id of a point that the reader added.

    >>> added_id(7)
    'cmb-r007'
    """
    return f"cmb-r{number:03d}"


def as_position(position_mm: ArrayLike) -> NDArray[np.float64]:
    """Return a position in a scan (RAS mm) as three numbers, (3,).

    Raises
    ------
    ValueError
        If one of them is NaN or infinite.
    """
    position = np.asarray(position_mm, np.float64).reshape(3)
    if not np.isfinite(position).all():
        raise ValueError(f"no place in a scan: {position.tolist()}")
    return position


def sound(text: str) -> str:
    """Replace lone surrogates, which some input methods leave and no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def free_id(name: str, taken: Iterable[str]) -> str:
    """Return a name, or the first free one with a number appended if it is taken.

    >>> free_id("a", {"b"}), free_id("a", {"a", "a-2"})
    ('a', 'a-3')
    """
    taken, number, free = set(taken), 2, name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


_UNTOUCHED = Candidate(id="", x=0.0, y=0.0, z=0.0)


def _same_place(first: Candidate, second: Candidate) -> bool:
    here, there = marked_position(first), marked_position(second)
    return all(abs(a - b) <= SAME_RECORD_MM for a, b in zip(here, there, strict=True))


def _others(count: int, used: set[int]) -> list[int]:
    return [index for index in range(count) if index not in used]
