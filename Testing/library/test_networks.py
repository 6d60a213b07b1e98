"""The networks: layers and sizes as in the paper, for inputs of any size."""

import pytest
import torch
from torch import nn

from CMMDetectLib.networks import CandidateDetector, Student, Teacher
from CMMDetectTrainLib.losses import segmentation_loss

SIZES = [(24, 24, 24), (48, 40, 9), (7, 13, 5), (3, 2, 1), (1, 1, 1)]


def test_at_width_64_the_layers_have_the_papers_sizes():
    teacher = Teacher()
    encoder, classifier = teacher.extractor, teacher.classifier
    assert [block.outputs for block in (encoder.at_full, encoder.at_half, encoder.at_quarter)] == [64, 128, 256]
    assert encoder.project.weight.shape == (3, 3, 1, 1, 1)
    dense = [layer for layer in classifier.features if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in dense] == [1024, 128, 32]
    assert dense[0].in_features == 1024
    assert classifier.logits.out_features == 2


def test_dropout_of_a_fifth_stands_before_fc_128_and_nonlinearities_between_the_dense_layers():
    kinds = [type(layer).__name__ for layer in Student(8).classifier.features]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear", "ReLU"]
    assert Student(8).classifier.features[2].p == 0.2


@pytest.mark.parametrize("size", SIZES)
def test_any_spatial_size_goes_in(size):
    channels = torch.randn(2, 3, *size)
    with torch.no_grad():
        voxels, patch = Teacher(4).eval()(channels)
        assert voxels.shape == (2, 2, *size)
        assert patch.shape == (2, 2)
        assert CandidateDetector(4).eval()(channels).shape == (2, 2, *size)
        assert Student(4).eval()(channels).shape == (2, 2)


def test_weights_start_from_a_truncated_normal_and_biases_from_a_tenth():
    torch.manual_seed(0)
    convolution = CandidateDetector(16).segmentor.at_full[0]
    assert convolution.weight.std().item() == pytest.approx(0.05 * 0.88, rel=0.05)  # two sigma cut off
    assert convolution.weight.abs().max().item() <= 0.1
    assert torch.all(convolution.bias == 0.1)


@pytest.mark.parametrize(("width", "sigma"), [(64, 0.044), (8, 0.125)])
def test_dense_layers_start_with_the_papers_sigma_at_its_width_and_with_more_where_they_are_narrow(width, sigma):
    torch.manual_seed(0)
    weight = Student(width).classifier.features[0].weight
    assert weight.std().item() == pytest.approx(sigma * 0.88, rel=0.05)
    assert weight.abs().max().item() <= 2 * sigma + 0.001


@pytest.mark.parametrize("kind", [CandidateDetector, Teacher])
def test_a_new_network_takes_few_voxels_for_microbleeds(kind):
    torch.manual_seed(0)
    with torch.no_grad():
        found = kind(4)(torch.rand(2, 3, 16, 16, 16))
    voxels = found if kind is CandidateDetector else found[0]
    assert 0.003 < voxels.softmax(dim=1)[:, 1].mean().item() < 0.03


def test_a_network_becomes_sure_of_microbleeds_that_are_few():
    torch.manual_seed(0)
    network = CandidateDetector(4)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, eps=1e-4)
    channels, labels = torch.full((4, 3, 16, 16, 16), 0.25), torch.zeros(4, 16, 16, 16, dtype=torch.long)
    channels += 0.02 * torch.randn(channels.shape)
    channels[:, :, 7:9, 7:9, 7:9] = 0.9
    labels[:, 7:9, 7:9, 7:9] = 1
    for _ in range(60):
        optimizer.zero_grad()
        segmentation_loss(network(channels), labels).backward()
        optimizer.step()
    sure = network(channels).softmax(dim=1)[:, 1][labels == 1]
    assert sure.min().item() > 0.9


def test_logits_and_not_probabilities_come_out():
    torch.manual_seed(0)
    with torch.no_grad():
        patch = Student(4).eval()(10 * torch.randn(8, 3, 24, 24, 24))
    assert not torch.allclose(patch.sum(dim=1), torch.ones(8))


def test_the_teachers_segmentor_takes_the_detectors_weights():
    detector, teacher = CandidateDetector(4).eval(), Teacher(4).eval()
    teacher.extractor.load_state_dict(detector.extractor.state_dict())
    teacher.segmentor.load_state_dict(detector.segmentor.state_dict())
    channels = torch.randn(1, 3, 12, 12, 12)
    with torch.no_grad():
        assert torch.equal(teacher(channels)[0], detector(channels))


def test_a_step_of_training_reaches_every_parameter():
    teacher = Teacher(4)
    voxels, patch = teacher(torch.randn(2, 3, 24, 24, 24))
    (voxels.square().mean() + patch.square().mean()).backward()
    still = [name for name, parameter in teacher.named_parameters() if parameter.grad is None]
    assert still == []
