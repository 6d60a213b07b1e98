"""From a point that a reader marked to the lesion's mask (paper, section 3.1).

The paper grows a region by intensity and by distance to the seed, at most 5 voxels of 0.8 mm in plane and 3 of 3 mm
through plane. Here intensity is judged against the tissue around, so that no scan has to be normalized.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .candidates import sphere_diameter
from .errors import InputError
from .frst import resolved_axes
from .orientation import slice_axis
from .scan import Scan, to_voxel, to_world

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Index = NDArray[np.int_]
Box = tuple[slice, slice, slice]

BACKGROUND_MM = 8.0  # tissue so near to the seed is the first guess of the background
RING_MM = 2.0  # width of the ring around the grown region that is the second
FEWEST_VALUES = 20  # from fewer the background is not told
SMOOTHING_MM = 0.3  # before the extremum is looked for: noise in one voxel does not make a lesion
FAR_EXTREMUM = 0.3  # share of contrast that an extremum at the snapping distance must have more than one at the seed
VISIBLE_DROP = 0.27  # a voxel that has lost this share of the surrounding signal looks dark
VISIBLE_SPREADS = 6.0  # so far above its surroundings a voxel looks bright on QSM, which has no true zero
LEAST_SHARE, MOST_SHARE = 0.25, 0.6  # bounds of the share of the contrast that is needed; half is the half-maximum
STRICTER = (0.0, 0.15, 0.3)  # added to that share in turn, until the region stands out from what is around it
LEAST_CONTRAST = 1.8  # spreads above the brightest tenth of the surroundings; noise alone does in 2 %
LEAST_DROP = 0.1  # dark lesions have lost at least this share of the surrounding signal
SURE_DROP = 0.4  # so much darker than the darkest tenth of its surroundings is a lesion, however they vary
CORE_MM = 1.5  # the core, the widest place of a region, is looked for this near to the extremum
NARROW, NEAR, ROUND = 0.5, 1.25, 2.0  # core radii: a vessel ends at ROUND, where it is thinner than NARROW at NEAR
SLENDER, TALL = 1.15, 1.5  # so many times as long as wide in plane, or as high as wide from cap to cap, is a vessel
FAR_MM = 1e3  # away is whatever lies in another, thick slice


class GrowthFlag(StrEnum):
    """What a user should know about a region.

    `NO_LESION`: nothing at the point stands out and the region is empty. `VESSEL`: the region followed a vessel and
    was cut back to its core. `CAPPED`: the region reaches the largest extent allowed; the lesion may be larger.
    """

    NO_LESION = "no_lesion"
    VESSEL = "vessel"
    CAPPED = "capped"


@dataclass(frozen=True)
class GrowthSettings:
    """How far and how freely a region grows.

    Attributes
    ----------
    in_plane_vox, through_plane_vox : largest distance to the lesion's center, in voxels (paper: 5 and 3)
    snap_mm : the seed moves to the strongest extremum this near
    tolerance : divides the contrast that a voxel needs; above 1 regions become larger, unless they reach a vessel and
        are cut back
    distance_penalty : what the needed share of contrast rises by from the center to the largest distance
    """

    in_plane_vox: int = 5
    through_plane_vox: int = 3
    snap_mm: float = 2.0
    tolerance: float = 1.0
    distance_penalty: float = 0.15


@dataclass(frozen=True)
class GrownLesion:
    """A region and what is measured of it.

    Attributes
    ----------
    mask : bool, on the voxels of `box`; empty if there is no lesion
    box : ``scan.array[box]`` lies under the mask
    position_mm : the extremum that the seed moved to, RAS
    volume_mm3, diameter_mm : of the mask, and of the sphere of that volume
    contrast : extremum against surroundings, in units of the scan, positive if as expected of a lesion
    contrast_to_noise : the same in spreads (1.4826 median absolute deviations) of the surroundings
    flags : what a user should know
    """

    mask: BoolArray
    box: Box
    position_mm: tuple[float, float, float]
    volume_mm3: float
    diameter_mm: float
    contrast: float
    contrast_to_noise: float
    flags: tuple[GrowthFlag, ...]

    @property
    def found(self) -> bool:
        """Whether there is a lesion at the point."""
        return GrowthFlag.NO_LESION not in self.flags


@dataclass(frozen=True)
class _Neighborhood:
    """The voxels around a seed; positions are voxel indices in it."""

    values: FloatArray  # lesions bright
    dark: bool  # lesions in the scan
    tissue: BoolArray  # not the zeros around a stripped brain
    start_vox: Index
    spacing_mm: NDArray[np.float64]
    caps_vox: Index
    thick: BoolArray  # axes along which the shape of a lesion cannot be seen


@dataclass(frozen=True)
class _Background:
    """Median, 90th percentile and robust spread of the tissue around a lesion, lesions bright."""

    level: float
    high: float
    spread: float


def grow_lesion(scan: Scan, position_mm: ArrayLike, settings: GrowthSettings | None = None) -> GrownLesion:
    """Grow the lesion at a point.

    Parameters
    ----------
    scan : any spacing and units; its modality says whether lesions are dark or bright
    position_mm : (3,) RAS millimetres
    settings : see `GrowthSettings`

    Raises
    ------
    InputError
        If the point lies outside the scan.
    """
    return grow_at_voxel(scan, to_voxel(scan.affine, position_mm), settings)


def grow_at_voxel(scan: Scan, seed_vox: ArrayLike, settings: GrowthSettings | None = None) -> GrownLesion:
    """Grow the lesion at a voxel, (3,) continuous indices of ``scan.array``; else as `grow_lesion`."""
    settings = settings or GrowthSettings()
    seed = np.asarray(seed_vox, np.float64)
    if not lies_inside(scan, seed):
        raise InputError(f"{scan.name}: voxel ({', '.join(f'{index:.0f}' for index in seed)}) is outside the scan")
    near = _cut_out(scan, seed, settings)
    seed = seed - near.start_vox
    squared = _squared_distance(near.values.shape, seed, near.spacing_mm)
    ball = near.tissue & (squared <= max(BACKGROUND_MM, near.spacing_mm.max()) ** 2)
    background = _measure(near.values[ball]) or _Background(0.0, 0.0, 0.0)
    # the ball holds the lesion, so its brightest tenth is taken to be that of a normal distribution
    background = replace(background, high=background.level + 1.28 * background.spread)
    peak, height = _snap(near, seed, background, settings.snap_mm)
    capped = None
    for stricter in STRICTER:
        mask, flags, around = _region(near, peak, height, background, settings, stricter)
        if not _stands_out(height, around, near.dark):
            continue
        lesion = _measured(scan, near, mask, peak, height, around, flags)
        if GrowthFlag.CAPPED not in flags:
            return lesion
        capped = capped or lesion
    return capped or _measured(scan, near, np.zeros_like(mask), peak, height, background, {GrowthFlag.NO_LESION})


def lies_inside(scan: Scan, position_vox: ArrayLike) -> bool:
    """Whether a position in continuous voxel indices lies in a voxel of the scan."""
    rounded = np.rint(position_vox)
    return bool((rounded >= 0).all() and (rounded < scan.array.shape).all())


def _cut_out(scan: Scan, seed_vox: NDArray[np.float64], settings: GrowthSettings) -> _Neighborhood:
    """Copy the voxels that matter for a seed."""
    spacing = np.array(scan.spacing_mm)
    caps = np.full(3, settings.in_plane_vox)
    caps[slice_axis(scan.spacing_mm)] = settings.through_plane_vox
    reach = np.ceil(np.maximum(BACKGROUND_MM / spacing, 1.5 * caps + settings.snap_mm / spacing)).astype(int)
    middle = np.rint(seed_vox).astype(int)
    start = np.maximum(middle - reach, 0)
    i, j, k = (slice(low, high) for low, high in zip(start, middle + reach + 1, strict=True))
    values = scan.array[i, j, k]
    thick = ~np.isin(np.arange(3), resolved_axes(values.shape, scan.spacing_mm))
    bright = -values if scan.modality.lesions_are_dark else values
    return _Neighborhood(
        bright, scan.modality.lesions_are_dark, _without_outer_zeros(values), start, spacing, caps, thick
    )


def _without_outer_zeros(values: FloatArray) -> BoolArray:
    """Mark everything but the zeros that go on beyond the neighborhood: there a brain was cut out."""
    if values.all():
        return np.ones(values.shape, bool)
    labels, _ = ndimage.label(values == 0)
    faces = [np.take(labels, side, axis=axis).ravel() for axis in range(3) for side in (0, -1)]
    return ~np.isin(labels, np.setdiff1d(np.concatenate(faces), 0))


def _measure(values: FloatArray) -> _Background | None:
    """Measure the surroundings, or give None where there are too few voxels."""
    if values.size < FEWEST_VALUES:
        return None
    level, high = (float(value) for value in np.percentile(values, (50, 90)))
    return _Background(level, high, 1.4826 * float(np.median(np.abs(values - np.float32(level)))))


def _snap(
    near: _Neighborhood, seed: NDArray[np.float64], background: _Background, snap_mm: float
) -> tuple[Index, float]:
    """Find the strongest extremum near the seed, between two of like strength the nearer, and its height.

    It is looked for in slightly blurred values, so that noise in one voxel does not make a lesion.
    """
    reach = np.ceil((snap_mm + 3 * SMOOTHING_MM) / near.spacing_mm).astype(int) + 1
    start = np.maximum(np.rint(seed).astype(int) - reach, 0)
    i, j, k = (slice(low, low + 2 * size + 1) for low, size in zip(start, reach, strict=True))
    tissue = near.tissue[i, j, k]
    distance = np.sqrt(_squared_distance(tissue.shape, seed - start, near.spacing_mm))
    filled = np.where(tissue, near.values[i, j, k], np.float32(background.level))
    smooth = ndimage.gaussian_filter(filled, SMOOTHING_MM / near.spacing_mm, truncate=3)
    smooth = np.where(tissue & ((distance <= snap_mm) | (distance == distance.min())), smooth, -np.inf)
    rise = max(float(smooth.max()) - background.level, 0.0)
    price = FAR_EXTREMUM * rise * (distance / max(snap_mm, float(distance.min()), 1e-6)) ** 2
    at = np.unravel_index(np.argmax(smooth - price), smooth.shape)
    return np.array(at) + start, float(smooth[at]) if tissue[at] else background.level


def _stands_out(height: float, around: _Background, dark: bool) -> bool:
    """Whether there is a lesion: above noise, or so dark that shading and anatomy around it do not matter."""
    drop, rise = height - around.level, height - around.high
    if not dark:
        return rise > LEAST_CONTRAST * around.spread
    signal = abs(around.level)
    return drop > LEAST_DROP * signal and rise > min(LEAST_CONTRAST * around.spread, SURE_DROP * signal)


def _region(
    near: _Neighborhood, peak: Index, height: float, background: _Background, settings: GrowthSettings, stricter: float
) -> tuple[BoolArray, set[GrowthFlag], _Background]:
    """Grow a region, measure what is around it, and grow it once more from its center against that."""
    center, mask, flags = peak, np.zeros(near.values.shape, bool), set[GrowthFlag]()
    for _ in range(2):
        contrast = height - background.level
        if contrast <= 0:
            break
        share = (_needed_share(contrast, background, near.dark) + stricter) / settings.tolerance
        grown = _grow(near, (near.values - background.level) / contrast - share, peak, center, settings)
        mask, flags = _without_vessel(near, grown, peak, center)
        # what surrounds a region at its caps may still be lesion
        around = None if GrowthFlag.CAPPED in flags else _measure(near.values[_ring(near, grown)])
        background = around or background
        # a void has its extremum anywhere: the caps are laid around its centroid
        shift = np.rint(np.argwhere(mask).mean(axis=0)).astype(int) - peak
        center = peak + np.clip(shift, -(near.caps_vox // 2), near.caps_vox // 2)
    return mask, flags, background


def _needed_share(contrast: float, background: _Background, dark: bool) -> float:
    """Share of the lesion's contrast that a voxel needs to belong to it: what the eye sees, about half.

    The half-maximum is right for a faint lesion. A signal void looks wider, since a quarter of it already is dark.
    """
    visible = VISIBLE_DROP * abs(background.level) if dark else VISIBLE_SPREADS * background.spread
    return float(np.clip(visible / contrast, LEAST_SHARE, MOST_SHARE))


def _grow(near: _Neighborhood, excess: FloatArray, peak: Index, center: Index, settings: GrowthSettings) -> BoolArray:
    """Grow from the extremum to voxels whose excess pays for their distance to the center, within the caps."""
    caps = near.caps_vox
    start = np.maximum(center - caps, 0)
    i, j, k = (slice(low, high) for low, high in zip(start, center + caps + 1, strict=True))
    inner = excess[i, j, k]
    in_plane = np.arange(3) != slice_axis(near.spacing_mm.tolist())
    in_disk = _squared_distance(inner.shape, center - start, in_plane) <= settings.in_plane_vox**2
    price = settings.distance_penalty * _squared_distance(inner.shape, center - start, 1 / (caps + 0.5))
    allowed = near.tissue[i, j, k] & in_disk
    piece = _piece_at(allowed & (inner >= price), peak - start)
    mask = np.zeros(excess.shape, bool)
    mask[i, j, k] = ndimage.binary_fill_holes(piece) & allowed
    return mask


def _squared_distance(
    shape: tuple[int, ...], position: NDArray[Any], scale: NDArray[Any], free: NDArray[Any] | None = None
) -> FloatArray:
    """Squared distance of every voxel to a position, each axis scaled; on each axis some voxels may be ``free``."""
    squared = np.zeros((1, 1, 1), np.float32)
    for axis, length in enumerate(shape):
        offset = np.abs(np.arange(length, dtype=np.float32) - position[axis])
        if free is not None:
            offset = np.maximum(offset - free[axis], 0)
        across = [1 if other != axis else -1 for other in range(3)]
        squared = squared + ((offset * scale[axis]) ** 2).astype(np.float32).reshape(across)
    return squared


def _piece_at(wanted: BoolArray, position: Index) -> BoolArray:
    """The face-connected piece at a position, at least the voxel there."""
    wanted[tuple(position)] = True
    labels, _ = ndimage.label(wanted)
    return np.asarray(labels == labels[tuple(position)])


def _without_vessel(
    near: _Neighborhood, mask: BoolArray, peak: Index, center: Index
) -> tuple[BoolArray, set[GrowthFlag]]:
    """Cut a region that follows a vessel back to its core, and say so; say also if it reaches the caps."""
    box = _bounding_box(mask)
    start, inner = np.array([part.start for part in box]), mask[box]
    ends = np.array([[at - part.start, part.stop - 1 - at] for part, at in zip(box, center, strict=True)])
    at_caps = ends >= near.caps_vox[:, None]
    through = np.arange(3) == slice_axis(near.spacing_mm.tolist())
    # of a region that ends at the caps on all sides nobody knows whether it is higher than wide
    if not _follows_vessel(near, inner, bool(at_caps[through].all() and not at_caps[~through].all())):
        return mask, {GrowthFlag.CAPPED} if at_caps.any() else set()
    sampling = np.where(near.thick, FAR_MM, near.spacing_mm)
    depth = ndimage.distance_transform_edt(np.pad(inner, 1), sampling=sampling)[1:-1, 1:-1, 1:-1]
    close = _squared_distance(inner.shape, peak - start, near.spacing_mm) <= CORE_MM**2
    core = np.array(np.unravel_index(np.argmax(np.where(close, depth, 0)), inner.shape))
    radius_mm = float(depth[tuple(core)])
    half_mm = NARROW * radius_mm
    narrow = ndimage.distance_transform_edt(depth <= half_mm, sampling=sampling) > half_mm
    # half a voxel is free through thick slices: a lesion in two of them is no longer than one in one
    distance = np.sqrt(_squared_distance(inner.shape, core, near.spacing_mm, near.thick / 2))
    kept = inner & (distance <= np.where(narrow, NEAR, ROUND) * radius_mm)
    cut = np.zeros_like(mask)
    cut[box] = _piece_at(kept, peak - start)
    return cut, {GrowthFlag.VESSEL}


def _follows_vessel(near: _Neighborhood, mask: BoolArray, through_caps: bool) -> bool:
    """Whether a region is slender in plane, or runs through all slices that it may and is longer than wide.

    Half a voxel at either end is taken off the length and given to the width: that much the grid may have made.
    """
    plane = np.arange(3) != slice_axis(near.spacing_mm.tolist())
    positions_mm = np.argwhere(mask)[:, plane] * near.spacing_mm[plane]
    offsets = positions_mm - positions_mm.mean(axis=0)
    width_mm, length_mm = np.ptp(offsets @ np.linalg.eigh(offsets.T @ offsets)[1], axis=0)
    pixel_mm = near.spacing_mm[plane].max()
    height_mm = float((np.array(mask.shape) * near.spacing_mm)[~plane][0])
    runs_through = through_caps and height_mm > TALL * (width_mm + pixel_mm)
    return bool(runs_through or length_mm > SLENDER * (width_mm + 2 * pixel_mm))


def _ring(near: _Neighborhood, mask: BoolArray) -> BoolArray:
    """Tissue around a region, beside it where slices are thick."""
    box = _bounding_box(mask)
    middle = np.array([(part.start + part.stop - 1) / 2 for part in box])
    within = near.thick * np.array([(part.stop - part.start) / 2 for part in box])
    scale = np.where(near.thick, FAR_MM, near.spacing_mm)
    distance = np.sqrt(_squared_distance(mask.shape, middle, scale, within))
    edge = float(distance[mask].max()) + 1.5 * near.spacing_mm[~near.thick].min()
    return near.tissue & (distance > edge) & (distance <= edge + RING_MM)


def _bounding_box(mask: BoolArray) -> Box:
    i, j, k = ndimage.find_objects(mask.astype(np.uint8))[0]
    return i, j, k


def _measured(
    scan: Scan,
    near: _Neighborhood,
    mask: BoolArray,
    peak: Index,
    height: float,
    background: _Background,
    flags: set[GrowthFlag],
) -> GrownLesion:
    """Put a region back into the scan; an empty one has a box of one voxel."""
    box = _bounding_box(mask) if mask.any() else tuple(slice(at, at + 1) for at in peak.tolist())
    i, j, k = (slice(part.start + by, part.stop + by) for part, by in zip(box, near.start_vox.tolist(), strict=True))
    x, y, z = to_world(scan.affine, peak + near.start_vox).tolist()
    volume_mm3 = float(np.count_nonzero(mask) * np.prod(near.spacing_mm))
    contrast = height - background.level
    return GrownLesion(
        mask=mask[box].copy(),
        box=(i, j, k),
        position_mm=(x, y, z),
        volume_mm3=volume_mm3,
        diameter_mm=sphere_diameter(volume_mm3),
        contrast=contrast,
        contrast_to_noise=contrast / max(background.spread, float(np.finfo(np.float32).tiny)),
        flags=tuple(sorted(flags)),
    )
