"""Veins, sinuses and arteries of a head, drawn in template space. Vessels are thin where they end in tissue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .anatomy import Head
from .deposits import Segments
from .drainage import Branching, pial_veins
from .template import Template

Array = NDArray[np.float32]
Guide = Callable[[Array], Array]
BRANCH_ANGLE = 0.6
PIAL_SOURCES = 4500

Line = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Course:
    """A vessel that everybody has, on the right side, in MNI mm.

    Attributes
    ----------
    points_mm : points along the vessel
    radius_mm : its radius
    paired : whether there is one on the left side, too
    fades : whether its last part gets thin, since it continues in invisible branches
    """

    points_mm: Line
    radius_mm: float
    paired: bool = True
    fades: bool = False


DEEP_VEINS = (
    Course(((2.5, 6, 15), (2.5, -6, 17), (2.5, -20, 15), (3, -32, 10), (1, -40, 6)), 0.9),  # internal cerebral
    Course(((2.5, 6, 15), (6, 6, 15), (13, -2, 17), (18, -12, 18), (20, -22, 17)), 0.5, fades=True),  # thalamostriate
    Course(((2.5, 6, 15), (3, 7, 14), (6, 18, 12), (8, 28, 9)), 0.45, fades=True),  # septal
    Course(((1, -41, 5), (8, -36, 1), (17, -25, -6), (20, -12, -14), (14, 2, -18)), 0.7, fades=True),  # Rosenthal's
)
STRAIGHT_SINUS = Course(
    ((1, -40, 6), (0, -46, 6), (0, -58, 4), (0, -72, 2), (0, -88, -4), (0, -98, -6)), 1.9, paired=False
)
TRANSVERSE_SINUS = Course(
    ((0, -98, -6), (20, -94, -12), (44, -78, -20), (56, -58, -26), (52, -46, -38), (40, -42, -52)), 3.0
)
ARTERIES = (
    # internal carotid and middle cerebral, anterior cerebral, vertebral and basilar, posterior cerebral
    Course(
        ((12, 8, -42), (10, 2, -28), (13, 3, -18), (28, 4, -18), (40, 2, -12), (44, -8, -4), (46, -22, 6)),
        1.4,
        fades=True,
    ),
    Course(((13, 3, -18), (4, 18, -16), (3, 34, -6), (4, 40, 8), (4, 30, 24), (4, 12, 32)), 0.9, fades=True),
    Course(((6, -30, -62), (0, -20, -48), (0, -14, -34), (0, -14, -20)), 1.5),
    Course(((0, -14, -20), (14, -22, -16), (20, -36, -8), (14, -60, -2), (10, -76, 4)), 1.0, fades=True),
)


@dataclass(frozen=True)
class Vessels:
    """Vessels of a head in world mm.

    Attributes
    ----------
    segments : N segments
    kind : (N,) index into `KINDS`
    branch_points_mm : (M, 3) points where visible veins branch
    """

    segments: Segments
    kind: NDArray[np.uint8]
    branch_points_mm: Array


KINDS = ("medullary", "cortical", "sulcal", "deep", "artery", "perivascular")


@dataclass(frozen=True)
class Growth:
    """Parameters of the growth of one kind of vein.

    Attributes
    ----------
    step_mm : length of a segment
    length_mm : range of the length
    persistence, pull, jitter : weights of the previous direction, of the guide and of noise
    branching : probability of a branch per step
    taper : share of the radius left at the end
    least_depth_mm : depth below the brain's hull at which it ends
    """

    step_mm: float
    length_mm: tuple[float, float]
    persistence: float
    pull: float
    jitter: float
    branching: float
    taper: float
    least_depth_mm: float


MEDULLARY = Growth(3.5, (12, 42), 1.0, 0.25, 0.12, 0.08, 0.2, 4.0)
CORTICAL = Growth(2.5, (5, 16), 1.0, 0.2, 0.15, 0.03, 0.3, 1.0)
PERIVASCULAR = Growth(3.0, (4, 16), 1.0, 0.3, 0.1, 0.0, 0.7, 4.0)
FADING_MM = 6.0
"""Length over which a vein widens from its beginning and tapers toward its least depth."""


def draw_vessels(head: Head, rng: np.random.Generator) -> Vessels:
    """Draw the vessels of a head: some hundred visible veins, whose number varies between people.

    Returns
    -------
    vessels : in world mm, with their susceptibility (oxygenation differs between people) and signal
    """
    template = head.template
    density = float(np.exp(rng.normal(0.0, 0.5)))
    caliber = float(np.exp(rng.normal(0.0, 0.15)))
    outward, inward = _guide(template, template.outward), _guide(template, template.inward)
    spaces = int(rng.gamma(1.0, 120.0))
    sinuses = (STRAIGHT_SINUS, TRANSVERSE_SINUS, _sagittal_sinus(template))
    grown = [
        _grow(template, _medullary_seeds(template, rng, int(600 * density), outward), outward, MEDULLARY, rng),
        _grow(template, _cortical_seeds(template, rng, int(700 * density), inward), inward, CORTICAL, rng),
        pial_veins(head, int(PIAL_SOURCES * density), _course_of_sinuses(sinuses), rng),
        _along((*DEEP_VEINS, *sinuses), rng),
        _along(ARTERIES, rng),
        _grow(template, _space_seeds(template, rng, spaces, outward), outward, PERIVASCULAR, rng),
    ]
    start, end, radius = (
        np.concatenate(part) for part in zip(*((b.start, b.end, b.radius_mm) for b in grown), strict=True)
    )
    kind = np.repeat(np.arange(len(grown), dtype=np.uint8), [len(branching.radius_mm) for branching in grown])
    joints = np.concatenate([branching.joints for branching in grown])
    radius = (radius * caliber * np.exp(rng.normal(0, 0.1, len(radius)))).astype(np.float32)
    chi, signal = _blood(kind, rng)
    segments = Segments(head.to_world(start), head.to_world(end), radius, chi, signal)
    return Vessels(segments, kind, head.to_world(joints))


def _blood(kind: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw susceptibility and signal relative to tissue; arteries carry oxygenated blood that flows in."""
    venous = float(rng.uniform(0.2, 0.55))
    chi = venous * np.exp(rng.normal(0.0, 0.1, len(kind)))
    signal = np.full(len(kind), rng.uniform(0.7, 1.0))
    artery = kind == KINDS.index("artery")
    chi[artery] = 0.0
    signal[artery] = rng.choice([rng.uniform(0.1, 0.6), rng.uniform(1.1, 2.2)])
    space = kind == KINDS.index("perivascular")
    chi[space] = 0.02
    signal[space] = rng.uniform(0.55, 1.35)  # CSF is darker or brighter than tissue, depending on the protocol
    return chi.astype(np.float32), signal.astype(np.float32)


