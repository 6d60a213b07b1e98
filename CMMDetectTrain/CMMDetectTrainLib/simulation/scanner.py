"""The acquisition: tissues, vessels and deposits in, a noisy complex image out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .deposits import Segments
from .dipole import dipole_field, phase_per_ppm
from .grid import Grid
from .modulation import FULL, Detail, Modulation, modulations_of_vessels
from .protocols import Protocol
from .resolution import acquire_kspace, extended
from .tissues import TISSUES, spoiled_gradient_echo

Array = NDArray[np.float32]
ComplexArray = NDArray[np.complex64]
CHUNK_POINTS = 120_000
HALF_HEAD_MM = 110.0
BRAIN_TISSUES = frozenset(TISSUES) - {"air", "bone", "marrow", "fat", "muscle", "blood"}


class TissueSource(Interface):
    """What the scanner needs to know about a body; `Head` and `FreeTissue` are such."""

    @property
    def chi_ppm(self) -> dict[str, float]:
        """Susceptibility of every tissue."""

    def fractions(self, grid: Grid) -> Iterator[tuple[str, Array]]:
        """Share of every tissue in the voxels of a grid."""

    def depth_on(self, grid: Grid) -> Array:
        """Distance of the voxels of a grid to the brain's hull, negative outside."""

    def depth_mm(self, points_mm: Array) -> Array:
        """Distance of world points (N, 3) to the brain's hull, negative outside."""

    def background_field(self) -> tuple[Array, NDArray[np.float64]]:
        """Field of everything outside the brain in ppm, and the affine of its grid."""


@dataclass(frozen=True)
class Exposure:
    """What an acquisition leaves behind.

    Attributes
    ----------
    image : (I, J, K) complex, with noise
    local_field_ppm : field of what is in the brain, without noise and without wraps
    chi_ppm : true susceptibility, averaged over voxels
    brain : mask
    noise : standard deviation in one channel, units of ``image``
    tissue_signal : median magnitude of the brain's tissue without shading or noise, units of ``image``
    vessels : change of the signal by vessels, complex factor
    magnitude : of tissue alone, without shading, noise, vessels and deposits
    """

    image: ComplexArray
    local_field_ppm: Array
    chi_ppm: Array
    brain: NDArray[np.bool_]
    noise: float
    tissue_signal: float
    vessels: ComplexArray
    magnitude: Array


def expose(
    source: TissueSource,
    vessels: Segments,
    deposits: Iterable[Modulation],
    grid: Grid,
    protocol: Protocol,
    rng: np.random.Generator,
    detail: Detail = FULL,
) -> Exposure:
    """Acquire one scan.

    Parameters
    ----------
    source : tissues
    vessels : all that can be seen
    deposits : what microbleeds and their like do to the signal
    grid, protocol : of the scan
    rng : source of chance
    detail : where to spend time
    """
    magnitude, chi, brain = _tissue_magnitude(source, grid, protocol, rng, detail.thin_slice_mm)
    tissue_signal = float(np.median(magnitude[brain])) if brain.any() else float(np.median(magnitude))
    phase_of = np.float32(phase_per_ppm(protocol.field_t, protocol.te_ms))
    background = _background_field(source, grid) * phase_of
    magnitude *= _dephasing(background)
    local = _local_field(chi, grid, detail.mirror_vox)
    factor, small_chi = _small_things(vessels, grid, protocol, detail)
    vessel_factor = factor.copy()
    small = list(deposits)
    for deposit in small:
        factor[deposit.window] *= deposit.factor
        small_chi[deposit.window] += deposit.chi_ppm
    factor *= magnitude
    background += local * phase_of + _coil_phase(grid, rng)
    factor *= np.exp(1j * background)
    local += np.angle(vessel_factor) / phase_of
    for deposit in small:
        local[deposit.window] += np.angle(deposit.factor) / phase_of
    noise = float(tissue_signal / protocol.snr)
    image = receive(factor, protocol, noise, rng, detail.mirror_vox)
    return Exposure(image, local, chi + small_chi, brain, noise, tissue_signal, vessel_factor, magnitude)


