"""Where calcium gathers in the heads of most people, and how near to it a candidate lies.

The pineal gland and the choroid plexus in the atria of the lateral ventricles are no brain tissue: a microbleed cannot
lie in them, calcium often does. On magnitude both look the same, and a reader tells them apart by the place. So does
this. Pallidum and dentate nucleus calcify as well, but bleed too, and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .preprocessing import PreparedScan
from .scan import to_world

PINEAL_GLAND_MM = (0.0, -30.0, 2.0)
CHOROID_PLEXUS_MM = (20.0, -38.0, 8.0)
"""Right glomus; MNI152 mm, as those of the pineal gland."""
MNI_CENTER_MM = (0.0, -22.0, 9.5)
MNI_SPREAD_MM = (33.5, 40.7, 31.5)
"""Mean and standard deviation of the positions in MNI152's brain mask."""
UNCERTAINTY_MM = 7.0
"""Standard deviation of a site about where the brain's center and spread put it, in each direction."""
LIKE_A_BRAIN = (0.75, 1.3)
"""Spreads in parts of MNI152's. Beyond them it is a slab or a piece of a brain, whose center says nothing."""


@dataclass(frozen=True)
class BrainFrame:
    """Center and size of a whole brain: enough to tell where its middle structures are, without a registration.

    Attributes
    ----------
    center_mm : of the brain mask, RAS mm
    spread_mm : standard deviation of the mask's positions along R, A and S
    """

    center_mm: tuple[float, float, float]
    spread_mm: tuple[float, float, float]

    @classmethod
    def of(cls, prepared: PreparedScan) -> BrainFrame | None:
        """Measure a prepared scan's brain mask; None where it does not hold a whole brain."""
        if prepared.mask_source == "tissue":
            return None
        position_mm = to_world(prepared.affine, np.argwhere(prepared.mask))
        center, spread = position_mm.mean(axis=0), position_mm.std(axis=0)
        parts = spread / MNI_SPREAD_MM
        if parts.min() < LIKE_A_BRAIN[0] or parts.max() > LIKE_A_BRAIN[1]:
            return None
        return cls(_three(center), _three(spread))

    def closeness(self, position_mm: ArrayLike) -> NDArray[np.float64]:
        """Say how near positions are to pineal gland or choroid plexus: 1 there, 0.6 at 7 mm, 0 far away.

        Parameters
        ----------
        position_mm : (N, 3), RAS mm

        Returns
        -------
        (N,) float64

        >>> frame = BrainFrame(MNI_CENTER_MM, MNI_SPREAD_MM)
        >>> frame.closeness([(0, -30, 2), (-20, -38, 8), (0, -30, 9), (40, 20, 30)]).round(1)
        array([1. , 1. , 0.6, 0. ])
        """
        place = (np.asarray(position_mm, np.float64).reshape(-1, 3) - self.center_mm) / self.spread_mm
        place = place * MNI_SPREAD_MM + MNI_CENTER_MM
        place[:, 0] = np.abs(place[:, 0])  # left and right alike
        away_mm = [np.linalg.norm(place - site, axis=1) for site in (PINEAL_GLAND_MM, CHOROID_PLEXUS_MM)]
        return np.exp(-0.5 * (np.min(away_mm, axis=0) / UNCERTAINTY_MM) ** 2)


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    first, second, third = (round(float(value), 2) for value in values)
    return first, second, third
