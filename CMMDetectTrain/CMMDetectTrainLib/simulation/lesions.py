"""Microbleeds: their number, positions and sizes, and the shape of a deposit of a given moment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from CMMDetectLib.scan import Modality

from .anatomy import Head
from .deposits import Blob, Deposit
from .grid import Grid
from .protocols import Protocol
from .sampling import tissue_on
from .template import REGIONS
from .tissues import TISSUES

REGION_SHARES = {
    "subcortical_white_matter": 0.415,
    "cortex": 0.365,
    "basal_ganglia": 0.080,
    "cerebellum": 0.060,
    "thalamus": 0.050,
    "brainstem": 0.030,
}
"""Distribution of microbleeds in public cohorts: 75-80 % lobar, 12-20 % deep, 7-15 % infratentorial."""
REGION_SPREAD = 12.0
MEDIAN_MOMENT = 3.5
SIGMAS_LOG_MOMENT = (0.65, 0.96)
"""Below and above the median, in ppm mm3: 5 % are smaller than 1.2, 5 % larger than 17."""
MOMENT_LIMITS = (0.6, 60.0)
SHARE_WITHOUT = 0.4
MOST_LESIONS = 80
LEAST_DISTANCE_MM = 6.0
REFERENCE_T_MS = 60.0
LARGE_SHARE = 0.2
LARGE_MM, LARGE_MOMENT = (5.0, 10.0), (60.0, 240.0)
"""Microbleeds of up to 10 mm are very rare, in people as in simulated scans, but readers notice them first. So that
they are learned, this share of blunt microbleeds, spots and microbleeds of any size is large."""
BLUNT_MM = (1.8, 6.5)
SPOT_MM = (1.6, 5.0)
SOFT_SHARE = 0.65
SOFT_EDGE, FIRM_EDGE = (1.6, 2.6), (2.6, 10.0)
SPOT_DEPTH = (0.35, 0.95)
SPOT_PPM = (0.1, 0.7)
"""Plain spots: full width at half maximum, share of soft ones, exponents of soft and of firm edges (2 is a Gaussian),
share of the signal lost at the center, and susceptibility added there on QSM."""
SPOT_SHELLS = np.array([0.08, 0.25, 0.42, 0.58, 0.75, 0.92])
"""Shares of the depth of a spot that its shells have, from the outermost to the innermost."""


def draw_count(rng: np.random.Generator) -> int:
    """Draw the number of microbleeds in a scan: none in 40 %, else a median of 3 with a heavy tail."""
    if rng.random() < SHARE_WITHOUT:
        return 0
    return int(min(np.ceil(np.exp(rng.normal(np.log(2.4), 1.25))), MOST_LESIONS))


def draw_moment(rng: np.random.Generator, protocol: Protocol) -> float:
    """Draw a moment in ppm mm3: log-normal, skewed to the right, scaled for similar apparent size at any B0 * TE."""
    deviate = rng.standard_normal()
    moment = MEDIAN_MOMENT * np.exp(SIGMAS_LOG_MOMENT[int(deviate > 0)] * deviate)
    return float(_moment_scale(protocol) * np.clip(moment, *MOMENT_LIMITS))


def draw_moment_of_any_size(rng: np.random.Generator, protocol: Protocol) -> float:
    """Draw a moment in ppm mm3 uniformly over the logarithm of all sizes, with many large ones; see `draw_moment`."""
    return _moment_scale(protocol) * _draw_size(rng, MOMENT_LIMITS, LARGE_MOMENT)


def _moment_scale(protocol: Protocol) -> float:
    """Return the factor on a moment that preserves its apparent size at `REFERENCE_T_MS`."""
    return REFERENCE_T_MS / (protocol.field_t * protocol.te_ms)


def draw_microbleeds(
    head: Head, grid: Grid, protocol: Protocol, rng: np.random.Generator, count: int | None = None
) -> list[Deposit]:
    """Draw the microbleeds of one scan.

    Parameters
    ----------
    head : head of which the brain contains them
    grid : grid of which the field of view contains them
    protocol : see `draw_moment`
    rng : random number generator
    count : number of microbleeds; None draws it. There may be room for fewer
    """
    count = draw_count(rng) if count is None else count
    shares = rng.dirichlet(REGION_SPREAD * np.array(list(REGION_SHARES.values())))
    names = list(REGION_SHARES)
    lesions: list[Deposit] = []
    for _ in range(20 * count):
        if len(lesions) == count:
            break
        region = names[rng.choice(len(names), p=shares)]
        center = draw_position(head, REGIONS.index(region), rng)
        apart = all(np.linalg.norm(center - lesion.center_mm) > LEAST_DISTANCE_MM for lesion in lesions)
        if apart and grid.contains(center, margin_vox=1.0) and lies_in_tissue(head, center):
            lesions.append(draw_microbleed(center, protocol, rng))
    return lesions


def lies_in_tissue(head: Head, point_mm: NDArray[np.float64]) -> bool:
    """Whether there is more brain tissue than CSF at a world point."""
    place = np.eye(4)
    place[:3, 3] = point_mm
    return bool(tissue_on(head, Grid((1, 1, 1), place)).item())


def draw_position(head: Head, region: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a world point in a region of a head's brain, at least 2 mm below its hull."""
    template = head.template
    voxels = template.voxels_by_region[region]
    voxel = voxels[rng.integers(len(voxels))] + rng.uniform(-0.5, 0.5, 3)
    point = voxel @ template.coarse_affine[:3, :3].T + template.coarse_affine[:3, 3]
    return head.to_world(point[None].astype(np.float32))[0].astype(np.float64)


