"""Simulated scans, microbleeds inserted into acquired scans, and training patches."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from CMMDetectLib.errors import InputError
from CMMDetectLib.scan import Modality, Scan, to_voxel
from CMMDetectTrainLib.simulation.deposits import Blob, Deposit
from CMMDetectTrainLib.simulation.insertion import LEAST_DEPTH_MM, draw_centers, insert_deposits, insert_microbleeds
from CMMDetectTrainLib.simulation.patches import PatchSource
from CMMDetectTrainLib.simulation.protocols import PRESETS
from CMMDetectTrainLib.simulation.simulate import SimulatedScan
from small_simulation import SMALL, simulate_small


@pytest.fixture(scope="module")
def simulated() -> SimulatedScan:
    return simulate_small()


def fingerprint(arrays: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def test_the_same_seed_gives_the_same_scan_byte_by_byte(simulated: SimulatedScan) -> None:
    again = simulate_small()
    for modality in Modality:
        assert fingerprint([again.images[modality]]) == fingerprint([simulated.images[modality]])
        assert again.truth[modality].records == simulated.truth[modality].records
    assert fingerprint([simulate_small(seed=5).phase]) != fingerprint([simulated.phase])


def test_a_scan_has_three_modalities_phase_and_truth_on_one_grid(simulated: SimulatedScan) -> None:
    assert set(simulated.images) == set(Modality)
    for modality, image in simulated.images.items():
        assert image.dtype == np.float32
        assert image.shape == SMALL.shape
        assert np.isfinite(image).all()
        truth = simulated.truth[modality]
        assert truth.microbleeds.shape == truth.mimics.shape == SMALL.shape
        numbers = {int(r.id[4:]) for r in truth.records if r.kind == "microbleed" and r.volume_mm3 > 0}
        assert set(np.unique(truth.microbleeds)) - {0} == numbers
    assert np.abs(simulated.phase).max() <= np.pi + 1e-5
    kinds = {record.kind for record in simulated.truth[Modality.SWI].records}
    assert {"microbleed", "iron_nucleus", "sulcal_vessel", "end_on_vein", "air_dropout"} <= kinds


def test_brain_is_brighter_than_air_and_ordinary_tissue_has_the_stated_signal(simulated: SimulatedScan) -> None:
    image = simulated.images[Modality.T2STAR]
    inside = image[simulated.brain]
    assert np.median(inside) == pytest.approx(simulated.tissue_signal, rel=0.25)
    corner = image[:6, :6]
    assert np.median(corner) < 0.2 * np.median(inside)
    volume_ml = simulated.brain.sum() * np.prod(SMALL.spacing_mm) / 1000
    assert 900 < volume_ml < 2300


def own_scan(modality: Modality) -> tuple[Scan, np.ndarray]:
    rng = np.random.default_rng(0)
    level = 0.0 if modality is Modality.QSM else 400.0
    array = (level + rng.normal(0, 0.01 if modality is Modality.QSM else 8.0, (64, 64, 20))).astype(np.float32)
    affine = np.diag([-0.8, 0.8, 3.0, 1.0])
    return Scan(array, affine, modality, "own"), np.ones(array.shape, bool)


@pytest.mark.parametrize("modality", list(Modality))
def test_microbleeds_are_put_into_a_scan_of_ones_own(modality: Modality) -> None:
    scan, brain = own_scan(modality)
    inserted = insert_microbleeds(scan, brain, PRESETS["ukbb"], np.random.default_rng(3), count=4)
    visible = [record for record in inserted.truth.records if record.visible]
    assert len(inserted.truth.records) == 4
    assert len(visible) >= 2
    assert inserted.phase is None
    change = inserted.scan.array - scan.array
    for record in visible:
        inside = inserted.truth.microbleeds == int(record.id[4:])
        assert (change[inside].mean() < -0.25 * 400) if modality.lesions_are_dark else (change[inside].mean() > 0.05)
    far = np.ones(scan.array.shape, bool)
    for record in inserted.truth.records:
        i, j, k = np.round(to_voxel(scan.affine, (record.x, record.y, record.z))).astype(int)
        far[max(0, i - 20) : i + 21, max(0, j - 20) : j + 21, max(0, k - 6) : k + 7] = False
    np.testing.assert_array_equal(change[far], 0.0)
    assert not np.shares_memory(inserted.scan.array, scan.array)


def test_phase_that_is_given_shows_the_microbleed_too() -> None:
    scan, brain = own_scan(Modality.T2STAR)
    center = np.array([-25.0, 25.0, 30.0])
    deposit = Deposit("microbleed", center, 6.0, 1.6, [Blob(center, np.eye(3) * 0.8, 2.8, 0.5)])
    phase = np.full(scan.array.shape, 0.5, np.float32)
    inserted = insert_deposits(scan, [deposit], brain, PRESETS["ukbb"], phase)
    assert inserted.phase is not None
    assert np.abs(inserted.phase - 0.5)[2:6, 2:6, :3].max() < 0.05
    i, j, k = np.round(to_voxel(scan.affine, center)).astype(int)
    assert inserted.scan.array[i, j, k] < 0.75 * 400
    # above and below a paramagnetic sphere the field is raised: negative phase
    assert inserted.phase[i, j, k + 1] < 0.3


def test_no_microbleed_is_cut_by_the_end_of_a_scan_that_is_all_brain() -> None:
    scan, brain = own_scan(Modality.SWI)
    inserted = insert_microbleeds(scan, brain, PRESETS["ukbb"], np.random.default_rng(5), count=20)
    for record in inserted.truth.records:
        place = to_voxel(scan.affine, (record.x, record.y, record.z))
        depth_mm = np.minimum(place + 1, np.array(scan.array.shape) - place) * scan.spacing_mm
        # drawn anywhere within a voxel that lies so deep, and moved to its middle where it has parts
        assert depth_mm.min() > LEAST_DEPTH_MM - 0.5 * max(scan.spacing_mm) - 0.5


@pytest.mark.parametrize("modality", list(Modality))
def test_no_microbleed_is_put_into_fluid_a_vein_or_the_falx(modality: Modality) -> None:
    scan, brain = own_scan(modality)
    tissue, vein, fluid = (0.0, 0.4, -0.3) if modality is Modality.QSM else (400.0, 120.0, 700.0)
    scan.array[20:24] += vein - tissue
    scan.array[40:46] += fluid - tissue
    places = [to_voxel(scan.affine, center)[0] for center in draw_centers(scan, brain, np.random.default_rng(1), 30)]
    assert len(places) > 10
    assert not any(19 < place < 24 or 39 < place < 46 for place in places)
    assert any(place < 19 for place in places) and any(place > 46 for place in places)


def test_a_mask_of_another_shape_is_refused() -> None:
    scan, brain = own_scan(Modality.SWI)
    with pytest.raises(InputError, match="brain mask has shape"):
        insert_microbleeds(scan, brain[1:], PRESETS["ukbb"], np.random.default_rng(0), 1)


def test_patches_come_in_all_modalities_with_masks_on_their_lesions() -> None:
    source = PatchSource(size=(32, 32, 32), anatomy_share=0.1, lesion_free_share=0.2)
    stream = source.stream(seed=5)
    patches = [next(stream) for _ in range(24)]
    assert {patch.modality for patch in patches} == set(Modality)
    lesions = 0
    for patch in patches:
        assert patch.image.shape == patch.brain.shape == patch.truth.microbleeds.shape == (32, 32, 32)
        assert patch.image.dtype == np.float32
        assert np.isfinite(patch.image).all()
        assert (patch.tissue_signal > 0) == patch.modality.lesions_are_dark
        for record in patch.truth.records:
            if record.kind != "microbleed" or not record.visible:
                continue
            mask = patch.truth.microbleeds == int(record.id[4:])
            if not mask.any():
                continue  # a second lesion lies over it
            lesions += 1
            center = to_voxel(patch.grid.affine, (record.x, record.y, record.z))
            assert np.abs(np.argwhere(mask) - center).max(axis=1).min() <= 2.0
    assert lesions >= 8
    again = next(PatchSource(size=(32, 32, 32), anatomy_share=0.1, lesion_free_share=0.2).stream(seed=5))
    np.testing.assert_array_equal(again.image, patches[0].image)


def test_microbleeds_are_darker_than_tissue_in_patches_and_brighter_on_qsm() -> None:
    source = PatchSource(size=(32, 32, 32), anatomy_share=0.0, lesion_free_share=0.0)
    rng = np.random.default_rng(2)
    for modality in Modality:
        inside, outside = [], []
        for _ in range(6):
            patch = source.draw(rng, modality)
            mask = patch.truth.microbleeds > 0
            inside += (
                patch.image[mask].tolist()
                if modality is Modality.QSM
                else (patch.image[mask] / patch.tissue_signal).tolist()
            )
            rest = patch.image[patch.brain & ~mask]
            outside.append(float(np.median(rest)) / (patch.tissue_signal or 1.0))
        assert len(inside) > 10
        if modality.lesions_are_dark:
            assert np.median(inside) < 0.75 * np.median(outside)
        else:
            assert np.median(inside) > np.median(outside) + 0.1
