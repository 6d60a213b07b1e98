"""Simulated training patches: small scans of free-form tissue or of pieces of random heads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from CMMDetectLib.network_grid import SCANS_OWN, NetworkVoxel, Shape
from CMMDetectLib.scan import Modality

from .anatomy import Head, draw_head
from .appearance import apply_appearance, draw_appearance
from .deposits import Deposit, Segments
from .freeform import draw_free_vessels, draw_tissue
from .grid import Grid
from .lesions import (
    draw_blunt_microbleed,
    draw_microbleed,
    draw_moment_of_any_size,
    draw_position,
    draw_spot,
)
from .mimics import draw_calcification, draw_calcified_site, draw_cavernoma, draw_hemorrhage
from .modulation import LEAN, modulation_of_deposit
from .protocols import Protocol, draw_protocol, draw_protocol_like
from .sampling import SampledTissue, sample_tissue, tissue_on
from .scanner import acquire
from .simulate import make_image, view_of
from .truth import Shown, collect_truth
from .truth_files import Truth
from .vasculature import Vessels, draw_vessels

Array = NDArray[np.float32]
PATCHES_PER_PIECE = 5
"""Patches of one piece of a head have the same modality and differ in protocol, deposits, vessels and noise."""
PIECES_PER_HEAD = 5
TALLEST_MM = 110.0
LARGE_MIMIC_SHARE = 0.04
BLUNT_SHARE = 0.15
SPOT_SHARE = 0.4
ANY_SIZE_SHARE = 0.25
CALCIFIED_PIECES = 0.25
CALCIFIED_PATCHES = 0.8
"""Share of the pieces of heads that lie at a typical site of calcification, and share of their patches that have one.
On magnitude images, only the site shows that a calcification is not a microbleed."""
FURTHER_MICROBLEEDS = 2.5
"""Mean number of microbleeds beyond the first in a patch that has any: further examples cost hardly any time."""
CORTEX_WEIGHT = 3.0
CORTEX_MM = 6.0
"""Density of deposits up to this depth below the hull, in the cortex, relative to that below it."""
AWAY_MM = 8.0
VESSEL_CHANGE = 0.25
"""A voxel belongs to a vessel if the vessel changes its complex signal by more than this share."""
NOISY_SHARE = 0.125
NOISY_SNR = (6.0, 25.0)
"""Share of the patches that are noisy whatever their protocol, and their range of SNR in white matter. A model that
has never seen such noise takes soft, faint microbleeds for noise."""


@dataclass(frozen=True)
class SimulatedPatch:
    """A simulated patch with its truth.

    Attributes
    ----------
    image : (I, J, K) float32; scanner units, or ppm
    brain : (I, J, K) mask, within which the patch is normalized
    tissue_signal : signal of ordinary tissue, in units of ``image`` (0 for QSM, which has no such reference)
    truth : records (with world positions) and label maps
    modality, grid, protocol : modality, grid and protocol of the patch
    vessels : (I, J, K) mask of voxels whose signal vessels change much, in magnitude or phase
    """

    image: Array
    brain: NDArray[np.bool_]
    tissue_signal: float
    truth: Truth
    modality: Modality
    grid: Grid
    protocol: Protocol
    vessels: NDArray[np.bool_]


@dataclass
class _Piece:
    """A piece of a head.

    Attributes
    ----------
    modality : modality of its patches
    tissue : tissue on the grid of its patches
    vessels : vessels of the whole head
    protocol : decides its voxel size and kind of excitation
    calcified_mm : a typical site of calcification in it, RAS mm; None if there is none
    uses : number of patches drawn from it
    """

    modality: Modality
    tissue: SampledTissue
    vessels: Segments
    protocol: Protocol
    calcified_mm: NDArray[np.float64] | None
    uses: int = 0


class PatchSource:
    """Draws training patches.

    Parameters
    ----------
    modalities : drawn with equal probability
    size : voxels along i, j and k, of the size ``voxel``
    voxel : voxel size of the networks' grid. A patch has as many voxels of its protocol as cover that extent; where
        the grid keeps the slices of scans, thick ones may be fewer and are then padded
    anatomy_share : share of patches from random heads; the others show free-form tissue
    lesion_free_share : share of patches without microbleeds
    """

    def __init__(
        self,
        modalities: tuple[Modality, ...] = tuple(Modality),
        size: Shape = (48, 48, 48),
        anatomy_share: float = 0.2,
        lesion_free_share: float = 0.25,
        voxel: NetworkVoxel = SCANS_OWN,
    ) -> None:
        self.modalities = modalities
        self.size = size
        self.anatomy_share = anatomy_share
        self.lesion_free_share = lesion_free_share
        self.voxel = voxel
        self._head: tuple[Head, Vessels] | None = None
        self._piece: _Piece | None = None
        self._uses = 0

    def stream(self, seed: int) -> Iterator[SimulatedPatch]:
        """Yield patches endlessly; the same seed gives the same patches."""
        rng = np.random.default_rng(seed)
        self._head = self._piece = None
        while True:
            yield self.draw(rng)

    def draw(self, rng: np.random.Generator, modality: Modality | None = None) -> SimulatedPatch:
        """Draw one patch.

        Parameters
        ----------
        rng : random number generator
        modality : modality of the patch; None draws it
        """
        if rng.random() < self.anatomy_share:
            return self._of_head(modality, rng)
        modality = modality or self._any_modality(rng)
        protocol = _for_patch(draw_protocol(rng, modality=modality), rng)
        grid = _patch_grid(np.zeros(3), protocol, self._shape(protocol), rng)
        vessels = draw_free_vessels(rng, grid)
        tissue = sample_tissue(draw_tissue(rng, grid), grid, LEAN.thin_slice_mm)
        deposits = self._draw_deposits(tissue, modality, protocol, rng)
        return self._scan(tissue, vessels, deposits, modality, protocol, rng)

    def _any_modality(self, rng: np.random.Generator) -> Modality:
        return self.modalities[rng.integers(len(self.modalities))]

    def _of_head(self, modality: Modality | None, rng: np.random.Generator) -> SimulatedPatch:
        piece = self._piece
        if piece is None or piece.uses >= PATCHES_PER_PIECE or modality not in (None, piece.modality):
            piece = self._piece = self._next_piece(modality or self._any_modality(rng), rng)
            protocol = piece.protocol
        else:
            protocol = _for_patch(draw_protocol_like(piece.protocol, rng), rng)
        piece.uses += 1
        # vary all veins alike: with some segments missing, the remains of veins would look like microbleeds
        vessels = replace(
            piece.vessels,
            radius_mm=piece.vessels.radius_mm * np.float32(rng.uniform(0.7, 1.15)),
            chi_ppm=piece.vessels.chi_ppm * np.float32(rng.uniform(0.7, 1.4)),
        )
        deposits = self._draw_deposits(piece.tissue, piece.modality, protocol, rng)
        if piece.calcified_mm is not None and rng.random() < CALCIFIED_PATCHES:
            deposits.append(draw_calcification(piece.calcified_mm + rng.normal(0, 1.0, 3), rng))
        return self._scan(piece.tissue, vessels, deposits, piece.modality, protocol, rng)

    def _next_piece(self, modality: Modality, rng: np.random.Generator) -> _Piece:
        if self._head is None or self._uses >= PIECES_PER_HEAD:
            head = draw_head(rng)
            self._head, self._uses = (head, draw_vessels(head, rng)), 0
        self._uses += 1
        head, vessels = self._head
        protocol = _for_patch(draw_protocol(rng, modality=modality), rng)
        calcified = draw_calcified_site(head, rng) if rng.random() < CALCIFIED_PIECES else None
        if calcified is None:
            center = draw_position(head, int(rng.choice([1, 1, 2, 2, 2, 3, 4, 5, 6])), rng)
        else:
            center = calcified + rng.uniform(-AWAY_MM, AWAY_MM, 3)
        grid = _patch_grid(center, protocol, self._shape(protocol), rng)
        tissue = sample_tissue(head, grid, LEAN.thin_slice_mm)
        return _Piece(modality, tissue, vessels.segments, protocol, calcified)

    def _scan(
        self,
        source: SampledTissue,
        vessels: Segments,
        deposits: list[Deposit],
        modality: Modality,
        protocol: Protocol,
        rng: np.random.Generator,
    ) -> SimulatedPatch:
        grid = source.grid
        shown = []
        for deposit in deposits:
            modulation = modulation_of_deposit(deposit, grid, protocol, LEAN)
            if modulation is not None:
                shown.append(Shown(deposit, "unknown", modulation))
        acquisition = acquire(source, vessels, [item.modulation for item in shown], grid, protocol, rng, LEAN)
        image = make_image(acquisition, modality, grid, protocol, rng, margin_vox=12)
        appearance = draw_appearance(rng)
        image = apply_appearance(image, acquisition.tissue_signal, acquisition.depth_mm, modality, appearance)
        truth = collect_truth(view_of(acquisition, modality, image), shown, (), None, grid, protocol)
        gain, level = 1.0, 0.0
        if modality is not Modality.QSM:
            level = float(np.exp(rng.uniform(np.log(60.0), np.log(1500.0))))
            gain = level / acquisition.tissue_signal
        # a brain mask never ends exactly at the hull
        rim_mm = rng.normal(0.0, 0.8) if appearance.stripped_mm is None else appearance.stripped_mm
        patch = SimulatedPatch(
            image=image * np.float32(gain),
            brain=acquisition.depth_mm > -rim_mm,
            tissue_signal=level,
            truth=truth,
            modality=modality,
            grid=grid,
            protocol=protocol,
            vessels=np.abs(acquisition.vessels - np.complex64(1.0)) > VESSEL_CHANGE,
        )
        return _padded(patch, self._shape(protocol)[2])

    def _shape(self, protocol: Protocol) -> Shape:
        lengths_mm = (self.voxel.pixel_mm, self.voxel.pixel_mm, self.voxel.slice_mm)
        i, j, k = (
            size if length_mm is None else math.ceil(size * length_mm / step)
            for size, length_mm, step in zip(self.size, lengths_mm, protocol.spacing_mm, strict=True)
        )
        return i, j, k

    def _draw_deposits(
        self, source: SampledTissue, modality: Modality, protocol: Protocol, rng: np.random.Generator
    ) -> list[Deposit]:
        count = 0 if rng.random() < self.lesion_free_share else 1 + rng.poisson(FURTHER_MICROBLEEDS)
        deposits = []
        for point in _points_in_tissue(source, rng, count):
            deposits.append(_draw_one_microbleed(point, modality, source.grid, protocol, rng))
        # magnitude images cannot distinguish calcium from iron: there, calcifications would contradict the microbleeds
        calcifications = 0.5 if modality is Modality.QSM else 0.1
        for point in _points_in_tissue(source, rng, int(rng.poisson(calcifications))):
            deposits.append(draw_calcification(point, rng))
        if rng.random() < LARGE_MIMIC_SHARE:
            for point in _points_in_tissue(source, rng, 1):
                deposits.append((draw_hemorrhage if rng.random() < 0.5 else draw_cavernoma)(point, rng))
        return deposits


def _draw_one_microbleed(
    point: NDArray[np.float64], modality: Modality, grid: Grid, protocol: Protocol, rng: np.random.Generator
) -> Deposit:
    """Draw one of four kinds: realistic, uniform over all sizes, blunt, or a plain spot without physics."""
    kind = rng.random()
    if kind < BLUNT_SHARE:
        return draw_blunt_microbleed(point, protocol, rng)
    if kind < BLUNT_SHARE + SPOT_SHARE:
        return draw_spot(point, grid, modality, rng)
    is_of_any_size = kind < BLUNT_SHARE + SPOT_SHARE + ANY_SIZE_SHARE
    moment = draw_moment_of_any_size(rng, protocol) if is_of_any_size else None
    return draw_microbleed(point, protocol, rng, moment)


def _for_patch(protocol: Protocol, rng: np.random.Generator) -> Protocol:
    """Reduce the coil's shading to what remains after bias correction, and make some patches noisier."""
    snr = float(np.exp(rng.uniform(*np.log(NOISY_SNR)))) if rng.random() < NOISY_SHARE else protocol.snr
    return replace(protocol, bias=0.4 * protocol.bias, snr=snr)


