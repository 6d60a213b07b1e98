"""Loss functions of the three networks (2.2, 2.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor

from .cases import NOT_JUDGED

LESION_WEIGHT = 10.0
"""Weight of a microbleed's voxel in the cross entropy (2.2)."""
SMOOTH = 1.0
TEMPERATURE = 4.0
ALPHA = 0.4
BETA = 0.6


def segmentation_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted cross entropy plus Dice loss (2.2), for the detector and for the teacher's segmentor.

    Parameters
    ----------
    logits : (N, 2, I, J, K)
    labels : (N, I, J, K) of 0, 1 and `NOT_JUDGED`
    weights : (N, I, J, K), weight of each voxel in both terms; None for equal weights
    """
    logits = logits.float()
    weights = torch.ones_like(logits[:, 0]) if weights is None else weights
    return weighted_cross_entropy(logits, labels, weights) + dice_loss(logits, labels, weights)


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the cross entropy, in which a microbleed's voxel has the weight `LESION_WEIGHT`.

    >>> logits, labels = torch.zeros(1, 2, 1, 1, 2), torch.tensor([[[[0, 1]]]])
    >>> round(float(weighted_cross_entropy(logits, labels, torch.ones(1, 1, 1, 2))), 4)
    0.6931
    """
    by_class = torch.tensor([1.0, LESION_WEIGHT], device=logits.device)
    each = F.cross_entropy(logits, labels, by_class, ignore_index=NOT_JUDGED, reduction="none")
    counted = (labels == 0) + LESION_WEIGHT * (labels > 0)
    return (weights * each).sum() / (weights * counted).sum()


def dice_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """One minus the soft Dice overlap of the probability of microbleed with the truth, over the whole batch.

    It is computed over the batch, since the Dice of a patch without a microbleed is meaningless.

    >>> sure = torch.tensor([[[[[-50.0, 50.0]]], [[[50.0, -50.0]]]]])
    >>> labels, alike = torch.tensor([[[[1, 0]]]]), torch.ones(1, 1, 1, 2)
    >>> round(float(dice_loss(sure, labels, alike)), 4), round(float(dice_loss(-sure, labels, alike)), 4)
    (0.0, 0.6667)
    """
    probability = logits.softmax(dim=1)[:, 1]
    truth, judged = weights * (labels > 0), weights * (labels != NOT_JUDGED)
    overlap = (probability * truth).sum()
    return 1 - (2 * overlap + SMOOTH) / ((probability * judged).sum() + truth.sum() + SMOOTH)


def teacher_loss(outputs: tuple[Tensor, Tensor], labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Segmentation loss plus binary cross entropy on whether the patch holds a microbleed (2.3.1).

    A patch whose only microbleed is not visible is left out of the second term.

    Parameters
    ----------
    outputs : voxel logits (N, 2, I, J, K) and patch logits (N, 2)
    labels, weights : (N, I, J, K), see `segmentation_loss`
    """
    voxels, patches = outputs
    # the sigmoid of the difference of two logits is their softmax, so both logits are kept, as distillation needs
    evidence = patches.float()[:, 1] - patches.float()[:, 0]
    has_microbleed = (labels > 0).flatten(1).any(dim=1)
    judged = (has_microbleed | (labels != NOT_JUDGED).flatten(1).all(dim=1)).to(evidence)
    total = F.binary_cross_entropy_with_logits(evidence, has_microbleed.to(evidence), judged, reduction="sum")
    return segmentation_loss(voxels, labels, weights) + total / judged.sum().clamp(min=1)


def student_loss(
    logits: Tensor,
    classes: Tensor,
    teacher_logits: Tensor,
    alpha: float = ALPHA,
    beta: float = BETA,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Cross entropy on the class plus the distance to the softened teacher (equation 4).

    As in the paper, the Kullback-Leibler term is not scaled by the squared temperature.

    Parameters
    ----------
    logits, teacher_logits : (N, 2), before any softmax or sigmoid
    classes : (N,) of 0 and 1
    """
    student = logits.float()
    return alpha * F.cross_entropy(student, classes) + beta * distance_to_teacher(student, teacher_logits, temperature)


def distance_to_teacher(logits: Tensor, teacher_logits: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Kullback-Leibler divergence of the softened student from the softened teacher (equations 2 and 3), batch mean.

    >>> logits = torch.tensor([[1.0, -2.0]])
    >>> float(distance_to_teacher(logits, logits))
    0.0
    """
    softened = F.log_softmax(logits.float() / temperature, dim=1)
    target = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    return F.kl_div(softened, target, reduction="batchmean", log_target=True)
