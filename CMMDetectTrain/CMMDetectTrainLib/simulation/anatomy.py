"""A random head: the average brain deformed to an individual, with deep nuclei, skull, scalp and air cavities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from .dipole import dipole_field
from .folding import (
    DEEPEST_FOLD_MM,
    Folding,
    Membranes,
    WhiteMatterLesions,
    draw_folding,
    draw_membranes,
    draw_white_matter_lesions,
)
from .grid import Grid, slowly_varying
from .template import NUCLEI, REGIONS, Template, below_tentorium, inside_nucleus, load_template
from .tissues import IRON_RICH, TISSUES

Array = NDArray[np.float32]
LATTICE_MM = 4.0
FIELD_GRID_MM = 4.0
FOLDED_SHARE = 0.75
HEAD_REACH_MM = 32.0
"""Everything farther than this outside the brain's hull is air."""
VENTRICLE_CENTERS_MM = ((14.0, -5.0, 18.0), (-14.0, -5.0, 18.0))
# name, center and semi-axes in MNI mm (of the right one), whether there is a left one
CAVITIES = (
    ("sphenoid_sinus", (6.0, 14.0, -40.0), (9.0, 13.0, 9.0), True),
    ("ethmoid_cells", (7.0, 48.0, -36.0), (7.0, 18.0, 11.0), True),
    ("frontal_sinus", (9.0, 73.0, -18.0), (11.0, 6.0, 13.0), True),
    ("mastoid", (54.0, -38.0, -42.0), (9.0, 10.0, 13.0), True),
    ("ear_canal", (72.0, -24.0, -44.0), (16.0, 4.0, 4.0), True),
    ("maxillary_sinus", (27.0, 44.0, -66.0), (13.0, 15.0, 17.0), True),
    ("pharynx", (0.0, 22.0, -80.0), (10.0, 26.0, 18.0), False),
)


