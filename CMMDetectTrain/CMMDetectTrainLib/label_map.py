"""The label map of a scan's lesions, with one number per lesion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.clusters import TOUCHING
from CMMDetectLib.region_growing import GrownLesion
from CMMDetectLib.scan import Scan, to_voxel

IntArray = NDArray[np.int32]


def label_map(scan: Scan, lesions: Sequence[GrownLesion]) -> IntArray:
    """Number the lesions from 1 on the scan's grid; a voxel of two lesions goes to the nearer extremum."""
    labels = np.zeros(scan.array.shape, np.int32)
    seeds_vox = [to_voxel(scan.affine, lesion.position_mm) for lesion in lesions]
    for number, lesion in enumerate(lesions, 1):
        under = labels[lesion.box]
        voxels = np.argwhere(lesion.mask)
        taken_by = under[tuple(voxels.T)]
        positions = voxels + [part.start for part in lesion.box]
        own = np.linalg.norm((positions - seeds_vox[number - 1]) * scan.spacing_mm, axis=1)
        others = np.array([seeds_vox[other - 1] for other in taken_by])
        nearer = (taken_by == 0) | (own < np.linalg.norm((positions - others) * scan.spacing_mm, axis=1))
        under[tuple(voxels[nearer].T)] = number
    return labels


def numbered(labels: NDArray[np.integer[Any]]) -> tuple[IntArray, list[int]]:
    """Renumber the lesions of a map 1, 2, 3 ..., and return the label of each in the file.

    A mask says 1, 255 or whatever its program writes: a single number tells no lesions apart.
    """
    inside = labels > 0
    numbers, places = np.unique(labels[inside], return_inverse=True)
    if len(numbers) == 1:
        clusters, count = ndimage.label(inside, TOUCHING)
        return clusters.astype(np.int32), list(range(1, count + 1))
    # labels may be huge: whoever makes a list up to the largest runs out of memory
    numbered = np.zeros(labels.shape, np.int32)
    numbered[inside] = places + 1
    return numbered, numbers.tolist()
