"""What a volume's values tell of it that its name does not: another contrast, a projection, an offset of intensities.

Scanners export phase and minimum intensity projection beside the SWI, with whole numbers from 0 as it has; programs
make inverted images and susceptibility maps of it, and conversions shift intensities. Nothing of this is seen in a
header of NIfTI.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from .errors import InputError
from .head_grid import HEAD_MM, FloatArray
from .scan import Scan

NEGATIVE_SHARE = 0.2
"""Of a brain, from which it is no magnitude; interpolation leaves few voxels below 0, and at its edge."""
BLOCK_VOX = 4
"""Side of the squares in which noise is measured."""
PHASE_NOISE = 0.25
"""Standard deviation in parts of the range of values: 0.29 in the air of a phase, 0.18 of plain noise."""
PHASE_SHARE = 0.12
"""Of squares as noisy: edges and vessels make 0.02 of a magnitude's so, air 0.2 to 0.6 of a phase's."""
LOOKED_AT = 16
"""Slices that tell."""
SHARED_LEAST, SHARED_TIMES = 0.08, 3.0
"""Share of voxels that equal their neighbor in the next slice, beyond so many times that in plane, in a projection."""
TISSUE = 0.4
"""Of the 98th percentile: what is darker may be equal in any image, as voids are."""
LARGEST_BRAIN_ML = 2500.0
"""A larger volume shows more than brain, and something dark in it."""
AIR_OF_MAGNITUDE, AIR_OF_INVERSION = 0.3, 1.2
"""Signal of air in parts of the brain's, below which a head is of a magnitude, and above which it is inverted."""
OFFSET = 0.2
"""Darkest voxels of a head, in parts of the 98th percentile, from which they are not those of a magnitude."""


def check_magnitude(values: FloatArray) -> None:
    """Refuse phase, susceptibility and centered intensities, in which dark lesions cannot be told from the rest.

    Parameters
    ----------
    values : of the brain

    Raises
    ------
    InputError
        If many are below 0; without the name of the scan.
    """
    share, positive = (np.count_nonzero(side) / values.size for side in (values < 0, values > 0))
    if positive and share > NEGATIVE_SHARE:
        raise InputError(
            f"{100 * share:.0f} % of the brain is below 0, as in phase, susceptibility or standardized intensities; "
            "give the magnitude or SWI as the scanner made it, or say --modality qsm"
        )


def check_no_phase(scan: Scan) -> None:
    """Refuse a phase: where there is no signal, its values are spread over all that there are.

    Raises
    ------
    InputError
        If it is one.
    """
    shows_air = sorted(np.multiply(scan.array.shape, scan.spacing_mm))[1] >= HEAD_MM
    if shows_air and _share_of_noise(scan.array) > PHASE_SHARE:
        raise InputError(
            f"{scan.path or scan.name}: noise fills the whole range of values, as in the air of a phase; "
            "give the magnitude or SWI"
        )


