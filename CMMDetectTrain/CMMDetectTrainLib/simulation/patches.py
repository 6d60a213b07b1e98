"""Training patches drawn on the fly: a small scan of free tissue or of a piece of a random head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from CMMDetectLib.scan import Modality

from .anatomy import Head, draw_head
from .deposits import Deposit, Segments
from .freeform import draw_free_vessels, draw_tissue
from .grid import Grid
from .lesions import MOMENT_LIMITS, REFERENCE_T_MS, draw_microbleed, draw_position
from .mimics import draw_calcification, draw_cavernoma, draw_hemorrhage
from .modulation import LEAN, modulation_of_deposit
from .protocols import Protocol, draw_protocol
from .scanner import Exposure, TissueSource, expose
from .simulate import make_image
from .truth import Shown, Truth, tell_truth
from .vasculature import Vessels, draw_vessels

Array = NDArray[np.float32]
Shape = tuple[int, int, int]
PATCHES_PER_HEAD = 100
TALLEST_MM = 110.0
LARGE_MIMIC_SHARE = 0.04


@dataclass(frozen=True)
class SimulatedPatch:
    """A patch with its truth.

    Attributes
    ----------
    image : (I, J, K) float32; units of a scanner, or ppm
    brain : (I, J, K) mask; all normalization happens inside it
    tissue_signal : what ordinary tissue measures, units of ``image`` (0 for QSM, whose reference is its mean)
    truth : records (positions in mm of ``grid``) and label maps
    modality, grid, protocol : of the patch
    """

    image: Array
    brain: NDArray[np.bool_]
    tissue_signal: float
    truth: Truth
    modality: Modality
    grid: Grid
    protocol: Protocol


class PatchSource:
    """Draws training patches.

    Parameters
    ----------
    modalities : drawn with equal chance
    size : voxels
    anatomy_share : share of patches from random heads; the others are of free tissue (three times faster)
    lesion_free_share : share of patches without a microbleed
    """

    def __init__(
        self,
        modalities: tuple[Modality, ...] = tuple(Modality),
        size: Shape = (48, 48, 48),
        anatomy_share: float = 0.2,
        lesion_free_share: float = 0.25,
    ) -> None:
        self.modalities = modalities
        self.size = size
        self.anatomy_share = anatomy_share
        self.lesion_free_share = lesion_free_share
        self._head: tuple[Head, Vessels] | None = None
        self._uses = 0

    def stream(self, seed: int) -> Iterator[SimulatedPatch]:
        """Give patches without end; the same seed gives the same patches."""
        rng = np.random.default_rng(seed)
        self._head = None
        while True:
            yield self.draw(rng)

    def draw(self, rng: np.random.Generator, modality: Modality | None = None) -> SimulatedPatch:
        """Draw one patch.

        Parameters
        ----------
        rng : source of chance
        modality : None draws it
        """
        modality = self.modalities[rng.integers(len(self.modalities))] if modality is None else modality
        protocol = draw_protocol(rng)
        protocol = replace(protocol, bias=0.4 * protocol.bias, ghost=0.0)
        if rng.random() < self.anatomy_share:
            return self._of_head(modality, protocol, rng)
        return self._of_free_tissue(modality, protocol, rng)

    def _of_free_tissue(self, modality: Modality, protocol: Protocol, rng: np.random.Generator) -> SimulatedPatch:
        grid = _patch_grid(np.zeros(3), protocol, self.size, rng)
        tissue = draw_tissue(rng, grid)
        vessels = draw_free_vessels(rng, grid)
        return self._scan(tissue, vessels, modality, grid, protocol, rng)

    def _of_head(self, modality: Modality, protocol: Protocol, rng: np.random.Generator) -> SimulatedPatch:
        if self._head is None or self._uses >= PATCHES_PER_HEAD:
            head = draw_head(rng)
            self._head, self._uses = (head, draw_vessels(head, rng)), 0
        self._uses += 1
        head, vessels = self._head
        center = draw_position(head, int(rng.choice([1, 1, 2, 2, 2, 3, 4, 5, 6])), rng)
        grid = _patch_grid(center, protocol, self.size, rng)
        return self._scan(head, vessels.segments, modality, grid, protocol, rng)

    def _scan(
        self,
        source: TissueSource,
        vessels: Segments,
        modality: Modality,
        grid: Grid,
        protocol: Protocol,
        rng: np.random.Generator,
    ) -> SimulatedPatch:
        shown = []
        for deposit in self._draw_deposits(source, grid, protocol, rng):
            modulation = modulation_of_deposit(deposit, grid, protocol, LEAN)
            if modulation is not None:
                shown.append(Shown(deposit, "unknown", modulation))
        exposure = expose(source, vessels, [item.modulation for item in shown], grid, protocol, rng, LEAN)
        gain = float(np.exp(rng.uniform(np.log(60.0), np.log(1500.0)))) / exposure.tissue_signal
        image = make_image(exposure, modality, grid, protocol, rng, margin_vox=12)
        relative = exposure.magnitude / np.float32(exposure.tissue_signal)
        truth = tell_truth(modality, shown, (), relative, None, grid, protocol)
        level = exposure.tissue_signal * gain
        if modality is Modality.QSM:
            gain, level = 1.0, 0.0
        return self._padded(image * np.float32(gain), exposure, level, truth, modality, grid, protocol)

    def _draw_deposits(
        self, source: TissueSource, grid: Grid, protocol: Protocol, rng: np.random.Generator
    ) -> list[Deposit]:
        count = 0 if rng.random() < self.lesion_free_share else 1 + rng.poisson(1.0)
        deposits = []
        for point in _points_in_brain(source, grid, rng, count):
            # two kinds of draws: as in people, and evenly over all sizes, so that small and large ones are seen
            moment = None
            if rng.random() < 0.4:
                scale = REFERENCE_T_MS / (protocol.field_t * protocol.te_ms)
                moment = scale * float(np.exp(rng.uniform(*np.log(MOMENT_LIMITS))))
            deposits.append(draw_microbleed(point, protocol, rng, moment))
        for point in _points_in_brain(source, grid, rng, int(rng.poisson(0.5))):
            deposits.append(draw_calcification(point, rng))
        if rng.random() < LARGE_MIMIC_SHARE:
            for point in _points_in_brain(source, grid, rng, 1):
                deposits.append((draw_hemorrhage if rng.random() < 0.5 else draw_cavernoma)(point, rng))
        return deposits

    def _padded(
        self,
        image: Array,
        exposure: Exposure,
        level: float,
        truth: Truth,
        modality: Modality,
        grid: Grid,
        protocol: Protocol,
    ) -> SimulatedPatch:
        """Fill a patch of few thick slices to the full size with what is no brain."""
        missing = self.size[2] - grid.shape[2]
        before = missing // 2
        pads = ((0, 0), (0, 0), (before, missing - before))
        truth = replace(truth, microbleeds=np.pad(truth.microbleeds, pads), mimics=np.pad(truth.mimics, pads))
        whole = grid.block((0, 0, -before), self.size)
        brain = np.pad(exposure.brain, pads)
        return SimulatedPatch(np.pad(image, pads), brain, level, truth, modality, whole, protocol)


def _patch_grid(center_mm: NDArray[np.float64], protocol: Protocol, size: Shape, rng: np.random.Generator) -> Grid:
    tilt = Rotation.from_euler("xy", rng.uniform(-protocol.tilt_deg, protocol.tilt_deg, 2), degrees=True)
    directions = np.array([rng.choice([-1.0, 1.0]), rng.choice([-1.0, 1.0]), 1.0])
    slices = min(size[2], max(8, int(TALLEST_MM / protocol.spacing_mm[2])))
    shape = (size[0], size[1], slices)
    affine = np.eye(4)
    affine[:3, :3] = tilt.as_matrix() * directions * protocol.spacing_mm
    affine[:3, 3] = center_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2.0)
    return Grid(shape, affine)


def _points_in_brain(
    source: TissueSource, grid: Grid, rng: np.random.Generator, count: int
) -> Iterator[NDArray[np.float64]]:
    """World points in the patch and at least 1 mm below the brain's hull; fewer than asked where there is no room."""
    if count == 0:
        return
    index = rng.uniform(1.0, np.array(grid.shape) - 2.0, (8 * count, 3))
    points = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    inside = source.depth_mm(points.astype(np.float32)) > 1.0
    yield from points[inside][:count]
