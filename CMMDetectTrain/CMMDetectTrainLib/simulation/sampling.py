"""Tissue sampled on a grid: in slabs for a scan, or once for several patches of one piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from .grid import Grid
from .tissues import PARENCHYMA

Array = NDArray[np.float32]
CHUNK_POINTS = 120_000
LEAST_TISSUE = 0.5
"""Least share of brain tissue in a voxel that counts as tissue."""


class TissueSource(Interface):
    """What the scanner needs to know about a body, as provided by `Head`, `FreeTissue` and `SampledTissue`."""

    @property
    def chi_ppm(self) -> dict[str, float]:
        """Susceptibility of every tissue."""

    def fractions(self, grid: Grid) -> Iterator[tuple[str, Array]]:
        """Share of every tissue in the voxels of a grid."""

    def depth_on(self, grid: Grid) -> Array:
        """Distance of the voxels of a grid to the brain's hull, negative outside."""

    def depth_mm(self, points_mm: Array) -> Array:
        """Distance of world points (N, 3) to the brain's hull, negative outside."""

    def background_field(self) -> tuple[Array, NDArray[np.float64]]:
        """Field of everything outside the brain in ppm, and the affine of its grid."""


@dataclass(frozen=True)
class SampledTissue:
    """A piece of a body sampled on one grid, so that it can be acquired repeatedly at little cost.

    Attributes
    ----------
    source : the body
    grid : the only grid for which it can be evaluated
    shares : tissues that occur and their shares, (I, J, K), averaged over thin slices
    depth : (I, J, K) depth in mm below the brain's hull, negative outside
    """

    source: TissueSource
    grid: Grid
    shares: tuple[tuple[str, Array], ...]
    depth: Array

    @property
    def chi_ppm(self) -> dict[str, float]:
        """Susceptibility of every tissue."""
        return self.source.chi_ppm

    def fractions(self, grid: Grid) -> Iterator[tuple[str, Array]]:
        """Yield the sampled tissues and their shares."""
        self._check(grid)
        yield from self.shares

    def depth_on(self, grid: Grid) -> Array:
        """Return the sampled depth."""
        self._check(grid)
        return self.depth

    def depth_mm(self, points_mm: Array) -> Array:
        """Distance of world points (N, 3) to the brain's hull, negative outside."""
        return self.source.depth_mm(points_mm)

    def background_field(self) -> tuple[Array, NDArray[np.float64]]:
        """Field of everything outside the brain in ppm, and the affine of its grid."""
        return self.source.background_field()

    def _check(self, grid: Grid) -> None:
        if grid.shape != self.grid.shape:
            raise ValueError("tissue was sampled on another grid")


def sample_tissue(source: TissueSource, grid: Grid, thin_slice_mm: float) -> SampledTissue:
    """Sample a source on a grid, averaged over thin slices of about ``thin_slice_mm``."""
    shares: dict[str, Array] = {}
    for slab, tissue, share in mean_fractions(source, grid, thin_slice_mm):
        if share.any():
            shares.setdefault(tissue, np.zeros(grid.shape, np.float32))[..., slab] += share
    return SampledTissue(source, grid, tuple(shares.items()), depth_of(source, grid))


def tissue_on(source: TissueSource, grid: Grid) -> NDArray[np.bool_]:
    """Return which voxels of a grid contain more brain tissue than CSF and membranes.

    Microbleeds lie only there: a dark spot in a sulcus or ventricle is almost always a vessel or a calcification.
    """
    share = np.zeros(grid.shape, np.float32)
    for tissue, part in source.fractions(grid):
        if tissue in PARENCHYMA:
            share += part
    return np.asarray(share >= LEAST_TISSUE)


def mean_fractions(source: TissueSource, grid: Grid, thin_slice_mm: float) -> Iterator[tuple[slice, str, Array]]:
    """Yield slabs, tissues and their shares there, averaged over thin slices of about ``thin_slice_mm``."""
    thin = 1 if isinstance(source, SampledTissue) else max(1, round(grid.spacing_mm[2] / thin_slice_mm))
    for slab in _slabs(grid, 0 if isinstance(source, SampledTissue) else thin):
        layers = grid.block((0, 0, slab.start), (*grid.shape[:2], slab.stop - slab.start)).refined((1, 1, thin))
        for tissue, share in source.fractions(layers):
            if thin > 1:
                share = share.reshape(*grid.shape[:2], -1, thin).sum(axis=3) / np.float32(thin)
            yield slab, tissue, share


def depth_of(source: TissueSource, grid: Grid) -> Array:
    """Return the depth in mm of all voxels below the brain's hull, negative outside, computed in slabs."""
    if isinstance(source, SampledTissue):
        return source.depth_on(grid)
    depth = np.empty(grid.shape, np.float32)
    for slab in _slabs(grid, 1):
        depth[..., slab] = source.depth_on(grid.block((0, 0, slab.start), (*grid.shape[:2], slab.stop - slab.start)))
    return depth


def _slabs(grid: Grid, thin: int) -> Iterator[slice]:
    """Yield slabs of about `CHUNK_POINTS` points: few calls for patches, little memory for scans."""
    step = max(1, CHUNK_POINTS // (grid.shape[0] * grid.shape[1] * thin)) if thin else grid.shape[2]
    for first in range(0, grid.shape[2], step):
        yield slice(first, min(first + step, grid.shape[2]))