@dataclass(frozen=True)
class Head:
    """The head of one person. World points are RAS mm; the center of the brain lies near the origin.

    Attributes
    ----------
    template : average brain
    pose : (4, 4) affine from world to template mm, applied before the deformation
    bend_mm : (I, J, K, 3) displacement on a lattice in template space
    sulcus_level : share of brain below which a point is CSF; a high level opens the sulci (atrophy)
    layers_mm : thickness of CSF, skull and scalp around the brain's hull
    cavities : (center, semi-axes) of air cavities in MNI mm
    chi_ppm : susceptibility of each tissue (iron depends on age)
    thickness : (I, J, K) smooth random factor of the thickness of the layers, on the lattice
    age_years : age of the person
    folding : individual sulci; None keeps those of the template
    membranes : falx and tentorium
    lesions : white matter hyperintensities
    """

    template: Template
    pose: NDArray[np.float64]
    bend_mm: Array
    sulcus_level: float
    layers_mm: tuple[float, float, float]
    cavities: tuple[tuple[Array, Array], ...]
    chi_ppm: dict[str, float]
    thickness: Array
    age_years: float
    folding: Folding | None
    membranes: Membranes
    lesions: WhiteMatterLesions

    def to_template(self, points_mm: Array) -> Array:
        """Transform points from world to MNI mm, (N, 3)."""
        straight = self._straight(points_mm)
        return straight + self._bend_at(straight)

    def _straight(self, points_mm: Array) -> Array:
        return points_mm @ self.pose[:3, :3].T.astype(np.float32) + self.pose[:3, 3].astype(np.float32)

    def to_world(self, template_mm: Array) -> Array:
        """Transform points from MNI to world mm, (N, 3), inverting `to_template` by fixed-point iteration."""
        straight = np.array(template_mm, dtype=np.float32)
        for _ in range(8):
            straight = template_mm - self._bend_at(straight)
        inverse = np.linalg.inv(self.pose)
        return (straight @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.float32)

    def depth_mm(self, points_mm: Array) -> Array:
        """Return the depth of world points (N, 3) below the brain's hull, negative outside."""
        return self.template.at(self.template.depth_mm, self.to_template(points_mm), order=1)

    def depth_on(self, grid: Grid) -> Array:
        """Return the depth in mm of the voxels of a grid below the brain's hull, negative outside."""
        return slowly_varying(grid, lambda points: self.depth_mm(points)[:, None])[..., 0]

    def region_at(self, point_mm: NDArray[np.float64]) -> str:
        """Return the name of the region (see `REGIONS`) at one world point."""
        bent = self.to_template(np.asarray(point_mm, np.float32)[None])
        return REGIONS[int(self.template.at(self.template.regions, bent)[0])]

    def fractions(self, grid: Grid) -> Iterator[tuple[str, Array]]:
        """Yield each tissue and its share in the voxels of a grid; the rest of a voxel is air."""
        smooth = slowly_varying(grid, self._smooth_maps)
        smooth = smooth.reshape(-1, smooth.shape[-1])
        near = np.flatnonzero(smooth[:, 3] > -HEAD_REACH_MM)
        bent = self._straight(grid.points().reshape(-1, 3)[near]) + smooth[near, :3]
        for tissue, share in self._fractions_near(bent, smooth[near, 3:]):
            everywhere = np.zeros(len(smooth), np.float32)
            everywhere[near] = share
            yield tissue, everywhere.reshape(grid.shape)

    def _smooth_maps(self, points_mm: Array) -> Array:
        """Return displacement (3), depth below the hull, distance to the ventricles and folding (2): (N, 5 or 7)."""
        straight = self._straight(points_mm)
        bend = self._bend_at(straight)
        bent = straight + bend
        maps = [self.template.depth_mm, self.template.ventricle_mm]
        if self.folding is not None:
            maps += list(np.moveaxis(self.folding.maps, 3, 0))
        return np.column_stack([bend, *(self.template.at(values, bent, order=1) for values in maps)])

    def _fractions_near(self, bent: Array, maps: Array) -> Iterator[tuple[str, Array]]:
        depth, ventricle = maps[:, 0], maps[:, 1]
        brain, inner = self._brain_and_white(bent, maps)
        fissure, dura, opened = self.membranes.shares(bent, depth)
        # the corpus callosum and the brainstem pass below the membranes
        free = 1.0 - brain[fissure] * inner[fissure]
        dura *= free
        brain[fissure] *= 1.0 - opened * free
        left = brain.copy()
        for tissue, share in self._nuclei(bent, inner):
            share *= brain
            left -= share
            yield tissue, share
        left = np.maximum(left, 0.0)
        white = left * inner
        hyperintense = white * self.lesions.share(bent, ventricle)
        yield "white_lesion", hyperintense
        yield "white", white - hyperintense
        yield "gray", left - white
        membrane = np.zeros(len(bent), np.float32)
        membrane[fissure] = np.minimum(dura, 1.0 - brain[fissure])
        yield "dura", membrane
        outer = np.flatnonzero(depth < 1.5)
        csf = 1.0 - brain - membrane
        for tissue, share in self._around(bent[outer], depth[outer], csf[outer]):
            if tissue == "csf":
                csf[outer] = share
                yield tissue, csf
            else:
                everywhere = np.zeros(len(bent), np.float32)
                everywhere[outer] = share
                yield tissue, everywhere

    def _brain_and_white(self, bent: Array, maps: Array) -> tuple[Array, Array]:
        """Return the share of brain (the rest is CSF or outside) and the share of white matter in it."""
        gray, white = self.template.tissue_at(bent)
        total = np.minimum(gray + white, 1.0)
        brain = np.clip((total - self.sulcus_level) / 0.22 + 0.5, 0.0, 1.0)
        inner = np.clip((white / np.maximum(total, 1e-3) - 0.5) / 0.45 + 0.5, 0.0, 1.0)
        if self.folding is None:
            return brain, inner
        depth = maps[:, 0]
        shell = np.flatnonzero((depth < DEEPEST_FOLD_MM) & ~below_tentorium(bent))
        solid, folded = self.folding.tissue(maps[shell, 2], maps[shell, 3], depth[shell])
        template_left = np.clip((depth[shell] - DEEPEST_FOLD_MM + 6.0) / 6.0, 0.0, 1.0)
        # deep gray matter (insula, medial cortex) follows the template
        brain[shell] *= solid
        inner[shell] += (1.0 - template_left) * (folded - inner[shell])
        return brain, inner

    def _nuclei(self, bent: Array, inner: Array) -> Iterator[tuple[str, Array]]:
        """Yield the shares of the deep nuclei; where two overlap, the first takes precedence."""
        free = np.ones(len(bent), np.float32)
        deep = np.flatnonzero(_in_box(bent, (0.0, -20.0, 0.0), 52.0))
        for nucleus in NUCLEI:
            near = deep[_in_box(bent[deep], nucleus.center_mm, max(nucleus.axes_mm) * 1.3)]
            if not len(near):
                continue
            distance = inside_nucleus(bent[near], nucleus)
            inside = np.clip((1.0 - distance) * min(nucleus.axes_mm) / 1.2 + 0.5, 0.0, 1.0)
            if nucleus.gray_only:
                inside *= np.clip(1.6 - 2.0 * inner[near], 0.0, 1.0)
            share = np.zeros(len(bent), np.float32)
            share[near] = inside * free[near]
            free[near] -= share[near]
            yield nucleus.tissue, share

    def _around(self, bent: Array, depth: Array, space: Array) -> Iterator[tuple[str, Array]]:
        """Yield the shares of CSF, skull, scalp and face in the space outside the brain."""
        outside = -depth / self._thickness_at(bent)
        csf, skull, scalp = np.cumsum(self.layers_mm)
        air = self._air(bent) * (outside > 1.5)
        face = _in_face(bent) * (1.0 - air) * space
        in_csf = _layer(outside, -1e3, csf) * space
        yield "csf", in_csf
        in_bone = _layer(outside, csf, skull) * space * (1.0 - air)
        diploe = np.clip(1.0 - np.abs((outside - csf) / (skull - csf) - 0.5) * 4.0, 0.0, 1.0)
        yield "bone", in_bone * (1.0 - diploe)
        yield "marrow", in_bone * diploe
        beyond = np.maximum(space - in_csf - in_bone, 0.0) * (1.0 - air)
        in_fat = np.minimum(_layer(outside, skull, scalp) * space, beyond)
        in_face = np.minimum(face, np.maximum(beyond - in_fat, 0.0)) * (outside > csf)
        patchy = np.clip(0.5 + 0.5 * np.sin(bent[:, 0] / 5.0) * np.sin(bent[:, 1] / 7.0 + bent[:, 2] / 6.0), 0, 1)
        yield "fat", in_fat + in_face * patchy
        yield "muscle", in_face * (1.0 - patchy)

    def _air(self, bent: Array) -> Array:
        air = np.zeros(len(bent), np.float32)
        for center, axes in self.cavities:
            near = _in_box(bent, center, float(axes.max()) * 1.2)
            distance = np.linalg.norm((bent[near] - center) / axes, axis=1)
            air[near] = np.maximum(air[near], np.clip((1.0 - distance) * axes.min() + 0.5, 0.0, 1.0))
        return air

    @cached_property
    def _background(self) -> tuple[Array, NDArray[np.float64]]:
        affine = np.diag([FIELD_GRID_MM, FIELD_GRID_MM, FIELD_GRID_MM, 1.0])
        affine[:3, 3] = (-120.0, -140.0, -150.0)
        grid = Grid((60, 70, 65), affine)
        solid, chi = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
        for tissue, share in self.fractions(grid):
            solid += share
            if tissue in ("bone", "marrow", "fat", "muscle"):
                chi += share * np.float32(TISSUES[tissue].chi_ppm)
        chi += np.clip(1.0 - solid, 0.0, 1.0) * np.float32(TISSUES["air"].chi_ppm)
        field = dipole_field(chi, grid.spacing_mm, grid.b0_direction, padding=1.4)
        return _shimmed(field, grid.points().reshape(-1, 3), self.depth_on(grid).ravel() > 0), affine

    def background_field(self) -> tuple[Array, NDArray[np.float64]]:
        """Return the field of air, bone and scalp in ppm, on a coarse grid along the world's axes, and its affine.

        The field is shimmed to the second order over the brain, as by a scanner.
        """
        return self._background

    def _bend_at(self, straight: Array) -> Array:
        index = self._lattice_index(straight)
        components = [
            ndimage.map_coordinates(self.bend_mm[..., axis], index, order=1, mode="nearest", output=np.float32)
            for axis in range(3)
        ]
        return np.stack(components, axis=1)

    def _thickness_at(self, bent: Array) -> Array:
        index = self._lattice_index(bent)
        return ndimage.map_coordinates(self.thickness, index, order=1, mode="nearest", output=np.float32)

    def _lattice_index(self, template_mm: Array) -> Array:
        corner = self.template.affine[:3, 3].astype(np.float32)
        return ((template_mm - corner) / np.float32(LATTICE_MM)).T


