"""A randomly folded cortex, the dural membranes, and white matter hyperintensities.

The average brain has blurred sulci that are the same for everybody. A folded cortex has sheets of CSF perpendicular to
the brain's hull, at the zeros of a random field, each with a depth of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.scan import to_voxel

from .template import COARSE_MM, Template

Array = NDArray[np.float32]
DEEPEST_FOLD_MM = 22.0
"""Below this depth, the tissue borders are those of the template."""
EDGE_MM = 0.7
FALX_EDGE_MM = ((-95.0, -42.0, -32.0, 0.0, 28.0, 45.0, 62.0), (-15.0, 2.0, 18.0, 36.0, 30.0, 4.0, -14.0))
"""Lower edge of the falx, y and z in MNI mm: above the corpus callosum, down to the crista galli and the tentorium."""


@dataclass(frozen=True)
class Folding:
    """Sulci of one person.

    Attributes
    ----------
    maps : (I, J, K, 2) on the template's 2 mm grid: signed distance to the nearest sheet of CSF and height above the
        bottom of its sulcus, mm
    sulcus_mm : half width of a sulcus
    cortex_mm : thickness of the cortex
    """

    maps: Array
    sulcus_mm: float
    cortex_mm: float

    def tissue(self, sheet: Array, above: Array, depth: Array) -> tuple[Array, Array]:
        """Return the share of brain and that of white matter in it, from both maps and the depth below the hull."""
        aside = np.abs(sheet)
        wide = self.sulcus_mm * np.clip(above / 4.0, 0.0, 1.0)
        brain = np.clip((aside - wide) / EDGE_MM + 0.5, 0.0, 1.0)
        brain[above <= 0.0] = 1.0
        from_sulcus = np.hypot(np.maximum(aside - wide, 0.0), np.maximum(-above, 0.0))
        white = np.clip((np.minimum(from_sulcus, depth) - self.cortex_mm) / EDGE_MM + 0.5, 0.0, 1.0)
        return brain, white


def draw_folding(template: Template, rng: np.random.Generator, old: float) -> Folding:
    """Draw a folding: sulci 9 to 13 mm apart and 6 to 20 mm deep that widen with age (``old``, from 0 to 1)."""
    shape = template.depth_mm.shape
    width = float(rng.uniform(1.1, 1.6))
    foot = to_voxel(template.coarse_affine, template.feet_mm.reshape(-1, 3)).T.astype(np.float32)

    def over_hull(sigma: float) -> Array:
        noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
        field = ndimage.map_coordinates(noise, foot, order=1, mode="nearest", output=np.float32).reshape(shape)
        return field / np.float32(noise.std())

    field = over_hull(width)
    slopes = np.gradient(field, np.float32(COARSE_MM))
    slope = np.sqrt(sum(part**2 for part in slopes))
    typical = 1.0 / (np.sqrt(2.0) * width * COARSE_MM)
    sheet = field / np.maximum(slope, 0.6 * typical)
    bottom = np.clip(rng.uniform(11.0, 15.0) + 4.0 * over_hull(4.0), 5.0, 20.0)
    above = bottom - np.maximum(template.depth_mm, 0.0)
    maps = np.stack([sheet, above], axis=-1).astype(np.float32)
    return Folding(maps, float(rng.uniform(0.25, 0.7) + 0.8 * old * rng.random()), float(rng.uniform(2.1, 3.1)))


@dataclass(frozen=True)
class Membranes:
    """Falx and tentorium, and the CSF around them.

    Attributes
    ----------
    half_mm : half thickness of the membranes
    gap_mm : half width of the fissure that contains them
    """

    half_mm: float
    gap_mm: float

    def shares(self, bent: Array, depth: Array) -> tuple[NDArray[np.intp], Array, Array]:
        """Return the indices of points near the membranes, and their shares of dura and of the whole fissure."""
        x, y, z = bent.T
        falx = (np.abs(x) < 6.0) & (depth > -2.0) & (z > np.interp(y, *FALX_EDGE_MM))
        falx &= depth < 27.0 - 0.17 * np.minimum(y, 0.0)
        sheet = 2.0 - 0.4 * np.abs(x) + 0.3 * (y + 40.0)
        notch = np.hypot(x / 17.0, (y + 28.0) / 24.0) < 1.0
        tent = (np.abs(z - sheet) < 6.0) & (y < -32.0) & (depth > -2.0) & (np.abs(x) < 58.0) & ~notch & ~falx
        near = np.flatnonzero(falx | tent)
        away = np.where(falx[near], np.abs(x[near]), np.float32(0.85) * np.abs(z[near] - sheet[near]))
        gap = np.where(falx[near], self.gap_mm, 0.6 * self.gap_mm)
        dura = np.clip((self.half_mm - away) / EDGE_MM + 0.5, 0.0, 1.0)
        return near, dura.astype(np.float32), np.clip((gap - away) / EDGE_MM + 0.5, 0.0, 1.0).astype(np.float32)


def draw_membranes(rng: np.random.Generator, old: float) -> Membranes:
    """Draw the thickness of the membranes and of the fissures."""
    half = float(rng.uniform(0.35, 0.8))
    return Membranes(half, half + float(rng.uniform(0.1, 0.8) + 1.2 * old * rng.random()))


@dataclass(frozen=True)
class WhiteMatterLesions:
    """White matter hyperintensities: periventricular rims and round foci.

    Attributes
    ----------
    rim_mm : width of the periventricular rim
    centers_mm, radii_mm : centers (N, 3) and radii (N,) of the foci, template mm
    """

    rim_mm: float
    centers_mm: Array
    radii_mm: Array

    def share(self, bent: Array, ventricle_mm: Array) -> Array:
        """Return the share of hyperintensities in white matter."""
        share = np.clip((np.float32(self.rim_mm) - ventricle_mm) / 2.0 + 0.5, 0.0, 1.0).astype(np.float32)
        if not len(bent):
            return share
        reach = float(self.radii_mm.max(initial=0.0)) + 1.0
        inside = ((self.centers_mm > bent.min(axis=0) - reach) & (self.centers_mm < bent.max(axis=0) + reach)).all(1)
        for center, radius in zip(self.centers_mm[inside], self.radii_mm[inside], strict=True):
            near = np.flatnonzero((np.abs(bent - center) < radius + 1.0).all(axis=1))
            distance = np.linalg.norm(bent[near] - center, axis=1)
            share[near] = np.maximum(share[near], np.clip((radius - distance) / 1.5 + 0.5, 0.0, 1.0))
        return share


def draw_white_matter_lesions(template: Template, rng: np.random.Generator, old: float) -> WhiteMatterLesions:
    """Draw hyperintensities, whose number increases with age (``old``, from 0 to 1)."""
    count = int(rng.poisson(rng.gamma(1.0, 4.0 + 24.0 * old)))
    white = template.voxels_by_region[1]
    voxels = white[rng.integers(len(white), size=count)]
    centers = voxels @ template.coarse_affine[:3, :3].T + template.coarse_affine[:3, 3]
    radii = np.minimum(1.8 * np.exp(0.5 * rng.standard_normal(count)), 7.0)
    rim = float(rng.uniform(0.0, 1.5) + 6.0 * old * rng.random() ** 2)
    return WhiteMatterLesions(rim, centers.astype(np.float32), radii.astype(np.float32))