def _share_of_noise(array: FloatArray) -> float:
    """Return the share of squares in plane whose values are spread over the range of all."""
    across, along = (size // BLOCK_VOX for size in array.shape[:2])
    every = -(-array.shape[2] // LOOKED_AT)
    part = array[: across * BLOCK_VOX, : along * BLOCK_VOX, ::every]
    if not part.size:
        return 0.0
    low, high = np.percentile(part, (0.1, 99.9))
    squares = np.clip(part, low, high).reshape(across, BLOCK_VOX, along, BLOCK_VOX, -1)
    return float(np.mean(squares.std(axis=(1, 3)) > PHASE_NOISE * (high - low)))


def check_no_projection(scan: Scan) -> None:
    """Refuse minimum intensity projections: neighboring slabs overlap, and show the darkest voxel that they share.

    Parameters
    ----------
    scan : with its slices along the last axis

    Raises
    ------
    InputError
        If it is one.
    """
    middle = scan.array[tuple(slice(size // 4, size - size // 4) for size in scan.array.shape)]
    if min(middle.shape) < 2:
        return
    tissue = TISSUE * float(np.percentile(middle, 98))
    in_plane = max(_equal_to_next(middle, tissue, axis) for axis in (0, 1))
    # slices that were doubled to fill a gap are equal altogether, and the next ones are not
    pairs = sorted(_equal_to_next(middle[:, :, k : k + 2], tissue, axis=2) for k in range(middle.shape[2] - 1))
    if SHARED_LEAST + SHARED_TIMES * in_plane < pairs[len(pairs) // 2] < 1 - SHARED_LEAST:
        raise InputError(
            f"{scan.path or scan.name}: neighboring slices show the same dark voxels, as in a minimum intensity "
            "projection; give the images that it was made from"
        )


def _equal_to_next(array: FloatArray, tissue: float, axis: int) -> float:
    """Return the share of tissue's voxels that have the value of the next one along an axis."""
    lines = np.moveaxis(array, axis, 0)
    judged = lines[1:] > tissue
    equal = (lines[1:] == lines[:-1])[judged]
    return float(equal.mean()) if equal.size else 0.0


def check_contrast(scan: Scan) -> None:
    """Refuse a head whose air is as bright as it is on no image of its modality.

    Parameters
    ----------
    scan : not stripped, with its slices along the last axis

    Raises
    ------
    InputError
        If SWI or T2* is inverted, or a magnitude is given for QSM.
    """
    if scan.array.size * float(np.prod(scan.spacing_mm)) / 1000 <= LARGEST_BRAIN_ML:
        return
    corners, brain = _air_and_brain(scan.array)
    if scan.modality.lesions_are_dark and min(corners) > AIR_OF_INVERSION * brain > 0:
        raise InputError(
            f"{scan.path or scan.name}: air is brighter than the brain, as in an inverted image or a map of R2*; "
            "give the magnitude or SWI as the scanner made it"
        )
    is_magnitude = max(corners) < AIR_OF_MAGNITUDE * brain and float(scan.array.min()) >= 0
    if not scan.modality.lesions_are_dark and is_magnitude:
        raise InputError(
            f"{scan.path or scan.name}: air is darker than the brain and nothing is below 0, as in a magnitude; "
            "give the susceptibility map, or say --modality swi or --modality t2star"
        )


def check_modality(scan: Scan) -> None:
    """Refuse a scan in which no brain is found because it has another modality than was said.

    Raises
    ------
    InputError
        As `check_contrast`; or if susceptibility is given for SWI or T2*.
    """
    check_contrast(scan)
    if scan.modality.lesions_are_dark:
        try:
            check_magnitude(scan.array[scan.array != 0])
        except InputError as error:
            raise InputError(f"{scan.path or scan.name}: {error}") from None


def _air_and_brain(array: FloatArray) -> tuple[list[float], float]:
    """Return the median signal in each corner of the slices, and the upper quartile in the middle.

    The latter is the brain's even where a view that reaches far above it has air in half of its middle.
    """
    ends = [(slice(size // 10 + 1), slice(-(size // 10 + 1), None)) for size in array.shape[:2]]
    corners = [float(np.median(array[ij])) for ij in product(*ends)]
    middle = array[tuple(slice(size // 4, size - size // 4) for size in array.shape)]
    return corners, float(np.percentile(middle, 75))


def without_offset(scan: Scan) -> Scan:
    """Take off what was added to all intensities of a head; those of a scan as it was made stay the same array."""
    if scan.array.size * float(np.prod(scan.spacing_mm)) / 1000 <= LARGEST_BRAIN_ML:
        return scan
    darkest, bright = (float(value) for value in np.percentile(scan.array[::3, ::3], (0.1, 98)))
    if darkest <= OFFSET * bright:
        return scan
    return replace(scan, array=scan.array - np.float32(darkest))
