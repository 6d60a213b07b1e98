"""The brain extraction tool (BET; Smith 2002, Hum. Brain Mapp. 17:143), guided by an average brain.

No maintained package extracts the brain on SWI and T2* from a plain wheel without a download, so the method that the
paper uses is implemented here from its publication.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from .average_brain import brain_depth
from .head_grid import HEAD_MM, WORK_MM, BoolArray, FloatArray, Head, affine_on_work_grid, on_work_grid, resample

Faces = NDArray[np.intp]

CURVATURE_MM = (3.33, 10.0)
SEARCH_MM = (20.0, 10.0)
EDGE_FRACTION, STEP_FRACTION = 0.5, 0.05
"""BET's constants (Smith 2002): radii of curvature between which smoothing grows, distances inward within which the
darkest and the brightest signal are searched, the fraction between the two at which the brain ends."""
COARSE_LEVEL, FINE_LEVEL = 3, 4
COARSE_TOLERANCE_MM, FINE_TOLERANCE_MM = 0.6, 0.25
CHECK_STEPS, MOST_STEPS = 25, 300
"""The surface has converged when it moves by less than this, on average, in `CHECK_STEPS` steps."""
OVERHANG_MM = 10.0
"""How far the surface may leave the field of view, so that a brain cut by it is not rounded off."""
CLOSING_MM, CLOSING_GRID_MM = 8.0, 3.0
LEAST_DENT_MM = 1.0
GUIDE_MM, MOST_EASED, MOST_HINDERED = 20.0, 0.35, 0.5
"""Distance outside or inside the average brain over which the edge fraction would change by 1, and how far it may fall
(inside) and rise (outside)."""
CERTAIN_MM = 4.0
"""Depth in the average brain from which a voxel counts as brain."""
MOST_ASTRAY_MM = 12.0
"""Mean distance from the average brain's surface above which its registration is taken to have failed."""


def bet(array: FloatArray, spacing_mm: Sequence[float], affine: NDArray[np.float64] | None = None) -> BoolArray:
    """Find the brain in a head with the brain extraction tool (Smith 2002).

    A tessellated sphere grows until it meets the dark skull: vertices slide toward the mean of their neighbors,
    are smoothed by curvature and move along their normal by where the darkest signal inward lies between the
    head's darkest and the local brightest. Lengths are in mm on a 2 mm working grid. Beyond the publication:
    where most of a head is in view, an average brain is registered to it, and the farther outside of that the surface
    gets, the brighter the signal must be for it to grow; in a smaller view a coarse surface is fitted repeatedly from
    the center and radius of the last one until the center stays, so that a neck does not pull it down; the border of
    the volume is continued outward, so that a cut brain is not rounded off; dents that dark lesions leave in the rim
    are closed (8 mm).

    Parameters
    ----------
    array : magnitude image of a head
    spacing_mm : voxel size
    affine : (4, 4), voxel indices to RAS mm; without it, up is not known and no average brain is used

    Returns
    -------
    bool array of the shape of `array`: the space inside the skull (BET keeps CSF that is as bright as tissue)
    """
    head = Head.of(on_work_grid(array, spacing_mm))
    if head.high <= head.low:
        return np.zeros(array.shape, bool)
    vertices = None
    if affine is not None:
        vertices = _fit_guided(head, affine_on_work_grid(affine, array.shape, head.signal.shape))
    if vertices is None:
        vertices = _fit(head)
    faces = _sphere(FINE_LEVEL)[1].faces
    mask = _inside(vertices, faces, array.shape, spacing_mm)
    return mask | _dents(vertices, faces, array.shape, spacing_mm) if mask.any() else mask


