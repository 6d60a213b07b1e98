"""One training loop for the three networks (2.6): schedule, early stopping, checkpoints, exact resume.

A step depends only on the seed, the epoch and the number of the step. A process that is killed at any moment therefore
resumes from its last checkpoint and reaches the same weights as one that was never interrupted.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from CMMDetectLib.devices import Compute
from CMMDetectLib.errors import InputError
from CMMDetectLib.progress import Report
from CMMDetectLib.results import prepare_folder
from CMMDetectLib.scan import replacing

from . import distributed

CHECKPOINT = "checkpoint.pt"
Batch = Sequence[Tensor]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a network is trained; the defaults are those of the paper (2.6).

    Attributes
    ----------
    epochs : largest number of epochs
    patience : epochs without a better validation loss after which training ends
    batch : patches per step, over all processes
    learning_rate, decay, decay_epochs, least_learning_rate : the rate falls by ``decay`` every ``decay_epochs``
    warm_up : number of first steps in which the rate rises to `learning_rate`; 0, as in the paper, for none
    epsilon : numerical constant of Adam
    averaging : share of the running mean of the weights that each step keeps (Polyak and Juditsky 1992); the mean is
        validated and saved in place of the weights. 0, as in the paper, for no averaging
    seed : seed of all random numbers
    checkpoint_minutes : time between checkpoints, the most that an interruption can lose
    """

    epochs: int = 100
    patience: int = 20
    batch: int = 8
    learning_rate: float = 1e-3
    decay: float = 0.1
    decay_epochs: int = 2
    least_learning_rate: float = 1e-6
    warm_up: int = 0
    epsilon: float = 1e-4
    averaging: float = 0.0
    seed: int = 0
    checkpoint_minutes: float = 3.0

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0.

        >>> [f"{Schedule().rate(epoch):.0e}" for epoch in (0, 1, 2, 5, 6, 50)]
        ['1e-03', '1e-03', '1e-04', '1e-05', '1e-06', '1e-06']
        """
        return max(self.learning_rate * self.decay ** (epoch // self.decay_epochs), self.least_learning_rate)

    def warmth(self, step: int) -> float:
        """Return the warm-up factor of the learning rate at a step, counted from 0 over all epochs.

        >>> [Schedule(warm_up=4).warmth(step) for step in (0, 1, 3, 4)], Schedule().warmth(0)
        ([0.25, 0.5, 1.0, 1.0], 1.0)
        """
        return min(1.0, (step + 1) / max(self.warm_up, 1))


@dataclass(frozen=True)
class Task:
    """A network, its loss and its data.

    Attributes
    ----------
    name : 'detector', 'teacher' or 'student'
    network : trained in place
    loss : loss of a batch of the data sets, whose first tensor is the input of the network
    draw : returns the training patches of an epoch
    validation : patches of other subjects
    origin : digest of the data that the patches come from; training is not resumed from a checkpoint of another one
    """

    name: str
    network: nn.Module
    loss: Callable[[nn.Module, Batch], Tensor]
    draw: Callable[[int], Dataset[Any]]
    validation: Dataset[Any]
    origin: str = ""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a training: a point of the loss curves (figure 8)."""

    epoch: int
    training_loss: float
    validation_loss: float
    learning_rate: float
    seconds: float


