"""Stage 3: candidates that are too small or too large, too elongated or too close to the skull are rejected (2.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .candidates import Candidate, Stage, sphere_diameter

WIDEST_MM = 10.0
"""Anything wider is by definition no microbleed but a larger hemorrhage, or a sinus. The paper has no such limit."""
ROUNDING = 1e-4
"""Relative tolerance of a cut-off: rounded voxel sizes differ by less from file to file, and a cut-off is often the
volume of exactly one voxel."""


@dataclass(frozen=True)
class CutOffs:
    """What a candidate must fulfill to be final; the defaults are the paper's."""

    min_volume_mm3: float = 2.5
    max_ellipticity: float = 0.2
    min_skull_distance_mm: float = 5.0


def postprocess(candidate: Candidate, cutoffs: CutOffs) -> Candidate:
    """Move a candidate of stage 2 on to the final stage, or record which cut-off it fails.

    If it fails several, the first in the paper's order is recorded: volume, ellipticity, distance to the skull. A
    candidate wider than `WIDEST_MM` fails by volume too. A candidate that stage 2 rejected is returned unchanged.
    """
    if candidate.stage is not Stage.DISCRIMINATION:
        return candidate
    reason = _failed(candidate, cutoffs)
    return replace(candidate, rejected_by=reason) if reason else replace(candidate, stage=Stage.FINAL)


def _failed(candidate: Candidate, cutoffs: CutOffs) -> str | None:
    volume = candidate.volume_mm3
    if volume is not None and (
        _is_below(volume, cutoffs.min_volume_mm3) or _is_below(WIDEST_MM, sphere_diameter(volume))
    ):
        return "volume"
    if candidate.ellipticity is not None and _is_below(cutoffs.max_ellipticity, candidate.ellipticity):
        return "ellipticity"
    distance = candidate.skull_distance_mm
    if distance is not None and _is_below(distance, cutoffs.min_skull_distance_mm):
        return "skull_distance"
    return None


def _is_below(value: float, limit: float) -> bool:
    return value < limit and not math.isclose(value, limit, rel_tol=ROUNDING)