def receive(
    signal: ComplexArray, protocol: Protocol, noise: float, rng: np.random.Generator, mirror_vox: int = 0
) -> ComplexArray:
    """Shade by the coil, add noise, keep the acquired part of k-space, add a ghost.

    A piece of a scan is mirrored at its borders by ``mirror_vox`` voxels first, so that they do not ring.
    """
    signal = signal * _shading(signal.shape, protocol.bias, rng)
    signal = extended(signal, (mirror_vox, mirror_vox, mirror_vox))
    shape = (*signal.shape, 2)
    signal += noise * rng.standard_normal(shape, dtype=np.float32).view(np.complex64)[..., 0]
    if protocol.ghost:
        shift = int(signal.shape[1] * rng.uniform(0.2, 0.5))
        signal += np.roll(signal, shift, axis=1) * np.complex64(protocol.ghost * np.exp(2j * np.pi * rng.random()))
    signal = acquire_kspace(signal, protocol)
    inner = slice(mirror_vox, -mirror_vox or None)
    return np.ascontiguousarray(signal[inner, inner, inner])


def _tissue_magnitude(
    source: TissueSource, grid: Grid, protocol: Protocol, rng: np.random.Generator, thin_slice_mm: float
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Magnitude, susceptibility and brain mask, some slices at a time, averaged over thin slices."""
    signals = _tissue_signals(protocol, rng)
    thin = max(1, round(grid.spacing_mm[2] / thin_slice_mm))
    magnitude, chi = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.float32)
    for slab in _slabs(grid, thin):
        layers = grid.block((0, 0, slab.start), (*grid.shape[:2], slab.stop - slab.start)).refined((1, 1, thin))
        signal, susceptibility = np.zeros(layers.shape, np.float32), np.zeros(layers.shape, np.float32)
        for tissue, share in source.fractions(layers):
            signal += share * signals[tissue]
            if tissue in BRAIN_TISSUES:
                susceptibility += share * np.float32(source.chi_ppm[tissue])
        thick = (*grid.shape[:2], -1, thin)
        magnitude[..., slab] = signal.reshape(thick).mean(axis=3)
        chi[..., slab] = susceptibility.reshape(thick).mean(axis=3)
    magnitude *= _texture(grid, rng)
    return magnitude, chi, _brain(source, grid)


def _brain(source: TissueSource, grid: Grid) -> NDArray[np.bool_]:
    brain = np.empty(grid.shape, bool)
    for slab in _slabs(grid, 1):
        brain[..., slab] = (
            source.depth_on(grid.block((0, 0, slab.start), (*grid.shape[:2], slab.stop - slab.start))) > 0
        )
    return brain


def _slabs(grid: Grid, thin: int) -> Iterator[slice]:
    """Ranges of slices that hold about `CHUNK_POINTS` points: few calls for patches, little memory for scans."""
    step = max(1, CHUNK_POINTS // (grid.shape[0] * grid.shape[1] * thin))
    for first in range(0, grid.shape[2], step):
        yield slice(first, min(first + step, grid.shape[2]))


def _tissue_signals(protocol: Protocol, rng: np.random.Generator) -> dict[str, np.float32]:
    """Signal of every tissue, relaxation and density varied by some percent from scan to scan."""
    return {
        name: np.float32(
            rng.normal(1.0, 0.03)
            * spoiled_gradient_echo(
                tissue,
                protocol.field_t,
                protocol.te_ms,
                protocol.tr_ms,
                protocol.flip_deg,
                rng.uniform(0.88, 1.12),
            )
        )
        for name, tissue in TISSUES.items()
    }


def _texture(grid: Grid, rng: np.random.Generator) -> Array:
    """Fine structure of tissue that no map has: some percent at two scales."""
    texture = np.ones(grid.shape, np.float32)
    for width_mm, strength in ((0.7, 0.015), (2.5, 0.02)):
        noise = rng.standard_normal(grid.shape, dtype=np.float32)
        noise = ndimage.gaussian_filter(noise, [width_mm / step for step in grid.spacing_mm], truncate=2.5)
        texture += np.float32(strength * rng.uniform(0.5, 1.5) / max(float(noise[::4, ::4].std()), 1e-6)) * noise
    return texture


def _background_field(source: TissueSource, grid: Grid) -> Array:
    """Field of air and bone in ppm on the scan's grid."""
    field, affine = source.background_field()
    from_grid = (np.linalg.inv(affine) @ grid.affine).astype(np.float64)
    result: Array = ndimage.affine_transform(
        field, from_grid, output_shape=grid.shape, order=1, mode="nearest", output=np.float32
    )
    return result


def _local_field(chi_ppm: Array, grid: Grid, mirror_vox: int) -> Array:
    """Field of what is in the brain; beyond the border of a piece of a scan its mirror image goes on."""
    wide = np.pad(chi_ppm, mirror_vox, mode="reflect")
    field = dipole_field(wide, grid.spacing_mm, grid.b0_direction, padding=1.2)
    inner = slice(mirror_vox, -mirror_vox or None)
    return np.ascontiguousarray(field[inner, inner, inner])


def _dephasing(phase: Array) -> Array:
    """Signal that a linear phase across the voxel leaves, from the phase at voxel centers."""
    left = np.ones(phase.shape, np.float32)
    for axis in range(3):
        if phase.shape[axis] > 1:
            left *= np.abs(np.sinc(np.gradient(phase, axis=axis) / np.float32(2.0 * np.pi)))
    return left


def _small_things(vessels: Segments, grid: Grid, protocol: Protocol, detail: Detail) -> tuple[ComplexArray, Array]:
    factor = np.ones(grid.shape, np.complex64)
    chi = np.zeros(grid.shape, np.float32)
    for part in modulations_of_vessels(vessels, grid, protocol, detail):
        factor[part.window] += part.factor
        chi[part.window] += part.chi_ppm
    return factor, chi


def _coil_phase(grid: Grid, rng: np.random.Generator) -> Array:
    """Phase that is left of the coils: constant, linear and quadratic, some rad over a head."""
    halves = [0.5 * size * step / HALF_HEAD_MM for size, step in zip(grid.shape, grid.spacing_mm, strict=True)]
    i, j, k = np.ix_(*(np.linspace(-h, h, n, dtype=np.float32) for h, n in zip(halves, grid.shape, strict=True)))
    a = rng.uniform(-np.pi, np.pi, 5).astype(np.float32)
    return a[0] + a[1] * i + a[2] * j + a[3] * k + a[4] * 0.5 * (i**2 + j**2)


def _shading(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> Array:
    """Receive field: exponential of a smooth random field, brighter near the coils."""
    lattice = rng.normal(0.0, strength, (4, 4, 3)).astype(np.float32)
    for axis, size in enumerate(shape):
        lattice = np.moveaxis(np.tensordot(_smooth_steps(lattice.shape[axis], size), lattice, axes=(1, axis)), 0, axis)
    axes = [np.linspace(-1, 1, size, dtype=np.float32) for size in shape]
    rim = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2
    return np.exp(lattice + rng.uniform(0.0, 1.5) * strength * (rim - 0.5)).astype(np.float32)


def _smooth_steps(nodes: int, size: int) -> Array:
    """Matrix (size, nodes) that interpolates smoothly between nodes."""
    position = np.linspace(0.0, nodes - 1.0, size)
    low = np.minimum(position.astype(int), nodes - 2)
    part = position - low
    part = part * part * (3.0 - 2.0 * part)
    matrix = np.zeros((size, nodes), np.float32)
    matrix[np.arange(size), low] = 1.0 - part
    matrix[np.arange(size), low + 1] = part
    return matrix
