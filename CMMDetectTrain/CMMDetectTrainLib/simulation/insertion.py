"""Insertion of microbleeds into acquired scans, with the same physics as in simulated scans."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.errors import InputError
from CMMDetectLib.preprocessing import TISSUE_LEVEL, prepare
from CMMDetectLib.scan import Modality, Scan, to_world

from .deposits import Deposit
from .grid import Grid
from .lesions import LEAST_DISTANCE_MM, draw_microbleed
from .modulation import modulation_of_deposit
from .protocols import Protocol
from .resolution import acquire_kspace
from .swi import darkening
from .truth import Shown, View, collect_truth
from .truth_files import Truth

Array = NDArray[np.float32]
LEAST_DEPTH_MM = 3.0
TISSUE_SIGMA_MM = 0.7
TISSUE_AROUND_MM = 1.0
TISSUE_SPREAD = 0.2
"""Largest difference of ordinary tissue from `TISSUE_LEVEL`: 27 % of the signal of tissue, or 0.16 ppm."""


@dataclass(frozen=True)
class Insertion:
    """A scan with inserted microbleeds.

    Attributes
    ----------
    scan : scan with the microbleeds
    phase : phase with the microbleeds, rad; None if none was given
    truth : the inserted microbleeds
    """

    scan: Scan
    phase: Array | None
    truth: Truth


def insert_microbleeds(
    scan: Scan,
    brain: NDArray[np.bool_],
    protocol: Protocol,
    rng: np.random.Generator,
    count: int,
    phase: Array | None = None,
) -> Insertion:
    """Insert microbleeds at random places in the brain of a scan.

    Parameters
    ----------
    scan : SWI, T2* magnitude, or QSM in ppm
    brain : mask on the scan's grid
    protocol : field strength, echo time and processing of the scan; its spacing and shape are not used
    rng : random number generator
    count : number of microbleeds; there may be room for fewer
    phase : phase on the scan's grid, rad; None if unknown

    Raises
    ------
    InputError
        If the mask or the phase lies on another grid, or the mask is empty.
    """
    _check(scan, brain, phase)
    i, j, k = scan.array.shape
    grid = Grid((i, j, k), scan.affine)
    protocol = replace(protocol, spacing_mm=scan.spacing_mm, shape=grid.shape)
    centers = draw_centers(scan, brain, rng, count)
    return insert_deposits(scan, [draw_microbleed(c, protocol, rng) for c in centers], brain, protocol, phase)


def insert_deposits(
    scan: Scan,
    deposits: list[Deposit],
    brain: NDArray[np.bool_],
    protocol: Protocol,
    phase: Array | None = None,
) -> Insertion:
    """Insert the given deposits into a scan; see `insert_microbleeds`."""
    _check(scan, brain, phase)
    i, j, k = scan.array.shape
    grid = Grid((i, j, k), scan.affine)
    array = scan.array.copy()
    turned = None if phase is None else np.exp(1j * phase).astype(np.complex64)
    shown = []
    for deposit in deposits:
        modulation = modulation_of_deposit(deposit, grid, protocol)
        if modulation is None:
            continue
        shown.append(Shown(deposit, "unknown", modulation))
        window = modulation.window
        factor = acquire_kspace(modulation.factor - np.complex64(1.0), protocol) + np.complex64(1.0)
        if scan.modality is Modality.QSM:
            array[window] += ndimage.gaussian_filter(modulation.chi_ppm, protocol.qsm_blur_vox)
        else:
            array[window] *= darkening(factor, scan.spacing_mm, scan.modality, protocol)
        if turned is not None:
            turned[window] *= factor
    level = np.median(scan.array[brain]) if scan.modality.lesions_are_dark else 1.0
    signal = np.clip(scan.array / np.float32(level), 0.0, 2.0).astype(np.float32)
    view = View(scan.modality, array / np.float32(level), signal, brain)
    truth = collect_truth(view, shown, (), None, grid, protocol)
    new_phase = None if turned is None else np.angle(turned).astype(np.float32)
    return Insertion(replace(scan, array=array), new_phase, truth)


def draw_centers(
    scan: Scan, brain: NDArray[np.bool_], rng: np.random.Generator, count: int
) -> list[NDArray[np.float64]]:
    """Draw world points in ordinary tissue, some mm inside the mask and the scan, and apart; perhaps fewer."""
    # the surroundings of the scan are unknown, so its border counts as a border of the mask
    padded = ndimage.distance_transform_edt(np.pad(brain, 1), sampling=scan.spacing_mm)
    depth = padded[1:-1, 1:-1, 1:-1]
    voxels = np.argwhere((depth > min(LEAST_DEPTH_MM, 0.5 * float(depth.max()))) & _ordinary_tissue(scan, brain))
    centers: list[NDArray[np.float64]] = []
    for voxel in rng.permutation(voxels)[: 50 * count]:
        if len(centers) == count:
            break
        center = to_world(scan.affine, voxel + rng.uniform(-0.5, 0.5, 3))
        if all(np.linalg.norm(center - other) > LEAST_DISTANCE_MM for other in centers):
            centers.append(center)
    return centers


def _ordinary_tissue(scan: Scan, brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a scan and the surroundings there have about the signal of most of the brain.

    Elsewhere, in CSF, a vein, the falx or an existing lesion, an inserted microbleed would not look like one.
    """
    prepared = prepare(scan, brain)
    around = ndimage.gaussian_filter(prepared.image, np.divide(TISSUE_SIGMA_MM, scan.spacing_mm))
    tissue = np.zeros_like(brain)
    tissue[prepared.crop] = prepared.mask & (np.abs(around - TISSUE_LEVEL) < TISSUE_SPREAD)
    return ndimage.distance_transform_edt(tissue, sampling=scan.spacing_mm) > TISSUE_AROUND_MM


def _check(scan: Scan, brain: NDArray[np.bool_], phase: Array | None) -> None:
    name = scan.path or scan.name
    if brain.shape != scan.array.shape:
        raise InputError(f"{name}: the brain mask has shape {brain.shape}, the scan {scan.array.shape}")
    if phase is not None and phase.shape != scan.array.shape:
        raise InputError(f"{name}: the phase has shape {phase.shape}, the scan {scan.array.shape}")
    if not brain.any():
        raise InputError(f"{name}: the brain mask is empty")
