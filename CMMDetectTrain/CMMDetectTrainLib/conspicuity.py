"""Conspicuity of a lesion: its contrast relative to the variation of its surroundings (Kundel and Revesz, 1976).

Size does not measure it: a large pale lesion in mottled cortex is harder to see than a small dark one in white matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.orientation import canonical_turn
from CMMDetectLib.scan import Scan

RING_MM = 2.0
LEAST_RING_VOX = 2
LESION_QUANTILE = 0.8
"""Quantile of the lesion's strength that is compared: the mean is diluted at the border, the maximum is noisy."""
BACKGROUND = 0.0
"""Value around a stripped brain and in the background of a susceptibility map, which is not tissue."""


def contrast_to_ring(
    strength: NDArray[np.float32], inside: NDArray[np.bool_], around: NDArray[np.bool_], pixel_mm: float
) -> tuple[float, float]:
    """Measure the contrast of a lesion to the ring around it in a slice, and the variation of that ring.

    Without any ring the contrast is minus infinity.

    Parameters
    ----------
    strength : (I, J), larger in lesions
    inside : (I, J), the lesion
    around : (I, J), where the ring may lie
    pixel_mm : pixel size, for the width of the ring

    Returns
    -------
    contrast, deviation : float, in the units of `strength`
        The deviation is half the range of the ring's central 68 %, which is the standard deviation of normal values.
    """
    ring = ndimage.binary_dilation(inside, iterations=_ring_vox(pixel_mm)) & ~inside & around
    if not ring.any():
        return -np.inf, 0.0
    low, middle, high = np.quantile(strength[ring], (0.16, 0.5, 0.84))
    return float(np.quantile(strength[inside], LESION_QUANTILE) - middle), 0.5 * float(high - low)


def conspicuity(scan: Scan, labels: NDArray[np.integer], number: int, box: Sequence[slice]) -> float | None:
    """Measure the contrast of a lesion to the ring around it, in the slice that shows it best.

    Other lesions and the background are excluded from the ring.

    Parameters
    ----------
    labels : (I, J, K), lesions on the scan's grid
    number : label of the lesion
    box : three slices that contain it

    Returns
    -------
    float or None
        In deviations of the ring; None if no slice has a ring that varies.

    >>> from CMMDetectLib.scan import Modality
    >>> image = np.random.default_rng(0).normal(100, 10, (9, 9, 1)).astype(np.float32)
    >>> image[4, 4] = 50
    >>> box = slice(4, 5), slice(4, 5), slice(0, 1)
    >>> round(conspicuity(Scan(image, np.eye(4), Modality.SWI), (image == 50).astype(int), 1, box))
    5
    """
    across = canonical_turn(scan.affine).order[2]
    pixel_mm = float(np.delete(scan.spacing_mm, across).min())
    reach_vox = _ring_vox(pixel_mm)
    window = tuple(slice(max(0, part.start - reach_vox), part.stop + reach_vox) for part in box)
    array, drawn = (np.moveaxis(item[window], across, 0) for item in (scan.array, labels))
    strength = -array if scan.modality.lesions_are_dark else array
    measured = [
        contrast_to_ring(strength[at], drawn[at] == number, (drawn[at] == 0) & (array[at] != BACKGROUND), pixel_mm)
        for at in range(len(drawn))
        if (drawn[at] == number).any()
    ]
    found = [contrast / deviation for contrast, deviation in measured if deviation > 0.0]
    return round(max(found), 2) if found else None


def _ring_vox(pixel_mm: float) -> int:
    return max(LEAST_RING_VOX, round(RING_MM / pixel_mm))
