"""Free-form tissue without anatomy, for patches: random tissues, sheets of CSF, nuclei, the edge of the brain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.scan import to_world

from .deposits import Segments
from .grid import Grid
from .tissues import IRON_RICH, TISSUES

Array = NDArray[np.float32]
Axes = tuple[Array, Array, Array]
LATTICE = 24
FIELD_GRID = 24
EDGE_SCALE = 0.5
MOST_VESSELS = 300
VESSEL_STEPS = 8
VESSEL_STEPS_MM = (3.0, 8.0)
DEEP_TISSUES = (*IRON_RICH, "thalamus", "white_lesion", "white_lesion")


@dataclass(frozen=True)
class RandomField:
    """Smooth periodic noise of unit standard deviation, with nodes every ``step_mm``."""

    values: Array
    step_mm: float

    def at(self, points_mm: Array) -> Array:
        """Return the values at points (N, 3)."""
        index = points_mm.T / np.float32(self.step_mm)
        return ndimage.map_coordinates(self.values, index, order=1, mode="grid-wrap", output=np.float32)

    def on(self, axes_mm: Axes, scale: float = 1.0) -> Array:
        """Return the values on a rectangular grid, given by its positions along x, y and z."""
        result = self.values
        for axis, positions in enumerate(axes_mm):
            matrix = _wrapping_interpolation(positions * np.float32(scale / self.step_mm), LATTICE)
            result = np.moveaxis(np.tensordot(matrix, result, axes=(1, axis)), 0, axis)
        return np.ascontiguousarray(result)


@dataclass(frozen=True)
class FreeTissue:
    """A piece of brain-like tissue around the origin of the world.

    Attributes
    ----------
    axes : (3, 3) with unit vectors of the tissue's own axes as columns, along which fields are quick to evaluate
    chi_ppm : susceptibility of each tissue
    folds : field that is positive in white and negative in gray matter
    sulci : field near whose zeros there is CSF
    sulcus_mm : width of the sheets of CSF; 0 for none
    nuclei : (tissue, center, semi-axes) with lengths in mm
    membrane : (5,) plane n.x + d and half the thickness of a sheet of dura; None for no sheet
    edge : (4,) plane n.x + d, the depth below an even brain's hull
    edge_waves : amplitude of the unevenness of the hull, mm
    outside : (tissue, thickness in mm) of the layers around the brain, from inside to outside
    field : background field, ppm, on a grid with ``field_affine``
    """

    axes: NDArray[np.float64]
    chi_ppm: dict[str, float]
    folds: RandomField
    sulci: RandomField
    sulcus_mm: float
    nuclei: tuple[tuple[str, Array, Array], ...]
    membrane: Array | None
    edge: Array
    edge_waves: float
    outside: tuple[tuple[str, float], ...]
    field: Array
    field_affine: NDArray[np.float64]

    def depth_mm(self, points_mm: Array) -> Array:
        """Return the depth of points (N, 3) below the brain's hull, negative outside."""
        own = (points_mm @ self.axes).astype(np.float32)
        waves = np.float32(self.edge_waves) * self.folds.at(np.float32(EDGE_SCALE) * own)
        return np.asarray(own @ self.edge[:3] + self.edge[3] + waves, np.float32)

    def depth_on(self, grid: Grid) -> Array:
        """Return the depth in mm of the voxels of a grid below the brain's hull, negative outside."""
        axes = self._own_axes(grid)
        x, y, z = np.ix_(*(axis * slope for axis, slope in zip(axes, self.edge[:3], strict=True)))
        plane = x + (y + (z + self.edge[3]))
        if plane.min() > 4.0 * self.edge_waves:
            return plane
        return plane + np.float32(self.edge_waves) * self.folds.on(axes, EDGE_SCALE)

    def fractions(self, grid: Grid) -> Iterator[tuple[str, Array]]:
        """Yield each tissue and its share in the voxels of a grid; the rest of a voxel is air."""
        axes = self._own_axes(grid)
        depth = self.depth_on(grid)
        left = np.clip(depth + 0.5, 0.0, 1.0)
        outside = 1.0 - left
        if self.membrane is not None:
            x, y, z = np.ix_(*(axis * slope for axis, slope in zip(axes, self.membrane[:3], strict=True)))
            dura = left * np.clip((self.membrane[4] - np.abs(x + (y + (z + self.membrane[3])))) / 0.7 + 0.5, 0.0, 1.0)
            left -= dura
            yield "dura", dura
        if self.sulcus_mm > 0.0:
            # the slope of the unit-variance field is about 1 / (2 steps)
            distance = np.abs(self.sulci.on(axes)) * np.float32(2.0 * self.sulci.step_mm)
            csf = left * np.clip(np.float32(0.5 * self.sulcus_mm + 0.5) - distance, 0.0, 1.0)
            left -= csf
            yield "csf", csf
        for tissue, center, radii in self.nuclei:
            offsets = [((a - c) / r) ** 2 for a, c, r in zip(axes, center, radii, strict=True)]
            x, y, z = np.ix_(*offsets)
            share = left * np.clip((1.0 - np.sqrt(x + y + z)) * radii.min() + 0.5, 0.0, 1.0)
            left -= share
            yield tissue, share
        white = left * np.clip(self.folds.on(axes) * np.float32(2.0 * self.folds.step_mm) + 0.5, 0.0, 1.0)
        yield "white", white
        yield "gray", left - white
        if outside.any():
            yield from self._layers(depth, outside)

    def _layers(self, depth: Array, outside: Array) -> Iterator[tuple[str, Array]]:
        inner = 0.0
        for tissue, thickness in self.outside:
            layer = np.clip(-depth - inner + 0.5, 0, 1) * np.clip(inner + thickness + depth + 0.5, 0, 1)
            yield tissue, np.minimum(layer, outside)
            inner += thickness

    def _own_axes(self, grid: Grid) -> Axes:
        """Return the positions of a grid's voxels along the axes of this tissue, with which the grid is aligned."""
        start = self.axes.T @ grid.affine[:3, 3]
        steps = np.sum(self.axes * grid.affine[:3, :3], axis=0)
        x, y, z = (
            (first + step * np.arange(size)).astype(np.float32)
            for first, step, size in zip(start, steps, grid.shape, strict=True)
        )
        return x, y, z

    def background_field(self) -> tuple[Array, NDArray[np.float64]]:
        """Return the field of the surroundings in ppm, and the affine of its grid."""
        return self.field, self.field_affine


