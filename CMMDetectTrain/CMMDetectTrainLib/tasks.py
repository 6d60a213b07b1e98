"""Training tasks of the detector and the teacher, on adjacent patches of the cases (2.2, 2.3.1)."""

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
    """Return the task of stage 1: segment microbleeds in 48^3 patches."""
    return _voxel_task("detector", network, _detector_loss, places, sampling)


def teacher_task(network: Teacher, places: SplitPlaces, sampling: Sampling) -> Task:
    """Return the task of the teacher: segment microbleeds in 24^3 patches, and classify whether there is one."""
    return _voxel_task("teacher", network, _teacher_loss, places, sampling)


def start_from_detector(network: Teacher | Student, detector: CandidateDetector) -> None:
    """Initialize a network with weights of stage 1; its classifier keeps its random weights.

    The teacher takes extractor and segmentor (2.3.1). The student takes the extractor if it has the same width; the
    paper does not specify its initialization, and a trained extractor saves most of the epochs.
    """
    if isinstance(network, Teacher):
        network.segmentor.load_state_dict(detector.segmentor.state_dict())
    elif network.extractor.at_full.outputs != detector.extractor.at_full.outputs:
        return
    network.extractor.load_state_dict(detector.extractor.state_dict())


def restrict_channels(network: CandidateDetector | Teacher | Student, channels: Collection[str]) -> None:
    """Make a network permanently ignore all other channels, to measure what each contributes (table 1)."""
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
