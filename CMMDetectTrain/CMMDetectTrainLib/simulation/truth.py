"""Truth of a simulated scan: records of its microbleeds and mimics, and their masks on its grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.scan import Modality, to_voxel

from ..conspicuity import contrast_to_ring
from .deposits import Deposit
from .grid import Grid
from .mimics import Place
from .modulation import Modulation
from .protocols import Protocol
from .resolution import acquire_kspace
from .swi import darkening
from .truth_files import Truth, TruthRecord

Array = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
APPARENT_SHARE = 0.75
"""A voxel belongs to the apparent lesion if less than this share of the tissue's signal is left."""
APPARENT_PPM = 0.1
"""On QSM, a voxel belongs to the apparent lesion if its susceptibility differs by more than this."""
LEAST_CONTRAST_TO_NOISE = 3.0
LEAST_CONTRAST_LEFT = 0.25
"""A visible lesion has at least this share of the contrast that it would have in uniform tissue."""
LEAST_DEVIATIONS = 2.0
"""A visible lesion has at least this contrast, in standard deviations of the ring around it (`contrast_to_ring`)."""
NEIGHBORS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Shown:
    """A deposit with its region and its effect on the scan."""

    deposit: Deposit
    region: str
    modulation: Modulation


@dataclass(frozen=True)
class View:
    """A scan of one modality, as needed to decide what is visible.

    Attributes
    ----------
    modality : modality of the image
    image : (I, J, K) relative to the signal of ordinary tissue, or ppm
    tissue : (I, J, K) magnitude without deposits, relative to that of ordinary tissue
    brain : (I, J, K) mask
    """

    modality: Modality
    image: Array
    tissue: Array
    brain: BoolArray


def collect_truth(
    view: View,
    shown: Iterable[Shown],
    places: Iterable[tuple[Place, str]],
    vessels: NDArray[np.complex64] | None,
    grid: Grid,
    protocol: Protocol,
) -> Truth:
    """Collect the truth of a scan of one modality.

    Parameters
    ----------
    view : the scan
    shown : its deposits
    places : mimics of the normal anatomy and their regions
    vessels : effect of vessels on the signal, complex factor; None if unknown
    grid, protocol : grid and protocol of the scan
    """
    microbleeds, mimics = np.zeros(grid.shape, np.uint16), np.zeros(grid.shape, np.uint16)
    records: list[TruthRecord] = []
    for item in sorted(shown, key=lambda item: item.deposit.kind != "microbleed"):
        bleed = item.deposit.kind == "microbleed"
        labels = microbleeds if bleed else mimics
        number = sum((record.kind == "microbleed") == bleed for record in records) + 1
        weight = apparent_weight(item.modulation, grid, view.modality, protocol)
        mask = apparent_mask(weight, item.modulation.window, item.deposit, grid)
        visible = _is_visible(weight, mask, item, view, grid, protocol)
        labels[item.modulation.window][mask] = number
        records.append(_record(number, item.deposit, item.region, mask, visible, grid))
    for place, region in places:
        number = sum(record.kind != "microbleed" for record in records) + 1
        window, mask = _place_mask(place, vessels, view.modality, grid, protocol)
        mimics[window][mask & (mimics[window] == 0)] = number
        records.append(_record(number, place, region, mask, bool(mask.any()), grid))
    return Truth(tuple(records), microbleeds, mimics)


def apparent_weight(modulation: Modulation, grid: Grid, modality: Modality, protocol: Protocol) -> Array:
    """Return the share of signal that a deposit leaves in voxels; QSM is scaled so that the same threshold applies."""
    if modality is Modality.QSM:
        return np.float32(1.0) - np.abs(modulation.chi_ppm) * np.float32((1.0 - APPARENT_SHARE) / APPARENT_PPM)
    factor = acquire_kspace(modulation.factor - np.complex64(1.0), protocol) + np.complex64(1.0)
    return darkening(factor, grid.spacing_mm, modality, protocol)


