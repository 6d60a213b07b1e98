"""The training loop: schedule, early stopping, checkpoints, exact resume."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from CMMDetectLib.devices import Compute
from CMMDetectLib.errors import CancelledError, InputError, OutputError
from CMMDetectLib.networks import CandidateDetector
from CMMDetectTrainLib import training
from CMMDetectTrainLib.augmentation import NONE
from CMMDetectTrainLib.patches import PatchSet, Sampling, SplitPlaces, draw_epoch, grid_places
from CMMDetectTrainLib.tasks import detector_task, restrict_channels
from CMMDetectTrainLib.training import CHECKPOINT, Schedule, Task, Watch, fingerprint, fit
from test_distributed import HERE, PATHS
from training_cases import CPU, QUICK, candidate_task, cube, make_case, new_student


def curve(records):
    """The loss curves without the seconds."""
    return [(record.epoch, record.training_loss, record.validation_loss, record.learning_rate) for record in records]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Weights and curves of a training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    task = candidate_task(folder, new_student())
    records = fit(task, QUICK, CPU, folder / "work")
    return fingerprint(task.network), curve(records)


def one_weight():
    """A network of a single weight, which begins at 0, and the patches of one step."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False))
    nn.init.zeros_(network[1].weight)
    return network, TensorDataset(torch.ones(2, 1, 1, 1, 1))


def losses_are(values):
    """A task whose validation loss is given epoch by epoch."""
    remaining = iter(values)
    data = TensorDataset(torch.zeros(2, 1, 1, 1, 1))

    def loss(network, batch):
        weight = network[1].weight.sum()
        return 0 * weight + (1.0 if network.training else next(remaining))

    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 1))
    return Task("told", network, loss, lambda _: data, data)


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1e-3), (1, 1e-3), (2, 1e-4), (4, 1e-5), (6, 1e-6), (8, 1e-6), (99, 1e-6)]
)
def test_the_learning_rate_falls_tenfold_every_two_epochs_to_a_millionth(epoch, rate):
    assert Schedule().rate(epoch) == pytest.approx(rate)


def test_the_optimizer_is_the_papers(tmp_path, monkeypatch):
    made = []
    adam = torch.optim.Adam

    def watched(*arguments, **options):
        made.append(adam(*arguments, **options))
        return made[0]

    monkeypatch.setattr(torch.optim, "Adam", watched)
    rates = []
    watch = Watch(finished=lambda _: rates.append(made[0].param_groups[0]["lr"]))
    fit(losses_are([3, 2, 1, 0.5, 0.2]), Schedule(epochs=5), CPU, tmp_path, watch)
    assert made[0].param_groups[0]["eps"] == 1e-4
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])
    assert (Schedule().batch, Schedule().epochs, Schedule().patience) == (8, 100, 20)


def test_training_ends_when_patience_does(tmp_path):
    values = [5, 4, 4.5, 3, 3.2, 3.1, 3.0, 9, 9]
    records = fit(losses_are(values), Schedule(epochs=9, patience=3), CPU, tmp_path)
    assert [record.validation_loss for record in records] == pytest.approx(values[:7])


def test_the_weights_of_the_best_epoch_are_kept(tmp_path):
    network, data = one_weight()

    def loss(model, batch):  # training pulls the weight up and up, validation likes it at 0.3
        weight = model[1].weight.sum()
        return -weight if model.training else (weight - 0.3).abs()

    task = Task("passing", network, loss, lambda _: data, data)
    schedule = Schedule(epochs=6, learning_rate=0.1, decay_epochs=10, epsilon=1e-8)
    records = fit(task, schedule, CPU, tmp_path)
    assert [record.validation_loss for record in records] == pytest.approx([0.2, 0.1, 0.0, 0.1, 0.2, 0.3], abs=1e-5)
    assert float(network[1].weight.detach()) == pytest.approx(0.3, abs=1e-5)


