"""How long a training will take: a few steps of each network are timed, and the plan says how many there will be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from CMMDetectLib.channels import CHANNELS
from CMMDetectLib.devices import Compute
from CMMDetectLib.network_grid import NetworkVoxel, Shape
from CMMDetectLib.networks import CandidateDetector, Student, Teacher

from .losses import segmentation_loss, teacher_loss
from .patches import CLASSIFIER_PATCH_VOX
from .training import EpochRecord
from .training_plan import TrainingPlan

TIMED_STEPS = 2
"""After a first step, which is slower."""
VALIDATION_SHARE = 0.35
"""Time of a patch that is only looked at, over that of one that is learnt from."""
PREPARE_S_A_MVOX = (2.0, 8.0)
"""Preparing a scan takes so many seconds a million voxels, on a fast and on a slow machine."""
DETECTIONS = 2
"""Times that a validation scan is detected in."""
NETWORKS: Mapping[str, Callable[[int], nn.Module]] = {
    "detector": CandidateDetector,
    "teacher": Teacher,
    "student": Student,
}


@dataclass(frozen=True)
class DataSize:
    """How much there is to learn from.

    Attributes
    ----------
    training_microbleeds : that the training subjects have
    training_vox, validation_vox, test_vox : voxels of their scans
    """

    training_microbleeds: int
    training_vox: int
    validation_vox: int
    test_vox: int


@dataclass(frozen=True)
class Estimate:
    """What a training will take.

    Attributes
    ----------
    epoch_seconds : of each network that is trained
    low_seconds, high_seconds : if every network stops early, and if all run to their last epoch
    """

    epoch_seconds: dict[str, float]
    low_seconds: float
    high_seconds: float


def estimate_training(
    plan: TrainingPlan, width: int, voxel: NetworkVoxel, size: DataSize, compute: Compute
) -> Estimate:
    """Time a few steps of each network, and give the time of the whole training as a range.

    Parameters
    ----------
    width, voxel : of the networks and of their grid
    """
    epochs: dict[str, float] = {}
    patch_seconds = {}
    for name in plan.networks:
        shape = _patch_shape(name, plan, voxel)
        patch_seconds[name] = time_step(name, width, plan.schedule.batch, shape, compute) / plan.schedule.batch
        drawn, looked_at = _patches(name, plan, math.prod(shape), size)
        epochs[name] = patch_seconds[name] * (drawn + VALIDATION_SHARE * looked_at)
    slowest = max(patch_seconds.values(), default=0.0) / math.prod(_patch_shape("detector", plan, voxel))
    detecting = VALIDATION_SHARE * slowest * (DETECTIONS * size.validation_vox + DETECTIONS * size.test_vox)
    megavoxels = (size.training_vox + size.validation_vox + size.test_vox) / 1e6
    fewest = min(plan.schedule.epochs, plan.schedule.patience + 1)
    low, high = (
        detecting + prepare * megavoxels + many * sum(epochs.values())
        for prepare, many in zip(PREPARE_S_A_MVOX, (fewest, plan.schedule.epochs), strict=True)
    )
    return Estimate({name: round(value, 2) for name, value in epochs.items()}, round(low, 1), round(high, 1))


def time_step(name: str, width: int, batch: int, shape: Shape, compute: Compute) -> float:
    """Time one step of training a network on a batch of noise, in seconds."""
    network = NETWORKS[name](width).to(compute.device)
    optimizer = torch.optim.Adam(network.parameters())
    channels = torch.rand(batch, len(CHANNELS), *shape, device=compute.device)
    labels = (torch.rand(batch, *shape, device=compute.device) > 0.99).long()
    seconds = []
    for _ in range(1 + TIMED_STEPS):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(compute.device.type, compute.dtype, enabled=compute.dtype is not torch.float32):
            loss = _loss(name, network(channels), labels)
        loss.backward()
        optimizer.step()
        float(loss.detach())  # a GPU answers when it is done
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


class TimeLeft:
    """How long a running training will go on at most, from its plan and the epochs that are over.

    >>> left = TimeLeft({"detector": 10.0, "student": 5.0}, epochs=10)
    >>> left.seconds()
    150.0
    >>> left.finished("detector", EpochRecord(3, 0.5, 0.5, 0.001, 20.0))
    >>> left.seconds()
    170.0
    """

    def __init__(self, epoch_seconds: Mapping[str, float], epochs: int) -> None:
        self._epoch_seconds = dict(epoch_seconds)
        self._left = dict.fromkeys(epoch_seconds, epochs)
        self._epochs = epochs

    def finished(self, network: str, record: EpochRecord) -> None:
        """Take note of an epoch; earlier networks are done when a later one begins."""
        for name in self._left:
            if name == network:
                break
            self._left[name] = 0
        self._left[network] = self._epochs - 1 - record.epoch
        self._epoch_seconds[network] = record.seconds

    def seconds(self) -> float:
        """Give the time left if no network stops early."""
        return sum(self._epoch_seconds[name] * many for name, many in self._left.items())


def _patch_shape(name: str, plan: TrainingPlan, voxel: NetworkVoxel) -> Shape:
    return voxel.patch_shape(plan.patch_size if name == "detector" else CLASSIFIER_PATCH_VOX)


def _patches(name: str, plan: TrainingPlan, patch_vox: int, size: DataSize) -> tuple[int, float]:
    """Patches that an epoch draws and those that it validates with; see `patches.draw_epoch`."""
    factor = (plan.augmentation if name == "detector" else plan.patch_augmentation).factor
    drawn = 2 * factor * size.training_microbleeds
    if plan.patches_an_epoch is not None:
        drawn = min(drawn, plan.patches_an_epoch)
    # the student validates on candidates alone, and these are few
    looked_at = 0.0 if name == "student" else size.validation_vox / patch_vox
    return drawn, looked_at


def _loss(name: str, output: Any, labels: Tensor) -> Tensor:
    if name == "teacher":
        return teacher_loss(output, labels)
    if name == "detector":
        return segmentation_loss(output, labels)
    classes = labels.flatten(1).amax(1)
    return nn.functional.cross_entropy(output.float(), classes)
