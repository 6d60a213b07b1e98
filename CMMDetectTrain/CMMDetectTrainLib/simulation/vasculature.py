"""Veins, sinuses and arteries of a head: guided random walks in the average brain's space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .anatomy import Head
from .deposits import Segments
from .folding import DEEPEST_FOLD_MM
from .template import COARSE_MM, Template

Array = NDArray[np.float32]
Guide = Callable[[Array], Array]
BRANCH_ANGLE = 0.6

# polylines in MNI mm of the right side; radius in mm; whether there is a left one
DEEP_VEINS: tuple[tuple[tuple[tuple[float, float, float], ...], float, bool], ...] = (
    (((2.5, 6, 15), (2.5, -6, 17), (2.5, -20, 15), (3, -32, 10), (1, -40, 6)), 0.9, True),  # internal cerebral
    (
        ((1, -40, 6), (0, -46, 6), (0, -58, 4), (0, -72, 2), (0, -88, -4), (0, -98, -6)),
        1.9,
        False,
    ),  # straight sinus
    (((6, 6, 15), (13, -2, 17), (18, -12, 18), (20, -22, 17)), 0.5, True),  # thalamostriate
    (((3, 7, 14), (6, 18, 12), (8, 28, 9)), 0.45, True),  # septal
    (((14, 2, -18), (20, -12, -14), (17, -25, -6), (8, -36, 1), (1, -41, 5)), 0.7, True),  # basal (Rosenthal)
    (((0, -98, -6), (20, -94, -12), (44, -78, -20), (56, -58, -26), (52, -46, -38), (40, -42, -52)), 3.0, True),
)
ARTERIES: tuple[tuple[tuple[tuple[float, float, float], ...], float, bool], ...] = (
    (((12, 8, -42), (10, 2, -28), (13, 3, -18), (28, 4, -18), (40, 2, -12), (44, -8, -4)), 1.4, True),  # ICA, MCA
    (((13, 3, -18), (4, 18, -16), (3, 34, -6), (4, 40, 8), (4, 30, 24)), 0.9, True),  # ACA
    (((6, -30, -62), (0, -20, -48), (0, -14, -34), (0, -14, -20)), 1.5, True),  # vertebral, basilar
    (((0, -14, -20), (14, -22, -16), (20, -36, -8), (14, -60, -2)), 1.0, True),  # PCA
)


@dataclass(frozen=True)
class Vessels:
    """Vessels of a head in world mm.

    Attributes
    ----------
    segments : all pieces
    kind : (N,) index into `KINDS`
    branch_points_mm : (M, 3) where a visible vein branches
    """

    segments: Segments
    kind: NDArray[np.uint8]
    branch_points_mm: Array


KINDS = ("medullary", "cortical", "sulcal", "deep", "artery", "perivascular")


@dataclass(frozen=True)
class Growth:
    """How one kind of vein grows.

    Attributes
    ----------
    step_mm : length of a segment
    length_mm : (low, high)
    persistence, pull, jitter : weights of the old direction, of the guide and of chance
    branching : chance a step
    taper : share of the radius left at the end
    least_depth_mm : below the brain's hull, where it stops
    """

    step_mm: float
    length_mm: tuple[float, float]
    persistence: float
    pull: float
    jitter: float
    branching: float
    taper: float
    least_depth_mm: float


MEDULLARY = Growth(3.5, (12, 42), 1.0, 0.25, 0.12, 0.08, 0.5, 4.0)
CORTICAL = Growth(2.5, (5, 16), 1.0, 0.2, 0.15, 0.03, 0.6, 1.0)
SULCAL = Growth(2.4, (12, 70), 1.0, 0.5, 0.22, 0.05, 0.5, -1.5)
PERIVASCULAR = Growth(3.0, (4, 16), 1.0, 0.3, 0.1, 0.0, 0.7, 4.0)


def draw_vessels(head: Head, rng: np.random.Generator) -> Vessels:
    """Draw a head's vessels: some hundred visible veins, more or fewer from person to person.

    Returns
    -------
    vessels : in world mm, with their susceptibility (oxygenation differs between people) and signal
    """
    template = head.template
    density = float(np.exp(rng.normal(0.0, 0.35)))
    caliber = float(np.exp(rng.normal(0.0, 0.15)))
    outward, inward = _guide(template, template.outward), _guide(template, template.inward)
    spaces = int(rng.gamma(1.0, 120.0))
    grown = [
        _grow(template, _medullary_seeds(template, rng, int(600 * density), outward), outward, MEDULLARY, rng),
        _grow(template, _cortical_seeds(template, rng, int(700 * density), inward), inward, CORTICAL, rng),
        _grow(template, _sulcal_seeds(head, rng, int(750 * density)), _along_sulci(head), SULCAL, rng),
        _polylines(DEEP_VEINS, rng, _sagittal_sinus(template)),
        _polylines(ARTERIES, rng),
        _grow(template, _space_seeds(template, rng, spaces, outward), outward, PERIVASCULAR, rng),
    ]
    start, end, radius = (np.concatenate(part) for part in zip(*(tree[:3] for tree in grown), strict=True))
    kind = np.repeat(np.arange(len(grown), dtype=np.uint8), [len(tree[2]) for tree in grown])
    branches = np.concatenate([tree[3] for tree in grown[:3]])
    radius = (radius * caliber * np.exp(rng.normal(0, 0.1, len(radius)))).astype(np.float32)
    chi, signal = _blood(kind, rng)
    segments = Segments(head.to_world(start), head.to_world(end), radius, chi, signal)
    return Vessels(segments, kind, head.to_world(branches))


def _blood(kind: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Array, Array]:
    """Susceptibility above tissue and signal relative to it; arteries carry oxygenated blood that flows in."""
    venous = float(rng.uniform(0.2, 0.55))
    chi = venous * np.exp(rng.normal(0.0, 0.1, len(kind)))
    signal = np.full(len(kind), rng.uniform(0.7, 1.0))
    artery = kind == KINDS.index("artery")
    chi[artery] = 0.0
    signal[artery] = rng.choice([rng.uniform(0.1, 0.6), rng.uniform(1.1, 2.2)])
    space = kind == KINDS.index("perivascular")
    chi[space] = 0.02
    signal[space] = rng.uniform(0.55, 1.35)  # CSF, darker or brighter than tissue as the protocol has it
    return chi.astype(np.float32), signal.astype(np.float32)


def _grow(
    template: Template,
    seeds: tuple[Array, Array, Array],
    guide: Guide,
    growth: Growth,
    rng: np.random.Generator,
) -> tuple[Array, Array, Array, Array]:
    """Walk from every seed; branches start new walks. Gives segment starts, ends, radii and branch points."""
    # an empty part each, since a head may have no seed of a kind
    starts, ends, branches = ([np.zeros((0, 3), np.float32)] for _ in range(3))
    radii = [np.zeros(0, np.float32)]
    position, direction, initial = seeds
    left = rng.uniform(*growth.length_mm, len(position)).astype(np.float32)
    whole = left.copy()
    while len(position):
        noise = rng.standard_normal(position.shape, dtype=np.float32) * np.float32(growth.jitter)
        direction = _unit(growth.persistence * direction + growth.pull * guide(position) + noise)
        after = position + np.float32(growth.step_mm) * direction
        now = initial * (growth.taper + (1.0 - growth.taper) * left / whole)
        starts.append(position)
        ends.append(after)
        radii.append(now)
        splits = (rng.random(len(position)) < growth.branching) & (now > 0.08)
        branches.append(after[splits & (now > 0.2)])
        aside = _unit(direction + BRANCH_ANGLE * _unit(rng.standard_normal(direction.shape, dtype=np.float32)))
        inside = template.at(template.depth_mm, after) > growth.least_depth_mm
        left = np.where(inside, left - np.float32(growth.step_mm), 0.0).astype(np.float32)
        splits &= inside
        position, direction, initial, left, whole = (
            np.concatenate([main[left > 0], side[splits]])
            for main, side in (
                (after, after),
                (direction, aside),
                (initial, 0.75 * initial),
                (left, 0.6 * np.maximum(left, 2.0)),
                (whole, 0.6 * np.maximum(whole, 2.0)),
            )
        )
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(radii), np.concatenate(branches)


def _medullary_seeds(
    template: Template, rng: np.random.Generator, count: int, outward: Guide
) -> tuple[Array, Array, Array]:
    """On the walls of the ventricles, heading away from them through the white matter."""
    wall = (template.ventricle_mm > 1.0) & (template.ventricle_mm < 5.0) & (template.regions == 1)
    start = _random_points(template, wall, rng, count)
    return start, outward(start), _radii(rng, count, 0.24, 0.45, 0.6)


def _cortical_seeds(
    template: Template, rng: np.random.Generator, count: int, inward: Guide
) -> tuple[Array, Array, Array]:
    """In the cortex, heading inward."""
    cortex = (template.regions == 2) | (template.regions == 4)
    start = _random_points(template, cortex, rng, count)
    return start, inward(start), _radii(rng, count, 0.15, 0.4, 0.35)


def _space_seeds(
    template: Template, rng: np.random.Generator, count: int, outward: Guide
) -> tuple[Array, Array, Array]:
    """Perivascular spaces: in white matter and, more densely, in the basal ganglia."""
    inside = np.isin(template.regions, (1, 3)) & (template.depth_mm > 8.0)
    inside &= (template.regions == 3) | (template.height_above_mm(10.0) > 0.0)
    start = _random_points(template, inside, rng, count)
    return start, outward(start), _radii(rng, count, 0.35, 0.35, 1.2)


def _sulcal_seeds(head: Head, rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """In sulci and on the surface, in any direction."""
    template = head.template
    sulci = (template.sulcal > 0.2) & (template.depth_mm > -1.5) & (template.ventricle_mm > 6.0)
    if head.folding is not None:
        sheet, above = np.moveaxis(head.folding.maps, 3, 0)
        sulci &= (template.depth_mm < 2.0) | (template.depth_mm > DEEPEST_FOLD_MM)
        sulci |= (np.abs(sheet) < 1.2) & (above > 1.0) & (template.depth_mm > -1.5)
    start = _random_points(template, sulci, rng, count)
    direction = _unit(rng.standard_normal((count, 3), dtype=np.float32))
    return start, direction, _radii(rng, count, 0.38, 0.45, 1.2)


def _radii(rng: np.random.Generator, count: int, median: float, spread: float, largest: float) -> Array:
    return np.minimum(median * np.exp(spread * rng.standard_normal(count)), largest).astype(np.float32)


def _random_points(template: Template, chosen: NDArray[np.bool_], rng: np.random.Generator, count: int) -> Array:
    voxels = template.points_of(chosen)
    jitter = rng.uniform(-COARSE_MM / 2, COARSE_MM / 2, (count, 3))
    return (voxels[rng.integers(len(voxels), size=count)] + jitter).astype(np.float32)


def _along_sulci(head: Head) -> Guide:
    """Toward CSF and the surface, so that sulcal veins run in the sulci and up to the sinuses."""
    template = head.template
    to_csf = _guide(template, template.slopes_of(template.sulcal))
    if head.folding is None:
        return to_csf
    # steepest where a sheet of CSF is near: up the slope lies its middle
    nearness = np.exp(-0.5 * (head.folding.maps[..., 0] / 2.0) ** 2)
    nearness *= np.clip(head.folding.maps[..., 1] / 2.0, 0.0, 1.0)
    slopes = template.slopes_of(nearness.astype(np.float32))
    outward = _guide(template, template.inward)

    def guide(points: Array) -> Array:
        to_middle = np.stack([template.at(slope, points) for slope in slopes], axis=1)
        length = np.linalg.norm(to_middle, axis=1, keepdims=True)
        in_sulcus = to_middle * np.minimum(10.0, 1.0 / np.maximum(length, 1e-6)) - 0.3 * outward(points)
        return np.asarray(np.where(length > 0.01, in_sulcus, to_csf(points)), dtype=np.float32)

    return guide


def _guide(template: Template, slopes: tuple[Array, Array, Array]) -> Guide:
    def guide(points: Array) -> Array:
        return _unit(np.stack([template.at(slope, points) for slope in slopes], axis=1))

    return guide


def _unit(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(length, 1e-6)).astype(np.float32)


def _sagittal_sinus(template: Template) -> tuple[tuple[tuple[float, float, float], ...], float, bool]:
    """The superior sagittal sinus: along the hull in the mid-plane, from the forehead to the confluence."""
    line = []
    for angle in np.deg2rad(np.linspace(15, 188, 40)):
        ray = (
            np.array([0, np.cos(angle), np.sin(angle)], np.float32)
            * np.arange(20, 130, 1.0, dtype=np.float32)[:, None]
        )
        ray += np.array([0, -18, 8], np.float32)
        depth = template.at(template.midplane_depth_mm, ray)
        line.append(tuple(ray[np.argmax(depth < -2.0)].tolist()))
    return tuple(line), 3.2, False


def _polylines(
    lines: tuple[tuple[tuple[tuple[float, float, float], ...], float, bool], ...],
    rng: np.random.Generator,
    *more: tuple[tuple[tuple[float, float, float], ...], float, bool],
) -> tuple[Array, Array, Array, Array]:
    """Draw anatomical vessels along their known course, left and right apart, with a random wobble."""
    starts, ends, radii = [], [], []
    for points, radius, paired in (*lines, *more):
        for side in (1.0, -1.0) if paired else (1.0,):
            course = np.array(points) * (side, 1, 1)
            fine = np.linspace(0, len(points) - 1, 6 * len(points))
            smooth = np.stack([np.interp(fine, np.arange(len(points)), axis) for axis in course.T], axis=1)
            wobble = ndimage.gaussian_filter1d(rng.normal(0, 2.0, smooth.shape), 3.0, axis=0)
            smooth = ndimage.gaussian_filter1d(smooth, 2.0, axis=0) + wobble
            starts.append(smooth[:-1])
            ends.append(smooth[1:])
            radii.append(np.full(len(smooth) - 1, radius * rng.uniform(0.7, 1.3)))
    pieces = [np.concatenate(part).astype(np.float32) for part in (starts, ends, radii)]
    return pieces[0], pieces[1], pieces[2], np.zeros((0, 3), np.float32)