def test_the_learning_rate_rises_over_the_first_steps(tmp_path):
    network, data = one_weight()
    weights = []

    def loss(model, batch):  # a gradient of 1 at every step, so that Adam moves the weight by the rate
        if not model.training:
            weights.append(float(model[1].weight.sum()))
        return -model[1].weight.sum()

    task = Task("rising", network, loss, lambda _: data, data)
    fit(task, Schedule(epochs=5, batch=4, learning_rate=0.1, decay_epochs=10, epsilon=1e-8, warm_up=4), CPU, tmp_path)
    assert weights == pytest.approx([0.025, 0.075, 0.15, 0.25, 0.35], abs=1e-5)


def test_a_running_mean_of_the_weights_validates_and_is_kept(tmp_path):
    network, data = one_weight()
    judged = []

    def loss(model, batch):  # Adam takes the weight to 0.1, 0.2 and 0.3
        if not model.training:
            judged.append(float(model[1].weight.sum()))
        return -model[1].weight.sum()

    task = Task("averaged", network, loss, lambda _: data, data)
    schedule = Schedule(epochs=3, learning_rate=0.1, decay_epochs=10, epsilon=1e-8, averaging=0.5)
    fit(task, schedule, CPU, tmp_path)
    # the mean begins with the first step's weight
    assert judged == pytest.approx([0.1, 0.15, 0.225], abs=1e-5)
    assert float(network[1].weight.detach()) == pytest.approx(0.225, abs=1e-5)


def test_a_running_mean_goes_on_after_an_interruption_as_if_nothing_had_been(tmp_path):
    averaged = replace(QUICK, averaging=0.8)
    whole = candidate_task(tmp_path, new_student())
    fit(whole, averaged, CPU, tmp_path / "whole")
    told = iter([None] * 6)

    def cancelled(*_):
        if next(told, "over") == "over":
            raise CancelledError("stopped by the user")

    with pytest.raises(CancelledError):
        fit(candidate_task(tmp_path, new_student()), averaged, CPU, tmp_path / "work", Watch(progressed=cancelled))
    again = candidate_task(tmp_path, new_student())
    fit(again, averaged, CPU, tmp_path / "work")
    assert fingerprint(again.network) == fingerprint(whole.network)


def test_the_same_seed_trains_the_same_network_and_another_seed_another(tmp_path, uninterrupted):
    task = candidate_task(tmp_path, new_student())
    records = fit(task, QUICK, CPU, tmp_path / "again")
    assert (fingerprint(task.network), curve(records)) == uninterrupted
    other = candidate_task(tmp_path, new_student())
    fit(other, replace(QUICK, seed=5), CPU, tmp_path / "other")
    assert fingerprint(other.network) != uninterrupted[0]


@pytest.mark.parametrize("step", [1, 5, 8])
def test_a_cancelled_training_goes_on_as_if_nothing_had_been(tmp_path, uninterrupted, step):
    # 4 microbleeds and 4 other places, each twice, four at a time: 4 steps an epoch, and told once while validating
    calls = 0

    def told(*_):
        nonlocal calls
        calls += 1
        if calls == step:
            raise CancelledError("stopped by the user")

    with pytest.raises(CancelledError):
        fit(candidate_task(tmp_path, new_student()), QUICK, CPU, tmp_path / "work", Watch(progressed=told))
    task = candidate_task(tmp_path, new_student())
    records = fit(task, QUICK, CPU, tmp_path / "work")
    assert (fingerprint(task.network), curve(records)) == uninterrupted


def test_a_killed_training_goes_on_as_if_nothing_had_been(tmp_path, uninterrupted):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))}
    child = subprocess.Popen([sys.executable, HERE / "training_child.py", "alone", tmp_path], env=environment)
    checkpoint = tmp_path / "work" / CHECKPOINT
    until = time.monotonic() + 120
    while not checkpoint.exists() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    state = torch.load(checkpoint, weights_only=True)["state"]
    task = candidate_task(tmp_path, new_student())
    steps = []
    records = fit(task, QUICK, CPU, tmp_path / "work", Watch(progressed=lambda *_: steps.append(1)))
    assert (fingerprint(task.network), curve(records)) == uninterrupted
    assert 0 < len(steps) < 15, state  # it went on and did not begin again: 3 epochs of 4 steps and a validation


