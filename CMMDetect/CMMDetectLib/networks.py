"""The three networks of the paper: candidate detector (2.2), teacher (2.3.1) and student (2.3.2).

All take the channels of `channels.CHANNELS`, as (N, C, I, J, K) of any spatial size, and return logits.
``width`` is the number of filters at full resolution, 64 in the paper; every other layer scales with it, so that
``width=64`` has the paper's 64-128-256 filters and FC-1024, FC-128, FC-32.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor, nn

from .channels import CHANNELS

CLASSES = 2
PAPER_WIDTH = 64
INITIAL_SIGMA = 0.05
INITIAL_BIAS = 0.1
MICROBLEED_SHARE = 0.01
"""Share of voxels that an untrained network takes for microbleed."""
DROPOUT = 0.2
POOLED_SIZE = 2
"""Voxels along each axis before the dense layers: 2^3 voxels of 128 filters make the paper's 1,024 inputs."""


class DoubleConvolution(nn.Sequential):
    """Two 3x3x3 convolutions, each with batch normalization and ReLU (2.2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for source in (inputs, outputs):
            layers += [nn.Conv3d(source, outputs, 3, padding=1), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)]
        super().__init__(*layers)
        self.outputs = outputs


class FeatureExtractor(nn.Module):
    """Encoder of the shallow U-Net, T_f: projection to three channels, then three levels and two poolings."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Conv3d(len(CHANNELS), 3, 1)
        self.at_full = DoubleConvolution(3, width)
        self.at_half = DoubleConvolution(width, 2 * width)
        self.at_quarter = DoubleConvolution(2 * width, 4 * width)

    def forward(self, channels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the features at full, half and quarter resolution (sizes rounded up)."""
        full = self.at_full(self.project(channels))
        half = self.at_half(pool(full))
        return full, half, self.at_quarter(pool(half))


class Segmentor(nn.Module):
    """Decoder of the shallow U-Net, T_s: 2x2x2 upsampling, skip connections, one logit per class and voxel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up_half = nn.ConvTranspose3d(4 * width, 2 * width, 2, stride=2)
        self.at_half = DoubleConvolution(4 * width, 2 * width)
        self.up_full = nn.ConvTranspose3d(2 * width, width, 2, stride=2)
        self.at_full = DoubleConvolution(2 * width, width)
        self.logits = nn.Conv3d(width, CLASSES, 1)

    def forward(self, full: Tensor, half: Tensor, quarter: Tensor) -> Tensor:
        """Return (N, 2, I, J, K) logits from the features of `FeatureExtractor`."""
        return self.decode_full(full, self.decode_half(half, quarter))

    def decode_half(self, half: Tensor, quarter: Tensor) -> Tensor:
        """Combine half and quarter resolution."""
        return self.at_half(join(half, self.up_half(quarter)))

    def decode_full(self, full: Tensor, decoded_half: Tensor) -> Tensor:
        """Combine full and half resolution and return the logits."""
        return self.logits(self.at_full(join(full, self.up_full(decoded_half))))


class PatchClassifier(nn.Module):
    """Classifier arm, T_c: 1x1x1 projection, two levels of two convolutions and a pooling, three dense layers.

    The paper fixes neither the size before the dense layers nor the nonlinearities between them. Here the last
    pooling is adaptive, to 2^3 voxels, which gives the 1,024 inputs of FC-1024 and allows any patch size; ReLU follows
    every dense layer but the last. There is 20 % dropout before FC-128.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Conv3d(4 * width, 2 * width, 1)
        self.first = DoubleConvolution(2 * width, 2 * width)
        self.second = DoubleConvolution(2 * width, 2 * width)
        nodes = 2 * width * POOLED_SIZE**3
        self.features = nn.Sequential(
            nn.Linear(nodes, 16 * width),
            nn.ReLU(inplace=True),
            nn.Dropout(DROPOUT),
            nn.Linear(16 * width, 2 * width),
            nn.ReLU(inplace=True),
            nn.Linear(2 * width, width // 2),
            nn.ReLU(inplace=True),
        )
        self.logits = nn.Linear(width // 2, CLASSES)

    def forward(self, quarter: Tensor) -> Tensor:
        """Return (N, 2) logits from the features at quarter resolution."""
        return self.logits(self.embed(quarter))

    def embed(self, quarter: Tensor) -> Tensor:
        """Return the (N, width / 2) features after FC-32, which figure 7C-D of the paper shows."""
        pooled = pool(self.first(self.project(quarter)))
        return self.features(F.adaptive_max_pool3d(self.second(pooled), POOLED_SIZE).flatten(1))


class CandidateDetector(nn.Module):
    """Stage 1: a U-Net with two poolings that returns one logit per class and voxel (2.2, figure 3)."""

    def __init__(self, width: int = PAPER_WIDTH) -> None:
        super().__init__()
        self.extractor = FeatureExtractor(width)
        self.segmentor = Segmentor(width)
        initialize(self)

    def forward(self, channels: Tensor) -> Tensor:
        """Take (N, C, I, J, K) channels to (N, 2, I, J, K) logits; class 1 is microbleed."""
        return self.segmentor(*self.extractor(channels))


class Student(nn.Module):
    """Stage 2: classifies a patch centered on a candidate as microbleed or not (2.3.2, figure 5)."""

    def __init__(self, width: int = PAPER_WIDTH) -> None:
        super().__init__()
        self.extractor = FeatureExtractor(width)
        self.classifier = PatchClassifier(width)
        initialize(self)

    def forward(self, channels: Tensor) -> Tensor:
        """Take (N, C, I, J, K) patches to (N, 2) logits; class 1 is microbleed."""
        return self.classifier(self.extractor(channels)[2])


class Teacher(nn.Module):
    """Multi-task network that segments and classifies patches; the student learns from it (2.3.1, figure 5)."""

    def __init__(self, width: int = PAPER_WIDTH) -> None:
        super().__init__()
        self.extractor = FeatureExtractor(width)
        self.segmentor = Segmentor(width)
        self.classifier = PatchClassifier(width)
        initialize(self)

    def forward(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """Take (N, C, I, J, K) patches to voxel logits (N, 2, I, J, K) and patch logits (N, 2)."""
        full, half, quarter = self.extractor(channels)
        return self.segmentor(full, half, quarter), self.classifier(quarter)


def pool(features: Tensor) -> Tensor:
    """Halve the resolution by max pooling of 2x2x2 voxels; an odd last voxel is kept."""
    return F.max_pool3d(features, 2, ceil_mode=True)


def join(skip: Tensor, upsampled: Tensor) -> Tensor:
    """Concatenate a skip connection and upsampled features, cropped where the size is odd."""
    i, j, k = skip.shape[2:]
    return torch.cat([skip, upsampled[..., :i, :j, :k]], dim=1)


def initialize(network: nn.Module) -> None:
    """Draw weights from a truncated normal distribution with sigma 0.05 and set biases to 0.1 (2.6).

    Dense layers get sigma ``sqrt(2 / inputs)`` (He et al. 2015): about the paper's 0.05 for its 1,024 inputs, but more
    in a narrow network, whose last layers could otherwise hardly tell patches apart and might never begin to learn.

    Unlike the paper's, the biases of the voxel logits encode that microbleeds are rare. A network that has to learn
    this from equal odds turns all of its last features against microbleeds: no feature is then left for their voxels,
    which never reach a probability of one half, however long it is trained.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d | nn.Linear):
            sigma = math.sqrt(2 / module.in_features) if isinstance(module, nn.Linear) else INITIAL_SIGMA
            # truncated at two sigma, as the TensorFlow initializer of this name is
            nn.init.trunc_normal_(module.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
            if module.bias is not None:
                nn.init.constant_(module.bias, INITIAL_BIAS)
    evidence = math.log(MICROBLEED_SHARE / (1 - MICROBLEED_SHARE))
    for module in network.modules():
        if isinstance(module, Segmentor) and module.logits.bias is not None:
            with torch.no_grad():
                module.logits.bias.copy_(torch.tensor([-evidence / 2, evidence / 2]))
