"""Position of a scan in space, and the transformation of its points when it is moved: a point belongs to its voxel.

A scan is moved when it is registered to another one, or when the geometry in its header is corrected.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .orientation import canonical_turn
from .scan import to_world

SAME_PLACE_MM = 0.1
"""Smaller shifts are ignored, since file formats round the geometry of a scan."""
Placement = tuple[tuple[float, ...], ...]
"""The rows of a 4x4 affine from voxels to RAS mm, of an array in the library's orientation (`canonical_turn`)."""


def placement_of(affine: NDArray[np.float64], shape: tuple[int, ...]) -> Placement:
    """Return the placement of a scan, which does not depend on the order of its stored axes.

    >>> placement_of(np.diag([-1.0, 1.0, 2.0, 1.0]), (11, 5, 5))[0]
    (1.0, 0.0, 0.0, -10.0)
    """
    return as_placement(canonical_turn(affine).affine(affine, shape))


def as_placement(affine: ArrayLike) -> Placement:
    """Return an affine as rows, as it is saved.

    Raises
    ------
    ValueError
        If it is not a 4x4 matrix of finite numbers, or is singular.
    """
    matrix = np.array(affine, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
        raise ValueError(f"no place of a scan: {matrix.tolist()}")
    return tuple(tuple(row) for row in (matrix + 0.0).tolist())


def motion(
    points_mm: NDArray[np.float64], before: Placement | None, now: Placement | None
) -> NDArray[np.float64] | None:
    """Return the transformation of points that belong to a scan which was moved.

    Parameters
    ----------
    points_mm : (N, 3) RAS mm
    before, now : placement of the scan when the points were marked, and its present one; None if it is not known

    Returns
    -------
    (4, 4) array or None
        RAS mm to RAS mm; None if no point moves by more than `SAME_PLACE_MM`, or a placement is not known.

    >>> here, there = np.eye(4), np.eye(4)
    >>> there[0, 3] = 5
    >>> print(motion(np.zeros((1, 3)), as_placement(here), as_placement(here)))
    None
    >>> to_world(motion(np.zeros((1, 3)), as_placement(here), as_placement(there)), [1, 2, 3])
    array([6., 2., 3.])
    """
    if before is None or now is None or not len(points_mm):
        return None
    matrix = np.array(now) @ np.linalg.inv(np.array(before))
    shift_mm = np.linalg.norm(to_world(matrix, points_mm) - points_mm, axis=1)
    return matrix if shift_mm.max() > SAME_PLACE_MM else None