def test_checkpoints_are_written_as_often_as_asked(tmp_path, monkeypatch):
    times = []
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda *arguments: (times.append(1), save(*arguments)))
    fit(candidate_task(tmp_path, new_student()), replace(QUICK, epochs=1), CPU, tmp_path / "a")
    assert len(times) == 1  # the end of the epoch
    fit(candidate_task(tmp_path, new_student()), replace(QUICK, epochs=1, checkpoint_minutes=0), CPU, tmp_path / "b")
    assert len(times) > 1 + 4


def test_a_finished_training_is_not_trained_again(tmp_path, uninterrupted):
    for _ in range(2):
        task = candidate_task(tmp_path, new_student())
        steps = []
        records = fit(task, QUICK, CPU, tmp_path / "work", Watch(progressed=lambda *_, steps=steps: steps.append(1)))
        assert (fingerprint(task.network), curve(records)) == uninterrupted
    assert not steps


def test_a_finished_training_can_be_made_longer(tmp_path, uninterrupted):
    fit(candidate_task(tmp_path, new_student()), replace(QUICK, epochs=2), CPU, tmp_path / "work")
    task = candidate_task(tmp_path, new_student())
    records = fit(task, QUICK, CPU, tmp_path / "work")
    assert (fingerprint(task.network), curve(records)) == uninterrupted


def test_stop_and_keep_best_ends_in_the_middle_of_an_epoch_and_for_good(tmp_path):
    steps = []
    watch = Watch(progressed=lambda *_: steps.append(1), should_stop=lambda: len(steps) > 6)
    task = candidate_task(tmp_path, new_student())
    records = fit(task, QUICK, CPU, tmp_path / "work", watch)
    assert len(records) == 1
    assert len(steps) == 7
    best = fingerprint(task.network)
    again = candidate_task(tmp_path, new_student())
    assert curve(fit(again, QUICK, CPU, tmp_path / "work")) == curve(records)
    assert fingerprint(again.network) == best


def test_a_training_is_not_stopped_before_there_is_something_to_keep(tmp_path):
    watch = Watch(should_stop=lambda: True)
    assert len(fit(candidate_task(tmp_path, new_student()), QUICK, CPU, tmp_path / "work", watch)) == 1


def test_progress_is_told_to_the_end(tmp_path):
    told = []
    fit(
        candidate_task(tmp_path, new_student()),
        QUICK,
        CPU,
        tmp_path,
        Watch(progressed=lambda *news: told.append(news)),
    )
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[0] == pytest.approx(1 / 12) and fractions[-1] == pytest.approx(1)
    assert told[0][1] == "epoch 1 of up to 3"