class _Surroundings:
    """What a surface meets in a head: the signal, continued beyond the border, and perhaps an average brain."""

    def __init__(self, head: Head, depth_mm: FloatArray | None = None) -> None:
        self.head = head
        self.depth_mm = depth_mm
        pad = int(np.ceil((OVERHANG_MM + SEARCH_MM[0]) / WORK_MM)) + 1
        self._padded = np.pad(head.signal, pad, mode="edge")
        # how far from the center a vertex may go, along each axis
        self.reach_mm = (np.array(head.signal.shape) * WORK_MM / 2 + OVERHANG_MM).astype(np.float32)

    def inward(self, vertices: FloatArray, normals: FloatArray) -> FloatArray:
        """Signal along the inward normals, (depth, vertex), in steps of the working grid."""
        shape = self._padded.shape
        start = (vertices / np.float32(WORK_MM) + np.array(shape, np.float32) / 2).T[:, None]
        depth = np.arange(SEARCH_MM[0] / WORK_MM + 1, dtype=np.float32)[:, None]
        i, j, k = (start - depth * normals.T[:, None]).astype(np.int32)
        return self._padded.ravel()[(i * shape[1] + j) * shape[2] + k]

    def edge_fraction(self, vertices: FloatArray) -> FloatArray | float:
        """Fraction between dark and bright at which the brain ends: higher outside the average brain, lower inside."""
        if self.depth_mm is None:
            return EDGE_FRACTION
        return EDGE_FRACTION + np.clip(-_at(self.depth_mm, vertices) / GUIDE_MM, -MOST_EASED, MOST_HINDERED)


def _at(values: FloatArray, vertices: FloatArray) -> FloatArray:
    """Values of the working grid at vertices; beyond its edge the nearest value."""
    index = vertices.T / WORK_MM + (np.array(values.shape)[:, None] - 1) / 2
    return np.asarray(ndimage.map_coordinates(values, index, order=1, mode="nearest"))


def _fit_guided(head: Head, affine: NDArray[np.float64]) -> FloatArray | None:
    """Fit a surface near the average brain; None where that could not be registered."""
    even = head.evenly_lit()
    depth_mm = brain_depth(head, even, affine)
    if depth_mm is None:
        return None
    inside = depth_mm > 0
    certain = depth_mm > CERTAIN_MM
    if not certain.any():
        return None
    center, radius = _center_and_radius(inside, inside)
    surroundings, tissue = _Surroundings(even, depth_mm), _median(even, certain)
    vertices = _evolve_fine(surroundings, _evolve_coarse(surroundings, center, radius, tissue), tissue)
    in_view = (np.abs(vertices) < np.array(inside.shape) * WORK_MM / 2).all(axis=1)
    astray_mm = np.abs(_at(depth_mm, vertices[in_view])).mean() if in_view.any() else np.inf
    return vertices if astray_mm < MOST_ASTRAY_MM else None


def _fit(head: Head) -> FloatArray:
    """Fit a coarse surface until its center stays, then a fine one."""
    surroundings = _Surroundings(head)
    bright = head.signal > head.threshold
    center, radius = _center_and_radius(np.where(bright, np.minimum(head.signal, head.high) - head.low, 0), bright)
    for _ in range(4):
        radius = min(radius, HEAD_MM)
        axes = np.ogrid[tuple(slice(0, size) for size in head.signal.shape)]
        offset_mm = [
            (axis - (axis.size - 1) / 2) * WORK_MM - middle for axis, middle in zip(axes, center, strict=True)
        ]
        ball = sum(offset**2 for offset in offset_mm) < radius**2
        vertices = _evolve_coarse(surroundings, center, radius, _median(head, ball))
        inside = _inside(vertices, _sphere(COARSE_LEVEL)[1].faces, head.signal.shape, (WORK_MM,) * 3)
        if not inside.any():
            return _refined(vertices)  # empty as well
        before, (center, radius) = center, _center_and_radius(inside, inside)
        if np.linalg.norm(center - before) < 3:
            break
    return _evolve_fine(surroundings, vertices, _median(head, inside))


def _median(head: Head, region: BoolArray) -> float:
    return max(head.threshold, float(np.median(head.signal[region])))


def _center_and_radius(weight: NDArray[np.generic], region: BoolArray) -> tuple[NDArray[np.float64], float]:
    """Center of gravity in mm from the middle of the grid, and the radius of a sphere of the region's volume."""
    center = (np.array(ndimage.center_of_mass(weight)) - (np.array(weight.shape) - 1) / 2) * WORK_MM
    return center, float(np.cbrt(3 * np.count_nonzero(region) * WORK_MM**3 / (4 * np.pi)))


