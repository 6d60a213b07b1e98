"""The grid on which the networks see a scan: one voxel size for all scans.

A network measures in voxels. A spot three voxels wide is a vein at 0.4 mm and a microbleed at 1.2 mm, and a spot that
is absent from the next slice is noise in slices of 1 mm and a microbleed in slices of 5 mm. Nothing in the channels
tells one grid from another. So images are resampled to one voxel size before a network sees them, and its output is
resampled back; everything else works on the scan's own grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Shape = tuple[int, int, int]
POOLED_VOX = 4
"""Voxels that two poolings reduce to one; the height of a patch is a multiple of it."""


@dataclass(frozen=True)
class NetworkVoxel:
    """Size of the voxels that a network sees.

    Attributes
    ----------
    pixel_mm, slice_mm : in plane and between slices; None for each scan's own
    """

    pixel_mm: float | None = None
    slice_mm: float | None = None

    def patch_shape(self, size: int) -> Shape:
        """Return the shape in voxels of a patch of ``size`` pixels: as high as it is wide, in mm if these are known.

        >>> NetworkVoxel(0.8, 1.6).patch_shape(24), NetworkVoxel(0.8).patch_shape(24)
        ((24, 24, 12), (24, 24, 24))
        """
        if self.pixel_mm is None or self.slice_mm is None:
            return size, size, size
        height = size * self.pixel_mm / self.slice_mm
        return size, size, max(POOLED_VOX, POOLED_VOX * round(height / POOLED_VOX))


SCANS_OWN = NetworkVoxel()
"""The networks see each scan on its own grid, as in the paper."""


@dataclass(frozen=True)
class NetworkGrid:
    """A scan's grid, with slices along its last axis, and that of a network.

    Attributes
    ----------
    scan_shape : (I, J, K) of the scan
    shape : (I', J', K') of the network
    """

    scan_shape: Shape
    shape: Shape

    @classmethod
    def of(cls, scan_shape: Sequence[int], spacing_mm: Sequence[float], voxel: NetworkVoxel) -> NetworkGrid:
        """Return the grid with voxels of about the given size.

        >>> NetworkGrid.of((100, 120, 30), (0.4, 0.4, 5.0), NetworkVoxel(0.8, 1.6)).shape
        (50, 60, 94)
        """
        i, j, k = scan_shape
        sizes_mm = (voxel.pixel_mm, voxel.pixel_mm, voxel.slice_mm)
        across, along, high = (
            n if size_mm is None else max(1, round(n * step / size_mm))
            for n, step, size_mm in zip((i, j, k), spacing_mm, sizes_mm, strict=True)
        )
        return cls((i, j, k), (across, along, high))

    def spacing_mm(self, spacing_mm: Sequence[float]) -> tuple[float, float, float]:
        """Return the voxel size of the network's grid from that of the scan's."""
        i, j, k = (step * old / new for step, old, new in zip(spacing_mm, self.scan_shape, self.shape, strict=True))
        return i, j, k

    def channels(self, channels: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Resample (C, I, J, K) to the network's grid, smoothed first along axes that get coarser; 0 outside the mask.

        Parameters
        ----------
        mask : (I', J', K'), on the network's grid
        """
        if self.shape == self.scan_shape:
            return channels
        # the smoothing by a box of the new voxel size, beyond that by the old one
        sigma = [max(0.0, 0.5 * (old / new - 1)) for old, new in zip(self.scan_shape, self.shape, strict=True)]
        smooth = (ndimage.gaussian_filter(channel, sigma) if any(sigma) else channel for channel in channels)
        return np.stack([_resampled(channel, self.shape, 1) * mask for channel in smooth])

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Resample a mask to the network's grid."""
        return _resampled(mask.astype(np.uint8), self.shape, 0) > 0

    def labels(self, labels: NDArray[np.int16]) -> NDArray[np.int16]:
        """Resample labels to the network's grid; none is lost, however small."""
        found = _resampled(labels, self.shape, 0)
        for number in np.setdiff1d(labels[labels > 0], found):
            center = np.argwhere(labels == number).mean(axis=0)[None]
            found[tuple(np.rint(self.points(center)[0]).astype(int))] = number
        return found

    def points(self, points_vox: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert (N, 3) voxel coordinates of the scan's grid to the network's."""
        last = np.array(self.shape) - 1
        return np.clip((points_vox + 0.5) * np.array(self.shape) / np.array(self.scan_shape) - 0.5, 0, last)

    def back(self, probability: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample a network's (I', J', K') map to the scan's grid."""
        return _resampled(probability, self.scan_shape, 1)


def _resampled(volume: NDArray[Any], shape: Shape, order: int) -> NDArray[Any]:
    if volume.shape == shape:
        return volume
    zoom = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    return ndimage.zoom(volume, zoom, order=order, mode="nearest", grid_mode=True)
