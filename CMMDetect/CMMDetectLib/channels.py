"""What every network sees of a scan: the channels of its input (2.1, 2.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .frst import radial_symmetry
from .preprocessing import PreparedScan
from .progress import Progress
from .scan import Modality
from .vessels import remove_vessels

CHANNELS = ("image", "frst", "with_vessels")
"""The prepared image without vessels, its radial symmetry transform, and the prepared image as it was."""
PAPER_CHANNELS = CHANNELS[:2]


def input_channels(prepared: PreparedScan, progress: Progress) -> NDArray[np.float32]:
    """Compute the `CHANNELS` of a prepared scan.

    The third channel is not in the paper. It tells a microbleed from the rest of a vein that was removed in part.

    Returns
    -------
    (C, I, J, K) float32
        On the grid of ``prepared``; 0 outside the mask.
    """
    channels = np.empty((len(CHANNELS), *prepared.image.shape), np.float32)
    # the last axis of an upright SWI is the one closest to the main field, along which phase elongates microbleeds
    bloom_axis = 2 if prepared.scan.modality is Modality.SWI else None
    with progress.step("vessels"):
        channels[0], _ = remove_vessels(prepared.image, prepared.mask, prepared.spacing_mm, bloom_axis)
    with progress.step("frst"):
        channels[1] = radial_symmetry(channels[0], prepared.spacing_mm, mask=prepared.mask)
    channels[2] = prepared.image
    return channels
