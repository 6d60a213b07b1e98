"""Stage 2: candidates that look like mimics are rejected (2.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidate, Stage
from .detection import StageOne
from .methods import Method
from .preprocessing import PreparedScan
from .progress import Progress


def discriminate(
    method: Method,
    prepared: PreparedScan,
    channels: NDArray[np.float32],
    found: StageOne,
    progress: Progress,
) -> list[Candidate]:
    """Set the method's probability of every candidate of stage 1, and move on those that reach the threshold."""
    with progress.step("discrimination") as tick:
        probability = method.discriminate(channels, prepared, found, tick)
    return [
        judged(candidate, float(p), method.settings.th_discrimination)
        for candidate, p in zip(found.candidates, probability, strict=True)
    ]


def judged(candidate: Candidate, probability: float, threshold: float) -> Candidate:
    """Move a candidate of stage 1 on to stage 2 if its probability reaches the threshold, else reject it."""
    if probability < threshold:
        return replace(candidate, p_discrimination=probability, rejected_by="discrimination")
    return replace(candidate, p_discrimination=probability, stage=Stage.DISCRIMINATION)
