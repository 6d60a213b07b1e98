"""Simulation of one scan: a head with vessels, microbleeds and mimics, acquired once, in all three modalities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from CMMDetectLib.scan import Modality, Scan

from .anatomy import Head, draw_head
from .deposits import Deposit, Segments
from .dipole import phase_per_ppm
from .grid import Grid, draw_grid
from .lesions import draw_microbleeds
from .mimics import Place, draw_mimics, find_places, through_plane_veins
from .modulation import FULL, Detail, modulation_of_deposit
from .protocols import Protocol
from .qsm import susceptibility_map
from .resolution import extended
from .scanner import Acquisition, acquire
from .swi import susceptibility_weighted
from .truth import Shown, View, collect_truth
from .truth_files import Truth
from .vasculature import draw_vessels

Array = NDArray[np.float32]


@dataclass(frozen=True)
class SimulatedScan:
    """A simulated scan with its truth.

    Attributes
    ----------
    protocol : its acquisition protocol
    grid : grid of all arrays
    images : image of each modality, (I, J, K) float32; magnitudes in scanner units, QSM in ppm
    phase : (I, J, K) wrapped phase, rad
    truth : truth of each modality
    brain : (I, J, K) mask
    tissue_signal : signal of ordinary tissue on the magnitude images, without shading
    age_years : age of the person
    """

    protocol: Protocol
    grid: Grid
    images: dict[Modality, Array]
    phase: Array
    truth: dict[Modality, Truth]
    brain: NDArray[np.bool_]
    tissue_signal: float
    age_years: float

    def scan(self, modality: Modality, name: str = "simulated") -> Scan:
        """Return the image of one modality as a `Scan`, as if read from a file."""
        return Scan(self.images[modality], self.grid.affine, modality, name)


@threadpool_limits.wrap(limits=1, user_api="blas")
def simulate_scan(protocol: Protocol, seed: int, lesions: int | None = None, detail: Detail = FULL) -> SimulatedScan:
    """Simulate one scan of one person.

    Parameters
    ----------
    protocol : see `find_protocol` and `draw_protocol`
    seed : the same seed gives the same scan, byte for byte
    lesions : number of microbleeds; None draws it
    detail : level of detail
    """
    rng = np.random.default_rng(seed)
    head = draw_head(rng)
    grid = draw_grid(protocol, rng)
    vessels = draw_vessels(head, rng)
    through, through_places = through_plane_veins(head, grid, rng)
    deposits = [*draw_microbleeds(head, grid, protocol, rng, lesions), *draw_mimics(head, grid, rng)]
    shown = _show(deposits, head, grid, protocol, detail)
    all_vessels = Segments.joined([vessels.segments, through])
    acquisition = acquire(head, all_vessels, [item.modulation for item in shown], grid, protocol, rng, detail)
    places = [*through_places, *find_places(head, vessels, grid, rng)]
    named = [(place, head.region_at(place.center_mm)) for place in places]
    return _develop(acquisition, shown, named, grid, protocol, rng, head.age_years)


def _show(deposits: list[Deposit], head: Head, grid: Grid, protocol: Protocol, detail: Detail) -> list[Shown]:
    """Compute the effects of deposits on a scan; deposits that do not reach the grid are left out."""
    shown = []
    for deposit in deposits:
        modulation = modulation_of_deposit(deposit, grid, protocol, detail)
        if modulation is not None:
            shown.append(Shown(deposit, head.region_at(deposit.center_mm), modulation))
    return shown


def _develop(
    acquisition: Acquisition,
    shown: list[Shown],
    places: list[tuple[Place, str]],
    grid: Grid,
    protocol: Protocol,
    rng: np.random.Generator,
    age_years: float,
) -> SimulatedScan:
    """Make the images of the three modalities and their truth from one acquisition."""
    gain = np.float32(np.exp(rng.uniform(np.log(60.0), np.log(1500.0))) / acquisition.tissue_signal)
    images = {modality: make_image(acquisition, modality, grid, protocol, rng) for modality in Modality}
    truth = {
        modality: collect_truth(
            view_of(acquisition, modality, image), shown, places, acquisition.vessels, grid, protocol
        )
        for modality, image in images.items()
    }
    images[Modality.SWI] *= gain
    images[Modality.T2STAR] *= gain
    return SimulatedScan(
        protocol,
        grid,
        images,
        np.angle(acquisition.image).astype(np.float32),
        truth,
        acquisition.brain,
        float(gain * acquisition.tissue_signal),
        age_years,
    )


def make_image(
    acquisition: Acquisition,
    modality: Modality,
    grid: Grid,
    protocol: Protocol,
    rng: np.random.Generator,
    margin_vox: int = 0,
) -> Array:
    """Make the image of one modality, in units of the acquisition or in ppm.

    Parameters
    ----------
    acquisition : the acquisition
    modality : modality of the image
    grid, protocol : grid and protocol of the acquisition
    rng : random number generator
    margin_vox : width by which a piece of a scan is extended in plane before filtering
    """
    if modality is Modality.T2STAR:
        return np.abs(acquisition.image).astype(np.float32)
    if modality is Modality.QSM:
        return _qsm(acquisition, grid, protocol, rng)
    if margin_vox == 0:
        return susceptibility_weighted(acquisition.image, grid.spacing_mm, protocol)
    inner = slice(margin_vox, -margin_vox)
    wide = extended(acquisition.image, (margin_vox, margin_vox, 0))
    return susceptibility_weighted(wide, grid.spacing_mm, protocol)[inner, inner]


def view_of(acquisition: Acquisition, modality: Modality, image: Array) -> View:
    """Return the view of an image of one modality, which is in units of the acquisition or in ppm."""
    tissue = np.float32(acquisition.tissue_signal)
    relative = image / tissue if modality.lesions_are_dark else image
    return View(modality, relative, acquisition.magnitude / tissue, acquisition.brain)


def _qsm(acquisition: Acquisition, grid: Grid, protocol: Protocol, rng: np.random.Generator) -> Array:
    """Make a QSM from the field with the noise of the phase."""
    magnitude = np.maximum(np.abs(acquisition.image), np.float32(acquisition.noise))
    spread = acquisition.noise / magnitude / abs(phase_per_ppm(protocol.field_t, protocol.te_ms))
    field = acquisition.local_field_ppm + (spread * rng.standard_normal(grid.shape)).astype(np.float32)
    return susceptibility_map(acquisition.chi_ppm, field, acquisition.brain, grid, protocol, rng)
