"""Training tasks of the detector and the teacher, and the initial weights of each network."""

from dataclasses import replace

import numpy as np
import torch

from CMMDetectLib.networks import CandidateDetector, Student, Teacher
from CMMDetectTrainLib.augmentation import NONE
from CMMDetectTrainLib.losses import segmentation_loss
from CMMDetectTrainLib.patches import Sampling, SplitPlaces, grid_places
from CMMDetectTrainLib.tasks import detector_task, restrict_channels, start_from_detector, teacher_task
from CMMDetectTrainLib.training import Schedule, fingerprint, fit
from training_cases import CPU, QUICK, cube, make_case


def test_a_narrow_detector_learns_eight_patches_by_heart(tmp_path):
    case = make_case(tmp_path, shape=(48, 48, 12), balls=[(6 + 12 * n, 6, 6) for n in range(4)], seed=1)
    places = [place for place in grid_places(case, cube(12)) if place.start[1] in (0, 36)]
    assert (len(places), sum(place.positive for place in places)) == (8, 4)
    torch.manual_seed(2)
    network = CandidateDetector(4)
    task = detector_task(network, SplitPlaces(places, places), Sampling(replace(NONE, factor=8)))
    schedule = Schedule(epochs=18, decay_epochs=18, learning_rate=0.03)
    records = fit(task, schedule, CPU, tmp_path / "work")
    assert records[0].training_loss > 1.0
    assert min(record.validation_loss for record in records) < 0.1
    network.eval()
    for channels, labels, _ in (task.validation[index] for index in range(8)):
        assert (network(channels[None])[0].argmax(dim=0) != labels).sum() <= 1


def test_the_teacher_minimizes_its_loss(tmp_path):
    case = make_case(tmp_path, shape=(24, 24, 12), balls=[(6, 6, 6)], seed=1)
    places = grid_places(case, cube(12))
    torch.manual_seed(1)
    task = teacher_task(Teacher(4), SplitPlaces(places, places), Sampling(replace(NONE, factor=24)))
    records = fit(task, Schedule(epochs=4, decay_epochs=9, learning_rate=0.03), CPU, tmp_path / "work")
    assert records[-1].training_loss < records[0].training_loss - 0.2


def test_the_teacher_begins_with_the_weights_of_stage_1_and_a_new_classifier():
    torch.manual_seed(3)
    detector, teacher = CandidateDetector(2), Teacher(2)
    before = {name: value.clone() for name, value in teacher.classifier.state_dict().items()}
    start_from_detector(teacher, detector)
    for part in ("extractor", "segmentor"):
        assert fingerprint(getattr(teacher, part)) == fingerprint(getattr(detector, part))
    assert all(torch.equal(value, before[name]) for name, value in teacher.classifier.state_dict().items())
    channels = torch.randn(1, 3, 16, 16, 16)
    assert torch.equal(teacher.eval()(channels)[0], detector.eval()(channels))


def test_the_student_begins_with_what_stage_1_sees_if_it_is_as_wide():
    torch.manual_seed(3)
    detector, student, wider = CandidateDetector(2), Student(2), Student(4)
    classifier, own = fingerprint(student.classifier), fingerprint(wider)
    start_from_detector(student, detector)
    start_from_detector(wider, detector)
    assert fingerprint(student.extractor) == fingerprint(detector.extractor)
    assert fingerprint(student.classifier) == classifier
    assert fingerprint(wider) == own


def test_a_network_without_the_radial_symmetry_transform_never_looks_at_it(tmp_path):
    case = make_case(tmp_path, shape=(32, 32, 16), balls=[(8, 8, 8)])
    places = grid_places(case, cube(16))
    network = CandidateDetector(2)
    restrict_channels(network, ["image", "with_vessels"])
    fit(
        detector_task(network, SplitPlaces(places, places), Sampling(NONE)),
        replace(QUICK, epochs=2),
        CPU,
        tmp_path / "w",
    )
    channels = torch.rand(1, 3, 16, 16, 16)
    other = channels.clone()
    other[:, 1] = 9
    network.eval()
    assert torch.equal(network(channels), network(other))
    assert not network.extractor.project.weight[:, 1].any()
    assert network.extractor.project.weight[:, 0].any()


def test_the_weight_of_ten_changes_what_a_detector_learns(monkeypatch):
    channels, labels = torch.rand(2, 3, 16, 16, 16), (torch.rand(2, 16, 16, 16) < 0.01).long()
    gradients = []
    for weight in (10.0, 1.0):
        monkeypatch.setattr("CMMDetectTrainLib.losses.LESION_WEIGHT", weight)
        torch.manual_seed(4)
        network = CandidateDetector(2)
        segmentation_loss(network(channels), labels).backward()
        gradients.append(network.segmentor.logits.bias.grad.numpy().copy())
    assert np.abs(gradients[0] - gradients[1]).max() > 0.05 * np.abs(gradients[1]).max()
