"""Candidates, sessions and a clock that the tests of the review share."""

from datetime import UTC, datetime, timedelta

from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.review import ReviewSession
from CMMDetectLib.review_state import ReviewState, ScanIdentity

SCAN = ScanIdentity("sub-01_swi", "/data/sub-01_swi.nii.gz", "swi", "a" * 64)
CANDIDATES = [
    Candidate(id="cmb-0001", x=10.0, y=0.0, z=0.0, stage=Stage.FINAL, p_detection=0.9, p_discrimination=0.95),
    Candidate(id="cmb-0002", x=30.0, y=0.0, z=0.0, stage=Stage.FINAL, p_detection=0.8, p_discrimination=0.6),
    Candidate(
        id="cmb-0003",
        x=50.0,
        y=0.0,
        z=0.0,
        stage=Stage.DISCRIMINATION,
        rejected_by="volume",
        p_detection=0.7,
        p_discrimination=0.7,
    ),
    Candidate(id="cmb-0004", x=70.0, y=0.0, z=0.0, rejected_by="discrimination", p_detection=0.6),
]


class StepClock:
    """A second later at each call."""

    def __init__(self, start: str = "2026-05-01T08:00:00+00:00"):
        self.now = datetime.fromisoformat(start)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now.astimezone(UTC)


def session_of(candidates=CANDIDATES, clock=None, scan=SCAN, **state) -> ReviewSession:
    return ReviewSession(scan, candidates, {"method": "classical"}, ReviewState(**state), clock or StepClock())
