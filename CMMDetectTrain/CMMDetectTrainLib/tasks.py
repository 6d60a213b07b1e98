"""What the detector and the teacher learn from: adjacent patches of the cases (2.2, 2.3.1)."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from CMMDetectLib.channels import CHANNELS
from CMMDetectLib.networks import CandidateDetector, Student, Teacher

from .losses import segmentation_loss, teacher_loss
from .patches import PatchSet, Sampling, SplitPlaces, draw_epoch, draw_validation
from .training import Batch, Task


def detector_task(network: CandidateDetector, places: SplitPlaces, sampling: Sampling) -> Task:
    """Stage 1: find the voxels of microbleeds in 48^3 patches."""
    return _voxel_task("detector", network, _detector_loss, places, sampling)


def teacher_task(network: Teacher, places: SplitPlaces, sampling: Sampling) -> Task:
    """The teacher: find the voxels of microbleeds in 24^3 patches and say whether there is one."""
    return _voxel_task("teacher", network, _teacher_loss, places, sampling)


def start_from_detector(network: Teacher | Student, detector: CandidateDetector) -> None:
    """Begin with the weights of stage 1; the classifier stays new.

    The teacher takes extractor and segmentor (2.3.1). The student takes the extractor, if it is as wide; the paper
    does not say what it begins with, and an extractor that knows microbleeds saves it most of its epochs.
    """
    if isinstance(network, Teacher):
        network.segmentor.load_state_dict(detector.segmentor.state_dict())
    elif network.extractor.at_full.outputs != detector.extractor.at_full.outputs:
        return
    network.extractor.load_state_dict(detector.extractor.state_dict())


def look_only_at(network: CandidateDetector | Teacher | Student, channels: Collection[str]) -> None:
    """Make a network blind to all other channels for good: table 1 asks what the radial symmetry transform brings."""
    weight = network.extractor.project.weight
    seen = torch.tensor([float(name in channels) for name in CHANNELS]).reshape(1, -1, 1, 1, 1)
    with torch.no_grad():
        weight *= seen
    weight.register_hook(lambda gradient: gradient * seen.to(gradient))


def _voxel_task(
    name: str,
    network: nn.Module,
    loss: Callable[[nn.Module, Batch], Tensor],
    places: SplitPlaces,
    sampling: Sampling,
) -> Task:
    def draw(epoch: int) -> PatchSet:
        return PatchSet(draw_epoch(places.training, sampling, epoch), sampling.augmentation)

    validation = PatchSet(draw_validation(places.validation, sampling))
    return Task(name, network, loss, draw, validation, places.origin)


def _detector_loss(network: nn.Module, batch: Batch) -> Tensor:
    channels, labels, weights = batch
    return segmentation_loss(network(channels), labels, weights)


def _teacher_loss(network: nn.Module, batch: Batch) -> Tensor:
    channels, labels, weights = batch
    return teacher_loss(network(channels), labels, weights)
