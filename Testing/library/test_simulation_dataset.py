"""A data set of simulated scans: complete, resumable, and never mixed with another one."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.scan import read_scan
from CMMDetectTrainLib.evaluation_set import find_scans
from CMMDetectTrainLib.simulation import dataset
from CMMDetectTrainLib.simulation.protocols import Protocol
from CMMDetectTrainLib.simulation.simulate import SimulatedScan
from CMMDetectTrainLib.simulation.truth_files import read_truth
from small_simulation import simulate_small


@pytest.fixture(scope="module")
def simulated() -> SimulatedScan:
    return simulate_small()


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