def draw_tissue(rng: np.random.Generator, grid: Grid) -> FreeTissue:
    """Draw tissue for a patch around the origin, aligned with its grid."""
    extent_mm = float(np.linalg.norm(np.array(grid.shape) * grid.spacing_mm))
    turn = grid.affine[:3, :3] / grid.spacing_mm
    chi = {name: t.chi_ppm * (rng.uniform(0.8, 1.8) if name in IRON_RICH else 1.0) for name, t in TISSUES.items()}
    share_of_white = rng.normal(0.0, 0.8)
    folds = _draw_field(rng, float(np.exp(rng.uniform(np.log(1.5), np.log(8.0)))), share_of_white)
    sulci = _draw_field(rng, float(rng.uniform(2.5, 8.0)), rng.normal(0.0, 0.3))
    width = float(rng.uniform(0.5, 4.0)) if rng.random() < 0.6 else 0.0
    nuclei = tuple(
        (
            str(rng.choice(DEEP_TISSUES)),
            rng.uniform(-0.5, 0.5, 3).astype(np.float32) * np.float32(extent_mm),
            rng.uniform(2.0, 10.0, 3).astype(np.float32),
        )
        for _ in range(rng.choice([0, 1, 2, 3], p=[0.5, 0.25, 0.15, 0.1]))
    )
    normal = rng.standard_normal(3)
    at_edge = rng.random() < 0.4
    depth = rng.uniform(0.0, 0.5) * extent_mm if at_edge else 2.0 * extent_mm
    edge = np.array([*(normal / np.linalg.norm(normal)), depth], np.float32)
    layers = (
        ("csf", float(rng.uniform(0.5, 4.0))),
        ("bone", float(rng.uniform(3, 8))),
        ("fat", float(rng.uniform(2, 6))),
    )
    membrane = None
    if rng.random() < 0.15:
        across = rng.standard_normal(3)
        offset = rng.uniform(-0.2, 0.2) * extent_mm
        membrane = np.array([*(across / np.linalg.norm(across)), offset, rng.uniform(0.35, 0.8)], np.float32)
    field, affine = _draw_background(rng, extent_mm)
    waves = float(rng.uniform(0.3, 2.5))
    return FreeTissue(turn, chi, folds, sulci, width, nuclei, membrane, edge, waves, layers, field, affine)


