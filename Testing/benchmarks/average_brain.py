"""Make the average brain that guides brain extraction, from the MNI152 maps in nilearn's wheel.

python Testing/benchmarks/average_brain.py CMMDetect/Resources/AverageBrain/average_brain.nii.gz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.scan import write_image
from CMMDetectTrainLib.simulation.template import load_template

SIGNAL = {"gray": 160, "white": 130, "csf": 200}
"""As on T2*; mutual information needs them apart, not right."""
COARSER = 2
MARGIN = 5
"""Voxels around the brain, for the skull."""


def average_brain() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Give the signal on 4 mm, 0 outside the brain, and its affine."""
    template = load_template()
    thin = (slice(None, None, 2),) * 3
    gray, white = (np.clip(share[thin], 0, 1) for share in (template.gray, template.white))
    csf = np.clip(1 - gray - white, 0, 1)
    signal = SIGNAL["gray"] * gray + SIGNAL["white"] * white + SIGNAL["csf"] * csf
    coarse = (slice(None, None, COARSER),) * 3
    smooth = np.where(template.depth_mm > 0, ndimage.gaussian_filter(signal, 0.8), 0)[coarse]
    affine = template.coarse_affine @ np.diag([COARSER, COARSER, COARSER, 1.0])
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, MARGIN)
    return np.pad(np.round(smooth).astype(np.uint8), MARGIN), affine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="FILE")
    write_image(parser.parse_args().output, *average_brain())


if __name__ == "__main__":
    main()
