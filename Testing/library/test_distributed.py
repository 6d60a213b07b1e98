"""Two processes that train together reach the same result as one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from CMMDetectTrainLib import distributed
from CMMDetectTrainLib.training import fit
from training_cases import CPU
from training_child import LINEAR, linear_task

HERE = Path(__file__).resolve().parent
PATHS = [HERE, *(HERE.parents[1] / part for part in ("CMMDetect", "CMMDetectTrain"))]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What two processes told, and their folder."""
    folder = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS)), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, HERE / "training_child.py", "together", folder], env=environment, check=True, timeout=240
    )
    return [json.loads((folder / f"process-{rank}.json").read_text()) for rank in (0, 1)], folder


def test_the_gradient_of_two_processes_is_that_of_one(both, tmp_path):
    (first, second), _ = both
    task = linear_task()
    records = fit(task, LINEAR, CPU, tmp_path)
    for told in (first, second):
        for found, expected in zip(told["linear"]["parameters"], task.network.parameters(), strict=True):
            assert torch.allclose(torch.tensor(found), expected.flatten(), atol=1e-5)
        assert told["linear"]["losses"] == [
            pytest.approx([record.training_loss, record.validation_loss], rel=1e-4) for record in records
        ]
    pairs = zip(linear_task().network.parameters(), task.network.parameters(), strict=True)
    moved = [float((before - after).abs().max().detach()) for before, after in pairs]
    assert max(moved) > 0.02  # so they did learn


def test_all_processes_end_with_the_same_network_and_curves_batch_normalization_included(both):
    (first, second), _ = both
    assert first["normalized"] == second["normalized"]
    assert first["linear"] == second["linear"]


def test_one_process_writes_the_checkpoint(both):
    _, folder = both
    for name in ("linear", "normalized"):
        assert [path.name for path in (folder / name).iterdir()] == ["checkpoint.pt"]


def test_the_first_process_works_for_all_and_its_error_ends_all(both):
    (first, second), _ = both
    assert (first["first"], second["first"]) == (True, False)
    assert first["given"] == second["given"] == first["own"] != second["own"]
    assert first["error"] == second["error"] == "what the first process cannot read"


def test_a_wish_to_stop_that_one_process_sees_stops_all(both):
    (first, second), _ = both
    assert first["stopped"] == second["stopped"] == 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are told by /proc")
def test_no_thread_outlives_the_training_and_aborts_a_process_that_is_done(both):
    for told in both[0]:
        assert told["threads"]
        assert not [name for name in told["threads"] if "gloo" in name]


def test_a_process_that_runs_alone_joins_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.joined():
        assert (distributed.rank(), distributed.world(), distributed.is_first()) == (0, 1, True)
        assert distributed.summed([1.5], CPU) == [1.5]
        assert distributed.from_first(lambda: 3) == 3
        network = linear_task().network
        assert distributed.shared(network, CPU) is network
