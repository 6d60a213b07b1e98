"""Each loss is compared with values computed by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from CMMDetectTrainLib.cases import NOT_JUDGED
from CMMDetectTrainLib.losses import (
    dice_loss,
    distance_to_teacher,
    segmentation_loss,
    student_loss,
    teacher_loss,
    weighted_cross_entropy,
)


def voxels(*logits: tuple[float, float]) -> torch.Tensor:
    """Logits (1, 2, 1, 1, n) of n voxels in a row."""
    return torch.tensor(logits).T.reshape(1, 2, 1, 1, -1)


def truth(*labels: int) -> torch.Tensor:
    return torch.tensor(labels).reshape(1, 1, 1, -1)


ALIKE = torch.ones(1, 1, 1, 2)


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_a_voxel_of_a_microbleed_weighs_ten_times_as_much():
    # cross entropies log(1 + e^-1) of the microbleed and log(1 + e^2) of tissue
    found = weighted_cross_entropy(voxels((0.0, 1.0), (0.0, 2.0)), truth(1, 0), ALIKE)
    assert float(found) == pytest.approx((10 * softplus(-1.0) + softplus(2.0)) / 11)


def test_the_weight_reaches_the_gradient():
    logits = voxels((0.0, 0.0), (0.0, 0.0)).requires_grad_()
    weighted_cross_entropy(logits, truth(1, 0), ALIKE).backward()
    of_lesion, of_tissue = logits.grad[0, 1, 0, 0]
    assert float(of_lesion / of_tissue) == pytest.approx(-10)


def test_a_voxel_of_twice_the_weight_counts_as_two():
    logits, labels = voxels((0.0, 1.0), (0.0, 2.0)), truth(1, 0)
    twice, both = voxels((0.0, 1.0), (0.0, 2.0), (0.0, 1.0)), truth(1, 0, 1)
    heavy = segmentation_loss(logits, labels, torch.tensor([2.0, 1.0]).reshape(1, 1, 1, 2))
    assert float(heavy) == pytest.approx(float(segmentation_loss(twice, both)))
    assert float(heavy) != pytest.approx(float(segmentation_loss(logits, labels)), abs=1e-3)


def test_dice_of_probabilities_by_hand():
    # probabilities 3/4 and 1/2 of a microbleed and of tissue: 1 - (2 * 3/4 + 1) / (3/4 + 1/2 + 1 + 1)
    found = dice_loss(voxels((0.0, math.log(3)), (0.0, 0.0)), truth(1, 0), ALIKE)
    assert float(found) == pytest.approx(1 - 2.5 / 3.25)


def test_dice_looks_at_the_whole_batch():
    sure = voxels((9.0, -9.0)).repeat(2, 1, 1, 1, 1)
    sure[0] = -sure[0]
    labels = torch.stack([truth(1)[0], truth(0)[0]])
    assert float(dice_loss(sure, labels, torch.ones(labels.shape))) == pytest.approx(0, abs=1e-6)


def test_the_detector_minimizes_the_sum_of_both():
    logits, labels = voxels((0.3, -1.0), (1.5, 0.2)), truth(1, 0)
    both = weighted_cross_entropy(logits, labels, ALIKE) + dice_loss(logits, labels, ALIKE)
    assert float(segmentation_loss(logits, labels)) == pytest.approx(float(both))


def test_half_precision_loses_nothing_in_the_loss():
    logits = (20 * torch.randn(2, 2, 8, 8, 8)).to(torch.bfloat16)
    labels = torch.randint(-1, 2, (2, 8, 8, 8))
    assert segmentation_loss(logits, labels).dtype is torch.float32
    assert float(segmentation_loss(logits, labels)) == pytest.approx(float(segmentation_loss(logits.float(), labels)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_said_of_voxels_that_are_not_judged_never_matters(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 2, 3, 3, 3, generator=generator)
    labels = torch.randint(-1, 2, (2, 3, 3, 3), generator=generator)
    labels[:, 0, 0, 0] = torch.tensor([0, 1])
    hidden = (labels == NOT_JUDGED)[:, None].expand_as(logits)
    alike = torch.ones(labels.shape)
    changed = torch.where(hidden, 7 * torch.randn(logits.shape, generator=generator), logits).requires_grad_()
    for loss in (weighted_cross_entropy, dice_loss, segmentation_loss):
        changed.grad = None
        value = loss(changed, labels, alike)
        assert float(value.detach()) == pytest.approx(float(loss(logits, labels, alike)), rel=1e-5)
        value.backward()
        assert not changed.grad[hidden].any()
        assert changed.grad[~hidden].any()


def test_the_teacher_also_says_whether_a_patch_holds_a_microbleed():
    logits, labels = voxels((0.0, 0.0)).repeat(2, 1, 1, 1, 1), torch.stack([truth(1)[0], truth(0)[0]])
    patches = torch.tensor([[0.5, 1.5], [0.0, 2.0]])
    # sigmoid of the difference of the logits: log(1 + e^-1) for the first, log(1 + e^2) for the second
    expected = float(segmentation_loss(logits, labels)) + (softplus(-1.0) + softplus(2.0)) / 2
    assert float(teacher_loss((logits, patches), labels)) == pytest.approx(expected)


def test_the_teacher_is_not_asked_of_a_patch_whose_only_microbleed_cannot_be_seen():
    logits = torch.zeros(3, 2, 1, 1, 2)
    labels = torch.stack([truth(1, 0)[0], truth(0, 0)[0], truth(NOT_JUDGED, 0)[0]])
    patches = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 50.0]], requires_grad=True)
    loss = teacher_loss((logits, patches), labels)
    assert float(loss.detach()) == pytest.approx(
        float(segmentation_loss(logits, labels)) + (softplus(-1.0) + softplus(1.0)) / 2
    )
    loss.backward()
    assert not patches.grad[2].any()
    assert patches.grad[:2].all()


def test_the_student_listens_to_the_class_by_four_tenths_and_to_the_teacher_by_six():
    logits, classes, guide = torch.tensor([[0.0, 2.0]]), torch.tensor([0]), torch.tensor([[4.0, 0.0]])
    # softened by 4: the student's probabilities are those of a difference of 0.5, the teacher's of -1
    student, teacher = 1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(1.0))
    kl = teacher * math.log(teacher / student) + (1 - teacher) * math.log((1 - teacher) / (1 - student))
    assert float(distance_to_teacher(logits, guide)) == pytest.approx(kl)
    assert float(student_loss(logits, classes, guide)) == pytest.approx(0.4 * softplus(2.0) + 0.6 * kl)


def test_a_student_that_says_what_the_teacher_says_is_not_corrected():
    logits = torch.randn(5, 2, requires_grad=True)
    distance = distance_to_teacher(logits, logits.detach())
    distance.backward()
    assert float(distance.detach()) == pytest.approx(0, abs=1e-7)
    assert logits.grad.abs().max() < 1e-7


def test_a_sure_teacher_is_told_from_an_unsure_one():
    # scores through a sigmoid would all lie in 0..1 and look alike at temperature 4
    student = torch.zeros(1, 2)
    sure, unsure = (float(distance_to_teacher(student, torch.tensor([[0.0, value]]))) for value in (12.0, 1.0))
    assert sure > 30 * unsure


def test_the_mean_is_over_patches():
    logits, guide = torch.tensor([[0.0, 2.0]]), torch.tensor([[4.0, 0.0]])
    once, thrice = distance_to_teacher(logits, guide), distance_to_teacher(logits.repeat(3, 1), guide.repeat(3, 1))
    assert float(thrice) == pytest.approx(float(once))