def _padded(patch: SimulatedPatch, slices: int) -> SimulatedPatch:
    """Pad a patch of few thick slices to the full number of slices, outside the brain."""
    across, along, drawn = patch.grid.shape
    missing = slices - drawn
    before = missing // 2
    pads = ((0, 0), (0, 0), (before, missing - before))
    truth = patch.truth
    truth = replace(truth, microbleeds=np.pad(truth.microbleeds, pads), mimics=np.pad(truth.mimics, pads))
    return replace(
        patch,
        image=np.pad(patch.image, pads),
        brain=np.pad(patch.brain, pads),
        vessels=np.pad(patch.vessels, pads),
        truth=truth,
        grid=patch.grid.block((0, 0, -before), (across, along, slices)),
    )


def _patch_grid(center_mm: NDArray[np.float64], protocol: Protocol, size: Shape, rng: np.random.Generator) -> Grid:
    tilt = Rotation.from_euler("xy", rng.uniform(-protocol.tilt_deg, protocol.tilt_deg, 2), degrees=True)
    directions = np.array([rng.choice([-1.0, 1.0]), rng.choice([-1.0, 1.0]), 1.0])
    slices = min(size[2], max(8, int(TALLEST_MM / protocol.spacing_mm[2])))
    shape = (size[0], size[1], slices)
    affine = np.eye(4)
    affine[:3, :3] = tilt.as_matrix() * directions * protocol.spacing_mm
    affine[:3, 3] = center_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2.0)
    return Grid(shape, affine)


def _points_in_tissue(source: SampledTissue, rng: np.random.Generator, count: int) -> Iterator[NDArray[np.float64]]:
    """Yield world points in tissue, at least 1 mm below the brain's hull; fewer than asked if there is no room.

    The cortex gets more of them, since most microbleeds are lobar, and since the edge of the brain, sulcal veins and
    flow voids look similar there.
    """
    if count == 0:
        return
    grid = source.grid
    index = rng.uniform(1.0, np.array(grid.shape) - 2.0, (24 * count, 3))
    points = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    depth = source.depth_mm(points.astype(np.float32))
    i, j, k = np.rint(index).astype(int).T
    inside = (depth > 1.0) & tissue_on(source, grid)[i, j, k]
    weight = np.where(depth < CORTEX_MM, CORTEX_WEIGHT, 1.0) * inside
    chosen = min(count, int(np.count_nonzero(inside)))
    if chosen:
        yield from points[rng.choice(len(points), chosen, replace=False, p=weight / weight.sum())]
