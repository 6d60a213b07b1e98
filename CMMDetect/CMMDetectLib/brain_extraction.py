"""Where the brain is in a scan of a head: BET, HD-BET, or on QSM where the map is quiet.

No maintained package finds the brain on SWI and T2* from a plain wheel without a download, so the paper's choice,
the brain extraction tool (BET; Smith 2002, Hum. Brain Mapp. 17:143), is implemented here from its publication.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from .errors import InputError
from .scan import Modality, Scan, read_mask, write_image

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Faces = NDArray[np.intp]

METHODS = ("bet", "hd-bet")
WORK_MM = 2.0
#: A field of view with two sides below this holds a piece of tissue, not a head.
HEAD_MM = 90.0

#: BET's constants (Smith 2002): radii of curvature between which the surface is smoothed more and more, how far
#: inward the darkest and the brightest signal is looked for, the fraction between them that is the brain's edge.
CURVATURE_MM = (3.33, 10.0)
SEARCH_MM = (20.0, 10.0)
EDGE_FRACTION, STEP_FRACTION = 0.5, 0.05
COARSE_LEVEL = 3
#: The surface stands when it moves by less than this, on average, in so many steps.
COARSE_TOLERANCE_MM, FINE_TOLERANCE_MM = 0.6, 0.25
CHECK_STEPS, MOST_STEPS = 25, 300
#: How far the surface may leave the field of view, so that a brain cut by it is not rounded off.
OVERHANG_MM = 10.0
CLOSING_MM, CLOSING_GRID_MM = 8.0, 3.0
LEAST_DENT_MM = 1.0
#: On an unmasked QSM: least natural log of noise over brain variance, radius of the opening.
QUIET_LOG_RATIO, QUIET_CORE_MM = 2.0, 8.0


def extract_brain(scan: Scan, method: str = "bet") -> tuple[BoolArray, str]:
    """Find the brain in a scan of a head (paper, section 2.1).

    BET cannot work on QSM, where tissue is 0 and air is noise: there the brain is where the map is quiet.

    Parameters
    ----------
    scan : any modality, spacing and orientation
    method : 'bet', or 'hd-bet' where the package HD_BET is installed

    Returns
    -------
    mask : on the scan's grid
    source : how it came to be, 'bet', 'hd-bet' or 'quiet'

    Raises
    ------
    InputError
        If the method is unknown, not installed or fails.
    """
    if method not in METHODS:
        raise InputError(f"unknown brain extraction '{method}': choose {' or '.join(METHODS)}")
    if scan.modality is Modality.QSM:
        mask, method = _quiet_region(scan), "quiet"
    else:
        mask = _hd_bet(scan) if method == "hd-bet" else bet(scan.array, scan.spacing_mm)
    return mask, method


def largest_part(mask: BoolArray) -> BoolArray:
    """Keep the largest 26-connected part of a mask."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def resample(
    array: NDArray[np.generic],
    spacing_mm: Sequence[float],
    target_mm: Sequence[float],
    shape: Sequence[int] | None = None,
) -> FloatArray:
    """Resample onto a grid with the same center: linear where it gets finer, triangle-weighted means where coarser.

    Parameters
    ----------
    array : 3D
    spacing_mm, target_mm : voxel size before and after
    shape : of the result; None covers the extent of `array`

    >>> resample(np.ones((4, 4, 2)), (1, 1, 4), (2, 2, 2)).shape
    (2, 2, 4)
    """
    out = np.asarray(array, np.float32)
    for axis in range(3):
        extent = out.shape[axis] * spacing_mm[axis] / target_mm[axis]
        size = int(np.ceil(extent - 1e-6)) if shape is None else shape[axis]
        weights = _resampling_weights(out.shape[axis], spacing_mm[axis], size, target_mm[axis])
        out = np.moveaxis(np.tensordot(weights, out, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(out)


def _resampling_weights(size: int, spacing_mm: float, target_size: int, target_mm: float) -> FloatArray:
    source = (np.arange(size) - (size - 1) / 2) * spacing_mm
    target = (np.arange(target_size) - (target_size - 1) / 2) * target_mm
    target = np.clip(target, source[0], source[-1])
    weights = np.clip(1 - np.abs(target[:, None] - source) / max(spacing_mm, target_mm), 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def on_work_grid(array: NDArray[np.generic], spacing_mm: Sequence[float]) -> FloatArray:
    """Resample onto the isotropic grid of `WORK_MM` on which heads are looked at."""
    return resample(array, spacing_mm, (WORK_MM,) * 3)


def _quiet_region(scan: Scan) -> BoolArray:
    """Find the brain on an unmasked QSM: where the map is not the noise of air and bone.

    The local standard deviation is split in two by Otsu's rule; the brain is the largest quiet part after an
    opening, because scalp is quiet too, but thin and beyond the noisy skull.
    """
    mean = ndimage.uniform_filter(on_work_grid(scan.array, scan.spacing_mm), 3)
    square = ndimage.uniform_filter(on_work_grid(scan.array**2, scan.spacing_mm), 3)
    level = np.log(np.maximum(square - mean**2, 1e-8 * square.max()))
    quiet = level < _otsu(level)
    if level[~quiet].mean() - level[quiet].mean() < QUIET_LOG_RATIO:
        raise InputError(
            f"{scan.path or scan.name}: no background noise tells where the brain is; give it with --mask"
        )
    core = largest_part(ndimage.distance_transform_edt(quiet, WORK_MM) > QUIET_CORE_MM)
    region = ndimage.distance_transform_edt(~core, WORK_MM) <= QUIET_CORE_MM
    return resample(region, (WORK_MM,) * 3, scan.spacing_mm, scan.array.shape) > 0.5


def _otsu(values: FloatArray) -> float:
    """Threshold that best splits values into two classes (Otsu 1979)."""
    counts, edges = np.histogram(values, 256)
    center = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts)[:-1], counts.sum()
    sum_below, sum_all = np.cumsum(counts * center)[:-1], (counts * center).sum()
    between = (sum_all * below - sum_below * total) ** 2 / np.maximum(below * (total - below), 1)
    return float(edges[1:-1][between.argmax()])


def _hd_bet(scan: Scan) -> BoolArray:
    """Run HD-BET 2 (Isensee 2019) as a process of its own: it forks workers and takes over standard output."""
    if importlib.util.find_spec("HD_BET") is None or importlib.util.find_spec("HD_BET.entry_point") is None:
        raise InputError("HD-BET 2 is not installed; install hd-bet, or take --brain-extraction bet")
    with tempfile.TemporaryDirectory() as folder:
        image, out = Path(folder, "scan.nii.gz"), Path(folder, "brain.nii.gz")
        write_image(image, scan.array, scan.affine)
        options = ["-device", "cpu", "--disable_tta", "--save_bet_mask", "--no_bet_image"]
        command = [sys.executable, "-m", "HD_BET.entry_point", "-i", str(image), "-o", str(out), *options]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        mask = Path(folder, "brain_bet.nii.gz")
        if ended.returncode or not mask.is_file():
            reason = (ended.stderr.strip().splitlines() or ["it wrote no mask"])[-1]
            raise InputError(f"HD-BET failed ({reason}); take --brain-extraction bet, or give the brain with --mask")
        return read_mask(mask, scan)


def bet(array: FloatArray, spacing_mm: Sequence[float]) -> BoolArray:
    """Find the brain in a head with the brain extraction tool (Smith 2002).

    A tessellated sphere grows until it meets the dark skull: vertices slide toward the mean of their neighbors,
    are smoothed by curvature and move along their normal by where the darkest signal inward lies between the
    head's darkest and the local brightest. Lengths are in mm on a 2 mm working grid. Beyond the publication:
    a coarse surface is fitted again from the center and radius it found, until the center stays, so that a neck
    does not pull it down; the volume's border goes on outside, so that a cut brain is not rounded off; dents
    that dark lesions leave in the rim are closed (8 mm).

    Parameters
    ----------
    array : magnitude image of a head
    spacing_mm : voxel size

    Returns
    -------
    bool array, the space inside the skull (BET keeps CSF that is as bright as tissue)
    """
    head = _read_head(array, spacing_mm)
    if head.high <= head.low:
        return np.zeros(array.shape, bool)
    vertices, topology = _fit(head)
    mask = _inside(vertices, topology.faces, array.shape, spacing_mm)
    if not mask.any():
        return mask
    return mask | _dents(vertices, topology.faces, array.shape, spacing_mm)


@dataclass(frozen=True)
class _Head:
    """A head on the working grid, its border continued outward, with BET's robust intensities."""

    signal: FloatArray
    padded: FloatArray
    low: float
    high: float

    @property
    def threshold(self) -> float:
        """Between air and head."""
        return self.low + 0.1 * (self.high - self.low)

    @property
    def reach_mm(self) -> FloatArray:
        """How far from the center a vertex may go, along each axis."""
        return (np.array(self.signal.shape) * WORK_MM / 2 + OVERHANG_MM).astype(np.float32)

    def inward(self, vertices: FloatArray, normals: FloatArray) -> FloatArray:
        """Signal along the inward normals, (depth, vertex), in steps of the working grid."""
        shape = self.padded.shape
        start = (vertices / np.float32(WORK_MM) + np.array(shape, np.float32) / 2).T[:, None]
        depth = np.arange(SEARCH_MM[0] / WORK_MM + 1, dtype=np.float32)[:, None]
        i, j, k = (start - depth * normals.T[:, None]).astype(np.int32)
        return self.padded.ravel()[(i * shape[1] + j) * shape[2] + k]


def _read_head(array: FloatArray, spacing_mm: Sequence[float]) -> _Head:
    signal = on_work_grid(array, spacing_mm)
    low, high = (float(value) for value in np.percentile(signal, (2, 98)))
    pad = int(np.ceil((OVERHANG_MM + SEARCH_MM[0]) / WORK_MM)) + 1
    return _Head(signal, np.pad(signal, pad, mode="edge"), low, high)


def _fit(head: _Head) -> tuple[FloatArray, _Topology]:
    """Fit a coarse surface until its center stays, then a fine one."""
    bright = head.signal > head.threshold
    center, radius = _center_and_radius(np.where(bright, np.minimum(head.signal, head.high) - head.low, 0), bright)
    sphere, topology = _sphere(COARSE_LEVEL)
    for _ in range(4):
        radius = min(radius, HEAD_MM)
        axes = np.ogrid[tuple(slice(0, size) for size in head.signal.shape)]
        offset_mm = [
            (axis - (axis.size - 1) / 2) * WORK_MM - middle for axis, middle in zip(axes, center, strict=True)
        ]
        ball = sum(offset**2 for offset in offset_mm) < radius**2
        tissue = max(head.threshold, float(np.median(head.signal[ball])))
        vertices = _evolve(
            (sphere * radius / 2 + center).astype(np.float32), topology, head, tissue, COARSE_TOLERANCE_MM
        )
        inside = _inside(vertices, topology.faces, head.signal.shape, (WORK_MM,) * 3)
        if not inside.any():
            return vertices, topology
        before, (center, radius) = center, _center_and_radius(inside, inside)
        if np.linalg.norm(center - before) < 3:
            break
    tissue = max(head.threshold, float(np.median(head.signal[inside])))
    vertices, _ = _midpoints(vertices, topology.faces)
    topology = _sphere(COARSE_LEVEL + 1)[1]
    return _evolve(vertices, topology, head, tissue, FINE_TOLERANCE_MM), topology


def _center_and_radius(weight: NDArray[np.generic], region: BoolArray) -> tuple[NDArray[np.float64], float]:
    """Center of gravity in mm from the middle of the grid, and the radius of a sphere of the region's volume."""
    center = (np.array(ndimage.center_of_mass(weight)) - (np.array(weight.shape) - 1) / 2) * WORK_MM
    return center, float(np.cbrt(3 * np.count_nonzero(region) * WORK_MM**3 / (4 * np.pi)))


def _evolve(vertices: FloatArray, topology: _Topology, head: _Head, tissue: float, tolerance_mm: float) -> FloatArray:
    """Move the surface until it stands; vertices in mm from the middle of the grid, `tissue` the brain's median."""
    sharp, flat = 1 / CURVATURE_MM[0], 1 / CURVATURE_MM[1]
    near = int(SEARCH_MM[1] / WORK_MM) + 1
    reach_mm = head.reach_mm
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
        signal = head.inward(vertices, normals)
        darkest = np.maximum(head.low, np.minimum(tissue, signal.min(axis=0)))
        brightest = np.minimum(tissue, np.maximum(head.threshold, signal[:near].max(axis=0)))
        force = 2 * ((darkest - head.low) / (brightest - head.low) - EDGE_FRACTION)
        outward = (smoothing - 0.5) * along + STEP_FRACTION * edge_mm * force
        vertices = np.clip(vertices + 0.5 * to_mean + outward[:, None] * normals, -reach_mm, reach_mm)
    return vertices


def _inside(vertices: FloatArray, faces: Faces, shape: Sequence[int], spacing_mm: Sequence[float]) -> BoolArray:
    """Voxels, of any grid with the same middle, around which the surface winds: a face counts for all above it."""
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
    """What a closing adds to the inside of the surface, on a coarse grid that reaches past the field of view.

    Depth is interpolated between the coarse voxels, and what is hardly deeper than the surface is left: coarse voxels
    taken whole would stand on the brain as little blocks, which look like microbleeds.
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
    """Tessellate the unit sphere: an icosahedron whose faces are divided in four `level` times."""
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
    """Divide every face in four; the new vertices come after the old ones."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = inverse.reshape(3, -1) + len(vertices)
    a, b, c = faces.T
    parts = ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))
    return np.concatenate([vertices, vertices[unique].mean(axis=1)]), np.concatenate([np.stack(p, 1) for p in parts])
