"""From fine grids to voxels: k-space crop in plane, and k-space crop or slice profile through plane."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from .protocols import Protocol

Factors = tuple[int, int, int]


@lru_cache(maxsize=64)
def kspace_crop_matrix(size: int, factor: int) -> NDArray[np.float32]:
    """Return the matrix that samples ``size`` voxels from ``size * factor`` fine ones by cropping k-space.

    Returns
    -------
    matrix : (size, size * factor); constants keep their value, edges ring (Gibbs)

    >>> bool(np.allclose(kspace_crop_matrix(8, 4).sum(axis=1), 1.0, atol=1e-5))
    True
    """
    fine = np.fft.fft(np.eye(size * factor), axis=0)
    frequency = np.fft.fftfreq(size, 1.0 / size).astype(int)
    kept = fine[frequency % (size * factor)]
    # fine voxel f lies at (f + 1/2) / factor - 1/2 of the coarse grid
    shift = np.exp(-2j * np.pi * frequency / size * (0.5 / factor - 0.5))
    if size % 2 == 0:
        kept[frequency == -size // 2] *= 0.0  # it has no partner at +Nyquist, so it would leave an imaginary part
    coarse = np.fft.ifft(kept * shift[:, None], axis=0) / factor
    matrix = coarse.real.astype(np.float32)
    matrix.flags.writeable = False
    return matrix


@lru_cache(maxsize=64)
def slice_profile_matrix(size: int, factor: int) -> NDArray[np.float32]:
    """Return the matrix that averages ``factor`` fine voxels to one slice, as a 2D excitation does.

    >>> slice_profile_matrix(2, 2).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    matrix = np.repeat(np.eye(size, dtype=np.float32), factor, axis=1) / np.float32(factor)
    matrix.flags.writeable = False
    return matrix


def to_voxels(fine: NDArray[np.float32], factors: Factors, three_dimensional: bool) -> NDArray[np.float32]:
    """Bring a real array on a fine grid to the voxels of the scan.

    Parameters
    ----------
    fine : (I * fi, J * fj, K * fk)
    factors : fi, fj, fk
    three_dimensional : whether k-space is cropped through plane too, instead of averaging over a slice profile

    Returns
    -------
    voxels : (I, J, K)
    """
    i, j, k = (size // factor for size, factor in zip(fine.shape, factors, strict=True))
    through_plane = kspace_crop_matrix if three_dimensional else slice_profile_matrix
    voxels = np.matmul(fine, through_plane(k, factors[2]).T)
    voxels = np.matmul(kspace_crop_matrix(j, factors[1]), voxels)
    return np.tensordot(kspace_crop_matrix(i, factors[0]), voxels, axes=1)


def acquire_kspace(signal: NDArray[np.complex64], protocol: Protocol) -> NDArray[np.complex64]:
    """Zero the part of k-space that is not acquired and apodize the rest; ``signal`` may be overwritten."""
    for axis, share in _filtered_axes(protocol):
        weight = _kspace_weight(signal.shape[axis], share, protocol.apodization)
        spectrum = scipy.fft.fft(signal, axis=axis, overwrite_x=True)
        spectrum *= weight.reshape([-1 if a == axis else 1 for a in range(3)])
        signal = scipy.fft.ifft(spectrum, axis=axis, overwrite_x=True)
    return signal


def acquire_piece(signal: NDArray[np.complex64], protocol: Protocol) -> NDArray[np.complex64]:
    """Filter a piece of a scan as `acquire_kspace` does, but without wrapping around its borders."""
    for axis, share in _filtered_axes(protocol):
        size = signal.shape[axis]
        kernel = np.fft.ifft(_kspace_weight(4 * size, share, protocol.apodization)).real
        matrix = kernel[np.abs(np.subtract.outer(np.arange(size), np.arange(size)))]
        # near the border, the kernel is cut off and renormalized, so that constants keep their value
        matrix /= matrix.sum(axis=1, keepdims=True)
        moved = np.tensordot(matrix.astype(np.complex64), signal, axes=(1, axis))
        signal = np.moveaxis(moved, 0, axis)
    return np.ascontiguousarray(signal)


def _filtered_axes(protocol: Protocol) -> list[tuple[int, float]]:
    """Return the encoded axes that need filtering, with the acquired share of their k-space."""
    through = (protocol.slice_resolution,) if protocol.three_dimensional else ()
    shares = (*protocol.resolution, *through)
    return [(axis, share) for axis, share in enumerate(shares) if share < 1.0 or protocol.apodization]


def _kspace_weight(size: int, share: float, apodization: float) -> NDArray[np.float32]:
    frequency = scipy.fft.fftfreq(size) * 2.0 / share
    hann = 0.5 + 0.5 * np.cos(np.pi * np.clip(frequency, -1, 1))
    weight = (np.abs(frequency) <= 1.0) * (1.0 - apodization * (1.0 - hann))
    return np.asarray(weight, dtype=np.float32)


def extended(image: NDArray[np.complex64], widths: tuple[int, int, int]) -> NDArray[np.complex64]:
    """Extend a complex image beyond its borders, with mirrored magnitude and linearly continued phase.

    Parameters
    ----------
    image : (I, J, K)
    widths : number of voxels to add at both ends of each axis

    >>> ramp = np.exp(0.1j * np.arange(8)).reshape(8, 1, 1).astype(np.complex64)
    >>> [round(float(angle), 2) for angle in np.angle(extended(ramp, (2, 0, 0))[:3, 0, 0])]
    [-0.2, -0.1, 0.0]
    """
    if not any(widths):
        return image
    pads = [(width, width) for width in widths]
    mirrored, edge = np.pad(image, pads, mode="reflect"), np.pad(image, pads, mode="edge")
    turn = edge * edge * np.conj(mirrored)
    return (np.abs(mirrored) * turn / np.maximum(np.abs(turn), np.float32(1e-30))).astype(np.complex64)
