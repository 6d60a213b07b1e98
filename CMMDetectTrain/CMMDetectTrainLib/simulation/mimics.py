"""Mimics of microbleeds: other deposits, and places in the normal anatomy of the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from CMMDetectLib.location import CHOROID_PLEXUS_MM, PINEAL_GLAND_MM

from .anatomy import Head
from .deposits import Blob, Deposit, Segments
from .grid import Grid
from .lesions import draw_position, ellipsoid_axes
from .template import NUCLEI, REGIONS
from .vasculature import KINDS, Vessels

Array = NDArray[np.float32]
MOST_OF_A_KIND = 12
PIECES_OF_A_VEIN = 8
CALCIFIED_SITES = (
    (PINEAL_GLAND_MM, 0.3),
    (CHOROID_PLEXUS_MM, 0.3),
    ((19.0, -3.0, -1.0), 0.15),
    ((0.0, 10.0, 58.0), 0.08),
    ((0.0, 45.0, 40.0), 0.07),
    ((15.0, -57.0, -34.0), 0.07),
)
"""Typical sites of calcification in MNI mm, most of them bilateral, and their frequency: pineal gland, choroid plexus,
pallidum, falx (two sites), dentate nucleus."""
CALCIFIED_ELSEWHERE = 1.0 - sum(share for _, share in CALCIFIED_SITES)
"""Frequency of all other sites, where magnitude images cannot distinguish calcium from iron."""


@dataclass(frozen=True)
class Place:
    """A place of the normal anatomy that looks like a microbleed.

    Attributes
    ----------
    kind : name of the kind
    center_mm : RAS mm
    diameter_mm : diameter of the structure
    """

    kind: str
    center_mm: NDArray[np.float64]
    diameter_mm: float


def draw_mimics(head: Head, grid: Grid, rng: np.random.Generator) -> list[Deposit]:
    """Draw deposits that are not microbleeds: calcifications, rarely a larger hemorrhage or a cavernoma."""
    found = [draw_calcification(_site(head, rng), rng) for _ in range(rng.poisson(1.5))]
    if rng.random() < 0.08:
        found.append(draw_hemorrhage(draw_position(head, 1 + int(rng.integers(3)), rng), rng))
    if rng.random() < 0.06:
        found.append(draw_cavernoma(draw_position(head, 1, rng), rng))
    return [deposit for deposit in found if grid.contains(deposit.center_mm, 1.0)]


def draw_calcification(center_mm: NDArray[np.float64], rng: np.random.Generator) -> Deposit:
    """Draw a calcification: diamagnetic, dark on magnitude images too, with a phase opposite to a microbleed's."""
    diameter = float(np.clip(np.exp(rng.normal(np.log(2.5), 0.4)), 1.0, 7.0))
    chi = -float(np.exp(rng.uniform(np.log(0.3), np.log(3.0))))
    signal = float(rng.uniform(0.05, 0.5))
    blobs = [
        Blob(
            center_mm + rng.normal(0, 0.3 * diameter, 3) * (n > 0),
            ellipsoid_axes(rng, 0.5 * diameter, 0.25),
            chi,
            signal,
        )
        for n in range(rng.integers(1, 4))
    ]
    return _deposit("calcification", center_mm, diameter, blobs)


def draw_hemorrhage(center_mm: NDArray[np.float64], rng: np.random.Generator) -> Deposit:
    """Draw a hemorrhage of 11-40 mm: a dark rim of hemosiderin around a core that is bright (fluid) or dark."""
    diameter = float(np.exp(rng.uniform(np.log(11.0), np.log(40.0))))
    rim = float(rng.uniform(0.15, 0.6))
    core = Blob(
        center_mm,
        0.8 * ellipsoid_axes(rng, 0.5 * diameter, 0.2),
        rim * rng.uniform(0.0, 0.6),
        rng.uniform(0.3, 1.5),
    )
    axes = core.axes_mm / 0.8
    return _deposit("hemorrhage", center_mm, diameter, [Blob(center_mm, axes, rim, rng.uniform(0.05, 0.4)), core])


def draw_cavernoma(center_mm: NDArray[np.float64], rng: np.random.Generator) -> Deposit:
    """Draw a cavernoma: a dark rim around lobes of mixed signal ("popcorn")."""
    diameter = float(rng.uniform(8.0, 22.0))
    shell = Blob(center_mm, ellipsoid_axes(rng, 0.5 * diameter, 0.15), float(rng.uniform(0.1, 0.5)), 0.2)
    lobes = [
        Blob(
            center_mm + rng.normal(0, 0.18 * diameter, 3),
            ellipsoid_axes(rng, diameter * rng.uniform(0.06, 0.16), 0.2),
            float(rng.uniform(-0.05, 0.3)),
            float(rng.uniform(0.4, 1.7)),
        )
        for _ in range(rng.integers(4, 10))
    ]
    return _deposit("cavernoma", center_mm, diameter, [shell, *lobes])


