"""The coarse isotropic grid on which whole heads are analyzed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from .smoothing import mean_within

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

WORK_MM = 2.0
HEAD_MM = 90.0
"""A field of view with two sides shorter than this holds a piece of tissue, not a head."""
SHADING_MM = 20.0
"""Spatial scale of the shading by the receive coils."""


def largest_part(mask: BoolArray) -> BoolArray:
    """Keep the largest 26-connected part of a mask."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def resample(
    array: NDArray[np.generic],
    spacing_mm: Sequence[float],
    target_mm: Sequence[float],
    shape: Sequence[int] | None = None,
) -> FloatArray:
    """Resample onto a grid with the same center: linear where it is finer, triangle-weighted means where coarser.

    Parameters
    ----------
    array : 3D
    spacing_mm, target_mm : voxel size before and after
    shape : of the result; None covers the extent of `array`

    >>> resample(np.ones((4, 4, 2)), (1, 1, 4), (2, 2, 2)).shape
    (2, 2, 4)
    """
    out = np.asarray(array, np.float32)
    for axis in range(3):
        extent = out.shape[axis] * spacing_mm[axis] / target_mm[axis]
        size = int(np.ceil(extent - 1e-6)) if shape is None else shape[axis]
        weights = _resampling_weights(out.shape[axis], spacing_mm[axis], size, target_mm[axis])
        lines = np.moveaxis(out, axis, 0)
        # a sparse product: a dense one sums in another order on another number of cores
        out = np.moveaxis((weights @ lines.reshape(len(lines), -1)).reshape(size, *lines.shape[1:]), 0, axis)
    return np.ascontiguousarray(out)


def _resampling_weights(size: int, spacing_mm: float, target_size: int, target_mm: float) -> sparse.csr_matrix:
    source = (np.arange(size) - (size - 1) / 2) * spacing_mm
    target = (np.arange(target_size) - (target_size - 1) / 2) * target_mm
    target = np.clip(target, source[0], source[-1])
    weights = np.clip(1 - np.abs(target[:, None] - source) / max(spacing_mm, target_mm), 0, None)
    return sparse.csr_matrix((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def on_work_grid(array: NDArray[np.generic], spacing_mm: Sequence[float]) -> FloatArray:
    """Resample onto the isotropic working grid of `WORK_MM`."""
    return resample(array, spacing_mm, (WORK_MM,) * 3)


def affine_on_work_grid(
    affine: NDArray[np.float64], shape: Sequence[int], work_shape: Sequence[int]
) -> NDArray[np.float64]:
    """Return the affine of the working grid, (4, 4), for a volume with the given affine and shape."""
    work = affine.copy()
    work[:3, :3] *= WORK_MM / np.linalg.norm(affine[:3, :3], axis=0)
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    work[:3, 3] = middle - work[:3, :3] @ ((np.array(work_shape) - 1) / 2)
    return work


@dataclass(frozen=True)
class Head:
    """A head on the working grid.

    Attributes
    ----------
    signal : (I, J, K)
    low, high : 2nd and 98th percentile of the signal, the robust intensities of BET (Smith 2002)
    """

    signal: FloatArray
    low: float
    high: float

    @classmethod
    def of(cls, signal: FloatArray) -> Head:
        """Measure a signal on the working grid."""
        low, high = (float(value) for value in np.percentile(signal, (2, 98)))
        return cls(signal, low, high)

    @property
    def threshold(self) -> float:
        """Signal that separates air from head, a tenth of the way from `low` to `high`."""
        return self.low + 0.1 * (self.high - self.low)

    def evenly_lit(self) -> Head:
        """Divide by the local mean of what is brighter than air: near the coils a head is up to three times as bright.

        Only smooth variation is removed, so skull and ventricles keep their contrast to what surrounds them.
        """
        signal, bright = np.minimum(self.signal, np.float32(self.high)), self.signal > self.threshold
        mean = mean_within(signal, bright, SHADING_MM / WORK_MM)
        return Head.of(np.clip(self.signal / np.maximum(mean, self.threshold), 0, 2).astype(np.float32))
