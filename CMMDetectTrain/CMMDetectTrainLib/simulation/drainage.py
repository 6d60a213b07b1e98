"""Pial veins: they begin in the sulci and join on their way over the surface of the brain to the sinuses.

A detector learns from veins what is not a microbleed. A thick end of a vein looks like a microbleed, but real veins
have none: each vein here begins thin, widens with its tributaries and ends in a sinus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.scan import to_voxel, to_world

from .anatomy import Head
from .folding import DEEPEST_FOLD_MM
from .template import COARSE_MM, Template

if TYPE_CHECKING:
    from skimage.graph import MCP_Geometric

Array = NDArray[np.float32]
IN_SULCUS, ON_SURFACE, IN_BRAIN = 1.0, 1.3, 15.0
"""Cost of a path through the CSF of a sulcus, over the surface, and through the brain."""
UNEVENNESS = 0.7
"""Standard deviation of the logarithm of the random factor on these costs, which makes the veins tortuous."""
TWIG_MM = 0.24
"""Radius of a branch before its first tributary."""
JOINING_POWER = 4.0
"""Where veins join, their radii to this power add up. It is 3 in Murray's law, but most tributaries are not drawn."""
FIRST_SHARE, GROWING_VOX = 0.3, 4
"""A branch begins with this share of its radius and reaches all of it after this many voxels."""
THICKEST_MM = 1.4
VISIBLE_MM = 0.2


@dataclass(frozen=True)
class Branching:
    """Veins as straight segments.

    Attributes
    ----------
    start, end : (N, 3) MNI mm
    radius_mm : (N,)
    joints : (M, 3) points where visible veins join or branch, MNI mm
    """

    start: Array
    end: Array
    radius_mm: Array
    joints: Array


def pial_veins(head: Head, count: int, sinuses_mm: NDArray[np.float64], rng: np.random.Generator) -> Branching:
    """Draw veins from points in sulci to the sinuses, along the paths of least cost.

    Parameters
    ----------
    head : its sulci guide the veins
    count : number of the smallest branches
    sinuses_mm : (N, 3) points along the sinuses, MNI mm
    rng : random number generator
    """
    # a panel imports this module, perhaps before scikit-image is installed
    from skimage.graph import MCP_Geometric

    sources_mm = _sources(head, count, rng)
    cost = _costs(head, rng)
    ways = MCP_Geometric(cost)
    total_cost, _ = ways.find_costs(_voxels(head.template, sinuses_mm, cost > 0.0))
    sources = _voxels(head.template, sources_mm, np.isfinite(total_cost))
    supply = np.exp(0.5 * rng.standard_normal(len(sources)))
    onward, flow, past = _gather(ways, sources, supply, cost.shape)
    node = np.flatnonzero(flow)
    place = np.full(flow.shape, -1)
    place[node] = np.arange(len(node))
    onward, flow, past = place[onward[node]], flow[node], past[node]
    points = _smooth_courses(_points(head, node, cost.shape, rng), onward, flow)
    leads = np.flatnonzero(onward != np.arange(len(node)))
    radius = np.minimum(TWIG_MM * flow ** (1.0 / JOINING_POWER), THICKEST_MM) * np.clip(
        past / GROWING_VOX, FIRST_SHARE, 1.0
    )
    visible = radius > VISIBLE_MM
    tributaries = np.bincount(onward[leads[visible[leads]]], minlength=len(node))
    return Branching(points[leads], points[onward[leads]], radius[leads].astype(np.float32), points[tributaries > 1])


