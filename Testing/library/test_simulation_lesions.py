"""Simulated microbleeds: visibility, size, number and location in the brain.

`pytest Testing/library/test_simulation_lesions.py -k statistics` prints 200 of them beside the public cohorts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from CMMDetectLib.scan import Modality, to_voxel
from CMMDetectTrainLib.simulation.anatomy import draw_head
from CMMDetectTrainLib.simulation.deposits import Blob, Deposit
from CMMDetectTrainLib.simulation.grid import Grid, draw_grid
from CMMDetectTrainLib.simulation.lesions import (
    REGION_SHARES,
    core_signal,
    draw_blunt_microbleed,
    draw_count,
    draw_microbleeds,
    draw_moment,
    draw_moment_of_any_size,
    draw_position,
    draw_spot,
    lies_in_tissue,
)
from CMMDetectTrainLib.simulation.modulation import LEAN, modulation_of_deposit
from CMMDetectTrainLib.simulation.protocols import PRESETS, Protocol
from CMMDetectTrainLib.simulation.template import REGIONS
from CMMDetectTrainLib.simulation.truth import Shown, View, apparent_mask, apparent_weight, collect_truth


def places(moment: float, diameter_mm: float, count: int = 10) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Offset in voxels from the true center of the darkest voxel, and of the middle of all that is dark."""
    protocol = replace(PRESETS["ukbb"], apodization=0.0)
    grid = Grid((40, 40, 20), np.diag([0.8, 0.8, 3.0, 1.0]))
    rng = np.random.default_rng(2)
    chi = moment / (np.pi / 6.0 * diameter_mm**3)
    for _ in range(count):
        center = rng.uniform((12, 12, 24), (20, 20, 36))
        blob = Blob(center, np.eye(3) * diameter_mm / 2.0, chi, core_signal(protocol))
        deposit = Deposit("microbleed", center, moment, diameter_mm, [blob])
        modulation = modulation_of_deposit(deposit, grid, protocol)
        assert modulation is not None
        weight = apparent_weight(modulation, grid, Modality.T2STAR, protocol)
        mask = apparent_mask(weight, modulation.window, deposit, grid)
        assert mask.any()
        expected = to_voxel(grid.affine, center) - [part.start for part in modulation.window]
        darkest = np.array(np.unravel_index(np.argmin(weight), weight.shape))
        middle = np.average(np.argwhere(mask), axis=0, weights=1.0 - weight[mask])
        yield np.abs(darkest - expected), np.abs(middle - expected)


@pytest.mark.parametrize(("moment", "diameter_mm"), [(2.1, 2.0), (4.0, 1.5), (4.0, 2.0)])
def test_the_darkest_voxel_holds_the_true_center_or_lies_beside_it(moment: float, diameter_mm: float) -> None:
    for darkest, middle in places(moment, diameter_mm):
        assert darkest.max() <= 1.0
        assert middle.max() <= 0.3


def test_a_strong_lesion_is_a_ring_around_its_true_center() -> None:
    offsets = list(places(14.0, 2.0))
    assert max(darkest.max() for darkest, _ in offsets) > 1.0
    assert max(middle.max() for _, middle in offsets) <= 0.3


