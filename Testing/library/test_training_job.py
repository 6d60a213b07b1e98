"""Job files, and what a training needs of the machine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from CMMDetectLib.devices import Compute
from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.network_grid import SCANS_OWN, NetworkVoxel
from CMMDetectTrainLib import machine
from CMMDetectTrainLib.training_estimate import DataSize, estimate_training
from CMMDetectTrainLib.training_job import (
    EPOCHS,
    JOB_FILE,
    PAUSE,
    STOP,
    WORK_SUFFIX,
    TrainingJob,
    beside,
    read_comparison,
    read_epochs,
    read_job,
    unfinished_jobs,
    write_job,
)


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    return TrainingJob(dataset="data", output=str(tmp_path / "site"), networks=("teacher", "student"), width=4)


def test_a_job_comes_back_as_it_was_and_lies_with_the_working_files(job, tmp_path):
    path = write_job(job)
    assert path == tmp_path / f"site{WORK_SUFFIX}" / JOB_FILE
    assert read_job(path) == job and not job.finished
    assert unfinished_jobs(tmp_path) == [job]


def test_an_earlier_wish_to_pause_or_stop_does_not_end_a_resumed_training(job):
    path = write_job(job)
    for wish in (PAUSE, STOP):
        beside(path, wish).touch()
    write_job(job)
    assert not beside(path, PAUSE).exists() and not beside(path, STOP).exists()


def test_damaged_jobs_are_not_offered_to_be_resumed(job, tmp_path):
    path = write_job(job)
    for text in ("", "[]", json.dumps({"colour": "red"}), json.dumps({**json.loads(path.read_text()), "batch": 0})):
        path.write_text(text)
        with pytest.raises(InputError, match=r"job\.json"):
            read_job(path)
        assert unfinished_jobs(tmp_path) == []


def test_a_width_that_a_model_to_start_from_overrules_may_be_odd(job):
    odd = replace(job, width=17)
    with pytest.raises(InputError, match="width must be even"):
        read_job(write_job(odd))
    started = replace(odd, start="model")
    assert read_job(write_job(started)) == started


def test_a_job_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write here"):
        write_job(TrainingJob(dataset="data", output=str(tmp_path / "file" / "site")))


def test_losses_of_a_killed_worker_are_read_up_to_its_last_whole_line(job):
    path = write_job(job)
    assert read_epochs(path) == []
    told = [
        {"network": "detector", "epoch": number, "training_loss": loss} for number, loss in ((1, 3), (2, 2), (2, 1))
    ]
    beside(path, EPOCHS).write_text("\n".join([*map(json.dumps, told), '{"network": "dete']))
    assert read_epochs(path) == [told[0], told[2]]


def test_a_bundle_that_was_never_compared_has_no_comparison(tmp_path):
    assert read_comparison(tmp_path) is None
    (tmp_path / "comparison.json").write_text("[1]")
    assert read_comparison(tmp_path) is None


def test_wider_networks_larger_batches_and_larger_scans_need_more_memory(job):
    usual = machine.memory_needed(job, 16, SCANS_OWN, 0)
    assert machine.memory_needed(job, 32, SCANS_OWN, 0) > usual > machine.memory_needed(job, 4, SCANS_OWN, 0)
    assert machine.memory_needed(job, 4, SCANS_OWN, 10**8) > usual
    assert 1 < usual / 2**30 < 4


def test_patches_of_half_as_many_slices_need_half_the_memory(job):
    cubes, flat, none = (
        machine.memory_needed(job, width, voxel, 0)
        for width, voxel in ((16, SCANS_OWN), (16, NetworkVoxel(0.8, 1.6)), (0, SCANS_OWN))
    )
    assert cubes - none == 2 * (flat - none)


def test_the_disk_holds_every_prepared_scan(job):
    assert machine.disk_needed(job, 10**9) - machine.disk_needed(job, 0) == 9 * 10**9


def test_memory_is_read_where_the_system_tells_it_and_else_not_checked(monkeypatch, tmp_path):
    monkeypatch.setitem(machine.importlib.sys.modules, "psutil", None)
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       2048 kB\n")
    monkeypatch.setattr(machine, "MEMORY_FILE", tmp_path / "meminfo")
    assert machine.free_memory() == 2 * 2**20
    monkeypatch.setattr(machine, "MEMORY_FILE", tmp_path / "nowhere")
    assert machine.free_memory() is None


def test_the_estimate_grows_with_what_there_is_to_learn(job):
    compute = Compute(torch.device("cpu"), torch.float32)
    plan = TrainingJob(dataset="", output="", width=2, batch=2, epochs=50, patience=5, patch_size=24).plan(("a",))
    few = estimate_training(plan, 2, SCANS_OWN, DataSize(10, 10**6, 10**5, 0), compute)
    many = estimate_training(plan, 2, SCANS_OWN, DataSize(100, 10**6, 10**5, 0), compute)
    assert few.low_seconds < few.high_seconds < many.high_seconds
    assert set(few.epoch_seconds) == {"detector", "teacher", "student"}