def _grow(
    template: Template,
    seeds: tuple[Array, Array, Array],
    guide: Guide,
    growth: Growth,
    rng: np.random.Generator,
) -> Branching:
    """Grow veins step by step from seeds (positions, directions, radii), with branches."""
    # one empty part each, since a head may have no seeds of a kind
    starts, ends, branches = ([np.zeros((0, 3), np.float32)] for _ in range(3))
    radii = [np.zeros(0, np.float32)]
    position, direction, initial = seeds
    left = rng.uniform(*growth.length_mm, len(position)).astype(np.float32)
    whole = left.copy()
    while len(position):
        noise = rng.standard_normal(position.shape, dtype=np.float32) * np.float32(growth.jitter)
        direction = _unit(growth.persistence * direction + growth.pull * guide(position) + noise)
        after = position + np.float32(growth.step_mm) * direction
        below = template.at(template.depth_mm, after, order=1) - growth.least_depth_mm
        from_ends = np.minimum(below, whole - left + 1.0)
        now = initial * (growth.taper + (1.0 - growth.taper) * left / whole) * np.clip(from_ends / FADING_MM, 0.2, 1.0)
        starts.append(position)
        ends.append(after)
        radii.append(now)
        splits = (rng.random(len(position)) < growth.branching) & (now > 0.08)
        branches.append(after[splits & (now > 0.2)])
        aside = _unit(direction + BRANCH_ANGLE * _unit(rng.standard_normal(direction.shape, dtype=np.float32)))
        inside = below > 0.0
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
    return Branching(*(np.concatenate(parts) for parts in (starts, ends, radii, branches)))


