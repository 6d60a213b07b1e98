"""Eigenvalues and eigenvectors of many small symmetric matrices at once, many times faster than LAPACK one by one."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def eigenvalues(matrix: FloatArray) -> FloatArray:
    """Eigenvalues, (d, N), ascending, of (d, d, N) symmetric matrices with d = 2 or 3, in closed form.

    >>> eigenvalues(np.diag([2.0, -1.0, 5.0])[..., None].astype(np.float32)).ravel().round(3).tolist()
    [-1.0, 2.0, 5.0]
    """
    mean = np.trace(matrix) / len(matrix)
    if len(matrix) == 2:
        radius = np.hypot((matrix[0, 0] - matrix[1, 1]) / 2, matrix[0, 1])
        return np.stack([mean - radius, mean + radius])
    xx, yy, zz = (matrix[axis, axis] - mean for axis in range(3))
    xy, xz, yz = matrix[0, 1], matrix[0, 2], matrix[1, 2]
    size = np.sqrt((xx**2 + yy**2 + zz**2 + 2 * (xy**2 + xz**2 + yz**2)) / 6) + np.float32(1e-30)
    xx, yy, zz, xy, xz, yz = (entry / size for entry in (xx, yy, zz, xy, xz, yz))
    determinant = xx * (yy * zz - yz**2) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    angle = np.arccos(np.clip(determinant / 2, -1, 1)) / 3
    highest = mean + 2 * size * np.cos(angle)
    lowest = mean + 2 * size * np.cos(angle + np.float32(2 * np.pi / 3))
    return np.stack([lowest, 3 * mean - lowest - highest, highest])


def eigenvector(matrix: FloatArray, values: FloatArray, which: int) -> FloatArray:
    """Unit eigenvectors, (d, N), of the eigenvalue with index ``which``.

    The product of (A - v I) over the other eigenvalues v projects onto them.
    """
    stack = np.moveaxis(matrix, -1, 0)
    identity = np.eye(len(values), dtype=np.float32)
    others = [stack - v[:, None, None] * identity for row, v in enumerate(values) if row != which]
    projector = others[0] if len(others) == 1 else others[0] @ others[1]
    column = (projector**2).sum(axis=1).argmax(axis=1)
    vector = np.take_along_axis(projector, column[:, None, None], axis=2)[..., 0].T
    return vector / np.maximum(np.sqrt((vector**2).sum(axis=0)), np.float32(1e-30))