def draw_head(rng: np.random.Generator, age_years: float | None = None) -> Head:
    """Draw a head; with age, ventricles and sulci widen and iron increases.

    Parameters
    ----------
    rng : random number generator
    age_years : age; None draws one from 45 to 90
    """
    template = load_template()
    age = float(rng.uniform(45, 90)) if age_years is None else age_years
    old = float(np.clip((age - 45) / 45, 0, 1))
    iron = {tissue: float(rng.uniform(0.85, 1.15) * (1.0 + 0.6 * old * rng.random())) for tissue in IRON_RICH}
    chi = {name: tissue.chi_ppm * iron.get(name, 1.0) for name, tissue in TISSUES.items()}
    lattice = tuple(int(np.ceil(size / LATTICE_MM)) + 1 for size in template.gray.shape)
    thickness = np.exp(0.12 * _smooth_noise(rng, lattice, 8.0)).astype(np.float32)
    layers = (
        float(rng.uniform(1.5, 3.0) + 2.0 * old * rng.random()),
        float(rng.uniform(5, 8)),
        float(rng.uniform(3, 7)),
    )
    folding = draw_folding(template, rng, old) if rng.random() < FOLDED_SHARE else None
    # with individual folds, only the large fissures of the average brain are kept
    level = 0.78 + 0.12 * old if folding is None else 0.5
    return Head(
        template,
        _draw_pose(rng),
        _draw_bend(rng, lattice, old, template),
        float(np.clip(level + rng.normal(0, 0.05), 0.45, 0.94)),
        layers,
        _draw_cavities(rng),
        chi,
        thickness,
        age,
        folding,
        draw_membranes(rng, old),
        draw_white_matter_lesions(template, rng, old),
    )


