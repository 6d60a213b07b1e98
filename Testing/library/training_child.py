"""A training in its own process: one that is killed, or one of two that ``torchrun`` started.

training_child.py alone FOLDER
torchrun --nproc-per-node 2 training_child.py together FOLDER
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

from CMMDetectLib.errors import InputError
from CMMDetectTrainLib import distributed
from CMMDetectTrainLib.training import Schedule, Task, Watch, fingerprint, fit
from training_cases import CPU, QUICK, candidate_task, new_student


def alone(folder: Path) -> None:
    """Train slowly, with a checkpoint after each step."""
    schedule = Schedule(**{**vars(QUICK), "checkpoint_minutes": 0.0})
    fit(
        candidate_task(folder, new_student()),
        schedule,
        CPU,
        folder / "work",
        Watch(progressed=lambda *_: time.sleep(0.02)),
    )


def linear_task() -> Task:
    """A linear model whose loss is a mean over patches, so that DDP's gradient should be that of one process."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(22, 2, 2, 2, 2, generator=generator)
    data = TensorDataset(inputs, inputs.flatten(1).sum(dim=1, keepdim=True))
    torch.manual_seed(2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    return Task(
        "linear", network, lambda model, batch: (model(batch[0]) - batch[1]).abs().mean(), lambda _: data, data
    )


def normalized_task() -> Task:
    """The same with batch normalization, whose statistics every process counts by itself."""
    plain = linear_task()
    network = nn.Sequential(nn.BatchNorm3d(2), plain.network)
    return Task("normalized", network, plain.loss, plain.draw, plain.validation)


LINEAR = Schedule(epochs=2, batch=8, decay_epochs=10, learning_rate=0.01)


def together(folder: Path) -> None:
    """Train two networks; every process writes what it came to."""
    told = {}
    with distributed.joined():
        for task in (linear_task(), normalized_task()):
            records = fit(task, LINEAR, CPU, folder / task.name)
            told[task.name] = {
                "weights": fingerprint(task.network),
                "parameters": [value.flatten().tolist() for value in task.network.parameters()],
                "losses": [[record.training_loss, record.validation_loss] for record in records],
            }
        told["given"] = distributed.from_first(lambda: os.getpid())
        told["own"], told["first"] = os.getpid(), distributed.is_first()

        def fails() -> None:
            raise InputError("what the first process cannot read")

        try:
            distributed.from_first(fails)
        except InputError as error:
            told["error"] = str(error)
        stops = Watch(should_stop=lambda: not distributed.is_first())
        told["stopped"] = len(fit(linear_task(), LINEAR, CPU, folder / "stopped", stops))
        target = folder / f"process-{distributed.rank()}.json"
    told["threads"] = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    target.write_text(json.dumps(told))


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"alone": alone, "together": together}[sys.argv[1]](Path(sys.argv[2]))
