"""Susceptibility-weighted imaging: magnitude times a mask from the high-pass filtered phase (Haacke 2004)."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.scan import Modality

from .dipole import Triple
from .protocols import Protocol

ComplexArray = NDArray[np.complex64]
Array = NDArray[np.float32]


def susceptibility_weighted(image: ComplexArray, spacing_mm: Triple, protocol: Protocol) -> Array:
    """Make an SWI from a complex image.

    Parameters
    ----------
    image : (I, J, K)
    spacing_mm : voxel spacing
    protocol : decides filter, width, power and mask

    Returns
    -------
    swi : (I, J, K) float32, units of the magnitude
    """
    magnitude = np.abs(image).astype(np.float32)
    if protocol.swi_filter == "none":
        return magnitude
    phase = highpass_phase(image, spacing_mm, protocol.swi_filter, protocol.swi_width_mm)
    return magnitude * phase_mask(phase, protocol.swi_mask) ** protocol.swi_power


def highpass_phase(image: ComplexArray, spacing_mm: Triple, kind: str, width_mm: float) -> Array:
    """Return the phase of an image relative to its low-pass, slice by slice: angle(S conj(LP(S))), in rad.

    ``hann`` keeps the central k-space of 2 / ``width_mm`` cycles per mm under a Hann window, as scanners do;
    ``gaussian`` weighs neighbors in space.
    """
    if kind == "gaussian":
        sigma = [width_mm / 4.0 / spacing_mm[0], width_mm / 4.0 / spacing_mm[1], 0.0]
        low = ndimage.gaussian_filter(image.real, sigma) + 1j * ndimage.gaussian_filter(image.imag, sigma)
    else:
        spectrum = scipy.fft.fft2(image, axes=(0, 1))
        for axis in range(2):
            frequency = np.abs(scipy.fft.fftfreq(image.shape[axis], spacing_mm[axis])) * width_mm
            window = np.where(frequency < 1.0, 0.5 + 0.5 * np.cos(np.pi * np.minimum(frequency, 1.0)), 0.0)
            spectrum *= window.astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        low = scipy.fft.ifft2(spectrum, axes=(0, 1), overwrite_x=True)
    return np.angle(image * np.conj(low)).astype(np.float32)


def phase_mask(phase: Array, kind: str = "linear") -> Array:
    """Return weights from 0 to 1 that are low where the phase is that of veins (negative here).

    >>> phase_mask(np.float32([-np.pi, -np.pi / 2, 0.0, 1.0])).round(2).tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    if kind == "symmetric":
        return np.clip(1.0 - np.abs(phase) / np.pi, 0.0, 1.0).astype(np.float32)
    if kind == "tanh":
        return (0.5 + 0.5 * np.tanh(1.0 + np.minimum(phase, 0.0) * 2.0) / np.tanh(1.0)).clip(0, 1).astype(np.float32)
    reach = np.pi if kind == "linear" else np.pi / 2.0
    return np.clip(1.0 + np.minimum(phase, 0.0) / reach, 0.0, 1.0).astype(np.float32)


def darkening(factor: ComplexArray, spacing_mm: Triple, modality: Modality, protocol: Protocol) -> Array:
    """Return the share of the signal of uniform tissue that a complex factor leaves on T2* magnitude or SWI.

    Parameters
    ----------
    factor : (I, J, K) complex factor on a block of the scan, about 1 at its border
    spacing_mm : voxel spacing
    modality : modality of the image
    protocol : decides how an SWI is filtered
    """
    share = np.abs(factor).astype(np.float32)
    if modality is not Modality.SWI or protocol.swi_filter == "none":
        return share
    margins = [int(np.ceil(0.5 * protocol.swi_width_mm / step)) for step in spacing_mm[:2]]
    wide = np.pad(factor, [(n, n) for n in (*margins, 0)], constant_values=np.complex64(1.0))
    phase = highpass_phase(wide, spacing_mm, protocol.swi_filter, protocol.swi_width_mm)
    inner = tuple(slice(n, n + size) for n, size in zip(margins, factor.shape[:2], strict=True))
    return share * phase_mask(phase[inner], protocol.swi_mask) ** protocol.swi_power
