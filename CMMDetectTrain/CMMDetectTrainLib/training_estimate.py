"""Estimate how long a training takes, by timing a few steps of each network."""

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
"""Number of timed steps, after a first one that is slower."""
VALIDATION_SHARE = 0.35
"""Time for the inference of a patch, relative to a training step of it."""
PREPARE_S_A_MVOX = (2.0, 8.0)
"""Seconds per million voxels to prepare a scan, on a fast and on a slow machine."""
DETECTIONS = 2
"""How often each held-out scan is processed by the detector."""
NETWORKS: Mapping[str, Callable[[int], nn.Module]] = {
    "detector": CandidateDetector,
    "teacher": Teacher,
    "student": Student,
}


@dataclass(frozen=True)
class DataSize:
    """Size of the data of a training.

    Attributes
    ----------
    training_microbleeds : microbleeds of the training subjects
    training_vox, validation_vox, test_vox : voxels of the scans of each role
    """

    training_microbleeds: int
    training_vox: int
    validation_vox: int
    test_vox: int


@dataclass(frozen=True)
class Estimate:
    """Estimated duration of a training.

    Attributes
    ----------
    epoch_seconds : duration of an epoch of each network that is trained
    low_seconds, high_seconds : total if all networks stop as early as possible, and if all run to their last epoch
    """

    epoch_seconds: dict[str, float]
    low_seconds: float
    high_seconds: float


def estimate_training(
    plan: TrainingPlan, width: int, voxel: NetworkVoxel, size: DataSize, compute: Compute
) -> Estimate:
    """Time a few steps of each network, and estimate the duration of the whole training as a range.

    Parameters
    ----------
    width : filters of the networks at full resolution
    voxel : voxel size of their grid
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
    """Return the seconds of one training step of a network, on a batch of noise."""
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
        float(loss.detach())  # waits for the GPU
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


class TimeLeft:
    """Upper limit of the time left of a running training, from its plan and the epochs that are finished.

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
        """Record a finished epoch; the networks before this one are finished."""
        for name in self._left:
            if name == network:
                break
            self._left[name] = 0
        self._left[network] = self._epochs - 1 - record.epoch
        self._epoch_seconds[network] = record.seconds

    def seconds(self) -> float:
        """Return the time left if no network stops early."""
        return sum(self._epoch_seconds[name] * many for name, many in self._left.items())


def _patch_shape(name: str, plan: TrainingPlan, voxel: NetworkVoxel) -> Shape:
    return voxel.patch_shape(plan.patch_size if name == "detector" else CLASSIFIER_PATCH_VOX)


def _patches(name: str, plan: TrainingPlan, patch_vox: int, size: DataSize) -> tuple[int, float]:
    """Return the number of patches that an epoch trains on and validates on; see `patches.draw_epoch`."""
    factor = (plan.augmentation if name == "detector" else plan.patch_augmentation).factor
    drawn = 2 * factor * size.training_microbleeds
    if plan.patches_an_epoch is not None:
        drawn = min(drawn, plan.patches_an_epoch)
    # the student is validated on candidates only, and these are few
    looked_at = 0.0 if name == "student" else size.validation_vox / patch_vox
    return drawn, looked_at


def _loss(name: str, output: Any, labels: Tensor) -> Tensor:
    if name == "teacher":
        return teacher_loss(output, labels)
    if name == "detector":
        return segmentation_loss(output, labels)
    classes = labels.flatten(1).amax(1)
    return nn.functional.cross_entropy(output.float(), classes)
