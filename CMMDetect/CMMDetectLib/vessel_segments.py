"""Lengths of the segments of a vessel map."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .clusters import TOUCHING

Lengths = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def segment_lengths_mm(
    vessels: BoolArray, gap: BoolArray, spacing_mm: Sequence[float], axes: Sequence[int], bloom: Sequence[float]
) -> tuple[Lengths, Lengths]:
    """Measure, at every voxel, the length of the vessel segment that it belongs to.

    Parameters
    ----------
    vessels
        (i, j, k).
    gap
        Footprint of the gaps that are bridged.
    spacing_mm
        Voxel size.
    axes
        Axes along which lengths are measured.
    bloom
        How many times as long as wide a microbleed may be along each of the three axes, by blooming or merely because
        slices are thicker than the pixel.

    Returns
    -------
    Two (i, j, k) arrays: the length in mm, 0 outside vessels; and the length after division by `bloom` along each
    axis.
    """
    linked, count = ndimage.label(ndimage.binary_dilation(vessels, gap), TOUCHING)
    segment = linked[vessels]
    if segment.size == 0:
        return np.zeros(vessels.shape), np.zeros(vessels.shape)
    voxels = np.bincount(segment, minlength=count + 1).clip(1)
    position = np.argwhere(vessels)[:, list(axes)] * [spacing_mm[axis] for axis in axes]
    means = np.stack([np.bincount(segment, x, count + 1) / voxels for x in position.T], axis=1)
    position -= means[segment]
    covariance = np.empty((count + 1, len(axes), len(axes)))
    for row, column in product(range(len(axes)), repeat=2):
        products = position[:, row] * position[:, column]
        covariance[:, row, column] = np.bincount(segment, products, count + 1) / voxels
    shrink = 1 / np.array([bloom[axis] for axis in axes])
    whole, without_bloom = (
        # a rod of length L has the variance L^2 / 12 along itself
        np.where(vessels, np.sqrt(12 * np.linalg.eigvalsh(matrix)[:, -1].clip(0))[linked], 0)
        for matrix in (covariance, covariance * shrink * shrink[:, None])
    )
    return whole, without_bloom
