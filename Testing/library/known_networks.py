"""Networks whose result is known without training, and descriptions of their bundles."""

from typing import Any, TypeVar

import torch
from torch import nn

from CMMDetectLib.bundle import BundleDescription
from CMMDetectLib.networks import CandidateDetector
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectLib.scan import Modality

STEEPNESS = 12.0

Network = TypeVar("Network", bound=nn.Module)


def thresholding_detector(width: int, level: float) -> CandidateDetector:
    """A detector that calls every voxel whose image exceeds ``level`` a microbleed.

    One filter of each convolution along the skip connection passes the image on; all others keep their random
    weights and are computed, but the logits ignore them.
    """
    network = CandidateDetector(width).eval()
    extractor, segmentor = network.extractor, network.segmentor
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv3d):
                module.weight[0] = 0
                module.bias[0] = 0
        extractor.project.weight[0, 0] = 1
        for block in (extractor.at_full, segmentor.at_full):
            for place in (0, 3):
                block[place].weight[0, 0, 1, 1, 1] = 1
        segmentor.logits.weight.zero_()
        segmentor.logits.bias.zero_()
        segmentor.logits.weight[1, 0] = STEEPNESS
        segmentor.logits.bias[1] = -STEEPNESS * level
    return network


def unbiased(network: Network) -> Network:
    """The untrained network without its expectation that microbleeds are few, so that it marks something."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("segmentor.logits.bias"):
                parameter.zero_()
    return network


def untrained_description(name: str, width: int, **changes: Any) -> BundleDescription:
    """Describe a bundle of untrained networks for all modalities, with thresholds that many candidates reach."""
    usual = {
        "version": "0",
        "created": "2026-01-01",
        "license": "Apache-2.0",
        "modality": tuple(Modality),
        "trained_on": "nothing",
        "th_detection": 0.3,
        "th_discrimination": 0.3,
        "cutoffs": CutOffs(),
    }
    return BundleDescription(name=name, width=width, **{**usual, **changes})
