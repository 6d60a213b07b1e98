"""Simulated acquisition: a noisy complex image of tissues, vessels and deposits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .deposits import Segments
from .dipole import dipole_field, phase_per_ppm
from .grid import Grid, slowly_varying
from .modulation import FULL, Detail, Modulation, modulations_of_vessels
from .protocols import Protocol
from .resolution import acquire_kspace, acquire_piece
from .sampling import TissueSource, depth_of, mean_fractions
from .tissues import TISSUES, spoiled_gradient_echo

Array = NDArray[np.float32]
ComplexArray = NDArray[np.complex64]
HALF_HEAD_MM = 110.0
SLIGHT_DEPHASING = 0.24
"""Half the phase across a voxel, in rad, that reduces the signal by less than 1 %."""
BRAIN_TISSUES = frozenset(TISSUES) - {"air", "bone", "marrow", "fat", "muscle", "blood"}


@dataclass(frozen=True)
class Acquisition:
    """Result of an acquisition; all arrays are (I, J, K).

    Attributes
    ----------
    image : complex image, with noise
    local_field_ppm : field of the sources in the brain, without noise or phase wraps
    chi_ppm : true susceptibility, averaged over voxels
    brain : mask
    depth_mm : depth below the brain's hull, negative outside
    noise : standard deviation of the noise in one channel, units of ``image``
    tissue_signal : median magnitude of the brain's tissue without shading or noise, units of ``image``
    vessels : effect of vessels on the signal, complex factor
    magnitude : magnitude of tissue alone, without shading, noise, vessels and deposits
    """

    image: ComplexArray
    local_field_ppm: Array
    chi_ppm: Array
    brain: NDArray[np.bool_]
    depth_mm: Array
    noise: float
    tissue_signal: float
    vessels: ComplexArray
    magnitude: Array


def acquire(
    source: TissueSource,
    vessels: Segments,
    deposits: Iterable[Modulation],
    grid: Grid,
    protocol: Protocol,
    rng: np.random.Generator,
    detail: Detail = FULL,
) -> Acquisition:
    """Acquire one scan.

    Parameters
    ----------
    source : tissues
    vessels : visible vessels
    deposits : effect of microbleeds and other deposits on the signal
    grid, protocol : grid and protocol of the scan
    rng : random number generator
    detail : level of detail
    """
    magnitude, chi = _tissue_magnitude(source, grid, protocol, rng, detail.thin_slice_mm)
    depth = depth_of(source, grid)
    brain = depth > 0
    tissue_signal = _typical(magnitude, brain)
    phase_of = np.float32(phase_per_ppm(protocol.field_t, protocol.te_ms))
    phase = _background_field(source, grid) * phase_of
    magnitude *= _dephasing(phase)
    local = _local_field(chi, grid, detail.mirror_vox)
    factor, small_chi = _small_things(vessels, grid, protocol, detail)
    vessel_factor = factor.copy()
    phase += local * phase_of + _coil_phase(grid, rng)
    local += np.angle(vessel_factor) / phase_of
    for deposit in deposits:
        factor[deposit.window] *= deposit.factor
        small_chi[deposit.window] += deposit.chi_ppm
        local[deposit.window] += np.angle(deposit.factor) / phase_of
    factor *= _turned(magnitude, phase)
    noise = float(tissue_signal / protocol.snr)
    image = receive(factor, protocol, noise, rng, piece=detail.mirror_vox > 0)
    return Acquisition(image, local, chi + small_chi, brain, depth, noise, tissue_signal, vessel_factor, magnitude)


def receive(
    signal: ComplexArray, protocol: Protocol, noise: float, rng: np.random.Generator, piece: bool = False
) -> ComplexArray:
    """Apply coil shading, noise, a motion ghost and the k-space filter.

    Parameters
    ----------
    signal : (I, J, K)
    protocol : decides all of these
    noise : standard deviation of the noise in one channel
    rng : random number generator
    piece : whether the signal is only a piece of a scan
    """
    signal = signal * _shading(signal.shape, protocol.bias, rng)
    shape = (*signal.shape, 2)
    grain = rng.standard_normal(shape, dtype=np.float32).view(np.complex64)[..., 0]
    grain *= np.float32(noise)
    if protocol.noise_spread:
        # parallel imaging is noisier where the sensitivities of coils are similar
        grain *= np.exp(np.abs(smooth_noise(signal.shape, protocol.noise_spread, rng)))
    signal += grain
    if protocol.ghost:
        size = signal.shape[1]
        moved = np.arange(size) + int(size * rng.uniform(0.2, 0.5))
        # a piece continues as its mirror image, so that the ghost has no seam
        moved = np.where(moved < size, moved, 2 * size - 1 - moved) if piece else moved % size
        signal += signal[:, moved] * np.complex64(protocol.ghost * np.exp(2j * np.pi * rng.random()))
    return acquire_piece(signal, protocol) if piece else acquire_kspace(signal, protocol)


def _turned(magnitude: Array, phase: Array) -> ComplexArray:
    turned = np.empty(magnitude.shape, np.complex64)
    np.multiply(magnitude, np.cos(phase), out=turned.real)
    np.multiply(magnitude, np.sin(phase), out=turned.imag)
    return turned


def _typical(magnitude: Array, brain: NDArray[np.bool_]) -> float:
    """Return the median magnitude in the brain, from every second voxel along each axis if these are enough."""
    thin = (slice(None, None, 2),) * 3
    if np.count_nonzero(brain[thin]) > 1000:
        magnitude, brain = magnitude[thin], brain[thin]
    return float(np.median(magnitude[brain] if brain.any() else magnitude))


def _tissue_magnitude(
    source: TissueSource, grid: Grid, protocol: Protocol, rng: np.random.Generator, thin_slice_mm: float
) -> tuple[Array, Array]:
    """Return magnitude and susceptibility of tissue."""
    signals = _tissue_signals(protocol, rng)
    magnitude, chi = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    for slab, tissue, share in mean_fractions(source, grid, thin_slice_mm):
        magnitude[..., slab] += share * signals[tissue]
        if tissue in BRAIN_TISSUES:
            chi[..., slab] += share * np.float32(source.chi_ppm[tissue])
    magnitude *= _texture(grid, rng)
    return magnitude, chi


def _tissue_signals(protocol: Protocol, rng: np.random.Generator) -> dict[str, np.float32]:
    """Draw the signal of each tissue; relaxation and density vary by some percent from scan to scan."""
    signals = {
        name: rng.normal(1.0, 0.03)
        * spoiled_gradient_echo(
            tissue, protocol.field_t, protocol.te_ms, protocol.tr_ms, protocol.flip_deg, rng.uniform(0.88, 1.12)
        )
        for name, tissue in TISSUES.items()
    }
    white = signals["white"]
    return {
        name: np.float32(white * (signal / white) ** protocol.contrast if name in BRAIN_TISSUES else signal)
        for name, signal in signals.items()
    }


def _texture(grid: Grid, rng: np.random.Generator) -> Array:
    """Draw a texture of tissue of some percent: fine, often elongated along one axis, and coarse."""
    widths = 0.7 * np.exp(rng.normal(0.0, 0.4, 3)) / np.array(grid.spacing_mm)
    fine = ndimage.gaussian_filter(rng.standard_normal(grid.shape, dtype=np.float32), widths, truncate=2.5)
    coarse = slowly_varying(grid, lambda points: rng.standard_normal((len(points), 1), dtype=np.float32), 4.0)[..., 0]
    texture = np.ones(grid.shape, np.float32)
    for noise, strength in ((fine, 0.015), (coarse, 0.02)):
        noise *= np.float32(strength * rng.uniform(0.5, 1.8) / max(float(noise[::4, ::4].std()), 1e-6))
        texture += noise
    return texture


def _background_field(source: TissueSource, grid: Grid) -> Array:
    """Return the field of air and bone in ppm on the grid of the scan."""
    field, affine = source.background_field()
    from_world = np.linalg.inv(affine)

    def look_up(points: Array) -> Array:
        index = from_world[:3, :3] @ points.T + from_world[:3, 3:]
        return ndimage.map_coordinates(field, index, order=1, mode="nearest", output=np.float32)

    return slowly_varying(grid, look_up)[..., 0]


def _local_field(chi_ppm: Array, grid: Grid, mirror_vox: int) -> Array:
    """Return the field of the sources in the brain; a piece of a scan is mirrored at its borders."""
    wide = np.pad(chi_ppm, mirror_vox, mode="reflect")
    field = dipole_field(wide, grid.spacing_mm, grid.b0_direction, padding=1.2)
    inner = slice(mirror_vox, -mirror_vox or None)
    return np.ascontiguousarray(field[inner, inner, inner])


def _dephasing(phase: Array) -> Array:
    """Return the share of signal left by dephasing in voxels, for a linear phase between their centers."""
    left = np.ones(phase.shape, np.float32)
    for axis in range(3):
        if phase.shape[axis] > 1:
            half = np.gradient(phase, axis=axis)
            half *= np.float32(0.5)
            if np.abs(half).max() > SLIGHT_DEPHASING:
                left *= np.abs(np.sinc(half / np.float32(np.pi)))
    return left


def _small_things(vessels: Segments, grid: Grid, protocol: Protocol, detail: Detail) -> tuple[ComplexArray, Array]:
    factor = np.ones(grid.shape, np.complex64)
    chi = np.zeros(grid.shape, np.float32)
    for part in modulations_of_vessels(vessels, grid, protocol, detail):
        factor[part.window] += part.factor
        chi[part.window] += part.chi_ppm
    return factor, chi


def _coil_phase(grid: Grid, rng: np.random.Generator) -> Array:
    """Draw the phase of the coils: constant, linear and quadratic terms, some rad over a head."""
    halves = [0.5 * size * step / HALF_HEAD_MM for size, step in zip(grid.shape, grid.spacing_mm, strict=True)]
    i, j, k = np.ix_(*(np.linspace(-h, h, n, dtype=np.float32) for h, n in zip(halves, grid.shape, strict=True)))
    a = rng.uniform(-np.pi, np.pi, 5).astype(np.float32)
    return a[0] + a[1] * i + a[2] * j + a[3] * k + a[4] * 0.5 * (i**2 + j**2)


def _shading(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> Array:
    """Draw the receive field: the exponential of a smooth random field, brighter near the coils."""
    logarithm = smooth_noise(shape, strength, rng)
    strength *= rng.uniform(0.0, 1.5)
    first, second = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape[:2])
    rim = np.float32(strength) * (first[:, None] ** 2 + second**2 - np.float32(0.5))
    logarithm += rim[..., None]
    return np.exp(logarithm)


def smooth_noise(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> Array:
    """Draw a random field of standard deviation ``strength`` at 4 x 4 x 3 nodes, smooth between them."""
    lattice = rng.normal(0.0, strength, (4, 4, 3)).astype(np.float32)
    for axis, size in enumerate(shape):
        lattice = np.moveaxis(np.tensordot(_smooth_steps(lattice.shape[axis], size), lattice, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(lattice)


def _smooth_steps(nodes: int, size: int) -> Array:
    """Return the matrix (size, nodes) of smooth interpolation between nodes."""
    position = np.linspace(0.0, nodes - 1.0, size)
    low = np.minimum(position.astype(int), nodes - 2)
    part = position - low
    part = part * part * (3.0 - 2.0 * part)
    matrix = np.zeros((size, nodes), np.float32)
    matrix[np.arange(size), low] = 1.0 - part
    matrix[np.arange(size), low + 1] = part
    return matrix
