"""Removal of vessels, sulci and other elongated structures, the main mimics of microbleeds.

Section 2.1 of the paper, after Sundaresan et al. 2022: Frangi vesselness and eigenvalues of the structure tensor,
K-means, and inpainting with the mean of the valid neighbors. Lengths are in mm, so the same vessels are found at
every voxel size.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from .frst import relative_to_median, resolved_axes, smooth_inside
from .inpainting import inpaint
from .isolated_peaks import isolated_peaks
from .symmetric_matrices import eigenvalues, eigenvector
from .vessel_segments import segment_lengths_mm

FloatArray = NDArray[np.float32]
Indices = NDArray[np.intp]

RIM_MM = 2.0  # no vessels are sought this close to the mask's edge, where partial volume with air looks like a sheet
SIGMAS_MM = (0.6, 0.9, 1.3)  # ridges of about 0.8-3.5 mm
THICK_SLICES = 2.5  # times the pixel; 0.45 x 0.45 x 1 mm still shows a vein as a tube in 3D, not as a row of blobs
STANDOUT = 2.5  # times the median curvature: candidates for ridges (5 % of the voxels in pure noise)
STRUCTURE = 3.0  # times the median curvature: Frangi's c
BLOBNESS = 0.3  # Frangi's beta; vesselness halves at a ratio of 0.35, an ellipse of about 1 : 1.7
REACH = 2.5  # sigmas to either side within which a ridge must fall off
SLOPE = 0.9  # largest rise along a ridge, relative to its strength
WINDOW_MM = 1.2  # half the window of the structure tensor
COHERENCE_FLOOR = 4.0  # times the median energy; below it orientation is noise
MIN_VESSELNESS = 0.2  # of a vessel voxel
MIN_CENTER = 0.3  # vesselness of the vessel cluster's center; below it the cluster is noise, and nothing is removed
SAMPLES_PER_LEVEL = 500
ROUND = 0.6  # ratio of weakest to strongest curvature above which a peak is a blob; the end of a tube has about 0.5
MIN_LENGTH_MM = 7.0  # of a removed segment; nine of ten microbleeds are shorter, whatever their shape
LONG_MM = 14.0  # of a segment; no microbleed is that long, even with blooming
ALONE_MM = 3.5  # a peak that ends within it is not part of a vessel; half of `MIN_LENGTH_MM`
BROAD_ALONE_MM = 4.5  # the same for a broad peak
BROAD = 0.5  # height of a broad peak at the coarsest scale relative to the finest; a vessel of 2.5 mm has 0.4
HALO_MM = 0.8  # around a ridge, for its partial volume
BLOOM = 2.5  # times as high as wide a microbleed on SWI may be, since the lobes of its dipole field are dark too
THREADS = 2


@dataclass(frozen=True)
class _Grid:
    """The voxel grid, the axes along which the width of a vessel is resolved, and the axis along which spots bloom."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    axes: tuple[int, ...]
    bloom_axis: int | None

    def in_voxels(self, length_mm: float) -> list[float]:
        """A length in voxels along each axis; 0 along an axis that is not resolved."""
        return [length_mm / s if axis in self.axes else 0.0 for axis, s in enumerate(self.spacing_mm)]

    @property
    def height(self) -> tuple[float, ...]:
        """Voxel size along each axis relative to the pixel; above 1 only along the slice axis."""
        return tuple(s / min(s, sorted(self.spacing_mm)[1]) for s in self.spacing_mm)

    @property
    def bloom(self) -> tuple[float, ...]:
        """Largest ratio of height to width of a microbleed along each axis: `height`, and `BLOOM` where it blooms."""
        can_bloom = [axis == self.bloom_axis and axis in self.axes for axis in range(3)]
        return tuple(max(h, BLOOM) if can else h for h, can in zip(self.height, can_bloom, strict=True))

    @property
    def strides(self) -> tuple[int, ...]:
        """Distance in memory between neighbors along each axis, in voxels."""
        return (self.shape[1] * self.shape[2], self.shape[2], 1)

    def neighbors(self, axes: tuple[int, ...]) -> list[int]:
        """Distances in memory to the 26 (or, in a plane, 8) neighbors."""
        steps = product(*((-1, 0, 1) if axis in axes else (0,) for axis in range(3)))
        return [int(np.dot(step, self.strides)) for step in steps if any(step)]

    def ball(self, radius_mm: float, stretch: tuple[float, ...] = (1.0, 1.0, 1.0)) -> NDArray[np.bool_]:
        """A ball (in a plane, a disk), stretched along the axes, that reaches at least the next voxel."""
        radii = [f * r for f, r in zip(stretch, self.in_voxels(radius_mm), strict=True)]
        reach = [max(r, 1.0) + 1e-3 if r else 0.5 for r in radii]
        x, y, z = np.ogrid[tuple(slice(-int(r), int(r) + 1) for r in reach)]
        return (x / reach[0]) ** 2 + (y / reach[1]) ** 2 + (z / reach[2]) ** 2 <= 1