def draw_microbleed(
    center_mm: NDArray[np.float64],
    protocol: Protocol,
    rng: np.random.Generator,
    moment: float | None = None,
) -> Deposit:
    """Draw a microbleed at a point: one to three overlapping ellipsoids, some with a faint halo."""
    moment = draw_moment(rng, protocol) if moment is None else moment
    chi = float(np.clip(np.exp(rng.normal(np.log(1.5), 0.6)), 0.4, 6.0))
    diameter = float((6.0 * moment / (np.pi * chi)) ** (1.0 / 3.0))
    signal = core_signal(protocol, rng.uniform(5.0, 15.0), rng.uniform(0.6, 0.9))
    parts = rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15])
    blobs = []
    if rng.random() < 0.5:
        halo = float(rng.uniform(0.0, 0.15)) * chi
        blobs.append(Blob(center_mm, ellipsoid_axes(rng, 0.5 * diameter + 0.5, 0.1), halo, 1.0))
    shrink = float(parts) ** (-1.0 / 3.0)
    for part in range(parts):
        offset = rng.normal(0.0, 0.3 * diameter, 3) * (part > 0)
        blobs.append(Blob(center_mm + offset, ellipsoid_axes(rng, 0.5 * diameter * shrink, 0.2), chi, signal))
    return Deposit("microbleed", _middle(blobs, center_mm), moment, diameter, blobs)


def draw_blunt_microbleed(center_mm: NDArray[np.float64], protocol: Protocol, rng: np.random.Generator) -> Deposit:
    """Draw a microbleed that is little more than a soft dark spot, like old or diffuse ones.

    Its susceptibility is spread over the whole dark region, so that there is little blooming.
    """
    diameter = _draw_size(rng, BLUNT_MM, LARGE_MM)
    volume = np.pi / 6.0 * diameter**3
    chi = float(min(rng.uniform(0.05, 0.6), 10.0 * _moment_scale(protocol) / volume))
    signal = float(rng.uniform(0.0, 0.6))
    axes = ellipsoid_axes(rng, 0.5 * diameter, 0.2)
    # weak at the rim, strong in the core
    core = Blob(center_mm, axes, chi, signal)
    return _shelled(core, (1.0, 0.8, 0.6), (0.4, 0.8, 1.0), diameter)