def _draw_pose(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the affine from world to template: a slight rotation, scaling and shear about the brain's center."""
    turn = Rotation.from_euler("xyz", rng.normal(0.0, (6.0, 3.0, 4.0)), degrees=True).as_matrix()
    scale = np.diag(1.0 / (rng.uniform(0.9, 1.04) * rng.uniform(0.95, 1.05, 3)))
    scale[0, 1:] += rng.normal(0.0, 0.02, 2)
    pose = np.eye(4)
    pose[:3, :3] = scale @ turn
    pose[:3, 3] = (0.0, -18.0, 8.0)
    return pose


def _draw_bend(rng: np.random.Generator, lattice: tuple[int, ...], old: float, template: Template) -> Array:
    """Draw a smooth random displacement at three scales, with wider ventricles."""
    bend = np.zeros((*lattice, 3), np.float32)
    for width_mm, amplitude_mm in ((26.0, 3.6), (11.0, 1.0), (5.0, 0.45)):
        for axis in range(3):
            bend[..., axis] += amplitude_mm * _smooth_noise(rng, lattice, width_mm / LATTICE_MM)
    corner = template.affine[:3, 3]
    points = np.moveaxis(np.indices(lattice), 0, -1) * LATTICE_MM + corner
    widening = float(np.clip(rng.normal(0.1 + 0.4 * old, 0.15), -0.1, 0.6))
    for center in VENTRICLE_CENTERS_MM:
        away = points - np.array(center)
        near = np.exp(-np.sum((away / (11.0, 30.0, 13.0)) ** 2, axis=-1) / 2)
        bend -= (widening * near[..., None] * away).astype(np.float32)
    return bend


def _draw_cavities(rng: np.random.Generator) -> tuple[tuple[Array, Array], ...]:
    cavities = []
    for _, center, axes, paired in CAVITIES:
        size = rng.uniform(0.5, 1.2)
        for side in (1.0, -1.0) if paired else (1.0,):
            moved = np.array(center) * (side, 1, 1) + rng.normal(0, 2, 3)
            cavities.append(
                (moved.astype(np.float32), (np.array(axes) * size * rng.uniform(0.8, 1.2, 3)).astype(np.float32))
            )
    return tuple(cavities)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], width: float) -> Array:
    """Draw Gaussian noise of unit standard deviation, smoothed over ``width`` lattice steps."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), width, mode="wrap")
    return (noise / noise.std()).astype(np.float32)


def _shimmed(field: Array, points_mm: Array, inside: NDArray[np.bool_]) -> Array:
    """Subtract the solid harmonics up to the second order, as the shim coils of a scanner do."""
    x, y, z = points_mm.T / np.float32(100.0)
    terms = np.stack([np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 2 * z * z - x * x - y * y], axis=1)
    currents, *_ = np.linalg.lstsq(terms[inside], field.ravel()[inside], rcond=None)
    return field - (terms @ currents).astype(np.float32).reshape(field.shape)


def _layer(outside: Array, low: float, high: float) -> Array:
    """Return the share of a layer between two distances, with soft borders."""
    return np.clip(outside - low + 0.5, 0.0, 1.0) * np.clip(high - outside + 0.5, 0.0, 1.0)


def _in_face(bent: Array) -> Array:
    """Return the share of face and neck: an ellipsoid in front and a cylinder below."""
    face = np.linalg.norm((bent - np.array([0, 35, -75], np.float32)) / np.array([62, 65, 75], np.float32), axis=1)
    neck = np.linalg.norm((bent[:, :2] - np.array([0, -32], np.float32)) / np.array([58, 62], np.float32), axis=1)
    inside = np.maximum(1.0 - face, np.where(bent[:, 2] < -50, 1.0 - neck, -1.0))
    return np.clip(inside * 30.0 + 0.5, 0.0, 1.0)


def _in_box(points: Array, center: object, reach: float) -> NDArray[np.bool_]:
    """Return which points lie near a center or its mirror image on the other side."""
    x, y, z = np.asarray(center, np.float32)
    near = np.abs(np.abs(points[:, 0]) - abs(x)) < reach
    near &= np.abs(points[:, 1] - y) < reach
    near &= np.abs(points[:, 2] - z) < reach
    return near
