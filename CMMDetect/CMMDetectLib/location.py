"""Where in the brain a candidate lies, as far as this makes a microbleed less likely; networks see only a patch.

The pineal gland and the choroid plexus in the atria of the lateral ventricles are not brain tissue: microbleeds cannot
lie in them, but calcifications often do. On magnitude both look the same, and a reader tells them apart by location.
Pallidum and dentate nucleus calcify as well, but also bleed, and are not considered. The vessels of the sulci lie at
the edge of the brain, which is why the paper rejects candidates closer to it than 5 mm (2.4); here that closeness is a
weight instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from .candidates import Candidate
from .preprocessing import PreparedScan
from .scan import to_world

PINEAL_GLAND_MM = (0.0, -30.0, 2.0)
CHOROID_PLEXUS_MM = (20.0, -38.0, 8.0)
"""Glomus of the right choroid plexus; MNI152 mm, like the position of the pineal gland."""
MNI_CENTER_MM = (0.0, -22.0, 9.5)
MNI_SPREAD_MM = (33.5, 40.7, 31.5)
"""Mean and standard deviation of the voxel positions in the brain mask of MNI152."""
UNCERTAINTY_MM = 7.0
"""Standard deviation, per axis, of a site about the position predicted from the brain's center and spread."""
EDGE_MM = 5.0
"""Distance at which closeness to the edge of the brain falls to 1/e; the cut-off of the paper."""
LIKE_A_BRAIN = (0.75, 1.3)
"""Range of spreads relative to MNI152; outside of it the mask is a slab or part of a brain, with no useful center."""


@dataclass(frozen=True)
class BrainFrame:
    """Center and size of a whole brain: enough to locate its central structures without a registration.

    Attributes
    ----------
    center_mm : of the brain mask, RAS mm
    spread_mm : standard deviation of the mask's positions along R, A and S
    """

    center_mm: tuple[float, float, float]
    spread_mm: tuple[float, float, float]

    @classmethod
    def of(cls, prepared: PreparedScan) -> BrainFrame | None:
        """Measure a prepared scan's brain mask; None if it does not hold a whole brain."""
        if prepared.mask_source == "tissue":
            return None
        shape = sitk.LabelShapeStatisticsImageFilter()
        shape.Execute(sitk.GetImageFromArray(prepared.mask.T.astype(np.uint8)))
        axes_mm = np.reshape(shape.GetPrincipalAxes(1), (3, 3)) @ prepared.affine[:3, :3].T
        center = to_world(prepared.affine, shape.GetCentroid(1))
        spread = np.sqrt(shape.GetPrincipalMoments(1) @ axes_mm**2)
        parts = spread / MNI_SPREAD_MM
        if parts.min() < LIKE_A_BRAIN[0] or parts.max() > LIKE_A_BRAIN[1]:
            return None
        return cls(_three(center), _three(spread))

    def closeness_to_calcium(self, position_mm: ArrayLike) -> NDArray[np.float64]:
        """Closeness of positions to the pineal gland or choroid plexus: 1 there, 0.6 at 7 mm, 0 far away.

        Parameters
        ----------
        position_mm : (N, 3), RAS mm

        Returns
        -------
        (N,) float64

        >>> frame = BrainFrame(MNI_CENTER_MM, MNI_SPREAD_MM)
        >>> frame.closeness_to_calcium([(0, -30, 2), (-20, -38, 8), (0, -30, 9), (40, 20, 30)]).round(1)
        array([1. , 1. , 0.6, 0. ])
        """
        place = (np.asarray(position_mm, np.float64).reshape(-1, 3) - self.center_mm) / self.spread_mm
        place = place * MNI_SPREAD_MM + MNI_CENTER_MM
        place[:, 0] = np.abs(place[:, 0])  # left and right alike
        away_mm = [np.linalg.norm(place - site, axis=1) for site in (PINEAL_GLAND_MM, CHOROID_PLEXUS_MM)]
        return np.exp(-0.5 * (np.min(away_mm, axis=0) / UNCERTAINTY_MM) ** 2)


@dataclass(frozen=True)
class Location:
    """Where N candidates of one scan lie.

    Attributes
    ----------
    modality : of the scan, None if it is not known
    calcium : (N,)
        Closeness to the pineal gland and choroid plexus, 0 to 1; 0 in a scan without a whole brain.
    edge : (N,)
        Closeness to the edge of the brain mask, 1 at the edge and 0.4 at 5 mm; 0 if there is no edge.
    """

    modality: str | None
    calcium: NDArray[np.float64]
    edge: NDArray[np.float64]

    @classmethod
    def of(cls, candidates: Sequence[Candidate], brain: BrainFrame | None, modality: str | None) -> Location:
        """Locate candidates in a brain; ``brain`` is None for a scan without a whole one."""
        position_mm = np.array([(item.x, item.y, item.z) for item in candidates], np.float64).reshape(-1, 3)
        depth_mm = [np.inf if item.skull_distance_mm is None else item.skull_distance_mm for item in candidates]
        calcium = brain.closeness_to_calcium(position_mm) if brain else np.zeros(len(candidates))
        return cls(modality, calcium, np.exp(-np.array(depth_mm, np.float64) / EDGE_MM))


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    first, second, third = (round(float(value), 2) for value in values)
    return first, second, third
