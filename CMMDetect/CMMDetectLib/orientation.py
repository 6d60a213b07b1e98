"""Reorientation of arrays: the order and direction of axes changes, no voxel value does.

The paper brings every scan into the orientation of the MNI template (2.1), so that a network sees all heads in the
same orientation. A `Turn` does this and undoes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

THICK_SLICE_RATIO = 1.1
"""An axis whose spacing exceeds the others' by this factor is the slice axis."""
RIGHT_ANGLE_TOLERANCE = 1e-3
"""Largest cosine between two axes; it amounts to 0.2 mm over a head."""


@dataclass(frozen=True)
class Turn:
    """Axis ``a`` of the turned array is axis ``order[a]`` of the stored one, reversed where ``flipped[a]``.

    >>> turn = Turn((1, 0, 2), (False, True, False))
    >>> array = np.arange(24).reshape(2, 3, 4)
    >>> turn.apply(array).shape, bool((turn.undo(turn.apply(array)) == array).all())
    ((3, 2, 4), True)
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn a stored array; the result is contiguous."""
        return np.ascontiguousarray(np.flip(array.transpose(self.order), self._flipped_axes))

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """Bring a turned array back into its stored order; the result is contiguous."""
        unflipped = np.flip(array, self._flipped_axes)
        return np.ascontiguousarray(unflipped.transpose(np.argsort(self.order).tolist()))

    @property
    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if self.flipped[axis])

    def affine(self, affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the affine of the turned array; ``shape`` is that of the stored one."""
        return affine @ self.matrix(shape)

    def matrix(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """4x4 matrix from turned to stored voxel indices; ``shape`` is that of the stored array."""
        stored_from_turned = np.zeros((4, 4))
        stored_from_turned[3, 3] = 1
        for turned, (stored, flip) in enumerate(zip(self.order, self.flipped, strict=True)):
            stored_from_turned[stored, turned] = -1 if flip else 1
            stored_from_turned[stored, 3] = shape[stored] - 1 if flip else 0
        return stored_from_turned


def turn_along(directions: NDArray[np.float64]) -> Turn:
    """Find the turn that aligns the axes best with the target's axes.

    Parameters
    ----------
    directions : (3, 3)
        Column ``c`` is the direction of stored axis ``c`` in target coordinates.

    >>> turn_along(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    Turn(order=(1, 0, 2), flipped=(True, False, False))
    """
    unit = directions / np.linalg.norm(directions, axis=0)
    rows, columns = linear_sum_assignment(-np.abs(unit))
    i, j, k = (int(columns[row]) for row in rows)
    return Turn((i, j, k), (bool(unit[0, i] < 0), bool(unit[1, j] < 0), bool(unit[2, k] < 0)))


def canonical_turn(affine: NDArray[np.float64]) -> Turn:
    """Find the turn into the library's orientation: axes toward right, anterior and superior, slices last.

    An axis with a clearly larger spacing than both others (of a sagittal or coronal stack) becomes the last axis,
    since networks are trained on slices stacked along k.
    """
    turn = turn_along(affine[:3, :3])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[list(turn.order)]
    thick = slice_axis(spacing)
    if thick == 2:
        return turn
    axes = [axis for axis in range(3) if axis != thick] + [thick]
    i, j, k = (turn.order[axis] for axis in axes)
    return Turn((i, j, k), (turn.flipped[axes[0]], turn.flipped[axes[1]], turn.flipped[axes[2]]))


def slice_axis(spacing_mm: ArrayLike) -> int:
    """Find the axis across the slices: the one with a clearly larger spacing, else the last.

    >>> slice_axis((3.0, 0.8, 0.8)), slice_axis((0.5, 0.5, 0.5))
    (0, 2)
    """
    spacing = np.asarray(spacing_mm)
    thick = int(np.argmax(spacing))
    return thick if spacing[thick] > THICK_SLICE_RATIO * np.delete(spacing, thick).max() else 2


def is_right_angled(affine: NDArray[np.float64], tolerance: float = RIGHT_ANGLE_TOLERANCE) -> bool:
    """Whether the axes of a grid, the columns of its affine, are at right angles.

    Parameters
    ----------
    tolerance : largest cosine between two of them

    >>> is_right_angled(np.diag([-0.8, 0.8, 3.0, 1.0])), is_right_angled(np.eye(4) + 0.01 * np.eye(4, k=1))
    (True, False)
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= tolerance)
