"""The voxel grid of a scan or of a part of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from CMMDetectLib.scan import spacing_of, to_voxel, to_world, translated

from .protocols import Protocol

Array = NDArray[np.float32]
THINNED_MM = 2.5


@dataclass(frozen=True)
class Grid:
    """Positions of voxels in the world.

    The main magnetic field points along the S axis of the world, as in a scanner with the patient supine.

    Attributes
    ----------
    shape : number of voxels along i, j and k
    affine : (4, 4) from voxel indices to RAS mm
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing along i, j and k."""
        return spacing_of(self.affine)

    @property
    def b0_direction(self) -> tuple[float, float, float]:
        """Unit vector of the main field along the axes of the grid.

        >>> Grid((4, 4, 4), np.diag([-0.5, 0.5, 2.0, 1.0])).b0_direction
        (0.0, 0.0, 1.0)
        """
        i, j, k = self.affine[2, :3] / self.spacing_mm + 0.0  # + 0.0 turns -0.0 into 0.0
        return float(i), float(j), float(k)

    def block(self, start_vox: tuple[int, int, int], shape: tuple[int, int, int]) -> Grid:
        """Return the grid of a block of voxels of this grid, which may extend beyond it."""
        return Grid(shape, translated(self.affine, start_vox))

    def contains(self, point_mm: NDArray[np.float64], margin_vox: float = 0.0) -> bool:
        """Whether a world point lies in the grid, at least ``margin_vox`` from its border."""
        index = to_voxel(self.affine, point_mm)
        return bool((index >= margin_vox).all() and (index <= np.array(self.shape) - 1 - margin_vox).all())

    def refined(self, factors: tuple[int, int, int]) -> Grid:
        """Split each voxel into ``factors`` smaller ones along each axis; the extent is unchanged.

        >>> fine = Grid((2, 2, 2), np.eye(4)).refined((4, 4, 2))
        >>> fine.shape, fine.affine[:3, 3].tolist()
        ((8, 8, 4), [-0.375, -0.375, -0.25])
        """
        step = np.array(factors, dtype=np.float64)
        affine = self.affine.copy()
        affine[:3, :3] = self.affine[:3, :3] / step
        affine[:3, 3] = to_world(self.affine, 0.5 / step - 0.5)
        i, j, k = (size * factor for size, factor in zip(self.shape, factors, strict=True))
        return Grid((i, j, k), affine)

    def points(self) -> NDArray[np.float32]:
        """Return the position of each voxel, (I, J, K, 3) RAS mm."""
        directions = self.affine[:3, :3].astype(np.float32)
        axes = [
            np.arange(size, dtype=np.float32)[:, None] * directions[:, axis] for axis, size in enumerate(self.shape)
        ]
        origin = self.affine[:3, 3].astype(np.float32)
        return axes[0][:, None, None] + axes[1][None, :, None] + (axes[2] + origin)[None, None]


def draw_grid(protocol: Protocol, rng: np.random.Generator) -> Grid:
    """Draw the grid of a scan of a head at the origin: tilt of the slices, center and directions of the axes."""
    angles = rng.uniform(-protocol.tilt_deg, protocol.tilt_deg, 2) * (1.0, 0.3)
    tilt = Rotation.from_euler("xy", angles, degrees=True).as_matrix()
    directions = np.array([rng.choice([-1.0, 1.0]), rng.choice([-1.0, 1.0]), 1.0])
    affine = np.eye(4)
    affine[:3, :3] = tilt * directions * protocol.spacing_mm
    middle = (np.array(protocol.shape) - 1) / 2.0
    affine[:3, 3] = rng.uniform(-4.0, 4.0, 3) - affine[:3, :3] @ middle
    return Grid(protocol.shape, affine)


def slowly_varying(grid: Grid, function: Callable[[Array], Array], thinned_mm: float = THINNED_MM) -> Array:
    """Evaluate a function from points (N, 3) to (N, C) on a coarser grid and interpolate it, (I, J, K, C)."""
    steps = [max(1, int(thinned_mm / spacing)) for spacing in grid.spacing_mm]
    i, j, k = ((size - 1) // step + 2 for size, step in zip(grid.shape, steps, strict=True))
    thinned = Grid((i, j, k), grid.affine @ np.diag([*steps, 1.0]))
    values = np.moveaxis(function(thinned.points().reshape(-1, 3)).reshape(i, j, k, -1), 3, 0)
    to_i, to_j, to_k = (
        _linear_steps(nodes, size, step) for nodes, size, step in zip((i, j, k), grid.shape, steps, strict=True)
    )
    values = np.matmul(to_j, np.matmul(values, to_k.T))
    values = np.matmul(to_i, values.reshape(len(values), i, -1)).reshape(-1, *grid.shape)
    return np.ascontiguousarray(np.moveaxis(values, 0, 3), dtype=np.float32)


def _linear_steps(nodes: int, size: int, step: int) -> Array:
    """Return the matrix (size, nodes) of linear interpolation between nodes that are ``step`` apart."""
    low, part = np.divmod(np.arange(size), step)
    matrix = np.zeros((size, nodes), np.float32)
    matrix[np.arange(size), low] = 1.0 - part / step
    matrix[np.arange(size), low + 1] = part / step
    return matrix
