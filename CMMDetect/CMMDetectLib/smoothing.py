"""Smoothing within a mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LEAST_WEIGHT = np.float32(1e-3)
"""Smallest weight of voxels inside, as a share of the Gaussian's; below it the mean fades to 0."""


def mean_within(
    image: NDArray[np.float32], inside: NDArray[np.bool_], sigma_vox: float | Sequence[float]
) -> NDArray[np.float32]:
    """Return, at every voxel, the Gaussian mean of the surrounding voxels that lie inside (normalized convolution).

    >>> mean_within(np.array([2, 2, 9], np.float32), np.array([True, True, False]), 1.0).round(3)
    array([2., 2., 2.], dtype=float32)
    """
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma_vox)
    mean = ndimage.gaussian_filter(np.where(inside, image, np.float32(0)), sigma_vox)
    return np.asarray(mean / np.maximum(weight, LEAST_WEIGHT))