def _medullary_seeds(
    template: Template, rng: np.random.Generator, count: int, outward: Guide
) -> tuple[Array, Array, Array]:
    """Draw seeds on the walls of the ventricles that lead away from them through the white matter."""
    wall = (template.ventricle_mm > 1.0) & (template.ventricle_mm < 5.0) & (template.regions == 1)
    start = template.random_points(wall, rng, count)
    return start, outward(start), _radii(rng, count, 0.24, 0.45, 0.6)


def _cortical_seeds(
    template: Template, rng: np.random.Generator, count: int, inward: Guide
) -> tuple[Array, Array, Array]:
    """Draw seeds in the cortex that lead inward."""
    cortex = (template.regions == 2) | (template.regions == 4)
    start = template.random_points(cortex, rng, count)
    return start, inward(start), _radii(rng, count, 0.15, 0.4, 0.35)


def _space_seeds(
    template: Template, rng: np.random.Generator, count: int, outward: Guide
) -> tuple[Array, Array, Array]:
    """Draw seeds of perivascular spaces in white matter and, more densely, in the basal ganglia."""
    inside = np.isin(template.regions, (1, 3)) & (template.depth_mm > 8.0)
    inside &= (template.regions == 3) | (template.height_above_mm(10.0) > 0.0)
    start = template.random_points(inside, rng, count)
    return start, outward(start), _radii(rng, count, 0.35, 0.35, 1.2)


def _radii(rng: np.random.Generator, count: int, median: float, spread: float, largest: float) -> Array:
    return np.minimum(median * np.exp(spread * rng.standard_normal(count)), largest).astype(np.float32)


def _guide(template: Template, slopes: tuple[Array, Array, Array]) -> Guide:
    def guide(points: Array) -> Array:
        return _unit(np.stack([template.at(slope, points) for slope in slopes], axis=1))

    return guide


def _unit(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(length, 1e-6)).astype(np.float32)


def _sagittal_sinus(template: Template) -> Course:
    """Return the superior sagittal sinus along the hull in the mid-plane, from the forehead to the confluence."""
    line = []
    for angle in np.deg2rad(np.linspace(15, 188, 40)):
        ray = (
            np.array([0, np.cos(angle), np.sin(angle)], np.float32)
            * np.arange(20, 130, 1.0, dtype=np.float32)[:, None]
        )
        ray += np.array([0, -18, 8], np.float32)
        depth = template.at(template.midplane_depth_mm, ray)
        line.append(tuple(ray[np.argmax(depth < -2.0)].tolist()))
    return Course(tuple(line), 3.2, paired=False)


def _sides(course: Course) -> tuple[float, ...]:
    return (1.0, -1.0) if course.paired else (1.0,)


def _fine(course: Course, side: float) -> NDArray[np.float64]:
    """Return closely spaced points of a course with rounded corners."""
    corners = np.array(course.points_mm) * (side, 1, 1)
    fine = np.linspace(0, len(corners) - 1, 6 * len(corners))
    line = np.stack([np.interp(fine, np.arange(len(corners)), axis) for axis in corners.T], axis=1)
    return np.asarray(ndimage.gaussian_filter1d(line, 2.0, axis=0))


def _course_of_sinuses(sinuses: tuple[Course, ...]) -> NDArray[np.float64]:
    """Return points along all sinuses, (N, 3) MNI mm."""
    return np.concatenate([_fine(course, side) for course in sinuses for side in _sides(course)])


def _along(courses: tuple[Course, ...], rng: np.random.Generator) -> Branching:
    """Draw vessels along known courses, left and right separately, with random deviations."""
    starts, ends, radii = [], [], []
    for course in courses:
        for side in _sides(course):
            line = _fine(course, side)
            line += ndimage.gaussian_filter1d(rng.normal(0, 2.0, line.shape), 3.0, axis=0)
            left = np.linspace(1.0, 0.0, len(line) - 1) if course.fades else np.ones(len(line) - 1)
            starts.append(line[:-1])
            ends.append(line[1:])
            radii.append(course.radius_mm * rng.uniform(0.7, 1.3) * np.clip(2.0 * left, 0.1, 1.0))
    start, end, radius = (np.concatenate(part).astype(np.float32) for part in (starts, ends, radii))
    return Branching(start, end, radius, np.zeros((0, 3), np.float32))