def draw_spot(center_mm: NDArray[np.float64], grid: Grid, modality: Modality, rng: np.random.Generator) -> Deposit:
    """Draw a microbleed without blooming or phase: a plain spot, from a blurred one to a sphere with a sharp edge.

    Microbleeds may look like this after filters, other reconstructions or manual retouching. A spot is about as high
    as wide, but at least as high as a slice. With r as the distance from its center over half its width, its depth is
    proportional to 2 ** -(r ** edge), with an exponent from `SOFT_EDGE` or `FIRM_EDGE`.
    """
    width = _draw_size(rng, SPOT_MM, LARGE_MM)
    height = max(width * float(np.exp(rng.normal(0.0, 0.15))), grid.spacing_mm[2])
    edge = float(np.exp(rng.uniform(*np.log(SOFT_EDGE if rng.random() < SOFT_SHARE else FIRM_EDGE))))
    signal = 1.0 - float(rng.uniform(*SPOT_DEPTH))
    # on magnitude images, a susceptibility would cause blooming
    chi = float(rng.uniform(*SPOT_PPM)) if modality is Modality.QSM else 0.0
    directions = grid.affine[:3, :3].T / np.array(grid.spacing_mm)[:, None]
    axes = directions * (0.5 * np.array([width, width, height]))[:, None]
    # the depth falls to half at a radius of 1; each shell ends where the profile falls to its share
    radii = (-np.log2(SPOT_SHELLS)) ** (1.0 / edge)
    return _shelled(Blob(center_mm, axes, chi, signal), radii, SPOT_SHELLS, width)


def _draw_size(rng: np.random.Generator, usual: tuple[float, float], large: tuple[float, float]) -> float:
    """Draw a size uniformly over the logarithm of the usual range, or (`LARGE_SHARE`) of that of large ones."""
    return float(np.exp(rng.uniform(*np.log(large if rng.random() < LARGE_SHARE else usual))))


def _shelled(
    core: Blob,
    radii: Sequence[float] | NDArray[np.float64],
    shares: Sequence[float] | NDArray[np.float64],
    diameter_mm: float,
) -> Deposit:
    """Build a microbleed of nested shells, from the outermost to the innermost.

    Parameters
    ----------
    core : the microbleed as one ellipsoid
    radii : radii of the shells, in semi-axes of the core
    shares : shares of the core's susceptibility and signal loss that the shells have
    diameter_mm : true diameter of the microbleed
    """
    blobs = [
        Blob(core.center_mm, radius * core.axes_mm, share * core.chi_ppm, 1.0 - share * (1.0 - core.signal))
        for radius, share in zip(radii, shares, strict=True)
    ]
    volume = 4.0 / 3.0 * np.pi * abs(float(np.linalg.det(core.axes_mm)))
    moment = core.chi_ppm * volume * float(np.sum(np.diff(shares, prepend=0.0) * np.power(radii, 3)))
    return Deposit("microbleed", core.center_mm, moment, diameter_mm, blobs)


def ellipsoid_axes(rng: np.random.Generator, radius_mm: float, spread: float) -> NDArray[np.float64]:
    """Draw the semi-axes of a randomly rotated ellipsoid with the volume of a sphere, (3, 3) with axes as rows."""
    stretch = rng.normal(0.0, spread, 3)
    lengths = radius_mm * np.exp(stretch - stretch.mean())
    return lengths[:, None] * np.asarray(Rotation.random(random_state=rng).as_matrix())


def core_signal(protocol: Protocol, t2star_ms: float = 10.0, density: float = 0.75) -> float:
    """Return the magnitude in a deposit relative to that in white matter.

    Parameters
    ----------
    protocol : field strength and echo time
    t2star_ms : T2* at 3 T, 5-15 ms; it is shorter in stronger fields
    density : proton density relative to water
    """
    white = TISSUES["white"]
    _, around = white.relaxation_ms(protocol.field_t)
    decay = np.exp(-protocol.te_ms * protocol.field_t / 3.0 / t2star_ms + protocol.te_ms / around)
    return float(np.clip(density / white.density * decay, 0.0, 0.9))


def _middle(blobs: list[Blob], center_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the centroid of the parts, weighted by their moments."""
    weights = np.array([blob.chi_ppm * abs(np.linalg.det(blob.axes_mm)) for blob in blobs])
    if weights.sum() <= 0.0:
        return center_mm
    return np.average([blob.center_mm for blob in blobs], axis=0, weights=weights)