@dataclass(frozen=True)
class _Level:
    """One scale: the smoothed image and its median curvature (sigma^2 times the Laplacian)."""

    sigma_mm: float
    image: FloatArray
    noise: float
    stands_out: NDArray[np.bool_]


@dataclass(frozen=True)
class _Ridges:
    """Features of the candidate voxels at the scale of the strongest curvature, except for `vesselness`."""

    vesselness: FloatArray  # highest over the scales, in [0, 1]
    strength: FloatArray  # strongest curvature, times sigma^2
    roundness: FloatArray  # weakest curvature, times sigma^2
    roundness_in_slices: FloatArray  # the same with the slice axis counted in slices
    level: NDArray[np.intp]  # number of the scale


def remove_vessels(
    image: FloatArray, mask: NDArray[np.bool_], spacing_mm: Sequence[float], bloom_axis: int | None = None
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Find vessels and sulci and replace them by inpainted tissue.

    Parameters
    ----------
    image
        (i, j, k), vessels and lesions bright, any scale and offset.
    mask
        The brain. Nothing outside it has any influence.
    spacing_mm
        Voxel size. If slices are more than 2.5 times as thick as the pixel, each slice is searched by itself.
    bloom_axis
        On SWI the axis closest to the main field, along which a microbleed looks elongated.

    Returns
    -------
    The image without vessels (float32) and the voxels that were inpainted (bool), on the given grid.

    Notes
    -----
    * Features of candidate voxels (curvature well above its median): Frangi's vesselness over three scales, with the
      ratio of the weakest to the strongest curvature as blobness, so that both tubes and sheets score high and round
      structures do not; and the coherence of the structure tensor. K-means with two clusters is started at the least
      and the most vessel-like voxel and uses equally many samples of every level of vesselness: vessels are rare, and
      plain K-means would rather split the tissue.
    * Narrow: within 2.5 sigma to either side the ridge must fall off, and it must not rise along itself. So neither
      edges nor the shells of large lesions count as ridges.
    * Elongated: connected segments (across slices) shorter than 7 mm are kept; in thick slices their in-plane length
      counts.
    * Guard: a peak whose weakest curvature is 0.6 of its strongest is a blob, and a ball around it is kept even where
      a vessel touches it, except for voxels in which a ridge is 1.7 times as strong.
    * Blooming: on SWI a microbleed extends into the slices above and below it. Where slices are thicker than the
      pixel, a structure that would be round if slices were as thick as the pixel is kept too, unless it is part of a
      segment of 14 mm or more. In thin slices, so is a structure 2.5 times as long along ``bloom_axis`` as wide. The
      limit of 7 mm, but not that of 14 mm, applies to lengths shortened across the slices by the same factors.
    * Isolated: segments are networks of all veins and sulci that touch. A bright spot among them is kept if it ends
      within 3.5 mm, or 4.5 mm if it is broad (or as many slices as that is pixels), or if it is clearly brighter than
      what continues from it to one side.
    * No vessels are sought within 2 mm of the mask's edge. A vessel that crosses thick slices looks like a microbleed
      in each of them; it is kept for the later stages to reject, as is a lesion-sized bulge of a vessel. Lesions no
      wider than the vessel that they touch cannot be told from it.
    """
    image, mask = np.ascontiguousarray(image, np.float32), np.ascontiguousarray(mask, bool)
    spacing = tuple(float(s) for s in spacing_mm)
    grid = _Grid(image.shape, spacing, resolved_axes(image.shape, spacing, THICK_SLICES), bloom_axis)
    vessels = _find_vessels(image, mask, grid)
    return inpaint(image, vessels, mask), vessels


def _find_vessels(image: FloatArray, mask: NDArray[np.bool_], grid: _Grid) -> NDArray[np.bool_]:
    core = _without_rim(mask, grid)
    if not core.any():
        return core
    with ThreadPoolExecutor(THREADS) as threads:
        values = relative_to_median(image, core)
        levels = list(threads.map(lambda sigma: _level(values, core, sigma, grid), SIGMAS_MM))
        index = _candidates(levels, core, grid)
        if index.size == 0:
            return np.zeros_like(core)
        measured = list(threads.map(lambda level: _measure(level, index, grid), levels))
    ridges = _strongest(measured)
    is_vessel = _vessel_cluster(ridges.vesselness, _coherence(levels[0].image, index, grid))
    vessels = np.zeros_like(core)
    vessels.ravel()[index[is_vessel]] = True
    is_round = _round_structures(ridges.roundness, ridges, levels, index, grid, stretch=(1, 1, 1))
    may_bloom = _round_structures(ridges.roundness_in_slices, ridges, levels, index, grid, stretch=grid.bloom)
    halo = grid.ball(HALO_MM)
    length_mm, without_bloom_mm = segment_lengths_mm(vessels, halo, grid.spacing_mm, grid.axes, grid.bloom)
    short = (without_bloom_mm >= MIN_LENGTH_MM) & (length_mm < LONG_MM) & ~is_round & ~may_bloom
    removed = ndimage.binary_dilation(short, halo) & ~may_bloom
    removed |= ndimage.binary_dilation((length_mm >= LONG_MM) & ~is_round, halo)
    removed &= mask & ~is_round
    return removed & ~_isolated(removed, levels, index, grid)


def _without_rim(mask: NDArray[np.bool_], grid: _Grid) -> NDArray[np.bool_]:
    """The mask eroded by `RIM_MM`; the border of the grid does not count as an edge."""
    size = [2 * int(np.ceil(r - 1e-3)) + 1 for r in grid.in_voxels(RIM_MM)]  # files store 1 mm as 0.99999999
    return ndimage.minimum_filter(mask.view(np.uint8), size, mode="nearest").view(bool)


def _level(values: FloatArray, core: NDArray[np.bool_], sigma_mm: float, grid: _Grid) -> _Level:
    smooth = smooth_inside(values, core, grid.in_voxels(sigma_mm))
    curvature = np.zeros_like(smooth)
    for axis in grid.axes:
        weights = np.array([1, -2, 1]) * (sigma_mm / grid.spacing_mm[axis]) ** 2
        curvature += ndimage.correlate1d(smooth, weights, axis, mode="nearest")
    inside = curvature[core]
    # In an image without noise the median curvature is 0; then the spread of its values sets the scale.
    noise = max(float(np.median(np.abs(inside))), 2e-3 * float(values[core].std()))
    return _Level(sigma_mm, smooth, noise, curvature < -STANDOUT * noise)


def _candidates(levels: list[_Level], core: NDArray[np.bool_], grid: _Grid) -> Indices:
    """Flat indices of the voxels that are clearly convex at some scale and have all their neighbors."""
    chosen = np.zeros_like(core)
    for level in levels:
        chosen |= level.stands_out
    chosen &= core
    for axis in grid.axes:
        chosen.swapaxes(0, axis)[[0, -1]] = False
    return np.flatnonzero(chosen)


def _measure(level: _Level, index: Indices, grid: _Grid) -> tuple[FloatArray, ...]:
    """Vesselness, strength, roundness and roundness in slices at one scale."""
    hessian = _hessian(level, index, grid)
    values = eigenvalues(hessian)
    strength = np.maximum(-values[0], np.float32(1e-12 * level.noise + 1e-30))
    ratio = values[-1] / -strength
    ratio_in_slices = _ratio_in_slices(hessian, grid)
    blobness = np.exp(-((np.maximum(ratio, ratio_in_slices) / BLOBNESS) ** 2) / 2)
    structure = 1 - np.exp(-(values**2).sum(axis=0) / (2 * (STRUCTURE * level.noise) ** 2))
    vesselness = np.where(values[0] < 0, blobness * structure, 0).astype(np.float32)
    likely = np.flatnonzero(vesselness > MIN_VESSELNESS)
    is_ridge = _is_ridge(level, index[likely], hessian[..., likely], values[:, likely], grid)
    vesselness[likely[~is_ridge]] = 0
    return vesselness, strength, np.maximum(ratio, 0) * strength, np.maximum(ratio_in_slices, 0) * strength


def _ratio_in_slices(hessian: FloatArray, grid: _Grid) -> FloatArray:
    """Ratio of weakest to strongest curvature with the slice axis measured in slices; 0 if only a plane is resolved.

    On SWI the lobes of its dipole field extend into the slices above and below a microbleed, which makes it as many
    voxels high as wide; a vein that crosses the slices is still a tube.
    """
    if len(hessian) == 2:
        return np.zeros(hessian.shape[-1], np.float32)
    scale = np.array(grid.bloom, np.float32)
    values = eigenvalues(hessian * (scale[:, None] * scale)[..., None])
    return np.where(values[0] < 0, values[-1] / np.minimum(values[0], np.float32(-1e-30)), 0)


def _is_ridge(
    level: _Level, index: Indices, hessian: FloatArray, values: FloatArray, grid: _Grid
) -> NDArray[np.bool_]:
    """Whether the image falls off to both sides within `REACH` and is about level along the structure."""
    image, strength = level.image.ravel(), -values[0]
    across, along = eigenvector(hessian, values, 0), eigenvector(hessian, values, len(values) - 1)
    position = np.stack(np.unravel_index(index, grid.shape)).astype(np.float32)
    step, rise = np.zeros_like(position), np.zeros_like(strength)
    for row, axis in enumerate(grid.axes):
        to_voxel, stride = level.sigma_mm / grid.spacing_mm[axis], grid.strides[axis]
        step[axis] = across[row] * np.float32(REACH * to_voxel)
        rise += along[row] * (image[index + stride] - image[index - stride]) * np.float32(to_voxel / 2)
    one, other = (
        ndimage.map_coordinates(level.image, position + side, order=1, mode="nearest") for side in (step, -step)
    )
    is_narrow = image[index] - np.maximum(one, other) > strength / 2
    return is_narrow & (np.abs(rise) < SLOPE * strength)


def _hessian(level: _Level, index: Indices, grid: _Grid) -> FloatArray:
    """(d, d, N) second differences, times sigma^2."""
    image, count = level.image.ravel(), len(grid.axes)
    step = [(grid.strides[axis], level.sigma_mm / grid.spacing_mm[axis]) for axis in grid.axes]
    hessian = np.empty((count, count, index.size), np.float32)
    middle = 2 * image[index]
    for row, (a, weight) in enumerate(step):
        hessian[row, row] = (image[index + a] - middle + image[index - a]) * weight**2
        for column, (b, other) in enumerate(step[:row]):
            cross = image[index + a + b] + image[index - a - b] - image[index + a - b] - image[index - a + b]
            hessian[row, column] = hessian[column, row] = cross * (weight * other / 4)
    return hessian


def _strongest(measured: list[tuple[FloatArray, ...]]) -> _Ridges:
    vesselness, *others = (np.stack(values) for values in zip(*measured, strict=True))
    level = others[0].argmax(axis=0)
    strength, roundness, in_slices = (values[level, np.arange(level.size)] for values in others)
    return _Ridges(vesselness.max(axis=0), strength, roundness, in_slices, level)


def _coherence(image: FloatArray, index: Indices, grid: _Grid) -> FloatArray:
    """Coherence of the gradients around a voxel: (l_max - l_min) / (l_max + l_min) of the structure tensor.

    The tensor is sampled on 3 x 3 (x 3) points, which is enough to tell a line or sheet from a blob.
    """
    flat, count = image.ravel(), len(grid.axes)
    position = np.stack(np.unravel_index(index, grid.shape))
    tensor = np.zeros((count, count, index.size), np.float32)
    reach = [max(1, round(r)) if r else 0 for r in grid.in_voxels(WINDOW_MM)]
    for shift in product(*((-r, 0, r) if r else (0,) for r in reach)):
        at = np.zeros(index.size, np.intp)
        for axis, stride in enumerate(grid.strides):
            margin = int(axis in grid.axes)
            at += np.clip(position[axis] + shift[axis], margin, grid.shape[axis] - 1 - margin) * stride
        gradient = [
            (flat[at + grid.strides[axis]] - flat[at - grid.strides[axis]]) / np.float32(grid.spacing_mm[axis])
            for axis in grid.axes
        ]
        for row, column in product(range(count), repeat=2):
            tensor[row, column] += gradient[row] * gradient[column]
    values = eigenvalues(tensor)
    floor = COHERENCE_FLOOR * np.median(np.trace(tensor)) + np.float32(1e-30)
    return (values[-1] - values[0]) / (values[-1] + values[0] + floor)


def _vessel_cluster(vesselness: FloatArray, coherence: FloatArray) -> NDArray[np.bool_]:
    """The candidates that K-means assigns to the vessels."""
    features = np.stack([vesselness, coherence], axis=1)
    order = np.argsort(vesselness)  # so that the sample does not depend on the orientation of the grid
    groups = np.split(order, np.searchsorted(vesselness[order], np.arange(1, 10) / 10))
    sample = np.concatenate([features[g[:: max(1, g.size // SAMPLES_PER_LEVEL)]] for g in groups])
    extremes = sample.sum(axis=1)
    start = sample[[extremes.argmin(), extremes.argmax()]]
    if np.ptp(extremes) == 0:
        return np.zeros(vesselness.size, bool)
    (tissue, vessel), _ = kmeans2(sample, start, minit="matrix", iter=20)
    if vessel[0] < MIN_CENTER:
        return np.zeros(vesselness.size, bool)
    is_nearer = ((features - vessel) ** 2).sum(axis=1) < ((features - tissue) ** 2).sum(axis=1)
    return is_nearer & (vesselness > MIN_VESSELNESS)


def _round_structures(
    roundness: FloatArray,
    ridges: _Ridges,
    levels: list[_Level],
    index: Indices,
    grid: _Grid,
    stretch: tuple[float, ...],
) -> NDArray[np.bool_]:
    """Balls around the peaks that are blobs, without the voxels in which a ridge is much stronger."""
    noise = np.array([level.noise for level in levels])[ridges.level]
    is_blob = (roundness > ROUND * ridges.strength) & (roundness > STRUCTURE * noise)
    whole = np.zeros(grid.shape, np.float32)
    flat = whole.ravel()
    flat[index] = roundness
    peaks, at_level = index[is_blob], ridges.level[is_blob]
    is_peak = _is_peak(flat, peaks, grid)
    shield = np.zeros(grid.shape, np.float32)
    for number, level in enumerate(levels):
        centers = peaks[is_peak & (at_level == number)]
        # The response is strongest at sigma = radius / sqrt(3) for a ball, radius / sqrt(2) for a disk; add its rim.
        ball = grid.ball(np.sqrt(len(grid.axes)) * level.sigma_mm + HALO_MM / 2, stretch)
        position = np.stack(np.unravel_index(centers, grid.shape), axis=1)
        for offset in np.argwhere(ball) - np.array(ball.shape) // 2:
            around = np.clip(position + offset, 0, np.array(grid.shape) - 1)
            np.maximum.at(shield, tuple(around.T), flat[centers])
    kept = shield > 0
    kept.ravel()[index] &= shield.ravel()[index] > ROUND * ridges.strength
    return kept


def _is_peak(values: FloatArray, index: Indices, grid: _Grid) -> NDArray[np.bool_]:
    is_peak = np.ones(index.size, bool)
    for step in grid.neighbors(grid.axes):
        is_peak &= values[index] >= values[index + step]
    return is_peak


def _isolated(removed: NDArray[np.bool_], levels: list[_Level], index: Indices, grid: _Grid) -> NDArray[np.bool_]:
    """Isolated spots in or next to what would be removed: small ones and, in thin slices, broad ones."""
    near = ndimage.binary_dilation(removed, grid.ball(HALO_MM))

    def among(chosen: Indices, level: _Level, alone_mm: float) -> NDArray[np.bool_]:
        chosen = chosen[(near & level.stands_out).ravel()[chosen]]
        peaks = chosen[_is_peak(level.image.ravel(), chosen, grid)]
        isolated = np.zeros(grid.shape, bool)
        # a single stretch if nothing blooms
        for stretch, on_vessel in {grid.bloom: False, grid.height: True}.items():
            voxel = [s / h for s, h in zip(grid.spacing_mm, stretch, strict=True)]
            isolated |= isolated_peaks(level.image, peaks, grid.ball(alone_mm, stretch), voxel, on_vessel)
        return isolated

    isolated = among(index, levels[0], ALONE_MM)
    if len(grid.axes) == 3:
        is_broad = levels[-1].image.ravel()[index] > BROAD * levels[0].image.ravel()[index]
        isolated |= among(index[is_broad], levels[-1], BROAD_ALONE_MM)
    return isolated