def _evolve_coarse(
    surroundings: _Surroundings, center: NDArray[np.float64], radius: float, tissue: float
) -> FloatArray:
    """Grow a coarse surface from a sphere of half the radius."""
    sphere, topology = _sphere(COARSE_LEVEL)
    start = (sphere * radius / 2 + center).astype(np.float32)
    return _evolve(start, topology, surroundings, tissue, COARSE_TOLERANCE_MM)


def _evolve_fine(surroundings: _Surroundings, coarse: FloatArray, tissue: float) -> FloatArray:
    return _evolve(_refined(coarse), _sphere(FINE_LEVEL)[1], surroundings, tissue, FINE_TOLERANCE_MM)


def _refined(coarse: FloatArray) -> FloatArray:
    return _midpoints(coarse, _sphere(COARSE_LEVEL)[1].faces)[0]


def _evolve(
    vertices: FloatArray, topology: _Topology, surroundings: _Surroundings, tissue: float, tolerance_mm: float
) -> FloatArray:
    """Move the surface until it converges; vertices in mm from the middle of the grid, `tissue` the brain's median."""
    head, reach_mm = surroundings.head, surroundings.reach_mm
    sharp, flat = 1 / CURVATURE_MM[0], 1 / CURVATURE_MM[1]
    near = int(SEARCH_MM[1] / WORK_MM) + 1
    settled = vertices
    for step in range(MOST_STEPS):
        if step % CHECK_STEPS == CHECK_STEPS - 1:
            if np.abs(vertices - settled).max(axis=1).mean() < tolerance_mm:
                break
            settled = vertices
        normals = topology.normals(vertices)
        to_mean = topology.mean_of_neighbors @ vertices - vertices
        along = np.einsum("vi,vi->v", to_mean, normals)
        edge_mm = topology.mean_edge(vertices)
        curvature = 2 * np.abs(along) / edge_mm**2
        smoothing = 0.5 + 0.5 * np.tanh(6 / (sharp - flat) * (curvature - (sharp + flat) / 2))
        signal = surroundings.inward(vertices, normals)
        darkest = np.maximum(head.low, np.minimum(tissue, signal.min(axis=0)))
        brightest = np.minimum(tissue, np.maximum(head.threshold, signal[:near].max(axis=0)))
        force = 2 * ((darkest - head.low) / (brightest - head.low) - surroundings.edge_fraction(vertices))
        outward = (smoothing - 0.5) * along + STEP_FRACTION * edge_mm * force
        vertices = np.clip(vertices + 0.5 * to_mean + outward[:, None] * normals, -reach_mm, reach_mm)
    return vertices