def sizes(lesions: list[Deposit], protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Volume in mm3 and equivalent diameter in mm on voxels as fine as those that cohorts were measured on."""
    near = Grid((48, 48, 32), np.diag([0.5, 0.5, 0.8, 1.0]))
    middle = np.array([12.0, 12.0, 12.8])
    volumes = []
    for lesion in lesions:
        blobs = [replace(blob, center_mm=blob.center_mm - lesion.center_mm + middle) for blob in lesion.blobs]
        moved = replace(lesion, center_mm=middle, blobs=blobs)
        modulation = modulation_of_deposit(moved, near, protocol, LEAN)
        assert modulation is not None
        weight = apparent_weight(modulation, near, Modality.T2STAR, protocol)
        volumes.append(float(apparent_mask(weight, modulation.window, moved, near).sum() * 0.2))
    volume = np.array(volumes)
    return volume, (6.0 / np.pi * volume) ** (1.0 / 3.0)


def test_statistics_of_200_lesions_are_those_of_public_cohorts(capsys: pytest.CaptureFixture[str]) -> None:
    head = draw_head(np.random.default_rng(1), age_years=70)
    protocol = Protocol("statistics", te_ms=20.0, spacing_mm=(0.5, 0.5, 0.8), shape=(400, 480, 200))
    rng = np.random.default_rng(7)
    grid = draw_grid(protocol, rng)
    lesions = [lesion for _ in range(20) for lesion in draw_microbleeds(head, grid, protocol, rng, 10)]
    assert len(lesions) == 200
    volumes, diameters = sizes(lesions[::2], protocol)
    regions = [head.region_at(lesion.center_mm) for lesion in lesions]
    lobar = np.mean([region in ("cortex", "subcortical_white_matter") for region in regions])
    deep = np.mean([region in ("basal_ganglia", "thalamus") for region in regions])
    infratentorial = np.mean([region in ("cerebellum", "brainstem") for region in regions])
    counts = np.array([draw_count(rng) for _ in range(2000)])
    moments = np.percentile([lesion.moment for lesion in lesions], [5, 50, 95])
    small, median, large = np.percentile(diameters, [5, 50, 95])
    rows = [
        ("moment, ppm mm3, 5/50/95 %", moments.round(1), "1.2 / 3.5 / 17"),
        ("equivalent diameter, mm, 5/50/95 %", np.round([small, median, large], 1), "1.2-2.6 / 2.3-3.3 / 3.2-5.6"),
        ("volume, mm3, 5/50/95 %", np.percentile(volumes, [5, 50, 95]).round(1), "1-10 / 7-18 / 17-95"),
        ("lobar, deep, infratentorial", np.round([lobar, deep, infratentorial], 2), ".75-.80 / .12-.20 / .07-.15"),
        ("scans without", round(float(np.mean(counts == 0)), 2), ".30-.50"),
        ("count: mean, SD", np.round([counts.mean(), counts.std()], 1), "2-10 / 7-33"),
    ]
    with capsys.disabled():
        sys.stdout.writelines(f"\n{name:38s} {found!s:24s} cohorts {known}" for name, found, known in rows)
    assert moments == pytest.approx([1.2, 3.5, 17.0], rel=0.3)
    assert 1.2 < small < 2.6
    assert 2.3 < median < 3.4
    assert 4.0 < large < 5.6
    assert 0.75 <= REGION_SHARES["cortex"] + REGION_SHARES["subcortical_white_matter"] <= 0.80
    assert 0.12 <= REGION_SHARES["basal_ganglia"] + REGION_SHARES["thalamus"] <= 0.20
    # people differ, and 200 lesions of 20 of them leave a standard error of .04
    assert 0.70 < lobar < 0.86
    assert 0.07 < deep < 0.20
    assert 0.03 < infratentorial < 0.15
    assert 0.3 < np.mean(counts == 0) < 0.5
    assert counts.max() > 20
    assert sum(REGION_SHARES.values()) == pytest.approx(1.0, abs=0.01)


def test_a_soft_spot_is_darkest_in_its_middle_and_as_wide_as_drawn() -> None:
    protocol = replace(PRESETS["ukbb"], spacing_mm=(0.8, 0.8, 1.0))
    grid = Grid((40, 40, 32), np.diag([0.8, 0.8, 1.0, 1.0]))
    center = np.array([16.0, 16.0, 16.0])
    rng = np.random.default_rng(4)
    for _ in range(8):
        deposit = draw_blunt_microbleed(center, protocol, rng)
        modulation = modulation_of_deposit(deposit, grid, protocol, LEAN)
        assert modulation is not None
        left = np.abs(modulation.factor)
        i, j, k = (int(n) - part.start for n, part in zip((20, 20, 16), modulation.window, strict=True))
        assert left[i, j, k] < 0.85
        assert left[i, j, k] <= left[i + 2, j, k] + 0.05
        assert (left < 0.9).sum() * 0.64 < 4.0 * np.pi / 6.0 * (deposit.true_diameter_mm + 1.0) ** 3


@pytest.mark.parametrize("modality", list(Modality))
def test_a_spot_is_as_wide_as_drawn_as_high_as_a_slice_and_blooms_nowhere(modality: Modality) -> None:
    protocol = replace(PRESETS["ukbb"], spacing_mm=(0.5, 0.5, 4.0))
    grid = Grid((60, 60, 14), np.diag([0.5, 0.5, 4.0, 1.0]))
    center = np.array([15.0, 15.0, 28.0])
    rng = np.random.default_rng(4)
    edges = []
    for _ in range(12):
        spot = draw_spot(center, grid, modality, rng)
        modulation = modulation_of_deposit(spot, grid, protocol)
        assert modulation is not None
        i, j, k = (int(n) - part.start for n, part in zip((30, 30, 7), modulation.window, strict=True))
        if modality is Modality.QSM:
            change = modulation.chi_ppm
            assert 0.05 < change[i, j, k] < 0.8
        else:
            # nothing but a loss of signal: no phase that SWI could see
            assert np.abs(np.angle(modulation.factor)).max() < 1e-5
            change = 1.0 - np.abs(modulation.factor)
            assert change[i, j, k] > 0.15
        half = (change > 0.5 * change[i, j, k]).sum(axis=(0, 1))
        width_mm = 2.0 * np.sqrt(half[k] * 0.25 / np.pi)
        # a slice holds more of its middle than of its rim
        assert 0.6 < width_mm / spot.true_diameter_mm < 1.15
        assert half[k - 2] == half[k + 2] == 0
        shell = change[i + round(0.65 * spot.true_diameter_mm / 0.5), j, k] / change[i, j, k]
        edges.append(float(shell))
    assert min(edges) < 0.05 < 0.1 < max(edges)  # sharp ones and soft ones


def test_training_sees_small_microbleeds_most_and_enough_large_ones() -> None:
    protocol = Protocol("sizes", field_t=3.0, te_ms=20.0, spacing_mm=(0.5, 0.5, 0.8), shape=(40, 40, 32))
    grid = Grid(protocol.shape, np.diag([0.5, 0.5, 0.8, 1.0]))
    rng = np.random.default_rng(8)
    center = np.array([10.0, 10.0, 12.8])
    spots = [draw_spot(center, grid, Modality.SWI, rng) for _ in range(300)]
    blunt = [draw_blunt_microbleed(center, protocol, rng) for _ in range(300)]
    for drawn in (spots, blunt):
        widths = np.array([deposit.true_diameter_mm for deposit in drawn])
        assert widths.max() < 10.0
        assert 0.1 < (widths > 6.0).mean() < 0.3
        assert (widths < 4.0).mean() > 0.4
    moments = np.array([draw_moment_of_any_size(rng, protocol) for _ in range(300)])
    usual = np.array([draw_moment(rng, protocol) for _ in range(300)])
    assert 2.0 < moments.max() / usual.max() < 8.0
    assert moments.min() < 1.5


EVEN = np.ones((40, 40, 20), np.float32)


def is_visible(modality: Modality, background: np.ndarray, chi_ppm: float = 1.0, in_brain: bool = True) -> bool:
    """Whether a deposit of 2 mm in the middle of a background is said to be visible."""
    protocol, grid = PRESETS["ukbb"], Grid((40, 40, 20), np.diag([0.8, 0.8, 3.0, 1.0]))
    center = np.array([16.0, 16.0, 30.0])
    kind, signal = ("microbleed", core_signal(protocol)) if chi_ppm > 0.0 else ("calcification", 0.2)
    deposit = Deposit(kind, center, 4.0 * chi_ppm, 2.0, [Blob(center, np.eye(3), chi_ppm, signal)])
    modulation = modulation_of_deposit(deposit, grid, protocol)
    assert modulation is not None
    image = background.copy()
    if modality.lesions_are_dark:
        image[modulation.window] *= apparent_weight(modulation, grid, modality, protocol)
    else:
        image[modulation.window] += modulation.chi_ppm
    view = View(modality, image, EVEN, np.full(grid.shape, in_brain))
    return collect_truth(view, [Shown(deposit, "cortex", modulation)], (), None, grid, protocol).records[0].visible


def test_a_microbleed_in_a_void_or_a_dark_band_cannot_be_seen() -> None:
    assert is_visible(Modality.SWI, 1.0 * EVEN)
    assert is_visible(Modality.SWI, 0.5 * EVEN)
    assert not is_visible(Modality.SWI, 0.1 * EVEN)
    assert not is_visible(Modality.SWI, 1.0 * EVEN, in_brain=False)


@pytest.mark.parametrize("modality", [Modality.SWI, Modality.QSM])
def test_a_microbleed_that_differs_no_more_than_what_is_around_it_cannot_be_seen(modality: Modality) -> None:
    even = EVEN if modality.lesions_are_dark else 0.0 * EVEN
    waves = np.sin(2.0 * np.pi * (np.arange(40) - 20) / 8.0).astype(np.float32)[:, None, None] * EVEN
    elsewhere = waves.copy()
    elsewhere[..., :12] = 0.0
    assert is_visible(modality, even + 0.05 * waves)
    assert not is_visible(modality, even + 0.8 * waves)
    assert is_visible(modality, even + 0.8 * elsewhere)  # what lies in another slice hides nothing


@pytest.mark.parametrize("modality", list(Modality))
def test_calcium_can_be_seen_though_it_is_dark_on_qsm(modality: Modality) -> None:
    assert is_visible(modality, EVEN if modality.lesions_are_dark else 0.0 * EVEN, chi_ppm=-1.0)


def test_no_microbleed_lies_in_a_sulcus_or_a_ventricle() -> None:
    head = next(h for h in (draw_head(np.random.default_rng(n), age_years=85) for n in range(9)) if h.folding)
    rng = np.random.default_rng(1)
    region = REGIONS.index("cortex")
    assert not all(lies_in_tissue(head, draw_position(head, region, rng)) for _ in range(40))
    grid = draw_grid(PRESETS["ukbb"], rng)
    lesions = draw_microbleeds(head, grid, PRESETS["ukbb"], rng, 40)
    assert len(lesions) == 40
    assert all(lies_in_tissue(head, lesion.center_mm) for lesion in lesions)
