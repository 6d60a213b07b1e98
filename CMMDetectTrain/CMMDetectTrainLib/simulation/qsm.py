"""Quantitative susceptibility maps in ppm, from the true susceptibility or by inversion of the field."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

from .dipole import Triple, dipole_field, dipole_kernel
from .grid import Grid
from .protocols import Protocol

Array = NDArray[np.float32]
TKD_THRESHOLD = 0.19


def invert_field(
    field_ppm: Array, spacing_mm: Triple, b0_direction: Triple, threshold: float = TKD_THRESHOLD
) -> Array:
    """Return chi = F^-1[ sign(D) / max(|D|, threshold) F(field) ] in ppm (truncated k-space division).

    Parameters
    ----------
    field_ppm : (I, J, K) field in the brain, 0 outside
    spacing_mm, b0_direction : see `dipole_kernel`
    threshold : a lower one gives a sharper map with more streaks
    """
    i, j, k = (scipy.fft.next_fast_len(int(size * 1.15), real=True) for size in field_ppm.shape)
    kernel = dipole_kernel((i, j, k), spacing_mm, b0_direction)
    spectrum = scipy.fft.rfftn(field_ppm, s=(i, j, k))
    spectrum *= np.where(kernel < 0, -1.0, 1.0).astype(np.float32) / np.maximum(np.abs(kernel), threshold)
    chi = scipy.fft.irfftn(spectrum, s=(i, j, k))
    return np.ascontiguousarray(chi[tuple(slice(size) for size in field_ppm.shape)], dtype=np.float32)


def susceptibility_map(
    chi_ppm: Array,
    field_ppm: Array,
    brain: NDArray[np.bool_],
    grid: Grid,
    protocol: Protocol,
    rng: np.random.Generator,
) -> Array:
    """Make a QSM as from a pipeline: within an eroded mask, relative to its median, smoothed and noisy.

    Parameters
    ----------
    chi_ppm : (I, J, K) true susceptibility
    field_ppm : (I, J, K) measured local field with its noise (used by the method 'tkd')
    brain : (I, J, K) mask
    grid, protocol : grid and protocol of the scan
    rng : random number generator

    Returns
    -------
    qsm : (I, J, K) ppm, 0 outside the mask
    """
    rim_mm = float(rng.uniform(0.0, 4.0)) if rng.random() < 0.75 else 0.0
    inside = ndimage.distance_transform_edt(brain, sampling=grid.spacing_mm) > rim_mm
    if not inside.any():
        inside = brain
    if protocol.qsm_method == "tkd":
        # background field removal subtracts the field of the sinuses outside the mask almost completely
        beyond = dipole_field(np.where(inside, np.float32(0.0), chi_ppm), grid.spacing_mm, grid.b0_direction, 1.2)
        field_ppm = field_ppm - np.float32(rng.uniform(0.85, 1.0)) * beyond
        threshold = float(np.exp(rng.uniform(np.log(0.09), np.log(0.27))))
        qsm = invert_field(field_ppm * inside, grid.spacing_mm, grid.b0_direction, threshold)
    else:
        noise = rng.standard_normal(grid.shape, dtype=np.float32) * np.float32(rng.uniform(0.005, 0.02))
        qsm = chi_ppm + noise
    qsm = ndimage.gaussian_filter(qsm, protocol.qsm_blur_vox, truncate=3.0)
    qsm -= np.float32(np.median(qsm[inside])) + np.float32(rng.normal(0.0, 0.01))
    return np.where(inside, qsm, np.float32(0.0))
