"""Effect of small objects on the complex signal, computed on fine grids and brought to the voxels of the scan.

The effects of several objects multiply, so that they can be applied to acquired scans as well as to simulated heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from CMMDetectLib.scan import to_voxel

from .deposits import Canvas, Deposit, Segments
from .dipole import Shape, dipole_field, phase_per_ppm
from .grid import Grid
from .protocols import Protocol
from .resolution import Factors, to_voxels


@dataclass(frozen=True)
class Fineness:
    """Resolution of a fine grid.

    Attributes
    ----------
    least_factors : least number of fine voxels per voxel along i, j, k
    step_mm : largest fine voxel
    most_voxels : largest number of fine voxels in a block, which overrides the others
    least_phase : phase in rad below which the field of a deposit is neglected
    """

    least_factors: Factors
    step_mm: tuple[float, float, float]
    most_voxels: int
    least_phase: float


@dataclass(frozen=True)
class Detail:
    """Level of detail of a simulation, which trades accuracy for time.

    Attributes
    ----------
    deposits, vessels : fine grids around deposits and vessels
    block_vox : size of the blocks in which vessels are computed
    margin_mm : overlap of these blocks
    thin_slice_mm : thickness of the slices over which tissue is averaged
    mirror_vox : width of the mirrored border of a piece of a scan, for its field; 0 for whole scans
    threads : number of blocks that are computed in parallel
    """

    deposits: Fineness
    vessels: Fineness
    block_vox: Shape
    margin_mm: float
    thin_slice_mm: float
    mirror_vox: int
    threads: int


FULL = Detail(
    Fineness((4, 4, 4), (0.15, 0.15, 0.4), 6_000_000, 0.08),
    Fineness((4, 4, 4), (0.25, 0.25, 0.6), 6_000_000, 0.08),
    (40, 40, 16),
    2.0,
    1.2,
    0,
    2,
)
"""For whole scans: at least four times finer than the voxels, and finer still for deposits."""
LEAN = Detail(
    Fineness((3, 3, 2), (0.25, 0.25, 0.7), 400_000, 0.15),
    Fineness((2, 2, 1), (0.4, 0.4, 1.6), 600_000, 0.15),
    (80, 80, 80),
    1.0,
    2.0,
    6,
    1,
)
"""For thousands of training patches."""


@dataclass(frozen=True)
class Modulation:
    """Effect of small objects on a block of a scan.

    Attributes
    ----------
    window : voxels of the block in the scan
    factor : (I, J, K) complex64, by which the signal of the block is multiplied
    chi_ppm : (I, J, K) float32, which is added to the susceptibility of the block
    """

    window: tuple[slice, slice, slice]
    factor: NDArray[np.complex64]
    chi_ppm: NDArray[np.float32]


def modulation_of_deposit(
    deposit: Deposit, grid: Grid, protocol: Protocol, detail: Detail = FULL
) -> Modulation | None:
    """Compute the effect of one deposit on a scan.

    Parameters
    ----------
    deposit : its parts are scaled to its moment if they are of one kind
    grid : grid of the scan
    protocol : field strength, echo time and kind of acquisition
    detail : level of detail

    Returns
    -------
    modulation : None if the deposit does not reach the grid
    """
    blobs = deposit.blobs
    centers = to_voxel(grid.affine, [blob.center_mm for blob in blobs])
    margin = _reach_mm(deposit, protocol, detail.deposits.least_phase) / np.array(grid.spacing_mm)
    start = np.floor(centers.min(axis=0) - margin).astype(int)
    size = np.ceil(centers.max(axis=0) + margin).astype(int) + 1 - start
    block = grid.block(_triple(start), _triple(size))
    factors = fine_factors(block, detail.deposits)
    canvas = Canvas(block.refined(factors))
    canvas.paint_blobs(blobs, deposit.moment if deposit.uniform else None)
    ramps = [_ramp(count, max(1, int(count * 0.15))) for count in canvas.grid.shape]
    return _clipped(_modulate(canvas, factors, protocol, ramps), _triple(start), grid.shape)


def modulations_of_vessels(
    segments: Segments, grid: Grid, protocol: Protocol, detail: Detail = FULL
) -> Iterator[Modulation]:
    """Compute the effect of vessels on a scan, in overlapping blocks whose effects add up to the whole.

    Yields
    ------
    modulation : its ``factor`` is the share of (factor - 1) that the block contributes, to be added
    """
    if not len(segments):
        return
    margin = _triple(np.maximum(1, np.round(detail.margin_mm / np.array(grid.spacing_mm))).astype(int))
    ends = np.stack([to_voxel(grid.affine, segments.start_mm), to_voxel(grid.affine, segments.end_mm)])
    low, high = ends.min(axis=0) - 1, ends.max(axis=0) + 1

    def share(block: tuple[Shape, Shape]) -> Modulation | None:
        outer = np.array(block[0]) - margin
        size = np.array(block[1]) + margin - outer
        inside = ((high >= outer) & (low <= outer + size)).all(axis=1)
        return _share_of_block(segments[inside], _triple(outer), _triple(size), margin, grid, protocol, detail)

    blocks = _blocks(grid.shape, detail.block_vox, margin)
    if detail.threads == 1:
        yield from (part for part in map(share, blocks) if part)
        return
    with ThreadPoolExecutor(detail.threads) as pool:
        yield from (part for part in pool.map(share, blocks) if part)


def _share_of_block(
    segments: Segments,
    outer: Shape,
    size: Shape,
    margin: Shape,
    grid: Grid,
    protocol: Protocol,
    detail: Detail,
) -> Modulation | None:
    """Compute the share of a block that starts at voxel ``outer``; its weight falls to 0 in the margins."""
    if not len(segments):
        return None
    block = grid.block(outer, size)
    factors = fine_factors(block, detail.vessels)
    canvas = Canvas(block.refined(factors))
    canvas.paint_segments(segments)
    ramps = [_ramp(n * f, 2 * m * f) for n, f, m in zip(block.shape, factors, margin, strict=True)]
    part = _clipped(_modulate(canvas, factors, protocol, ramps), outer, grid.shape)
    return None if part is None else replace(part, factor=part.factor - np.complex64(1.0))


def fine_factors(block: Grid, fineness: Fineness) -> Factors:
    """Return the number of fine voxels per voxel of a block along each axis; it is smaller in large blocks."""
    wanted = [
        max(least, int(np.ceil(spacing / step - 0.01)))
        for least, spacing, step in zip(fineness.least_factors, block.spacing_mm, fineness.step_mm, strict=True)
    ]
    while np.prod(block.shape) * np.prod(wanted) > fineness.most_voxels and max(wanted) > 1:
        wanted[int(np.argmax(wanted))] -= 1
    return wanted[0], wanted[1], wanted[2]


def _modulate(
    canvas: Canvas, factors: Factors, protocol: Protocol, ramps: list[NDArray[np.float32]]
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Compute field, phase and signal on the fine grid, and bring factor and susceptibility to the voxels."""
    grid = canvas.grid
    # the canvas is surrounded by plain tissue, even if a vessel runs through its first voxel
    phase = dipole_field(canvas.chi_ppm, grid.spacing_mm, grid.b0_direction, outside_ppm=0.0)
    phase *= np.float32(phase_per_ppm(protocol.field_t, protocol.te_ms))
    window = ramps[0][:, None, None] * ramps[1][:, None] * ramps[2]
    real = np.cos(phase)
    real *= canvas.signal
    real -= 1.0
    real *= window
    imaginary = np.sin(phase, out=phase)
    imaginary *= canvas.signal
    imaginary *= window
    canvas.chi_ppm *= window
    three_dimensional = protocol.three_dimensional
    factor = np.empty(tuple(n // f for n, f in zip(grid.shape, factors, strict=True)), np.complex64)
    factor.real = 1.0 + to_voxels(real, factors, three_dimensional)
    factor.imag = to_voxels(imaginary, factors, three_dimensional)
    return factor, to_voxels(canvas.chi_ppm, factors, three_dimensional)


def _reach_mm(deposit: Deposit, protocol: Protocol, least_phase: float) -> float:
    """Return the distance in mm beyond which the phase of the dipole is negligible."""
    phase = abs(phase_per_ppm(protocol.field_t, protocol.te_ms) * deposit.moment) / (2.0 * np.pi)
    size = max(blob.reach_mm for blob in deposit.blobs)
    return float(np.clip((phase / least_phase) ** (1.0 / 3.0), 3.0 + size, 20.0 + size))


def _ramp(size: int, width: int) -> NDArray[np.float32]:
    """Return a window (size,) of 1 that falls linearly to 0 over ``width`` at both ends."""
    rise = (np.arange(size, dtype=np.float32) + 0.5) / max(width, 1)
    return np.minimum(np.minimum(rise, rise[::-1]), 1.0)


def _blocks(shape: Shape, core: Shape, margin: Shape) -> Iterator[tuple[Shape, Shape]]:
    """Yield start and stop of equal blocks that tile an array and ``margin`` voxels around it."""
    axes = []
    for size, step, border in zip(shape, core, margin, strict=True):
        whole = size + 2 * border
        length = -(-whole // -(-whole // step))
        axes.append([(low, low + length) for low in range(-border, size + border, length)])
    for ends in product(*axes):
        yield _triple([low for low, _ in ends]), _triple([high for _, high in ends])


def _clipped(
    block: tuple[NDArray[np.complex64], NDArray[np.float32]], start: Shape, shape: Shape
) -> Modulation | None:
    """Crop a block to the scan, None if it lies outside."""
    factor, chi = block
    low = [max(0, -first) for first in start]
    high = [min(n, whole - first) for n, whole, first in zip(factor.shape, shape, start, strict=True)]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return None
    inner = tuple(map(slice, low, high))
    window = [slice(first + a, first + b) for first, a, b in zip(start, low, high, strict=True)]
    return Modulation((window[0], window[1], window[2]), factor[inner], chi[inner])


def _triple(values: object) -> Shape:
    i, j, k = np.asarray(values).tolist()
    return int(i), int(j), int(k)