def apparent_mask(weight: Array, window: tuple[slice, slice, slice], deposit: Deposit, grid: Grid) -> BoolArray:
    """Return the mask of a deposit: dark voxels of a block, with holes filled, connected with its center."""
    dark = ndimage.binary_fill_holes(weight < APPARENT_SHARE)
    distance = _distance_mm(deposit.center_mm, window, grid)
    near = distance <= 0.5 * deposit.true_diameter_mm + 0.6 * max(grid.spacing_mm)
    labels, _ = ndimage.label(dark, NEIGHBORS)
    return np.isin(labels, np.unique(labels[near & dark])) if (near & dark).any() else np.zeros_like(dark)


def _is_visible(weight: Array, mask: BoolArray, item: Shown, view: View, grid: Grid, protocol: Protocol) -> bool:
    """Whether the mask is not empty and its contrast to the surroundings is visible."""
    if not mask.any():
        return False
    # slices may be thick and contain other structures: judge the slice that the deposit changes most
    change = 1.0 - weight
    most = int(np.argmax((change * mask).sum(axis=(0, 1))))
    window = item.modulation.window
    image, brain = view.image[window][..., most], view.brain[window][..., most]
    # calcifications are dark on QSM, too
    strength = -image if view.modality.lesions_are_dark or item.deposit.moment < 0.0 else image
    seen, varies = contrast_to_ring(strength, mask[..., most], brain, grid.spacing_mm[0])
    if seen < LEAST_DEVIATIONS * varies:
        return False
    if view.modality is Modality.QSM:
        return True
    contrast, in_even_tissue = float((change * view.tissue[window])[mask].max()), float(change[mask].max())
    return contrast * protocol.snr >= LEAST_CONTRAST_TO_NOISE and seen >= LEAST_CONTRAST_LEFT * in_even_tissue


def _place_mask(
    place: Place, vessels: NDArray[np.complex64] | None, modality: Modality, grid: Grid, protocol: Protocol
) -> tuple[tuple[slice, slice, slice], BoolArray]:
    """Return the mask of a mimic of the normal anatomy: dark voxels of a vessel, or a sphere."""
    of_vessel = place.kind in ("end_on_vein", "vessel_branch", "sulcal_vessel") and vessels is not None
    reach = np.ceil((3.0 if of_vessel else 0.5 * place.diameter_mm) / np.array(grid.spacing_mm)).astype(int) + 1
    center = np.round(to_voxel(grid.affine, place.center_mm)).astype(int)
    i, j, k = (slice(max(0, c - r), c + r + 1) for c, r in zip(center, reach, strict=True))
    distance = _distance_mm(place.center_mm, (i, j, k), grid)
    if not of_vessel or vessels is None or modality is Modality.QSM:
        return (i, j, k), distance <= max(0.5 * place.diameter_mm, 0.5 * min(grid.spacing_mm))
    dark = (darkening(vessels[i, j, k], grid.spacing_mm, modality, protocol) < APPARENT_SHARE) & (distance <= 3.0)
    return (i, j, k), dark


def _distance_mm(center_mm: NDArray[np.float64], window: tuple[slice, slice, slice], grid: Grid) -> Array:
    """Return the distance in mm of the voxels of a window from a point."""
    low = (window[0].start, window[1].start, window[2].start)
    i, j, k = (min(part.stop, size) - part.start for part, size in zip(window, grid.shape, strict=True))
    points = grid.block(low, (i, j, k)).points()
    return np.asarray(np.linalg.norm(points - center_mm.astype(np.float32), axis=-1), dtype=np.float32)


def _record(
    number: int, item: Deposit | Place, region: str, mask: BoolArray, visible: bool, grid: Grid
) -> TruthRecord:
    x, y, z = (round(float(value), 3) for value in item.center_mm)
    area = float(mask.sum(axis=(0, 1)).max(initial=0)) * grid.spacing_mm[0] * grid.spacing_mm[1]
    return TruthRecord(
        id=f"{'cmb' if item.kind == 'microbleed' else 'mimic'}-{number:04d}",
        kind=item.kind,
        region=region,
        x=x,
        y=y,
        z=z,
        moment_ppm_mm3=round(item.moment, 4) if isinstance(item, Deposit) else None,
        true_diameter_mm=round(item.true_diameter_mm if isinstance(item, Deposit) else item.diameter_mm, 3),
        apparent_diameter_mm=round(2.0 * float(np.sqrt(area / np.pi)), 3),
        volume_mm3=round(float(mask.sum()) * float(np.prod(grid.spacing_mm)), 3),
        visible=visible,
    )
