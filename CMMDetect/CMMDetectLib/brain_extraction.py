"""Brain extraction from a scan of a head: BET, HD-BET or, on QSM, the region without background noise."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import ndimage

from .bet import bet
from .errors import InputError
from .head_grid import WORK_MM, BoolArray, FloatArray, largest_part, on_work_grid, resample
from .scan import Modality, Scan, read_mask, write_image

METHODS = ("bet", "hd-bet")
QUIET_LOG_RATIO, QUIET_CORE_MM = 2.0, 8.0
"""On an unmasked QSM: smallest natural logarithm of the ratio of noise variance to brain variance, and radius of the
opening."""


def extract_brain(scan: Scan, method: str = "bet") -> tuple[BoolArray, str]:
    """Find the brain in a scan of a head (paper, section 2.1).

    BET cannot work on QSM, where tissue is near 0 and air is noise: there the brain is where the map has little noise.

    Parameters
    ----------
    scan : any modality, spacing and orientation
    method : 'bet', or 'hd-bet' where the package HD_BET is installed

    Returns
    -------
    mask : on the scan's grid
    source : how it was found, 'bet', 'hd-bet' or 'quiet'

    Raises
    ------
    InputError
        If the method is unknown, not installed or fails.
    """
    if method not in METHODS:
        raise InputError(f"unknown brain extraction '{method}': choose {' or '.join(METHODS)}")
    if scan.modality is Modality.QSM:
        mask, method = _quiet_region(scan), "quiet"
    else:
        mask = _hd_bet(scan) if method == "hd-bet" else bet(scan.array, scan.spacing_mm, scan.affine)
    return mask, method


def _quiet_region(scan: Scan) -> BoolArray:
    """Find the brain on an unmasked QSM: the largest region without the noise of air and bone.

    Otsu's method splits the local variance in two; the brain is the largest quiet part after an opening, because the
    scalp is quiet too, but thin and separated by the noisy skull.
    """
    mean = ndimage.uniform_filter(on_work_grid(scan.array, scan.spacing_mm), 3)
    square = ndimage.uniform_filter(on_work_grid(scan.array**2, scan.spacing_mm), 3)
    level = np.log(np.maximum(square - mean**2, 1e-8 * square.max()))
    quiet = level < _otsu(level)
    if level[~quiet].mean() - level[quiet].mean() < QUIET_LOG_RATIO:
        raise InputError(
            f"{scan.path or scan.name}: no background noise to find the brain by; give a brain mask with --mask"
        )
    core = largest_part(ndimage.distance_transform_edt(quiet, WORK_MM) > QUIET_CORE_MM)
    region = ndimage.distance_transform_edt(~core, WORK_MM) <= QUIET_CORE_MM
    return resample(region, (WORK_MM,) * 3, scan.spacing_mm, scan.array.shape) > 0.5


def _otsu(values: FloatArray) -> float:
    """Threshold that best splits values into two classes (Otsu 1979)."""
    counts, edges = np.histogram(values, 256)
    center = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts)[:-1], counts.sum()
    sum_below, sum_all = np.cumsum(counts * center)[:-1], (counts * center).sum()
    between = (sum_all * below - sum_below * total) ** 2 / np.maximum(below * (total - below), 1)
    return float(edges[1:-1][between.argmax()])


def _hd_bet(scan: Scan) -> BoolArray:
    """Run HD-BET 2 (Isensee 2019) in a separate process, since it forks workers and writes to standard output."""
    if importlib.util.find_spec("HD_BET") is None or importlib.util.find_spec("HD_BET.entry_point") is None:
        raise InputError("HD-BET 2 is not installed; install hd-bet, or use --brain-extraction bet")
    with tempfile.TemporaryDirectory() as folder:
        image, out = Path(folder, "scan.nii.gz"), Path(folder, "brain.nii.gz")
        write_image(image, scan.array, scan.affine)
        options = ["-device", "cpu", "--disable_tta", "--save_bet_mask", "--no_bet_image"]
        command = [sys.executable, "-m", "HD_BET.entry_point", "-i", str(image), "-o", str(out), *options]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        mask = Path(folder, "brain_bet.nii.gz")
        if ended.returncode or not mask.is_file():
            reason = (ended.stderr.strip().splitlines() or ["it wrote no mask"])[-1]
            raise InputError(f"HD-BET failed ({reason}); use --brain-extraction bet, or give a brain mask with --mask")
        return read_mask(mask, scan)
