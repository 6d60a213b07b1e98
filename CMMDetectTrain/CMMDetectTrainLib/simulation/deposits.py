"""Small objects that differ from tissue in susceptibility, painted on fine grids: blobs and vessel segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CMMDetectLib.scan import to_voxel

from .grid import Grid

Array = NDArray[np.float32]
Point = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Blob:
    """An ellipsoid of uniform susceptibility and signal.

    Attributes
    ----------
    center_mm : RAS mm
    axes_mm : (3, 3) with the semi-axes as rows, RAS mm
    chi_ppm : susceptibility relative to the surrounding tissue
    signal : magnitude relative to the surrounding tissue
    """

    center_mm: NDArray[np.float64]
    axes_mm: NDArray[np.float64]
    chi_ppm: float
    signal: float

    @property
    def reach_mm(self) -> float:
        """Largest semi-axis."""
        return float(np.linalg.norm(self.axes_mm, axis=1).max())


@dataclass(frozen=True)
class Deposit:
    """A microbleed, calcification, hemorrhage or cavernoma.

    Attributes
    ----------
    kind : 'microbleed' or the mimic's name
    center_mm : RAS mm
    moment : susceptibility times volume of all parts, ppm mm3; nominal if the parts differ in susceptibility
    true_diameter_mm : diameter of the sphere with the volume of the deposit
    blobs : its parts
    """

    kind: str
    center_mm: NDArray[np.float64]
    moment: float
    true_diameter_mm: float
    blobs: list[Blob]

    @property
    def uniform(self) -> bool:
        """Whether all parts are of one kind, so that they have the moment together."""
        return self.kind in ("microbleed", "calcification")


@dataclass(frozen=True)
class Segments:
    """Straight pieces of vessels with a circular cross-section.

    Attributes
    ----------
    start_mm, end_mm : (N, 3) RAS mm
    radius_mm : (N,)
    chi_ppm, signal : (N,), relative to the surrounding tissue
    """

    start_mm: Array
    end_mm: Array
    radius_mm: Array
    chi_ppm: Array
    signal: Array

    def __len__(self) -> int:
        return len(self.radius_mm)

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Segments:
        return Segments(*(part[chosen] for part in self._parts()))

    def _parts(self) -> tuple[Array, ...]:
        return self.start_mm, self.end_mm, self.radius_mm, self.chi_ppm, self.signal

    @staticmethod
    def joined(pieces: list[Segments]) -> Segments:
        """Join several sets of segments."""
        if not pieces:
            return Segments(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), *np.zeros((3, 0), np.float32))
        return Segments(*(np.concatenate(parts) for parts in zip(*(p._parts() for p in pieces), strict=True)))


class Canvas:
    """Susceptibility and relative signal on a fine grid, onto which objects are painted."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.chi_ppm = np.zeros(grid.shape, np.float32)
        self.signal = np.ones(grid.shape, np.float32)

    def paint_blobs(self, blobs: list[Blob], moment: float | None = None) -> None:
        """Paint ellipsoids, later ones over earlier ones, and scale their susceptibility to ``moment`` (ppm mm3)."""
        for blob in blobs:
            window = self._window(blob.center_mm, blob.reach_mm)
            if window is None:
                continue
            # in units of the semi-axes, the surface is at distance 1
            inverse = np.linalg.inv(blob.axes_mm.T)
            unit = (self._points(window) - blob.center_mm.astype(np.float32)) @ inverse.T.astype(np.float32)
            distance = np.sqrt(np.einsum("ijkc,ijkc->ijk", unit, unit))
            smallest = float(np.linalg.norm(blob.axes_mm, axis=1).min())
            edge = max(self._step_mm() / smallest, 1e-6)
            occupancy = np.clip((1.0 - distance) / edge + 0.5, 0.0, 1.0)
            self._blend(window, occupancy, blob.chi_ppm, blob.signal)
        if moment is not None:
            painted = float(self.chi_ppm.sum()) * float(np.prod(self.grid.spacing_mm))
            self.chi_ppm *= np.float32(moment / painted) if painted else np.float32(0.0)

    def paint_segments(self, segments: Segments) -> None:
        """Paint vessels; those with a radius below the grid's step as lines of the same cross-section."""
        thin = segments.radius_mm < self._step_mm()
        self._paint_lines(segments[thin])
        self._paint_tubes(segments[~thin])

    def _paint_lines(self, segments: Segments) -> None:
        """Spread the cross-section of each vessel over the voxels along its course, preserving its moment exactly."""
        start = to_voxel(self.grid.affine, segments.start_mm)
        course = to_voxel(self.grid.affine, segments.end_mm) - start
        # with steps of at most a voxel, the trilinear weights add up to an even line
        pieces = np.maximum(1, np.ceil(np.abs(course).max(axis=1, initial=0.0))).astype(int)
        owner = np.repeat(np.arange(len(segments)), pieces)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        points = start[owner] + course[owner] * ((number + 0.5) / pieces[owner])[:, None]
        inside = ((points >= 0) & (points < np.array(self.grid.shape) - 1)).all(axis=1)
        points, owner = points[inside], owner[inside]
        length_mm = np.linalg.norm(segments.end_mm - segments.start_mm, axis=1)
        volume = np.pi * segments.radius_mm**2 * length_mm / pieces / np.prod(self.grid.spacing_mm)
        low = points.astype(np.int32)
        part = (points - low).astype(np.float32)
        weights = np.stack([1.0 - part, part])
        strides = np.array([self.grid.shape[1] * self.grid.shape[2], self.grid.shape[2], 1], np.int32)
        first = low @ strides
        for amount, target in ((segments.chi_ppm, self.chi_ppm), (segments.signal - 1.0, self.signal)):
            held = (volume * amount).astype(np.float32)[owner]
            for i, j, k in np.ndindex(2, 2, 2):
                share = weights[i, :, 0] * weights[j, :, 1] * weights[k, :, 2] * held
                np.add.at(target.reshape(-1), first + int(strides @ (i, j, k)), share)
        np.maximum(self.signal, 0.0, out=self.signal)

    def _paint_tubes(self, segments: Segments) -> None:
        """Paint vessels with their true outline; where two overlap, the stronger one prevails."""
        step, spacing = self._step_mm(), np.array(self.grid.spacing_mm, np.float32)
        start = to_voxel(self.grid.affine, segments.start_mm).astype(np.float32)
        end = to_voxel(self.grid.affine, segments.end_mm).astype(np.float32)
        margin = (segments.radius_mm[:, None] + step) / spacing
        low = np.maximum(np.ceil(np.minimum(start, end) - margin), 0).astype(int)
        high = np.minimum(np.floor(np.maximum(start, end) + margin) + 1, self.grid.shape).astype(int)
        for n in np.flatnonzero((low < high).all(axis=1)):
            window = tuple(map(slice, low[n], high[n]))
            distance = _distance_to_segment(window, start[n], end[n], spacing)
            occupancy = np.clip((segments.radius_mm[n] - distance) / step + np.float32(0.5), 0.0, 1.0)
            chi_here, signal_here = self.chi_ppm[window], self.signal[window]
            np.maximum(chi_here, occupancy * segments.chi_ppm[n], out=chi_here)
            painted = 1.0 + occupancy * (segments.signal[n] - 1.0)
            (np.minimum if segments.signal[n] < 1.0 else np.maximum)(signal_here, painted, out=signal_here)

    def _blend(self, window: tuple[slice, ...], occupancy: Array, chi_ppm: float, signal: float) -> None:
        self.chi_ppm[window] += occupancy * (chi_ppm - self.chi_ppm[window])
        self.signal[window] += occupancy * (signal - self.signal[window])

    def _step_mm(self) -> float:
        return float(np.prod(self.grid.spacing_mm)) ** (1.0 / 3.0)

    def _window(self, center_mm: Point, reach_mm: float) -> tuple[slice, ...] | None:
        """Return the window of voxels within ``reach_mm`` of a point, None if it lies outside the grid."""
        center = to_voxel(self.grid.affine, center_mm)
        margin = reach_mm / np.array(self.grid.spacing_mm) + 1.0
        low = np.maximum(np.floor(center - margin), 0).astype(int)
        high = np.minimum(np.ceil(center + margin) + 1, self.grid.shape).astype(int)
        return tuple(map(slice, low, high)) if (low < high).all() else None

    def _points(self, window: tuple[slice, ...]) -> Array:
        low = (window[0].start, window[1].start, window[2].start)
        shape = tuple(part.stop - part.start for part in window)
        return self.grid.block(low, (shape[0], shape[1], shape[2])).points()


def _distance_to_segment(window: tuple[slice, ...], start: Array, end: Array, spacing_mm: Array) -> Array:
    """Return the distance in mm of the voxels of a window from a segment that is given in voxels."""
    axes = [
        (np.arange(part.start, part.stop, dtype=np.float32) - first) * step
        for part, first, step in zip(window, start, spacing_mm, strict=True)
    ]
    course = (end - start) * spacing_mm
    length = max(float(np.linalg.norm(course)), 1e-6)
    i, j, k = (axis * (part / length) for axis, part in zip(axes, course, strict=True))
    along = (i[:, None, None] + j[:, None]) + k
    square = (axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2) + axes[2] ** 2
    # |r|^2 - along^2 + (along - clipped)^2: beyond an end of the segment, this is the distance from that end
    clipped = np.clip(along, 0.0, np.float32(length))
    square += clipped * (clipped - 2.0 * along)
    return np.sqrt(np.maximum(square, 0.0, out=square), out=square)
