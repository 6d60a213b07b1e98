"""The scan, state, progress and filter of a review."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidate, Stage
from .placement import Placement
from .review_records import Origin, Verdict, taken_along


@dataclass(frozen=True)
class ScanIdentity:
    """The scan that a review belongs to.

    Attributes
    ----------
    sha256 : see `review_file.content_checksum`
    affine : placement of the scan, to which all positions of the review refer; None in reviews without it
    """

    name: str
    path: str | None = None
    modality: str | None = None
    sha256: str | None = None
    affine: Placement | None = None

    def may_be(self, other: ScanIdentity) -> bool:
        """Whether both can be the same scan: a name says nothing, since scans and volumes are renamed."""
        return not self.sha256 or not other.sha256 or self.sha256 == other.sha256


@dataclass(frozen=True)
class BlindRead:
    """What the reader had marked before the detector's candidates were shown.

    Attributes
    ----------
    points : the reader's own points at that moment
    matches : id of each point that the detector has too, mapped to the id of the detector's candidate
    revealed_at : ISO 8601, UTC
    """

    points: tuple[Candidate, ...]
    matches: Mapping[str, str]
    revealed_at: str


@dataclass(frozen=True)
class ReviewState:
    """What is saved of a session besides its candidates.

    Attributes
    ----------
    reader : name of the reader, "" if not given
    blind : whether the detector's candidates are hidden
    blind_read : None before they are shown, or if they were never hidden
    last_added : number of the last point that the reader added; numbers are never reused
    revision : number of changes since the review began
    changed_at : time of the last change, ISO 8601, UTC; "" before the first
    """

    reader: str = ""
    blind: bool = False
    blind_read: BlindRead | None = None
    last_added: int = 0
    revision: int = 0
    changed_at: str = ""

    def taken_along(self, motion: NDArray[np.float64]) -> ReviewState:
        """Return the state with the points of a blind read moved with their scan."""
        if self.blind_read is None:
            return self
        points = tuple(taken_along(item, motion) for item in self.blind_read.points)
        return replace(self, blind_read=replace(self.blind_read, points=points))


@dataclass(frozen=True)
class ReviewProgress:
    """Progress of a review: numbers of candidates in view, of those with a verdict, and of those accepted."""

    total: int
    decided: int
    accepted: int


@dataclass(frozen=True)
class ShownFilter:
    """Which of the detector's candidates are in view: those that passed one of the stages, with at least these p.

    A probability that is not known hides nothing.

    >>> final = ShownFilter({Stage.FINAL}, min_p_detection=0.5)
    >>> final.shows(Candidate(id="a", x=0, y=0, z=0, stage=Stage.FINAL, p_detection=0.6))
    True
    >>> final.shows(Candidate(id="b", x=0, y=0, z=0, stage=Stage.DETECTION, p_detection=0.6))
    False
    """

    stages: Collection[Stage] = field(default_factory=lambda: tuple(Stage))
    min_p_detection: float = 0.0
    min_p_discrimination: float = 0.0

    def shows(self, candidate: Candidate) -> bool:
        """Whether a candidate is in view; those that the reader accepted or added always are."""
        if candidate.verdict == Verdict.ACCEPTED or candidate.origin == Origin.READER:
            return True
        least = {"p_detection": self.min_p_detection, "p_discrimination": self.min_p_discrimination}
        for name, threshold in least.items():
            p = getattr(candidate, name)
            if p is not None and p < threshold:
                return False
        return any(stage.includes(candidate.stage) for stage in self.stages)