def test_the_time_of_an_epoch_is_that_of_training_and_validation(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: now[0]))
    task = candidate_task(tmp_path, new_student())

    def slow_loss(network, batch):
        now[0] += 1.0 if network.training else 10.0
        return task.loss(network, batch)

    epoch = fit(replace(task, loss=slow_loss), replace(QUICK, epochs=1), CPU, tmp_path / "work")[0]
    assert epoch.seconds == 4 * 1.0 + 10.0


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_one_line(tmp_path, content):
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint.pt: damaged; delete it") as caught:
        fit(losses_are([1]), Schedule(epochs=1), CPU, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_cut_short_and_one_of_something_else_are_damaged(tmp_path):
    path = tmp_path / CHECKPOINT
    fit(losses_are([1]), Schedule(epochs=1), CPU, tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="damaged"):
        fit(losses_are([1]), Schedule(epochs=1), CPU, tmp_path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="damaged"):
        fit(losses_are([1]), Schedule(epochs=1), CPU, tmp_path)


@pytest.mark.parametrize(
    "change", [{"batch": 2}, {"learning_rate": 0.5}, {"seed": 3}, {"decay_epochs": 7}, {"warm_up": 2}]
)
def test_a_checkpoint_of_other_settings_is_one_line(tmp_path, change):
    fit(losses_are([1]), Schedule(epochs=1), CPU, tmp_path)
    with pytest.raises(InputError, match="belongs to a training with other settings") as caught:
        fit(losses_are([1]), Schedule(epochs=1, **change), CPU, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_width_is_one_line(tmp_path):
    fit(candidate_task(tmp_path, new_student(2)), replace(QUICK, epochs=1), CPU, tmp_path / "work")
    with pytest.raises(InputError, match="other settings"):
        fit(candidate_task(tmp_path, new_student(4)), replace(QUICK, epochs=1), CPU, tmp_path / "work")


def test_a_network_whose_data_or_first_weights_changed_is_trained_anew(tmp_path):
    schedule = replace(QUICK, epochs=1)
    fit(candidate_task(tmp_path, new_student()), schedule, CPU, tmp_path / "work")
    for task in (
        replace(candidate_task(tmp_path, new_student()), origin="other patches"),
        candidate_task(tmp_path, image_only()),
    ):
        steps = []
        fit(task, schedule, CPU, tmp_path / "work", Watch(progressed=lambda *_, steps=steps: steps.append(1)))
        assert len(steps) >= 4


def image_only():
    network = new_student()
    restrict_channels(network, ["image"])
    return network


def test_a_folder_where_nothing_can_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write here") as caught:
        fit(losses_are([1]), Schedule(epochs=1), CPU, tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    fit(losses_are([1]), Schedule(epochs=1), CPU, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(*_):
        raise RuntimeError(
            "[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0\nNo space left on device"
        )

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"checkpoint\.pt: cannot be written") as caught:
        fit(losses_are([1]), Schedule(epochs=2), CPU, tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_loss_that_is_no_number_ends_the_training_in_one_line(tmp_path):
    task = losses_are([1])
    bad = replace(task, loss=lambda network, _: network[1].weight.sum() * math.nan)
    with pytest.raises(InputError, match="lower learning rate"):
        fit(bad, Schedule(epochs=1), CPU, tmp_path)


def test_no_weights_are_kept_whose_validation_is_no_number(tmp_path):
    with pytest.raises(InputError, match="lower learning rate"):
        fit(losses_are([math.nan, math.nan]), Schedule(epochs=2), CPU, tmp_path)


@pytest.mark.parametrize("part", ["draw", "validation"])
def test_a_task_without_patches_is_one_line(tmp_path, part):
    empty = TensorDataset(torch.zeros(0, 1, 1, 1, 1))
    task = replace(losses_are([1]), **{part: (lambda _: empty) if part == "draw" else empty})
    with pytest.raises(InputError, match="patches"):
        fit(task, Schedule(epochs=1), CPU, tmp_path)


def test_training_in_bfloat16_comes_near_training_in_float32(tmp_path):
    case = make_case(tmp_path, shape=(32, 32, 16), balls=[(8, 8, 8), (24, 8, 8)])
    places = grid_places(case, cube(16))
    curves = {}
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(1)
        network = CandidateDetector(2)
        task = detector_task(network, SplitPlaces(places, places), Sampling(NONE))
        records = fit(
            task, Schedule(epochs=4, batch=2, decay_epochs=9), Compute(CPU.device, dtype), tmp_path / str(dtype)
        )
        assert {value.dtype for value in network.parameters()} == {torch.float32}
        curves[dtype] = [value for record in records for value in (record.training_loss, record.validation_loss)]
    assert curves[torch.bfloat16] == pytest.approx(curves[torch.float32], rel=0.05)
    assert curves[torch.bfloat16] != curves[torch.float32]


def test_reading_patches_warns_of_nothing(tmp_path, recwarn):
    case = make_case(tmp_path, shape=(32, 32, 16), balls=[(8, 8, 8)])
    patches = PatchSet(draw_epoch(grid_places(case, cube(16)), Sampling(NONE), 0), NONE)
    channels, labels, _ = patches[0]
    channels += 1
    labels += 1
    assert not [warning for warning in recwarn if "writable" in str(warning.message)]
