"""A plain blob detector, the baseline that any method for microbleeds must beat.

Multi-scale Laplacian of Gaussian (T. Lindeberg, 1998) on the prepared image, including vessels. It uses neither radial
symmetry nor context; its only score, the strength of the blob, serves stages 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from CMMDetectLib.detection import StageOne
from CMMDetectLib.frst import resolved_axes
from CMMDetectLib.methods import Settings
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectLib.preprocessing import PreparedScan
from CMMDetectLib.progress import Tick

DIAMETERS_MM = (2.0, 3.0, 4.5, 6.5)
"""Diameters of the spheres to which the scales respond most; microbleeds have 2 to 10 mm."""
FAINTEST = 0.02
"""Blobs below this strength are not listed; 1 is the whole range of the image."""
LEAST_SIGMA_VOX = 0.75
"""A narrower Gaussian has no proper second derivative on a grid: it would respond to a flat image."""


@dataclass(frozen=True)
class Blobs:
    """N blobs, the strongest first: centers (N, 3) in voxels, radii (N,) and strengths (N,)."""

    center_vox: NDArray[np.intp]
    radius_mm: NDArray[np.float64]
    strength: NDArray[np.float32]


class BlobMethod:
    """Blobs of the prepared image, by strength."""

    extent = 0.0  # a drawn blob has the same strength everywhere

    def __init__(self, settings: Settings | None = None) -> None:
        # the first threshold lists candidates for a FROC curve, the second decides
        self.settings = settings or Settings(0.1, 0.25, CutOffs())

    def detect(self, channels: NDArray[np.float32], prepared: PreparedScan, tick: Tick) -> NDArray[np.float32]:
        """Return a map with the strength of the blob in all of its voxels."""
        axes = resolved_axes(prepared.image.shape, prepared.spacing_mm)
        blobs = find_blobs(prepared.image, prepared.mask, prepared.spacing_mm, axes)
        tick(0.9)
        return draw_blobs(blobs, prepared.image.shape, prepared.spacing_mm, axes)

    def discriminate(
        self, channels: NDArray[np.float32], prepared: PreparedScan, found: StageOne, tick: Tick
    ) -> NDArray[np.float32]:
        """Return the strength of each cluster again: there is no second classifier."""
        tick(1.0)
        return found.clusters.peak

    def describe(self) -> dict[str, Any]:
        """Return the method's name; it has neither a bundle nor a device."""
        return {"method": "blob", "bundle": None, "device": "cpu", "precision": "float32"}


def find_blobs(
    image: NDArray[np.float32], mask: NDArray[np.bool_], spacing_mm: Sequence[float], axes: Sequence[int]
) -> Blobs:
    """Find the maxima of the strength over position and scale; of two that would touch, the stronger is kept.

    Parameters
    ----------
    image : (I, J, K), lesions bright
    mask : (I, J, K), where the centers of blobs may lie
    axes : the axes along which the grid resolves lesions
    """
    strength, scale = np.zeros(image.shape, np.float32), np.zeros(image.shape, np.int8)
    for number, diameter in enumerate(DIAMETERS_MM):
        answer = blob_strength(image, spacing_mm, axes, diameter)
        scale[answer > strength] = number
        np.maximum(strength, answer, out=strength)
    is_blob = mask & (strength > FAINTEST) & (strength == ndimage.maximum_filter(strength, 3))
    center = np.argwhere(is_blob)
    found, radius = strength[is_blob], np.array(DIAMETERS_MM)[scale[is_blob]] / 2
    order = np.argsort(-found, kind="stable")
    center, found, radius = center[order], found[order], radius[order]
    gap = float(np.linalg.norm(np.asarray(spacing_mm)[list(axes)]))
    kept = _apart(center * np.asarray(spacing_mm), radius, gap)
    return Blobs(center[kept], radius[kept], np.minimum(found[kept], np.float32(1)))


def draw_blobs(
    blobs: Blobs, shape: tuple[int, ...], spacing_mm: Sequence[float], axes: Sequence[int]
) -> NDArray[np.float32]:
    """Draw blobs with their strength as balls, or as disks if slices are thick."""
    drawn = np.zeros(shape, np.float32)
    spacing = np.asarray(spacing_mm)
    for center, radius, strength in zip(blobs.center_vox, blobs.radius_mm, blobs.strength, strict=True):
        reach = [int(radius / spacing[axis]) if axis in axes else 0 for axis in range(3)]
        box = tuple(slice(max(c - r, 0), c + r + 1) for c, r in zip(center, reach, strict=True))
        offset = np.ogrid[tuple(slice(part.start, min(part.stop, n)) for part, n in zip(box, shape, strict=True))]
        squared = sum(((grid - c) * step) ** 2 for grid, c, step in zip(offset, center, spacing, strict=True))
        drawn[box][squared <= radius**2] = strength
    return drawn


def blob_strength(
    image: NDArray[np.float32], spacing_mm: Sequence[float], axes: Sequence[int], diameter_mm: float
) -> NDArray[np.float32]:
    """Scale-normalized negative Laplacian of Gaussian at the scale that responds most to a diameter.

    Returns
    -------
    (I, J, K) float32
        At the center of a bright sphere of that diameter about its contrast; negative in dark places.
    """
    sigma_mm = diameter_mm / 2 / np.sqrt(len(axes))
    sigma_vox = [
        max(sigma_mm / step, LEAST_SIGMA_VOX) if axis in axes else 0.0 for axis, step in enumerate(spacing_mm)
    ]
    total = np.zeros(image.shape, np.float32)
    for axis in axes:
        order = [2 if other == axis else 0 for other in range(image.ndim)]
        # in mm the derivative is divided by the squared spacing, and the normalization is the squared sigma in mm
        total -= np.float32(sigma_vox[axis] ** 2) * ndimage.gaussian_filter(image, sigma_vox, order)
    return total


def _apart(center_mm: NDArray[np.float64], radius_mm: NDArray[np.float64], gap_mm: float) -> NDArray[np.bool_]:
    """Which balls, in order of importance, are kept if none may come closer than the gap to an earlier one."""
    kept = np.ones(len(center_mm), bool)
    tree = cKDTree(center_mm) if len(center_mm) else None
    for index, radius in enumerate(radius_mm):
        if kept[index] and tree is not None:
            near = np.array(tree.query_ball_point(center_mm[index], radius + radius_mm.max() + gap_mm))
            later = near[near > index]
            distance = np.linalg.norm(center_mm[later] - center_mm[index], axis=1)
            kept[later[distance < radius + radius_mm[later] + gap_mm]] = False
    return kept
