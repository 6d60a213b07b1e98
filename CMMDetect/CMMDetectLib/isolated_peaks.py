"""Bright spots that end within a short distance: they tell a microbleed beside a vessel from the vessel."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

FOOT = 0.65  # of a peak's height; a vein stays that bright along its course, however beaded its slices look
SHOULDER = 0.75  # of the height; a spot that ends above it is a lesion on a vein, not an uneven end of the vein
ONE_SIDED = 0.8  # length of the mean direction in which a peak continues; 0.64 at a sheet's margin, about 0 in a vein
PEAKS_AT_ONCE = 500  # about 50 MB
TOUCHING = np.stack([np.zeros((3, 3, 3)), np.ones((3, 3, 3)), np.zeros((3, 3, 3))])  # within a window, never across


def isolated_peaks(
    image: FloatArray, peaks: NDArray[np.intp], ball: BoolArray, voxel: Sequence[float], on_vessel: bool = True
) -> BoolArray:
    """The voxels of the peaks that do not continue as a vessel or a sulcus does.

    Parameters
    ----------
    image
        (i, j, k), smooth.
    peaks
        Flat indices of its local maxima.
    ball
        Footprint, with odd sides, within which an isolated peak must end; its height counts above the median in it.
    voxel
        Size of a voxel, in parts of the radius of the ball or in any other unit in which the ball is round.
    on_vessel
        Whether a peak may continue to one side. In a tall ball it may not: beads of a vein that runs along the ball
        would pass.

    Returns
    -------
    (i, j, k), bool: of each isolated peak the connected part above 0.65 of its height, if this part ends within the
    ball; else the part above 0.75, if that ends within the ball and the other continues to one side only
    (`on_vessel`); in both cases with the adjacent voxels.
    """
    margin = [n // 2 for n in ball.shape]
    around = [(m, m) for m in margin]
    padded, inside = np.pad(image, around, mode="edge"), np.pad(np.ones(image.shape, bool), around)
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    window = np.argwhere(np.ones_like(ball)) @ strides
    corners = np.stack(np.unravel_index(peaks, image.shape), axis=1) @ strides
    isolated = np.zeros_like(inside)
    for start in range(0, corners.size, PEAKS_AT_ONCE):
        at = (corners[start : start + PEAKS_AT_ONCE, None] + window).reshape(-1, *ball.shape)
        body = _isolated_bodies(padded.ravel()[at], inside.ravel()[at] & ball, ball, voxel, on_vessel)
        isolated.ravel()[at[ndimage.binary_dilation(body, TOUCHING)]] = True
    return isolated[tuple(slice(m, m + n) for m, n in zip(margin, image.shape, strict=True))]


def _isolated_bodies(
    windows: FloatArray, within: BoolArray, ball: BoolArray, voxel: Sequence[float], on_vessel: bool
) -> BoolArray:
    """The bodies of the peaks in the middle of the windows; empty where a peak is not isolated."""
    middle = tuple(n // 2 for n in ball.shape)
    top = windows[(slice(None), *middle)]
    base = np.minimum(np.median(windows[:, ball], axis=1), top)

    def body_above(part: float) -> BoolArray:
        threshold = base + np.float32(part) * (top - base)
        labels, _ = ndimage.label((windows >= threshold[:, None, None, None]) & within, TOUCHING)
        return labels == labels[(slice(None), *middle)][:, None, None, None]

    rim = ball & ~ndimage.binary_erosion(ball, np.ones([min(n, 3) for n in ball.shape]))
    rim[middle] = False  # in a ball three voxels across, the erosion removes the peak itself
    direction = (np.argwhere(rim) - middle) * voxel
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    foot, shoulder = body_above(FOOT), body_above(SHOULDER)
    reaches = foot[:, rim]
    ends: BoolArray = reaches.sum(axis=1) == 0
    is_one_sided = np.linalg.norm(reaches @ direction, axis=1) > ONE_SIDED * reaches.sum(axis=1)
    ends_higher = on_vessel & is_one_sided & (shoulder[:, rim].sum(axis=1) == 0)
    body = np.where(ends[:, None, None, None], foot, shoulder)
    return body & (ends | ends_higher)[:, None, None, None]
