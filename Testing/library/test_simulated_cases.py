"""Simulated patches on disk: reproducible, and normalized like scans."""

import numpy as np
import pytest

from CMMDetectLib.network_grid import NetworkVoxel
from CMMDetectLib.preprocessing import TISSUE_LEVEL
from CMMDetectLib.scan import Modality
from CMMDetectTrainLib import simulated_cases as module
from CMMDetectTrainLib.cases import NOT_JUDGED
from CMMDetectTrainLib.simulated_cases import arrays_of_patch, simulated_cases
from CMMDetectTrainLib.simulation.patches import PatchSource
from CMMDetectTrainLib.splits import SIMULATED_VALIDATION

SIZE = (24, 24, 24)


@pytest.fixture(autouse=True)
def small_patches(monkeypatch):
    """Few and small patches a shelf, without heads, which take seconds each."""
    monkeypatch.setattr(module, "PATCHES_PER_SHELF", 3)
    monkeypatch.setattr(module, "PatchSource", lambda modalities, *_, **__: PatchSource(modalities, SIZE, 0.0))


def content(cases):
    return [np.concatenate([np.ravel(case.channels), np.ravel(case.labels)]) for case in cases]


def test_shelves_are_filled_and_found_again(tmp_path):
    told = []
    cases = simulated_cases(tmp_path, 4, (Modality.SWI,), seed=1, tick=told.append)
    assert told == [0.5, 1.0]
    assert len(cases) == 6  # whole shelves
    assert len({case.name for case in cases}) == 6
    assert [case.subject for case in cases] == 3 * ["simulated-1-00000"] + 3 * ["simulated-1-00001"]
    assert {case.shape for case in cases} == {SIZE}
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert simulated_cases(tmp_path, 4, (Modality.SWI,), seed=1) == cases
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == written


def test_more_patches_begin_with_the_same_and_another_seed_gives_others(tmp_path):
    few = simulated_cases(tmp_path / "a", 3, (Modality.SWI,), seed=1)
    more = simulated_cases(tmp_path / "b", 6, (Modality.SWI,), seed=1)
    other = simulated_cases(tmp_path / "c", 3, (Modality.SWI,), seed=2)
    for one, same, different in zip(content(few), content(more), content(other), strict=False):
        assert np.array_equal(one, same)
        assert not np.array_equal(one, different)


def test_two_shelves_in_three_are_of_heads_among_those_that_train_and_among_those_that_validate(tmp_path, monkeypatch):
    shares = []

    def source(modalities, _, anatomy_share, **__):
        shares.append(anatomy_share)
        return PatchSource(modalities, SIZE, 0.0)

    monkeypatch.setattr(module, "PATCHES_PER_SHELF", 1)
    monkeypatch.setattr(module, "PatchSource", source)
    simulated_cases(tmp_path, 40, (Modality.SWI,), seed=1)
    assert set(shares) == {0.0, 1.0}
    assert sum(shares) == 27
    assert sum(shares[SIMULATED_VALIDATION - 1 :: SIMULATED_VALIDATION]) == 3


@pytest.mark.parametrize(("voxel", "shape"), [(NetworkVoxel(0.8), SIZE), (NetworkVoxel(0.8, 1.6), (24, 24, 12))])
def test_on_a_grid_of_its_own_every_patch_has_the_same_shape_and_its_microbleeds(tmp_path, monkeypatch, voxel, shape):
    monkeypatch.setattr(module, "PATCHES_PER_SHELF", 6)
    monkeypatch.setattr(module, "DETECTOR_PATCH_VOX", 24)
    monkeypatch.setattr(
        module, "PatchSource", lambda modalities, shape, voxel, **_: PatchSource(modalities, shape, 0.0, 0.0, voxel)
    )
    cases = simulated_cases(tmp_path, 6, tuple(Modality), seed=3, voxel=voxel)
    assert {case.shape for case in cases} == {shape}
    assert np.array([case.spacing_mm[:2] for case in cases]) == pytest.approx(0.8, rel=0.04)
    if voxel.slice_mm:
        assert np.array([case.spacing_mm[2] for case in cases]) == pytest.approx(voxel.slice_mm, rel=0.15)
        assert all(case.mask[..., slab].any() for case in cases for slab in (0, -1))
    assert sum((np.asarray(case.labels) > 0).any() for case in cases) >= 3
    assert np.mean([case.mask.mean() for case in cases]) > 0.3


@pytest.mark.parametrize("modality", list(Modality))
def test_a_patch_has_the_scale_of_a_prepared_scan(modality):
    source, rng = PatchSource((modality,), SIZE, anatomy_share=0.0), np.random.default_rng(4)
    medians = []
    for _ in range(8):
        patch = source.draw(rng)
        arrays = arrays_of_patch(patch, "name", "subject", SIZE)
        image = arrays.channels[0]
        assert (arrays.name, arrays.subject, arrays.modality) == ("name", "subject", modality)
        assert image.min() >= 0 and image.max() <= 1
        assert not image[~patch.brain].any()
        tissue = patch.brain & ~patch.vessels & (patch.truth.microbleeds == 0)
        medians.append(np.median(image[tissue]))
    # one small patch may hold white matter alone, or basal ganglia
    assert np.median(medians) == pytest.approx(TISSUE_LEVEL, abs=0.12)
    assert np.ptp(medians) < 0.5


def test_microbleeds_keep_their_numbers_and_those_that_cannot_be_seen_are_not_judged():
    source, rng = PatchSource((Modality.SWI,), SIZE, 0.0, lesion_free_share=0.0), np.random.default_rng(0)
    seen = 0
    for _ in range(12):
        patch = source.draw(rng)
        labels = arrays_of_patch(patch, "name", "subject", SIZE).labels
        bleeds = [record for record in patch.truth.records if record.kind == "microbleed"]
        for number, record in enumerate(bleeds, 1):
            inside = (patch.truth.microbleeds == number) & patch.brain
            expected = number if record.visible else NOT_JUDGED
            assert (labels[inside] == expected).all()
            seen += record.visible
        assert not labels[patch.truth.microbleeds == 0].any()
    assert seen >= 5
