"""How clearly a scan shows a lesion: its contrast in parts of what its surroundings vary (Kundel and Revesz, 1976).

Size does not say it: a large pale lesion in mottled cortex is harder to see than a small dark one in white matter.
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
"""The brightest voxels but for the last fifth: a border voxel holds little of the lesion, one voxel much noise."""
BACKGROUND = 0.0
"""Value around a stripped brain, and around that of a susceptibility map: no tissue that a lesion differs from."""


def contrast_to_ring(
    strength: NDArray[np.float32], inside: NDArray[np.bool_], around: NDArray[np.bool_], pixel_mm: float
) -> tuple[float, float]:
    """Measure how much a lesion stands out in a slice from the ring around it, and how much that varies.

    In the void beside a sinus nothing can be seen, on SWI nor within the dark bands around it; where there is nothing
    around at all, infinitely little.

    Parameters
    ----------
    strength : (I, J), larger in lesions
    inside : (I, J), the lesion
    around : (I, J), where a ring may lie

    Returns
    -------
    contrast, deviation : float, in the units of `strength`
        The deviation is half of what the ring's middle 68 % span, the standard deviation of normal values.
    """
    ring = ndimage.binary_dilation(inside, iterations=_ring_vox(pixel_mm)) & ~inside & around
    if not ring.any():
        return -np.inf, 0.0
    low, middle, high = np.quantile(strength[ring], (0.16, 0.5, 0.84))
    return float(np.quantile(strength[inside], LESION_QUANTILE) - middle), 0.5 * float(high - low)


def conspicuity(scan: Scan, labels: NDArray[np.integer], number: int, box: Sequence[slice]) -> float | None:
    """Measure the contrast of a lesion to the ring around it, in deviations of the ring, where a slice shows it best.

    Neither other lesions nor the background are in the ring.

    Parameters
    ----------
    labels : (I, J, K), lesions on the scan's grid
    number : label of the lesion
    box : three slices that hold it

    Returns
    -------
    float or None
        None where no slice has a ring, or none that varies.

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
