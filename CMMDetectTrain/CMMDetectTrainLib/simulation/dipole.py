"""Magnetic field of a susceptibility map, by dipole convolution in k-space."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]


@lru_cache(maxsize=4)
def dipole_kernel(shape: Shape, spacing_mm: Triple, b0_direction: Triple) -> NDArray[np.float32]:
    """Return D(k) = 1/3 - (k.b)^2 / k^2 with D(0) = 0, on the half spectrum of a real transform.

    Parameters
    ----------
    shape : shape of the array in real space
    spacing_mm : voxel spacing
    b0_direction : unit vector of the main field along the voxel axes

    Returns
    -------
    kernel : (I, J, K // 2 + 1), dimensionless, read-only
    """
    axes = [np.fft.fftfreq(shape[0], spacing_mm[0]), np.fft.fftfreq(shape[1], spacing_mm[1])]
    axes.append(np.fft.rfftfreq(shape[2], spacing_mm[2]))
    ki, kj, kk = np.ix_(*(axis.astype(np.float32) for axis in axes))
    # at the Nyquist frequency the sign of a component is undefined, so products of two components must vanish
    si, sj, sk = (np.where(np.abs(k) < 0.499 / step, k, 0) for k, step in zip((ki, kj, kk), spacing_mm, strict=True))
    bi, bj, bk = (np.float32(part) for part in b0_direction)
    along = (bi * ki) ** 2 + (bj * kj) ** 2 + (bk * kk) ** 2
    along += 2.0 * (bi * bj * si * sj + bi * bk * si * sk + bj * bk * sj * sk)
    square = ki**2 + kj**2 + kk**2
    square[0, 0, 0] = 1.0
    kernel = np.asarray(1.0 / 3.0 - along / square, dtype=np.float32)
    kernel[0, 0, 0] = 0.0
    kernel.flags.writeable = False  # the cache returns the same array to all callers
    return kernel


def dipole_field(
    chi_ppm: NDArray[np.float32],
    spacing_mm: Triple,
    b0_direction: Triple,
    padding: float = 1.0,
    outside_ppm: float | None = None,
) -> NDArray[np.float32]:
    """Return the relative field change dB / B0 in ppm.

    Parameters
    ----------
    chi_ppm : (I, J, K) susceptibility
    spacing_mm, b0_direction : see `dipole_kernel`
    padding : factor by which the array is enlarged, to keep its periodic copies away
    outside_ppm : susceptibility outside the array; None for that of the first voxel

    Returns
    -------
    field : (I, J, K) float32 ppm
    """
    i, j, k = (scipy.fft.next_fast_len(int(np.ceil(size * padding)), real=True) for size in chi_ppm.shape)
    outside = chi_ppm.flat[0] if outside_ppm is None else np.float32(outside_ppm)
    spectrum = scipy.fft.rfftn(chi_ppm - outside, s=(i, j, k))
    spectrum *= dipole_kernel((i, j, k), spacing_mm, b0_direction)
    field = scipy.fft.irfftn(spectrum, s=(i, j, k))
    return np.ascontiguousarray(field[tuple(slice(size) for size in chi_ppm.shape)], dtype=np.float32)


def phase_per_ppm(field_t: float, te_ms: float) -> float:
    """Return the phase in rad that a field of 1 ppm causes at the echo time: -2 pi * 42.577 MHz/T * B0 * TE.

    >>> round(phase_per_ppm(3.0, 20.0), 2)
    -16.05
    """
    return -2.0 * np.pi * 42.577 * field_t * te_ms * 1e-3
