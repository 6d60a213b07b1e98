"""The label map of a scan's lesions: one number each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from CMMDetectLib.region_growing import GrownLesion
from CMMDetectLib.scan import Scan, to_voxel


def label_map(scan: Scan, lesions: Sequence[GrownLesion]) -> NDArray[np.int32]:
    """Number the lesions from 1 on the scan's grid; a voxel of two goes to the one with the nearer extremum."""
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