def through_plane_veins(head: Head, grid: Grid, rng: np.random.Generator) -> tuple[Segments, list[Place]]:
    """Draw some veins perpendicular to the slices, the mimic that causes most false positives on SWI."""
    normal = grid.affine[:3, 2] / grid.spacing_mm[2]
    count = int(rng.poisson(5))
    centers = np.array([draw_position(head, 1 + int(rng.integers(2)), rng) for _ in range(count)]).reshape(-1, 3)
    course = normal + rng.normal(0.0, 0.15, (count, 3))
    half = rng.uniform(9.0, 25.0, (count, 1)) * course
    radius = rng.uniform(0.2, 0.6, count).astype(np.float32)
    chi = rng.uniform(0.2, 0.5, count).astype(np.float32)
    # thin at both ends: a thick end, which no real vein has, would look like a microbleed
    borders = np.linspace(-1.0, 1.0, PIECES_OF_A_VEIN + 1)
    start, end = (
        (centers + half * along[:, None, None]).reshape(-1, 3).astype(np.float32)
        for along in (borders[:-1], borders[1:])
    )
    caliber = np.cos(0.5 * np.pi * (borders[:-1] + borders[1:]) / 2.0).astype(np.float32)
    segments = Segments(
        start,
        end,
        np.outer(caliber, radius).ravel(),
        np.tile(chi, PIECES_OF_A_VEIN),
        np.full(len(start), 0.85, np.float32),
    )
    places = [Place("end_on_vein", c, 2.0 * float(r)) for c, r in zip(centers, radius, strict=True)]
    return segments, [place for place in places if grid.contains(place.center_mm)]


def find_places(head: Head, vessels: Vessels, grid: Grid, rng: np.random.Generator) -> list[Place]:
    """Find places of the normal anatomy that look like microbleeds, with a limit for each kind of vessel."""
    places = [*_vessel_places(head, vessels, grid, rng), *_iron_nuclei(head), *_dropouts(head)]
    return [place for place in places if grid.contains(place.center_mm)]


def _vessel_places(head: Head, vessels: Vessels, grid: Grid, rng: np.random.Generator) -> list[Place]:
    segments = vessels.segments
    middle = (segments.start_mm + segments.end_mm) / 2.0
    course = segments.end_mm - segments.start_mm
    normal = (grid.affine[:3, 2] / grid.spacing_mm[2]).astype(np.float32)
    steep = np.abs(course @ normal) > 0.9 * np.linalg.norm(course, axis=1)
    visible = (segments.radius_mm > 0.3) & (vessels.kind < KINDS.index("artery"))
    depth = head.depth_mm(middle)
    chosen = {
        "end_on_vein": steep & visible & (depth > 5),
        "sulcal_vessel": visible & (depth < 5) & (depth > -1),
        "flow_void": (vessels.kind == KINDS.index("artery")) & (segments.signal < 0.7),
    }
    places = []
    for kind, those in chosen.items():
        for n in _some(np.flatnonzero(those), rng):
            places.append(Place(kind, middle[n].astype(np.float64), 2.0 * float(segments.radius_mm[n])))
    for n in _some(np.arange(len(vessels.branch_points_mm)), rng):
        places.append(Place("vessel_branch", vessels.branch_points_mm[n].astype(np.float64), 1.0))
    return places


def _iron_nuclei(head: Head) -> list[Place]:
    places = []
    for nucleus in NUCLEI:
        if nucleus.tissue in ("pallidum", "red_nucleus", "nigra", "dentate"):
            both = np.array([nucleus.center_mm, nucleus.center_mm], np.float32) * [[1, 1, 1], [-1, 1, 1]]
            size = 2.0 * float(np.prod(nucleus.axes_mm)) ** (1.0 / 3.0)
            places += [
                Place("iron_nucleus", c.astype(np.float64), size) for c in head.to_world(both.astype(np.float32))
            ]
    return places


def _dropouts(head: Head) -> list[Place]:
    """Return the places in the brain next to air cavities, where signal drops out."""
    template = head.template
    rim = template.points_of((template.depth_mm > 1.0) & (template.depth_mm < 4.0))
    places = []
    for center, axes in head.cavities:
        distance = np.linalg.norm(rim - center, axis=1)
        if distance.min() - axes.min() < 15.0:
            nearest = head.to_world(rim[np.argmin(distance)][None])[0]
            places.append(Place("air_dropout", nearest.astype(np.float64), 8.0))
    return places


def _site(head: Head, rng: np.random.Generator) -> NDArray[np.float64]:
    if rng.random() < CALCIFIED_ELSEWHERE:
        return draw_position(head, 1 + int(rng.integers(len(REGIONS) - 1)), rng)
    return draw_calcified_site(head, rng)


def draw_calcified_site(head: Head, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a world point at a typical site of calcification."""
    places, shares = zip(*CALCIFIED_SITES, strict=True)
    site = np.array(places[rng.choice(len(places), p=np.divide(shares, sum(shares)))]) * (rng.choice([-1, 1]), 1, 1)
    return head.to_world((site + rng.normal(0, 2.0, 3))[None].astype(np.float32))[0].astype(np.float64)


def _deposit(kind: str, center_mm: NDArray[np.float64], diameter_mm: float, blobs: list[Blob]) -> Deposit:
    moment = blobs[0].chi_ppm * np.pi / 6.0 * diameter_mm**3
    return Deposit(kind, center_mm, float(moment), diameter_mm, blobs)


def _some(indices: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    return rng.permutation(indices)[:MOST_OF_A_KIND]
