"""Analytic phantoms with partial volume, for the tests.

Positions are in millimetres of the voxel frame: the center of voxel ``(i, j, k)`` lies at
``(i, j, k) * spacing_mm``. Every shape is an occupancy: a float32 array in [0, 1] that says which part of
each voxel the shape fills, so that ``image = background + contrast * shape``.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Volume = NDArray[np.float32]
Triple = Sequence[float]
SUBSAMPLE_MM = 0.25


def grid_mm(shape: Sequence[int], spacing_mm: Triple) -> list[NDArray[np.float64]]:
    """The three open coordinate arrays (they broadcast to ``shape``) of the voxel centers, in mm."""
    return np.ogrid[tuple(slice(0, (n - 0.5) * s, s) for n, s in zip(shape, spacing_mm, strict=True))]


def center_of(shape: Sequence[int], spacing_mm: Triple) -> NDArray[np.float64]:
    """The middle of the grid in mm."""
    return (np.asarray(shape) - 1) / 2 * np.asarray(spacing_mm)


def sphere(shape: Sequence[int], spacing_mm: Triple, center_mm: Triple, diameter_mm: float) -> Volume:
    """A ball."""
    center = np.asarray(center_mm, float)

    def distance(x: NDArray, y: NDArray, z: NDArray) -> NDArray:
        return np.sqrt((x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2) - diameter_mm / 2

    half = diameter_mm / 2
    return _occupancy(shape, spacing_mm, center - half, center + half, distance)


def tube(shape: Sequence[int], spacing_mm: Triple, points_mm: Sequence[Triple], diameter_mm: float) -> Volume:
    """A tube of constant width around the polyline through ``points_mm``; it may leave the grid."""
    points = np.asarray(points_mm, float)
    volume = np.zeros(tuple(shape), np.float32)
    for start, end in pairwise(points):
        low = np.minimum(start, end) - diameter_mm / 2
        high = np.maximum(start, end) + diameter_mm / 2
        segment = _occupancy(shape, spacing_mm, low, high, _segment_distance(start, end, diameter_mm / 2))
        np.maximum(volume, segment, out=volume)
    return volume


def straight_line(middle_mm: Triple, direction: Triple, length_mm: float) -> list[NDArray[np.float64]]:
    """The two ends of a segment; give them to `tube`."""
    unit = np.asarray(direction, float) / np.linalg.norm(direction)
    return [np.asarray(middle_mm) - unit * length_mm / 2, np.asarray(middle_mm) + unit * length_mm / 2]


def arc(
    center_mm: Triple, radius_mm: float, along: Triple, across: Triple, angle: float = np.pi, steps: int = 24
) -> list[NDArray[np.float64]]:
    """Points on a circular arc that starts in direction ``along`` and turns to ``across``; for `tube`."""
    first = np.asarray(along, float) / np.linalg.norm(along)
    second = np.asarray(across, float) - first * np.dot(first, across)
    second /= np.linalg.norm(second)
    turns = np.linspace(0, angle, steps + 1)
    return [np.asarray(center_mm) + radius_mm * (np.cos(t) * first + np.sin(t) * second) for t in turns]


def sheet(
    shape: Sequence[int],
    spacing_mm: Triple,
    middle_mm: Triple,
    normal: Triple,
    thickness_mm: float,
    radius_mm: float,
) -> Volume:
    """A flat disk, such as a sulcus: ``thickness_mm`` along ``normal``, ``radius_mm`` across it."""
    middle = np.asarray(middle_mm, float)
    unit = np.asarray(normal, float) / np.linalg.norm(normal)

    def distance(x: NDArray, y: NDArray, z: NDArray) -> NDArray:
        dx, dy, dz = x - middle[0], y - middle[1], z - middle[2]
        height = dx * unit[0] + dy * unit[1] + dz * unit[2]
        across = np.sqrt(np.maximum(dx**2 + dy**2 + dz**2 - height**2, 0))
        return np.maximum(np.abs(height) - thickness_mm / 2, across - radius_mm)

    half = radius_mm + thickness_mm
    return _occupancy(shape, spacing_mm, middle - half, middle + half, distance)


def brain_mask(shape: Sequence[int], spacing_mm: Triple, margin_mm: float = 4.0) -> NDArray[np.bool_]:
    """An ellipsoid that leaves ``margin_mm`` to every face of the grid."""
    middle = center_of(shape, spacing_mm)
    axes = zip(grid_mm(shape, spacing_mm), middle, strict=True)
    return sum(((x - m) / max(m - margin_mm, 0.1)) ** 2 for x, m in axes) <= 1


def brain(
    shape: Sequence[int],
    spacing_mm: Triple,
    noise: float = 0.0,
    texture: float = 0.03,
    seed: int = 0,
    margin_mm: float = 4.0,
) -> tuple[Volume, NDArray[np.bool_]]:
    """A prepared, empty brain: tissue of about 0.4 in an ellipsoid, 0 outside it, and its mask.

    Parameters
    ----------
    noise
        Standard deviation of white noise.
    texture
        Standard deviation of the smooth variation (Gaussian of 6 mm) of the tissue.
    """
    rng = np.random.default_rng(seed)
    mask = brain_mask(shape, spacing_mm, margin_mm)
    smooth = ndimage.gaussian_filter(
        rng.standard_normal(tuple(shape), np.float32), [6 / s for s in spacing_mm], mode="wrap"
    )
    image = 0.4 + texture * smooth / max(float(smooth.std()), 1e-6)
    image += noise * rng.standard_normal(tuple(shape), np.float32)
    return np.where(mask, image, 0).astype(np.float32), mask


def affine(
    spacing_mm: Triple,
    rotation_deg: Triple = (0, 0, 0),
    left_handed: bool = False,
    origin_mm: Triple = (-60, -80, -40),
) -> NDArray[np.float64]:
    """A 4x4 voxel-to-RAS affine; rotations about x, y, z in turn; left-handed has its first axis mirrored."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(rotation_deg)):
        step = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        step[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turn = step @ turn
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([-spacing_mm[0] if left_handed else spacing_mm[0], *spacing_mm[1:]])
    matrix[:3, 3] = origin_mm
    return matrix


def _segment_distance(start: NDArray, end: NDArray, radius_mm: float) -> Callable[..., NDArray]:
    along = end - start
    squared = max(float(along @ along), 1e-12)

    def distance(x: NDArray, y: NDArray, z: NDArray) -> NDArray:
        dx, dy, dz = x - start[0], y - start[1], z - start[2]
        t = np.clip((dx * along[0] + dy * along[1] + dz * along[2]) / squared, 0, 1)
        gap = (dx - t * along[0]) ** 2 + (dy - t * along[1]) ** 2 + (dz - t * along[2]) ** 2
        return np.sqrt(gap) - radius_mm

    return distance


def _occupancy(
    shape: Sequence[int], spacing_mm: Triple, low_mm: NDArray, high_mm: NDArray, distance: Callable[..., NDArray]
) -> Volume:
    """Mean over sub-voxel samples of a soft step at ``distance`` 0, computed in the bounding box only."""
    volume = np.zeros(tuple(shape), np.float32)
    spacing = np.asarray(spacing_mm, float)
    first = np.clip(np.floor(low_mm / spacing - 0.5), 0, shape).astype(int)
    last = np.clip(np.ceil(high_mm / spacing + 0.5) + 1, 0, shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    if volume[box].size == 0:
        return volume
    axes = [(np.arange(a, b)) * s for a, b, s in zip(first, last, spacing, strict=True)]
    counts = np.maximum(np.ceil(spacing / SUBSAMPLE_MM), 2).astype(int)
    step = spacing / counts
    offsets = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(counts, step, strict=True)]
    soft_mm = float(np.linalg.norm(step)) / 2
    for shift in product(*offsets):
        x, y, z = np.ix_(*(axis + d for axis, d in zip(axes, shift, strict=True)))
        volume[box] += np.clip(0.5 - distance(x, y, z) / soft_mm, 0, 1).astype(np.float32)
    volume[box] /= np.prod(counts)
    return volume
