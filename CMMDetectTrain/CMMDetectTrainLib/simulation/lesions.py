"""Microbleeds: how many, where, how large; and the shape of a deposit of a given moment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .anatomy import Head
from .deposits import Blob, Deposit
from .grid import Grid
from .protocols import Protocol
from .template import REGIONS
from .tissues import TISSUES

#: Where 678 microbleeds of three public cohorts lie.
REGION_SHARES = {
    "subcortical_white_matter": 0.392,
    "cortex": 0.342,
    "basal_ganglia": 0.093,
    "cerebellum": 0.074,
    "thalamus": 0.059,
    "brainstem": 0.040,
}
REGION_SPREAD = 12.0
MEDIAN_MOMENT = 3.5
SIGMA_LOG_MOMENT = 0.8
MOMENT_LIMITS = (0.6, 60.0)
SHARE_WITHOUT = 0.4
MOST_LESIONS = 80
LEAST_DISTANCE_MM = 6.0
REFERENCE_T_MS = 60.0


def draw_count(rng: np.random.Generator) -> int:
    """Draw how many microbleeds a scan has: none in 40 %, else a median of 3 and a heavy tail."""
    if rng.random() < SHARE_WITHOUT:
        return 0
    return int(min(np.ceil(np.exp(rng.normal(np.log(2.4), 1.25))), MOST_LESIONS))


def draw_moment(rng: np.random.Generator, protocol: Protocol) -> float:
    """Draw a moment in ppm mm3; log-normal, scaled so that sizes look alike at every field and echo time."""
    scale = REFERENCE_T_MS / (protocol.field_t * protocol.te_ms)
    moment = MEDIAN_MOMENT * np.exp(SIGMA_LOG_MOMENT * rng.standard_normal())
    return float(scale * np.clip(moment, *MOMENT_LIMITS))


def draw_microbleeds(
    head: Head, grid: Grid, protocol: Protocol, rng: np.random.Generator, count: int | None = None
) -> list[Deposit]:
    """Draw the microbleeds of one scan.

    Parameters
    ----------
    head : they lie in its brain
    grid : they lie in its field of view
    protocol : see `draw_moment`
    rng : source of chance
    count : None draws it
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
        if apart and grid.contains(center, margin_vox=1.0):
            lesions.append(draw_microbleed(center, protocol, rng))
    return lesions


def draw_position(head: Head, region: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a world point in a region of a head's brain, at least 2 mm below its hull."""
    template = head.template
    voxels = np.argwhere((template.regions == region) & (template.depth_mm > 2.0))
    voxel = voxels[rng.integers(len(voxels))] + rng.uniform(-0.5, 0.5, 3)
    point = voxel @ template.coarse_affine[:3, :3].T + template.coarse_affine[:3, 3]
    return head.to_world(point[None].astype(np.float32))[0].astype(np.float64)


def draw_microbleed(
    center_mm: NDArray[np.float64],
    protocol: Protocol,
    rng: np.random.Generator,
    moment: float | None = None,
) -> Deposit:
    """Draw a microbleed at a place: one to three overlapping ellipsoids, some with a faint halo."""
    moment = draw_moment(rng, protocol) if moment is None else moment
    chi = float(np.clip(np.exp(rng.normal(np.log(1.5), 0.6)), 0.4, 6.0))
    diameter = float((6.0 * moment / (np.pi * chi)) ** (1.0 / 3.0))
    signal = _core_signal(protocol, rng)
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


def ellipsoid_axes(rng: np.random.Generator, radius_mm: float, spread: float) -> NDArray[np.float64]:
    """Draw semi-axes of an ellipsoid with the volume of a sphere, turned at random."""
    stretch = rng.normal(0.0, spread, 3)
    lengths = radius_mm * np.exp(stretch - stretch.mean())
    return lengths[:, None] * np.asarray(Rotation.random(random_state=rng).as_matrix())


def _core_signal(protocol: Protocol, rng: np.random.Generator) -> float:
    """Magnitude in the deposit relative to white matter: little water, T2* of 5-15 ms at 3 T."""
    t2star = rng.uniform(5.0, 15.0) * 3.0 / protocol.field_t
    _, around = TISSUES["white"].relaxation_ms(protocol.field_t)
    decay = np.exp(-protocol.te_ms / t2star + protocol.te_ms / around)
    return float(np.clip(rng.uniform(0.6, 0.9) / TISSUES["white"].density * decay, 0.0, 0.9))


def _middle(blobs: list[Blob], center_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centroid of the parts, weighted by their moments."""
    weights = np.array([blob.chi_ppm * abs(np.linalg.det(blob.axes_mm)) for blob in blobs])
    if weights.sum() <= 0.0:
        return center_mm
    return np.average([blob.center_mm for blob in blobs], axis=0, weights=weights)
