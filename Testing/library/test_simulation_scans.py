"""Simulated scans, their truth, data sets, insertion and patches, as a user gets them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.scan import Modality, Scan, read_scan, to_voxel
from CMMDetectTrainLib.evaluation_set import find_scans
from CMMDetectTrainLib.simulation import dataset
from CMMDetectTrainLib.simulation.anatomy import Head, draw_head
from CMMDetectTrainLib.simulation.deposits import Blob, Deposit
from CMMDetectTrainLib.simulation.insertion import LEAST_DEPTH_MM, draw_centers, insert_deposits, insert_microbleeds
from CMMDetectTrainLib.simulation.modulation import LEAN
from CMMDetectTrainLib.simulation.patches import PatchSource
from CMMDetectTrainLib.simulation.protocols import PRESETS, Protocol
from CMMDetectTrainLib.simulation.simulate import SimulatedScan, simulate_scan
from CMMDetectTrainLib.simulation.truth_files import read_truth

SMALL = Protocol(
    "small", spacing_mm=(2.0, 2.0, 4.0), shape=(96, 112, 30), apodization=0.5, tilt_deg=10.0, qsm_method="true"
)


@pytest.fixture(scope="module")
def simulated() -> SimulatedScan:
    return simulate_scan(SMALL, seed=4, lesions=6, detail=LEAN)


@pytest.fixture(scope="module")
def head() -> Head:
    return draw_head(np.random.default_rng(1), age_years=70)


def fingerprint(arrays: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def test_the_same_seed_gives_the_same_scan_byte_by_byte(simulated: SimulatedScan) -> None:
    again = simulate_scan(SMALL, seed=4, lesions=6, detail=LEAN)
    for modality in Modality:
        assert fingerprint([again.images[modality]]) == fingerprint([simulated.images[modality]])
        assert again.truth[modality].records == simulated.truth[modality].records
    assert fingerprint([simulate_scan(SMALL, seed=5, lesions=6, detail=LEAN).phase]) != fingerprint([simulated.phase])


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


def test_a_data_set_is_written_whole_and_goes_on_where_it_stopped(
    tmp_path: Path, simulated: SimulatedScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def simulate(protocol: Protocol, seed: int, lesions: int | None) -> SimulatedScan:
        made.append(seed)
        if len(made) == 2:
            raise KeyboardInterrupt
        return simulated

    monkeypatch.setattr(dataset, "simulate_scan", simulate)
    with pytest.raises(KeyboardInterrupt):
        dataset.simulate_dataset(tmp_path / "set", count=3, protocols=["fast"], seed=1)
    assert sorted(path.name for path in (tmp_path / "set").glob("sub-*")) == ["sub-001"]
    messages: list[tuple[float, str]] = []
    dataset.simulate_dataset(tmp_path / "set", 3, ["fast"], 1, lambda part, text: messages.append((part, text)))
    assert len(made) == 4  # the first was not made again, the second was
    assert made[1] == made[2]
    assert messages[0][0] == 0.0
    assert messages[-1][0] == 1.0
    folder = tmp_path / "set"
    for name in ("swi/sub-001_swi", "anat/sub-001_T2starw", "anat/sub-001_Chimap"):
        scan = read_scan(folder / "sub-001" / f"{name}.nii.gz")
        np.testing.assert_array_equal(scan.array, simulated.images[scan.modality])
        np.testing.assert_allclose(scan.affine, simulated.grid.affine, atol=1e-4)
        records = read_truth(folder / "derivatives" / "truth" / "sub-001" / f"{name}_truth.tsv")
        assert records == simulated.truth[scan.modality].records
        assert (folder / "derivatives" / "truth" / "sub-001" / f"{name}_microbleeds.nii.gz").is_file()
    assert (folder / "sub-001" / "anat" / "sub-001_part-phase_T2starw.nii.gz").is_file()
    assert len((folder / "participants.tsv").read_text().splitlines()) == 4
    assert not list(folder.glob(".*"))


def test_a_folder_with_another_data_set_is_refused(tmp_path: Path) -> None:
    dataset._describe(tmp_path, ["fast"], 1, [None])
    with pytest.raises(InputError, match="another seed, protocol or number of microbleeds"):
        dataset.simulate_dataset(tmp_path, 1, ["fast"], 2)
    with pytest.raises(InputError, match="another seed, protocol or number of microbleeds"):
        dataset.simulate_dataset(tmp_path, 1, ["fast"], 1, microbleeds=[30])
    with pytest.raises(InputError, match="choose random, ukbb"):
        dataset.simulate_dataset(tmp_path / "new", 1, ["fast", "nothing"], 2)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["file", "file/set"])
def test_where_no_data_set_can_be_written_nothing_is_simulated(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write here"):
        dataset.simulate_dataset(tmp_path / place)


def test_a_negative_seed_is_refused_and_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--seed -1: must not be negative"):
        dataset.simulate_dataset(tmp_path / "set", seed=-1)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("content", ["{", "[]", '"text"', "[" * 100_000])
def test_a_damaged_description_of_a_data_set_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / dataset.DESCRIPTION).write_text(content)
    with pytest.raises(InputError, match=r"dataset_description\.json: damaged; put it back"):
        dataset.simulate_dataset(tmp_path)


@pytest.mark.parametrize("made_by", [[], {}, [[]]])
def test_a_data_set_of_unknown_origin_is_not_gone_on_with(tmp_path: Path, made_by: object) -> None:
    (tmp_path / dataset.DESCRIPTION).write_text(json.dumps({"GeneratedBy": made_by}))
    with pytest.raises(InputError, match="another seed, protocol or number of microbleeds"):
        dataset.simulate_dataset(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", None])
def test_a_damaged_subject_is_named_before_others_are_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.setattr(dataset, "simulate_scan", lambda *_: pytest.fail("simulated"))
    if content is None:
        (tmp_path / "sub-001").write_text("a file where the folder of a subject should be")
    else:
        (tmp_path / "sub-001").mkdir()
        (tmp_path / "sub-001" / "sub-001.json").write_text(content)
    with pytest.raises(InputError, match=r"sub-001\.json: damaged; delete .*sub-001 to simulate the subject again"):
        dataset.simulate_dataset(tmp_path, 3)


@pytest.mark.parametrize("name", ["sub-A_swi.json", "sub-A_scans.json"])
def test_files_of_a_site_beside_simulated_subjects_stop_no_simulation(
    tmp_path: Path, simulated: SimulatedScan, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(dataset, "simulate_scan", lambda *_: simulated)
    (tmp_path / "sub-A").mkdir()
    (tmp_path / "sub-A" / name).write_text('{"EchoTime": 0.02}')
    dataset.simulate_dataset(tmp_path, 1)
    assert "sub-A" not in (tmp_path / "participants.tsv").read_text()


@pytest.mark.parametrize("content", ["{}", "{"])
def test_nobody_is_told_to_delete_a_subject_that_was_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(dataset, "simulate_scan", lambda *_: pytest.fail("simulated"))
    (tmp_path / "sub-A").mkdir()
    (tmp_path / "sub-A" / "sub-A.json").write_text(content)
    with pytest.raises(InputError, match=r"sub-A\.json: .*; move .*sub-A out of the data set") as caught:
        dataset.simulate_dataset(tmp_path, 1)
    assert "; delete" not in str(caught.value)


def test_two_runs_may_write_the_same_data_set_at_once(
    tmp_path: Path, simulated: SimulatedScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def simulate(protocol: Protocol, seed: int, lesions: int | None) -> SimulatedScan:
        made.append(seed)
        if len(made) == 1:
            dataset.simulate_dataset(tmp_path, 1)
        return simulated

    monkeypatch.setattr(dataset, "simulate_scan", simulate)
    dataset.simulate_dataset(tmp_path, 1)
    assert len(made) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dataset_description.json",
        "derivatives",
        "participants.tsv",
        "sub-001",
    ]


def test_what_a_killed_run_left_goes_and_what_another_one_writes_stays(
    tmp_path: Path, simulated: SimulatedScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "simulate_scan", lambda *_: simulated)
    for name, age_s in ((".sub-001-4711", 2 * dataset.LEFT_OVER_S), (".sub-002-4712", 5.0)):
        (tmp_path / name / "swi").mkdir(parents=True)
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    dataset.simulate_dataset(tmp_path, 1)
    assert [path.name for path in tmp_path.glob(".*")] == [".sub-002-4712"]


def test_a_disk_that_fills_up_leaves_no_part_of_a_subject(
    tmp_path: Path, simulated: SimulatedScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "simulate_scan", lambda *_: simulated)
    dataset.simulate_dataset(tmp_path, 1)
    before = sorted(tmp_path.rglob("*sub-*"))
    write_image = dataset.write_image

    def fail_at_last(path: Path, *given: Any) -> None:
        write_image(path, *given)
        if path.name == "sub-002_brain.nii.gz":
            raise OutputError("full")

    monkeypatch.setattr(dataset, "write_image", fail_at_last)
    with pytest.raises(OutputError, match="full"):
        dataset.simulate_dataset(tmp_path, 2)
    assert sorted(tmp_path.rglob("*sub-*")) == before
    assert {entry.subject for entry in find_scans(tmp_path)} == {"sub-001"}


@pytest.mark.parametrize("lost", ["sub-002", "derivatives/truth/sub-002"])
def test_a_data_set_whose_run_was_killed_while_a_subject_was_moved_is_mended_by_the_next_run(
    tmp_path: Path, simulated: SimulatedScan, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setattr(dataset, "simulate_scan", lambda *_: simulated)
    dataset.simulate_dataset(tmp_path, 2)
    before = sorted(tmp_path.rglob("*"))
    shutil.rmtree(tmp_path / lost)
    for path in (tmp_path / "derivatives" / "truth" / "sub-002").glob("*.nii.gz"):
        path.write_bytes(b"half")
    dataset.simulate_dataset(tmp_path, 2)
    assert sorted(tmp_path.rglob("*")) == before
    read_scan(tmp_path / "derivatives" / "truth" / "sub-002" / "sub-002_brain.nii.gz", "swi")
    assert len(find_scans(tmp_path)) == 6


def test_a_run_that_is_killed_between_the_moves_leaves_a_data_set_that_can_be_read(
    tmp_path: Path, simulated: SimulatedScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place = dataset._put_in_place

    def killed_at_second(beside: Path, place: Path) -> None:
        if (tmp_path / "sub-002").exists():
            raise KeyboardInterrupt
        put_in_place(beside, place)

    monkeypatch.setattr(dataset, "simulate_scan", lambda *_: simulated)
    monkeypatch.setattr(dataset, "_put_in_place", killed_at_second)
    with pytest.raises(KeyboardInterrupt):
        dataset.simulate_dataset(tmp_path, 2)
    assert {entry.subject for entry in find_scans(tmp_path)} == {"sub-001"}


def test_subjects_take_protocols_and_numbers_of_microbleeds_in_turn(
    tmp_path: Path, simulated: SimulatedScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int | None]] = []

    def simulate(protocol: Protocol, seed: int, lesions: int | None) -> SimulatedScan:
        asked.append((protocol.name, lesions))
        return simulated

    monkeypatch.setattr(dataset, "simulate_scan", simulate)
    dataset.simulate_dataset(tmp_path, 3, ["fast", "MARS"], 1, microbleeds=[None, 30, 2])
    assert asked == [("fast", None), ("mars", 30), ("fast", 2)]


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
