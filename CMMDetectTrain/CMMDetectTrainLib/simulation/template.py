"""The MNI152 tissue maps in nilearn's wheel, and maps derived from them: depth, ventricles, sulci, regions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.errors import InputError
from CMMDetectLib.scan import to_voxel, to_world

Array = NDArray[np.float32]
COARSE_MM = 2
REGIONS = (
    "outside",
    "subcortical_white_matter",
    "cortex",
    "basal_ganglia",
    "cerebellum",
    "thalamus",
    "brainstem",
)
"""Region names by label; 0 is outside the brain. Lobar: cortex and subcortical white matter. Deep: basal ganglia,
thalamus. Infratentorial: cerebellum, brainstem."""


@dataclass(frozen=True)
class Nucleus:
    """A deep nucleus on both sides, as an ellipsoid in MNI mm.

    Attributes
    ----------
    tissue : name in `TISSUES`
    center_mm, axes_mm : center and semi-axes of the right one
    turn_deg : rotation about the S axis; if positive, its anterior end is moved medially
    gray_only : whether only gray matter of the template belongs to it
    """

    tissue: str
    center_mm: tuple[float, float, float]
    axes_mm: tuple[float, float, float]
    turn_deg: float = 0.0
    gray_only: bool = False


NUCLEI = (
    Nucleus("thalamus", (11.0, -18.0, 7.0), (8.0, 14.0, 9.0), 25.0),
    Nucleus("caudate", (12.0, 13.0, 8.0), (6.0, 11.0, 12.0), 10.0, gray_only=True),
    Nucleus("caudate", (17.0, -8.0, 21.0), (4.5, 14.0, 5.0), 15.0, gray_only=True),
    Nucleus("putamen", (26.0, 4.0, 1.0), (6.5, 16.0, 10.5), 12.0),
    Nucleus("pallidum", (19.5, -3.0, -1.0), (4.2, 9.0, 6.5), 28.0),
    Nucleus("red_nucleus", (5.0, -20.0, -9.0), (3.0, 3.0, 4.5)),
    Nucleus("nigra", (10.0, -17.0, -12.0), (2.2, 6.5, 3.0), 40.0),
    Nucleus("dentate", (15.0, -57.0, -34.0), (4.5, 8.5, 6.0), 25.0),
)


@dataclass(frozen=True)
class Template:
    """Tissue maps of an average brain, in MNI space.

    Attributes
    ----------
    gray, white : (I, J, K) probabilities, 1 mm
    affine : (4, 4) from voxels of these maps to MNI mm
    depth_mm : depth below the brain's hull, negative outside, on the 2 mm grid
    ventricle_mm : distance to the lateral and third ventricles, on the 2 mm grid
    sulcal : smoothed share of CSF, on the 2 mm grid
    regions : index into `REGIONS`, on the 2 mm grid
    coarse_affine : (4, 4) from voxels of the 2 mm grid to MNI mm
    """

    gray: Array
    white: Array
    affine: NDArray[np.float64]
    depth_mm: Array
    ventricle_mm: Array
    sulcal: Array
    regions: NDArray[np.uint8]
    coarse_affine: NDArray[np.float64]

    def at(self, coarse_map: NDArray[np.generic], points_mm: Array, order: int = 0) -> Array:
        """Interpolate a map on the 2 mm grid at MNI points (N, 3); beyond its border, with the nearest value."""
        index = to_voxel(self.coarse_affine, points_mm).T
        return ndimage.map_coordinates(coarse_map, index, order=order, mode="nearest", output=np.float32)

    def tissue_at(self, points_mm: Array) -> tuple[Array, Array]:
        """Return the probabilities of gray and white matter at MNI points (N, 3)."""
        index = to_voxel(self.affine, points_mm).T.astype(np.float32)
        gray = ndimage.map_coordinates(self.gray, index, order=1, output=np.float32)
        return gray, ndimage.map_coordinates(self.white, index, order=1, output=np.float32)

    @cached_property
    def voxels_by_region(self) -> tuple[NDArray[np.int64], ...]:
        """Voxels (N, 3) of the 2 mm grid in each of the `REGIONS`, more than 2 mm below the brain's hull."""
        deep = self.depth_mm > 2.0
        return tuple(np.argwhere((self.regions == region) & deep) for region in range(len(REGIONS)))

    @cached_property
    def feet_mm(self) -> Array:
        """Nearest point of the brain's hull to each voxel of the 2 mm grid, (I, J, K, 3) MNI mm."""
        smooth = ndimage.gaussian_filter(self.depth_mm, 1.5)
        upward = np.stack(np.gradient(smooth), axis=-1)
        upward /= np.maximum(np.linalg.norm(upward, axis=-1, keepdims=True), 1e-3)
        points = to_world(self.coarse_affine, np.moveaxis(np.indices(smooth.shape), 0, -1))
        # the 2 mm grid runs along the axes of MNI space, perhaps in reverse
        signs = np.sign(np.diag(self.coarse_affine)[:3])
        return (points - self.depth_mm[..., None] * upward * signs).astype(np.float32)

    def height_above_mm(self, level_mm: float) -> Array:
        """Return the height in mm of each voxel of the 2 mm grid above a level of the S axis."""
        heights = self.coarse_affine[2, 2] * np.arange(self.regions.shape[2]) + self.coarse_affine[2, 3] - level_mm
        return np.broadcast_to(heights.astype(np.float32), self.regions.shape)

    @cached_property
    def midplane_depth_mm(self) -> Array:
        """Depth below the hull on the 2 mm grid, dilated across the mid-plane, for structures that run along it."""
        return np.asarray(ndimage.maximum_filter(self.depth_mm, (9, 1, 1)), dtype=np.float32)

    def slopes_of(self, values: Array) -> tuple[Array, Array, Array]:
        """Return the smoothed gradient of a map on the 2 mm grid, along its three axes."""
        i, j, k = (part.astype(np.float32) for part in np.gradient(ndimage.gaussian_filter(values, 1.0)))
        return i, j, k

    @cached_property
    def outward(self) -> tuple[Array, Array, Array]:
        """Direction away from the ventricles, not normalized."""
        return self.slopes_of(self.ventricle_mm)

    @cached_property
    def inward(self) -> tuple[Array, Array, Array]:
        """Direction away from the hull, not normalized."""
        return self.slopes_of(ndimage.gaussian_filter(self.depth_mm, 1.5))

    def points_of(self, chosen: NDArray[np.bool_]) -> Array:
        """Return the MNI points (N, 3) of chosen voxels of the 2 mm grid."""
        return to_world(self.coarse_affine, np.argwhere(chosen)).astype(np.float32)

    def random_points(self, chosen: NDArray[np.bool_], rng: np.random.Generator, count: int) -> Array:
        """Draw MNI points (N, 3) in chosen voxels of the 2 mm grid."""
        voxels = self.points_of(chosen)
        jitter = rng.uniform(-COARSE_MM / 2, COARSE_MM / 2, (count, 3))
        return (voxels[rng.integers(len(voxels), size=count)] + jitter).astype(np.float32)


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Read the maps from nilearn's wheel; nothing is downloaded.

    Raises
    ------
    InputError
        If nilearn is not installed.
    """
    try:
        from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template
    except ImportError:
        raise InputError("simulation needs nilearn's brain maps: pip install cmmdetect[train]") from None
    gray, white = load_mni152_gm_template(resolution=1), load_mni152_wm_template(resolution=1)
    affine = np.asarray(gray.affine, dtype=np.float64)
    gray_map = np.asarray(gray.dataobj, dtype=np.float32)
    white_map = np.asarray(white.dataobj, dtype=np.float32)
    coarse_affine = affine @ np.diag([COARSE_MM, COARSE_MM, COARSE_MM, 1.0])
    thin = (slice(None, None, COARSE_MM),) * 3
    coarse_gray, coarse_white = gray_map[thin], white_map[thin]
    brain = coarse_gray + coarse_white
    depth = _signed_depth_mm(brain > 0.5)
    mni = to_world(coarse_affine, np.moveaxis(np.indices(brain.shape), 0, -1)).astype(np.float32)
    ventricles = _ventricles(brain, depth, mni)
    distance = ndimage.distance_transform_edt(~ventricles, sampling=COARSE_MM).astype(np.float32)
    sulcal = ndimage.gaussian_filter(1.0 - np.clip(brain, 0, 1), 1.0).astype(np.float32)
    regions = _regions(coarse_gray, coarse_white, mni)
    return Template(gray_map, white_map, affine, depth, distance, sulcal, regions, coarse_affine)


def inside_nucleus(points_mm: Array, nucleus: Nucleus, scale: float = 1.0) -> Array:
    """Return the distance of MNI points (..., 3) from the center of a nucleus, which is 1 at its surface."""
    angle = np.deg2rad(nucleus.turn_deg)
    x = np.abs(points_mm[..., 0]) - np.float32(nucleus.center_mm[0])
    y = points_mm[..., 1] - np.float32(nucleus.center_mm[1])
    z = points_mm[..., 2] - np.float32(nucleus.center_mm[2])
    across = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    along = np.float32(np.cos(angle)) * y - np.float32(np.sin(angle)) * x
    a, b, c = (np.float32(scale * axis) for axis in nucleus.axes_mm)
    return np.sqrt((across / a) ** 2 + (along / b) ** 2 + (z / c) ** 2)


def _signed_depth_mm(brain: NDArray[np.bool_]) -> Array:
    padded = np.pad(brain, 16)
    inner = (slice(16, -16),) * 3
    hull = ndimage.binary_fill_holes(ndimage.binary_closing(padded, iterations=6)[inner] | brain)
    inside = ndimage.distance_transform_edt(hull, sampling=COARSE_MM)
    # skull and scalp do not follow the concavities of the brain
    smooth_hull = ndimage.gaussian_filter(ndimage.binary_closing(padded, iterations=12).astype(np.float32), 3.0) > 0.45
    outside = ndimage.distance_transform_edt(~(smooth_hull[inner] | hull), sampling=COARSE_MM)
    return np.asarray(ndimage.gaussian_filter(inside - outside, 0.7), dtype=np.float32)


def _ventricles(brain: Array, depth: Array, mni: Array) -> NDArray[np.bool_]:
    x, y, z = np.abs(mni[..., 0]), mni[..., 1], mni[..., 2]
    box = (x < 38) & (y > -55) & (y < 40) & (z > -12) & (z < 34) & ~((x < 3) & (y < -30))
    return (brain < 0.5) & (depth > 24) & box


def below_tentorium(points_mm: Array) -> NDArray[np.bool_]:
    """Return which MNI points (..., 3) lie below the tentorium; valid behind the tips of the temporal lobes."""
    return np.asarray(points_mm[..., 2] < -8 - 0.3 * np.abs(points_mm[..., 0]))


def _regions(gray: Array, white: Array, mni: Array) -> NDArray[np.uint8]:
    """Label the 2 mm grid with planes and ellipsoids, enough to distinguish lobar, deep and infratentorial."""
    x, y, z = np.abs(mni[..., 0]), mni[..., 1], mni[..., 2]
    brain = gray + white > 0.6
    regions = np.where(gray > white, 2, 1)
    deep = [n for n in NUCLEI if n.tissue in ("caudate", "putamen", "pallidum")]
    basal = np.minimum.reduce([inside_nucleus(mni, nucleus, 1.15) for nucleus in deep]) < 1
    capsule = (x > 7) & (x < 31) & (y > -25) & (y < 22) & (z > -5) & (z < 18) & (white > 0.5)
    regions[basal | capsule] = 3
    regions[inside_nucleus(mni, NUCLEI[0], 1.1) < 1] = 5
    cerebellum = below_tentorium(mni) & (y < -38) & (y > -78 + 0.9 * (z + 20)) & (x < 55)
    regions[cerebellum] = 4
    stem = (x < np.where(z > -18, 14, 18)) & (y > -44) & (y < -8 + 0.25 * (z + 10)) & (z < -4)
    regions[stem & (z > -75)] = 6
    return np.where(brain, regions, 0).astype(np.uint8)
