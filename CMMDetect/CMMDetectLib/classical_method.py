"""The classical method: radial symmetry, contrast and isolation, with numpy, scipy and SimpleITK only.

It needs neither a model nor torch. Its two scores rise with the evidence for a microbleed but are not calibrated
probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .detection import StageOne
from .frst import resolved_axes
from .methods import Settings
from .postprocessing import CutOffs
from .preprocessing import PreparedScan
from .progress import Tick
from .smoothing import mean_within

SYMMETRY_HALF = 0.4
"""Radial symmetry that scores one half; a sharp sphere of 3 mm has about 0.7, a vessel less than 0.2."""
REACH_MM = 2.4
"""A voxel belongs to the symmetry peak within this distance."""
BACKGROUND_MM = 5.0
"""Sigma of the Gaussian mean that a lesion is compared with."""
NOISE_FACTOR = 4.0
"""Contrast, in standard deviations of the background, that scores 1."""
SHELL_MM = 1.2
"""Distance from a lesion's surface at which its surroundings are sampled."""
DIRECTIONS = 48
CONTRAST_HALF = 0.15
"""Contrast, as a fraction of the image's range, that scores one half."""


class ClassicalMethod:
    """Peaks of radial symmetry with contrast (stage 1) that are isolated from their surroundings (stage 2)."""

    extent = 0.0  # the score is already relative to the contrast of the peak

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings(0.3, 0.5, CutOffs())

    def detect(self, channels: NDArray[np.float32], prepared: PreparedScan, tick: Tick) -> NDArray[np.float32]:
        """Score every voxel by the symmetry peak it belongs to and by its contrast relative to the peak."""
        axes = resolved_axes(prepared.image.shape, prepared.spacing_mm)
        reach = _ellipsoid(REACH_MM, prepared.spacing_mm, axes)
        symmetry = ndimage.grey_dilation(channels[1], footprint=reach)
        tick(0.3)
        contrast = local_contrast(channels[0], prepared.mask, prepared.spacing_mm, axes)
        tick(0.6)
        noise = 1.4826 * np.median(np.abs(contrast[prepared.mask]))
        highest = ndimage.grey_dilation(contrast, footprint=reach)
        share = np.clip(contrast / np.maximum(highest, NOISE_FACTOR * noise + 1e-6), 0, 1)
        tick(0.9)
        score = share * symmetry / (symmetry + np.float32(SYMMETRY_HALF))
        return (score * prepared.mask).astype(np.float32)

    def discriminate(
        self, channels: NDArray[np.float32], prepared: PreparedScan, found: StageOne, tick: Tick
    ) -> NDArray[np.float32]:
        """Score a cluster by its contrast to a shell around it, which vessels and sulci cross and microbleeds do not.

        The brightest directions decide: a vessel is as bright as the center of the cluster in two of them.
        """
        clusters = found.clusters
        axes = resolved_axes(prepared.image.shape, prepared.spacing_mm)
        directions = _directions(axes)
        radius = np.cbrt(0.75 / np.pi * clusters.volume_mm3) + SHELL_MM
        step_vox = directions / np.asarray(prepared.spacing_mm)
        shell_vox = clusters.centroid_vox[:, None, :] + radius[:, None, None] * step_vox
        shell = ndimage.map_coordinates(channels[0], shell_vox.reshape(-1, 3).T, order=1, mode="nearest")
        center = ndimage.map_coordinates(channels[0], clusters.centroid_vox.T, order=1, mode="nearest")
        around = np.sort(shell.reshape(len(center), len(directions)), axis=1)
        contrast = center - around[:, int(0.9 * len(directions))]
        tick(1.0)
        return (1 / (1 + (CONTRAST_HALF / np.maximum(contrast, 1e-6)) ** 2)).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """Return the method's name; it has neither a bundle nor a device."""
        return {"method": "classical", "bundle": None, "device": "cpu", "precision": "float32"}


def local_contrast(
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    axes: tuple[int, ...],
) -> NDArray[np.float32]:
    """Excess of every voxel of the mask over the Gaussian mean of the brain around it; 0 outside the mask."""
    sigma = [BACKGROUND_MM / step if axis in axes else 0.0 for axis, step in enumerate(spacing_mm)]
    return np.where(mask, image - mean_within(image, mask, sigma), np.float32(0))


def _ellipsoid(radius_mm: float, spacing_mm: Sequence[float], axes: tuple[int, ...]) -> NDArray[np.bool_]:
    """Voxels within a distance of the center one; along axes that are not resolved only the center."""
    reach = [int(radius_mm / step) if axis in axes else 0 for axis, step in enumerate(spacing_mm)]
    grids = np.meshgrid(*[np.arange(-count, count + 1) for count in reach], indexing="ij")
    squared = sum(((grid * step) ** 2 for grid, step in zip(grids, spacing_mm, strict=True)), np.zeros(1))
    return squared <= radius_mm**2


def _directions(axes: tuple[int, ...]) -> NDArray[np.float64]:
    """Unit vectors spread evenly over the sphere or, if only a plane is resolved, over a circle in it."""
    index = np.arange(DIRECTIONS) + 0.5
    golden = np.pi * (1 + np.sqrt(5)) * index
    height = 1 - 2 * index / DIRECTIONS
    ring = np.sqrt(1 - height**2)
    sphere = np.stack([ring * np.cos(golden), ring * np.sin(golden), height], axis=1)
    if len(axes) == 3:
        return sphere
    circle = np.zeros_like(sphere)
    angle = 2 * np.pi * index / DIRECTIONS
    circle[:, axes[0]], circle[:, axes[1]] = np.cos(angle), np.sin(angle)
    return circle
