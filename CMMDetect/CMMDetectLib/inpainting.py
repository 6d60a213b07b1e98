"""Inpainting of removed structures with tissue (2.1)."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


def inpaint(image: FloatArray, hole: BoolArray, mask: BoolArray) -> FloatArray:
    """Fill the hole from its rim inward, each voxel with the mean of its valid neighbors among the 26.

    Valid are voxels of the mask outside the hole and voxels that were filled before, never the background. As in the
    paper, all neighbors have the same weight, whatever the spacing.

    Parameters
    ----------
    image : (I, J, K)
    hole, mask : (I, J, K); what to fill, and the brain
    """
    painted, valid = np.pad(image, 1), np.pad(mask & ~hole, 1)
    flat, is_valid = painted.ravel(), valid.ravel()
    strides = (painted.shape[1] * painted.shape[2], painted.shape[2], 1)
    neighbors = [int(np.dot(step, strides)) for step in product((-1, 0, 1), repeat=3) if any(step)]
    waiting = np.flatnonzero(np.pad(hole, 1))
    while waiting.size:
        total, count = np.zeros((2, waiting.size), np.float32)
        for step in neighbors:
            usable = is_valid[waiting + step]
            count += usable
            total += np.where(usable, flat[waiting + step], 0)
        ready = count > 0
        if not ready.any():
            break
        flat[waiting[ready]] = total[ready] / count[ready]
        is_valid[waiting[ready]] = True
        waiting = waiting[~ready]
    return painted[1:-1, 1:-1, 1:-1].copy()