def _sources(head: Head, count: int, rng: np.random.Generator) -> Array:
    """Draw the points where the smallest branches begin: in sulci, some of them at the surface."""
    template, depth = head.template, head.template.depth_mm
    csf = (template.sulcal > 0.2) & (template.ventricle_mm > 6.0)
    sulci = (_sulci(head, csf, 1.0) | csf & (depth < 2.0)) & (depth > -1.5)
    within = sulci & (depth > 3.0)
    parts = ((within, 2 * count // 3), (sulci, count // 3))
    return np.concatenate([template.random_points(chosen, rng, number) for chosen, number in parts])


def _sulci(head: Head, csf: NDArray[np.bool_], least_height_mm: float) -> NDArray[np.bool_]:
    """Return where sulci are: the given CSF or, in the shell of a folded cortex, its sulci above their bottom."""
    if head.folding is None:
        return csf
    sheet, above = np.moveaxis(head.folding.maps, 3, 0)
    own = (np.abs(sheet) < 1.2) & (above > least_height_mm)
    return np.asarray(own | csf & (head.template.depth_mm > DEEPEST_FOLD_MM))


def _costs(head: Head, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the cost of each voxel of the template's 2 mm grid; negative where no vein may run."""
    template, depth = head.template, head.template.depth_mm
    sulcus = _sulci(head, template.sulcal > 0.35, 0.5)
    cost = np.where(sulcus, IN_SULCUS, IN_BRAIN)
    cost[depth < 1.5] = ON_SURFACE
    cost *= np.exp(UNEVENNESS * _unit_noise(depth.shape, rng))
    cost[(depth < -4.0) | (template.ventricle_mm < 5.0)] = -1.0
    return cost


def _unit_noise(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 1.5)
    return np.asarray(noise / noise.std(), dtype=np.float32)


def _voxels(
    template: Template, points_mm: NDArray[np.floating[Any]], passable: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the voxels of points, (N, 3), without the impassable ones."""
    last = np.array(passable.shape) - 1
    voxels = np.clip(np.rint(to_voxel(template.coarse_affine, points_mm)).astype(int), 0, last)
    return np.asarray(voxels[passable[tuple(voxels.T)]])


def _gather(
    ways: MCP_Geometric, sources: NDArray[np.int64], supply: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Follow the blood from each source to a sinus.

    Returns
    -------
    onward : (N,) next voxel on the way to the sinus; the voxel itself in a sinus and where no blood flows
    flow : (N,) amount of blood that flows through the voxel
    past : (N,) number of voxels from the farthest source to the voxel
    """
    onward, flow, past = np.arange(np.prod(shape)), np.zeros(int(np.prod(shape))), np.zeros(int(np.prod(shape)), int)
    for source, amount in zip(sources, supply, strict=True):
        way = np.ravel_multi_index(np.array(ways.traceback(source)).T, shape)
        onward[way[1:]] = way[:-1]
        flow[way] += amount
        past[way] = np.maximum(past[way], np.arange(len(way))[::-1])
    return onward, flow, past


def _points(head: Head, node: NDArray[np.int64], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return the points of the veins in their voxels, MNI mm: jittered, and moved to the middle of a nearby sulcus."""
    template = head.template
    centers = to_world(template.coarse_affine, np.stack(np.unravel_index(node, shape), axis=1))
    points: Array = (centers + rng.uniform(-0.3, 0.3, centers.shape) * COARSE_MM).astype(np.float32)
    if head.folding is None:
        return points
    sheet = head.folding.maps[..., 0]
    slope = np.stack([template.at(part, points) for part in template.slopes_of(sheet)], axis=1) / COARSE_MM
    steep = np.maximum((slope**2).sum(axis=1), 0.1)
    toward = -np.clip(template.at(sheet, points, order=1), -1.5, 1.5) / steep
    in_sulcus = template.at(template.depth_mm, points) > 1.5
    return np.asarray(points + np.where(in_sulcus, toward, 0.0)[:, None] * slope, dtype=np.float32)


def _smooth_courses(points: Array, onward: NDArray[np.int64], flow: NDArray[np.float64]) -> Array:
    """Smooth the courses: move each point toward the next one and toward its largest tributary."""
    order = np.argsort(flow)
    before = np.arange(len(points))
    before[onward[order]] = order
    for _ in range(2):
        points = (0.5 * points + 0.25 * points[onward] + 0.25 * points[before]).astype(np.float32)
    return points
