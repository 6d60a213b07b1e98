"""The interface of a detection method: two probabilities, and the settings that turn them into decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .postprocessing import CutOffs
from .preprocessing import PreparedScan
from .progress import Tick

if TYPE_CHECKING:
    from .detection import StageOne


@dataclass(frozen=True)
class Settings:
    """The thresholds of stages 1 and 2 (Th_Cdet and Th_Cdisc of the paper) and the cut-offs of stage 3."""

    th_detection: float
    th_discrimination: float
    cutoffs: CutOffs


class Method(Protocol):
    """The paper's networks or the classical features; everything around them is the same.

    Attributes
    ----------
    settings : Settings
    extent : float
        A lesion consists of the voxels with at least this share of its highest probability; 0 for all above Th_Cdet.
    """

    settings: Settings
    extent: float

    def detect(self, channels: NDArray[np.float32], prepared: PreparedScan, tick: Tick) -> NDArray[np.float32]:
        """Return the probability of microbleed, (I, J, K), from the (C, I, J, K) channels; 0 outside the mask."""

    def discriminate(
        self, channels: NDArray[np.float32], prepared: PreparedScan, found: StageOne, tick: Tick
    ) -> NDArray[np.float32]:
        """Return the probability of microbleed, (N,), of each candidate of stage 1."""

    def describe(self) -> dict[str, Any]:
        """Return what is needed to repeat the run, for its provenance."""