@dataclass
class Watch:
    """Callbacks that follow a training and may end it.

    Attributes
    ----------
    progressed : called with (fraction of the epochs, message); if it raises `CancelledError`, a checkpoint is written
        first
    finished : called with the record of each finished epoch
    should_stop : returns True to end the training, after at least one epoch, with the best weights so far
    """

    progressed: Report = lambda *_: None
    finished: Callable[[EpochRecord], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False


@dataclass
class _State:
    """State of a training apart from network and optimizer."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    """Time spent on the current epoch."""
    best_loss: float = math.inf
    best_epoch: int = -1
    stopped: bool = False
    history: list[EpochRecord] = field(default_factory=list)


def fit(
    task: Task, schedule: Schedule, compute: Compute, folder: Path, watch: Watch | None = None
) -> list[EpochRecord]:
    """Train a network and leave it with the weights of its best epoch.

    Parameters
    ----------
    task : its network has the initial weights, even if an interrupted training is resumed
    folder : folder of the checkpoint, from which an interrupted training is resumed. If that one began with other
        weights or patches, the network is trained anew

    Returns
    -------
    list of EpochRecord
        The loss curves.

    Raises
    ------
    InputError
        If the checkpoint is damaged or of a training with another schedule or network, if there are no patches to
        train or validate with, or if the loss is not finite.
    OutputError
        If the checkpoint cannot be written.
    """
    return _Training(task, schedule, compute, folder, watch or Watch()).run()


class _Training:
    def __init__(self, task: Task, schedule: Schedule, compute: Compute, folder: Path, watch: Watch) -> None:
        self.task, self.schedule, self.compute, self.watch = task, schedule, compute, watch
        self.path = folder / CHECKPOINT
        self.origin = f"{task.origin} {fingerprint(task.network)}"
        self.network = task.network.to(compute.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=schedule.learning_rate, eps=schedule.epsilon)
        self.mean = _running_mean(self.network, schedule.averaging)
        self.best = _copied(self.network)
        self.state = _State()
        self.saved_at = time.monotonic()
        if distributed.is_first():
            prepare_folder(folder)
        if self.path.exists():
            self._load()
        self.shared = distributed.shared(self.network, compute)

    def run(self) -> list[EpochRecord]:
        while not self._is_over() and self._train_epoch():
            self._close_epoch(self._validate())
        self.network.load_state_dict(self.best)
        return self.state.history

    def _is_over(self) -> bool:
        waited = self.state.epoch - 1 - self.state.best_epoch
        over = self.state.epoch >= self.schedule.epochs or waited >= self.schedule.patience
        return over or self._is_stopped()

    def _is_stopped(self) -> bool:
        """Whether the user has stopped the training, now or before an interruption."""
        if not self.state.stopped and self.state.best_epoch >= 0:
            # perhaps only one process has seen the request to stop, but all must end together
            self.state.stopped = distributed.summed([float(self.watch.should_stop())], self.compute)[0] > 0
            if self.state.stopped:
                self._save()
        return self.state.stopped

    def _train_epoch(self) -> bool:
        """Train on the rest of an epoch; False if the user stopped it."""
        state = self.state
        patches = self.task.draw(state.epoch)
        steps = self._training_steps(len(patches))  # type: ignore[arg-type]
        self.shared.train()
        started = time.monotonic()
        for batch in self._batches(patches, steps, state.step):
            rate = self.schedule.rate(state.epoch) * self.schedule.warmth(state.epoch * len(steps) + state.step)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self._step(batch)
            state.step += 1
            state.seconds += time.monotonic() - started
            started = time.monotonic()
            self._report(len(steps))
            if self._is_stopped():
                return False
        return True

    def _step(self, batch: Batch) -> None:
        torch.manual_seed(_seed_of(self.schedule.seed, self.state.epoch, self.state.step, distributed.rank()))
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self.shared, batch)
        value = self._checked(float(loss.detach()))
        loss.backward()
        self.optimizer.step()
        if self.mean:
            self.mean.update_parameters(self.network)
        self.state.loss_sum += value

    def _report(self, steps: int) -> None:
        if time.monotonic() - self.saved_at > 60 * self.schedule.checkpoint_minutes:
            self._save()
        done = (self.state.epoch + self.state.step / steps) / self.schedule.epochs
        try:
            self.watch.progressed(done, f"epoch {self.state.epoch + 1} of up to {self.schedule.epochs}")
        except BaseException:
            self._save()
            raise

    @torch.no_grad()
    def _validate(self) -> float:
        judged = self._judged()
        distributed.equalize_buffers(judged)
        judged.eval()
        patches = self.task.validation
        total, count, started = 0.0, 0, time.monotonic()
        for batch in self._batches(patches, self._validation_steps(len(patches))):  # type: ignore[arg-type]
            size = len(batch[0])
            total += size * float(self._loss(judged, batch))
            count += size
            self._report(self.state.step)
        self.state.seconds += time.monotonic() - started
        total, all_patches = distributed.summed([total, float(count)], self.compute)
        return self._checked(total / all_patches)

    def _close_epoch(self, validation_loss: float) -> None:
        state = self.state
        total, steps = distributed.summed([state.loss_sum, float(state.step)], self.compute)
        rate = self.schedule.rate(state.epoch)
        record = EpochRecord(state.epoch, total / steps, validation_loss, rate, round(state.seconds, 2))
        state.history.append(record)
        if validation_loss < state.best_loss:
            state.best_loss, state.best_epoch = validation_loss, state.epoch
            self.best = _copied(self._judged())
        state.epoch, state.step, state.loss_sum, state.seconds = state.epoch + 1, 0, 0.0, 0.0
        self._save()
        self.watch.finished(record)

    def _checked(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise InputError(f"{self.task.name}: the loss is not finite any more; train with a lower learning rate")
        return loss

    def _judged(self) -> nn.Module:
        """Return the network that is validated and saved."""
        return self.mean.module if self.mean else self.network

    def _loss(self, network: nn.Module, batch: Batch) -> Tensor:
        device, dtype = self.compute.device, self.compute.dtype
        channels = batch[0].to(device, non_blocking=True, memory_format=torch.channels_last_3d)
        rest = [part.to(device, non_blocking=True) for part in batch[1:]]
        with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
            return self.task.loss(network, [channels, *rest])

    def _training_steps(self, patches: int) -> list[list[int]]:
        """Which patches each step takes, of this process.

        As many in every process, since DDP averages the gradients of processes and not of patches.
        """
        batch, world = self.schedule.batch, distributed.world()
        steps = [range(first, min(first + batch, patches)) for first in range(0, patches, batch)]
        steps = [step[: len(step) // world * world] for step in steps if len(step) >= world]
        if not steps:
            raise InputError(f"{self.task.name}: {patches} patches are too few to train {world} processes with")
        return [list(step[distributed.rank() :: world]) for step in steps]

    def _validation_steps(self, patches: int) -> list[list[int]]:
        if not patches:
            raise InputError(f"{self.task.name}: there are no patches to validate with")
        own = list(range(distributed.rank(), patches, distributed.world()))
        return [own[first : first + self.schedule.batch] for first in range(0, len(own), self.schedule.batch)]

    def _batches(self, patches: Dataset[Any], steps: list[list[int]], first: int = 0) -> Iterator[Batch]:
        # a GPU would wait for the reading of patches; a CPU has no core to spare for it
        on_gpu = self.compute.device.type == "cuda"
        yield from DataLoader(
            patches,
            batch_sampler=steps[first:],
            num_workers=4 if on_gpu else 0,
            pin_memory=on_gpu,
        )

    def _identity(self) -> str:
        """Return what a checkpoint must have in common with the training that resumes from it."""
        plan = {name: value for name, value in asdict(self.schedule).items() if name not in MAY_CHANGE}
        shapes = {name: list(tensor.shape) for name, tensor in self.network.state_dict().items()}
        return json.dumps({"task": self.task.name, **plan, "shapes": shapes})

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        if not distributed.is_first():
            return
        content = {
            "identity": self._identity(),
            "origin": self.origin,
            "network": self.network.state_dict(),
            "mean": self.mean.state_dict() if self.mean else {},
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "state": json.dumps(asdict(self.state)),
        }
        with replacing(self.path) as beside:
            torch.save(content, beside)

    def _load(self) -> None:
        try:
            content = torch.load(self.path, map_location=self.compute.device, weights_only=True)
            identity, origin = content["identity"], content["origin"]
        except Exception:
            raise InputError(f"{self.path}: damaged; delete it to train again from the start") from None
        if identity != self._identity():
            raise InputError(f"{self.path}: belongs to a training with other settings; choose another -o or delete it")
        if origin != self.origin:
            return
        self.network.load_state_dict(content["network"])
        if self.mean:
            self.mean.load_state_dict(content["mean"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.best = content["best"]
        state = json.loads(content["state"])
        self.state = _State(**{**state, "history": [EpochRecord(**record) for record in state["history"]]})


MAY_CHANGE = ("epochs", "patience", "checkpoint_minutes")
"""Parts of a schedule that may change when a training is resumed, since no step depends on them."""


def fingerprint(network: nn.Module) -> str:
    """Return a digest of the weights of a network."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _running_mean(network: nn.Module, averaging: float) -> AveragedModel | None:
    """Return the running mean of a network, including its batch normalization statistics; None without averaging."""
    if not averaging:
        return None
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(averaging), use_buffers=True)


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _seed_of(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