def draw_free_vessels(rng: np.random.Generator, grid: Grid) -> Segments:
    """Draw vessels through a patch, thin at both ends: parallel and tortuous ones, many along the slice normal."""
    volume_ml = float(np.prod(np.array(grid.shape) * grid.spacing_mm)) / 1000.0
    density = float(np.exp(rng.uniform(np.log(0.1), np.log(5.0)))) if rng.random() < 0.88 else 0.0
    count = min(int(rng.poisson(density * volume_ml)), MOST_VESSELS)
    position = to_world(grid.affine, rng.uniform(-0.1, 1.1, (count, 3)) * grid.shape)
    bundle = np.stack([rng.standard_normal(3), grid.affine[:3, 2] / grid.spacing_mm[2]])
    direction = (
        rng.standard_normal((count, 3))
        + 2.5 * np.concatenate([np.zeros((1, 3)), bundle])[rng.choice(3, count, p=rng.dirichlet((2, 2, 1)))]
    )
    radius = np.minimum(rng.uniform(0.15, 0.4) * np.exp(0.5 * rng.standard_normal(count)), 1.5)
    chi = rng.uniform(0.15, 0.55) * np.exp(rng.normal(0, 0.1, count))
    jitter = float(rng.uniform(0.03, 0.5))
    step_mm = rng.uniform(*VESSEL_STEPS_MM, (count, 1))
    starts, ends = [], []
    for _ in range(VESSEL_STEPS):
        direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-6)
        starts.append(position)
        position = position + direction * step_mm
        ends.append(position)
        direction = direction + jitter * rng.standard_normal((count, 3))
    start, end = np.concatenate(starts), np.concatenate(ends)
    # the middle of each vessel lies where its start was drawn
    ahead = np.tile(0.5 * (end[len(end) - count :] - start[:count]), (VESSEL_STEPS, 1))
    caliber = np.sin(np.pi * (np.arange(VESSEL_STEPS) + 0.5) / VESSEL_STEPS) ** 0.7
    return Segments(
        (start - ahead).astype(np.float32),
        (end - ahead).astype(np.float32),
        np.outer(caliber, radius).ravel().astype(np.float32),
        np.tile(chi, VESSEL_STEPS).astype(np.float32),
        np.full(count * VESSEL_STEPS, rng.uniform(0.7, 1.0), np.float32),
    )


def _draw_field(rng: np.random.Generator, step_mm: float, shift: float) -> RandomField:
    noise = ndimage.gaussian_filter(rng.standard_normal((LATTICE,) * 3, dtype=np.float32), 1.0, mode="wrap")
    return RandomField((noise / noise.std() + np.float32(shift)).astype(np.float32), step_mm)


def _draw_background(rng: np.random.Generator, extent_mm: float) -> tuple[Array, NDArray[np.float64]]:
    """Draw a background field: a gradient and, in some patches, nearby air that causes signal dropout."""
    step = 1.2 * extent_mm / (FIELD_GRID - 1)
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = -0.6 * extent_mm
    axis = (np.arange(FIELD_GRID) * step - 0.6 * extent_mm).astype(np.float32)
    x, y, z = np.ix_(axis, axis, axis)
    slope = rng.normal(0.0, 0.004, 3)
    field = slope[0] * x + slope[1] * y + slope[2] * z
    if rng.random() < 0.2:
        radius = float(rng.uniform(3.0, 12.0))
        away = rng.standard_normal(3)
        away *= (0.5 * extent_mm + radius) * rng.uniform(0.7, 1.1) / np.linalg.norm(away)
        square = (x - away[0]) ** 2 + (y - away[1]) ** 2 + (z - away[2]) ** 2
        square = np.maximum(square, radius**2)
        field = field + 9.2 / 3.0 * radius**3 / square**1.5 * (3.0 * (z - away[2]) ** 2 / square - 1.0)
    return field.astype(np.float32), affine


def _wrapping_interpolation(positions: Array, nodes: int) -> Array:
    """Return the matrix (N, nodes) of periodic linear interpolation."""
    low = np.floor(positions).astype(int)
    part = positions - low
    matrix = np.zeros((len(positions), nodes), np.float32)
    row = np.arange(len(positions))
    matrix[row, low % nodes] = 1.0 - part
    matrix[row, (low + 1) % nodes] += part
    return matrix