def _inside(vertices: FloatArray, faces: Faces, shape: Sequence[int], spacing_mm: Sequence[float]) -> BoolArray:
    """Voxels inside the surface, on any grid with the same middle; a face adds its winding to all voxels above it."""
    corners = (vertices / np.asarray(spacing_mm) + (np.asarray(shape) - 1) / 2)[faces]
    area = _cross_2d(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    corners, area = corners[area != 0], area[area != 0]
    first = np.maximum(np.ceil(corners[..., :2].min(axis=1)), 0).astype(np.intp)
    last = np.minimum(np.floor(corners[..., :2].max(axis=1)), np.asarray(shape[:2]) - 1).astype(np.intp)
    size = np.maximum(last - first + 1, 0)
    count = size.prod(axis=1)
    face = np.repeat(np.arange(len(corners)), count)
    rank = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    ij = first[face] + np.stack(np.divmod(rank, size[face, 1]), axis=1)
    a, b, c = np.moveaxis(corners[face], 1, 0)
    to_b = _cross_2d(ij - a[:, :2], c - a) / area[face]
    to_c = _cross_2d(b - a, ij - a[:, :2]) / area[face]
    hit = (to_b >= 0) & (to_c >= 0) & (to_b + to_c < 1)
    height = (a + to_b[:, None] * (b - a) + to_c[:, None] * (c - a))[hit, 2]
    k = np.clip(np.ceil(height), 0, shape[2]).astype(np.intp)
    winding = np.zeros((shape[0], shape[1], shape[2] + 1), np.int8)
    np.add.at(winding, (*ij[hit].T, k), np.where(area[face[hit]] < 0, 1, -1).astype(np.int8))
    return np.cumsum(winding, axis=2, dtype=np.int8, out=winding)[..., :-1] > 0


def _cross_2d(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def _dents(vertices: FloatArray, faces: Faces, shape: Sequence[int], spacing_mm: Sequence[float]) -> BoolArray:
    """What a closing adds to the inside of the surface, computed on a coarse grid that reaches past the field of view.

    Depth is interpolated between the coarse voxels, and shallow dents are left open: whole coarse voxels added to the
    brain would be small blocks that look like microbleeds.
    """
    margin = int(np.ceil(CLOSING_MM / CLOSING_GRID_MM)) + 1
    grid_mm = (CLOSING_GRID_MM,) * 3
    size = [int(np.ceil(n * mm / CLOSING_GRID_MM)) + 2 * margin for n, mm in zip(shape, spacing_mm, strict=True)]
    inside = _inside(vertices, faces, size, grid_mm)
    grown = ndimage.distance_transform_edt(~inside, grid_mm) <= CLOSING_MM
    depth_mm = ndimage.distance_transform_edt(grown, grid_mm).astype(np.float32) - CLOSING_MM
    return resample(depth_mm, grid_mm, spacing_mm, shape) > LEAST_DENT_MM


@dataclass(frozen=True)
class _Topology:
    """What does not change while a surface moves."""

    faces: Faces
    edges: Faces
    mean_of_neighbors: sparse.csr_matrix
    faces_of_vertex: sparse.csr_matrix

    def normals(self, vertices: FloatArray) -> FloatArray:
        """Outward unit normals of the vertices, weighted by the area of their faces."""
        a, b, c = (vertices[corner] for corner in self.faces.T)
        (x1, y1, z1), (x2, y2, z2) = (b - a).T, (c - a).T
        of_faces = np.stack([y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2], axis=1)
        normals = self.faces_of_vertex @ of_faces
        return normals / (np.sqrt(np.einsum("vi,vi->v", normals, normals))[:, None] + np.float32(1e-12))

    def mean_edge(self, vertices: FloatArray) -> float:
        """Mean distance between neighbors."""
        along = vertices[self.edges[:, 0]] - vertices[self.edges[:, 1]]
        return float(np.sqrt(np.einsum("ei,ei->e", along, along)).mean())


@cache
def _sphere(level: int) -> tuple[FloatArray, _Topology]:
    """Tessellate the unit sphere: an icosahedron whose faces are divided into four, `level` times."""
    if level == 0:
        vertices, faces = _icosahedron()
    else:
        coarse, topology = _sphere(level - 1)
        vertices, faces = _midpoints(coarse, topology.faces)
        vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    neighbors = sparse.csr_matrix((np.ones(len(edges), np.float32), edges.T), shape=(len(vertices),) * 2)
    mean = sparse.diags(np.float32(1 / np.bincount(edges[:, 0]))) @ neighbors
    owners = (np.ones(faces.size, np.float32), (faces.T.ravel(), np.tile(np.arange(len(faces)), 3)))
    incidence = sparse.csr_matrix(owners, shape=(len(vertices), len(faces)))
    return vertices, _Topology(faces, edges[edges[:, 0] < edges[:, 1]], mean.tocsr(), incidence)


def _icosahedron() -> tuple[FloatArray, Faces]:
    golden = (1 + 5**0.5) / 2
    corners = np.array([(0, one, other * golden) for one in (1, -1) for other in (1, -1)], np.float32)
    vertices = np.concatenate([np.roll(corners, shift, axis=1) for shift in range(3)])
    touch = np.linalg.norm(vertices[:, None] - vertices, axis=2) < 2.1
    faces = np.array([abc for abc in combinations(range(12), 3) if touch[np.ix_(abc, abc)].all()])
    inward = np.linalg.det(vertices[faces]) < 0
    faces[inward] = faces[inward, ::-1]
    return vertices / np.linalg.norm(vertices[0]), faces


def _midpoints(vertices: FloatArray, faces: Faces) -> tuple[FloatArray, Faces]:
    """Divide every face into four; the new vertices follow the old ones."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = inverse.reshape(3, -1) + len(vertices)
    a, b, c = faces.T
    parts = ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))
    return np.concatenate([vertices, vertices[unique].mean(axis=1)]), np.concatenate([np.stack(p, 1) for p in parts])
