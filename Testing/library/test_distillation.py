"""Training of the student: on candidates of stage 1, guided by a teacher that does not change."""

import copy
import json

import numpy as np
import pytest
import torch

from CMMDetectLib.networks import CandidateDetector, Teacher
from CMMDetectTrainLib import distillation
from CMMDetectTrainLib.augmentation import NONE, Augmentation
from CMMDetectTrainLib.cases import Case, CaseArrays, read_shelf, write_shelf
from CMMDetectTrainLib.distillation import candidate_places, student_task, teacher_logits
from CMMDetectTrainLib.losses import student_loss
from CMMDetectTrainLib.patches import Draw, Sampling, SplitPlaces, centered_place, cut
from CMMDetectTrainLib.training import fingerprint, fit
from known_networks import thresholding_detector
from training_cases import CPU, QUICK, SMALL, make_case, new_student

SPOTS = ((12, 12, 8), (28, 24, 12))


def detector() -> CandidateDetector:
    """Stage 1 that finds the balls and nothing else."""
    torch.manual_seed(0)
    return thresholding_detector(4, level=0.55)


def places_of(case):
    training, validation = (
        [centered_place(case, true, SMALL, positive=True), centered_place(case, false, SMALL, positive=False)]
        for true, false in zip(SPOTS, ((30, 6, 8), (8, 28, 8)), strict=True)
    )
    return SplitPlaces(training, validation)


def lively_teacher() -> Teacher:
    """A teacher in training mode, with statistics of batch normalization that are not those of its birth."""
    torch.manual_seed(6)
    teacher = Teacher(2)
    for _ in range(3):
        teacher(torch.rand(4, 3, 24, 24, 24))
    with torch.no_grad():
        teacher.classifier.logits.bias += torch.tensor([-3.0, 3.0])
    return teacher.train()


def task_with(teacher, folder, network=None):
    places = places_of(make_case(folder, balls=SPOTS))
    return student_task(network or new_student(), teacher, places, Sampling(Augmentation(factor=2)), CPU)


def batch_of(task):
    parts = [task.validation[index] for index in range(2)]
    return [torch.stack([part[number] for part in parts]) for number in (0, 1)]


def arrays_of(case: Case) -> CaseArrays:
    content = {name: np.array(getattr(case, name)) for name in ("channels", "labels", "mask")}
    return CaseArrays(case.name, case.subject, case.modality, case.spacing_mm, **content)


def test_candidates_are_true_where_they_share_a_voxel_with_a_microbleed(tmp_path):
    found = make_case(tmp_path, "sub-01_swi", balls=SPOTS)
    with_false = make_case(tmp_path, "sub-02_swi", balls=SPOTS, seed=2)
    labels = np.load(with_false.shelf / "labels.npy")
    labels[labels == 2] = 0
    np.save(with_false.shelf / "labels.npy", labels)
    places = candidate_places(detector(), [found, with_false], SMALL, 0.5, CPU, tmp_path / "candidates")
    told = [(place.case.name, place.positive, tuple(first + 12 for first in place.start)) for place in places]
    assert sorted(told) == [
        ("sub-01_swi", True, SPOTS[0]),
        ("sub-01_swi", True, SPOTS[1]),
        ("sub-02_swi", False, SPOTS[1]),
        ("sub-02_swi", True, SPOTS[0]),
    ]
    assert {place.shape for place in places} == {SMALL}


def test_a_candidate_on_a_microbleed_that_cannot_be_seen_teaches_nothing(tmp_path):
    case = make_case(tmp_path, balls=SPOTS, unseen=(2,))
    places = candidate_places(detector(), [case], SMALL, 0.5, CPU, tmp_path / "candidates")
    assert [place.positive for place in places] == [True]


def test_scans_without_any_candidate_are_no_problem(tmp_path):
    cases = [make_case(tmp_path, f"sub-{n:02d}_swi", balls=(), seed=n) for n in range(2)]
    told = []
    assert candidate_places(detector(), cases, SMALL, 0.5, CPU, tmp_path / "candidates", told.append) == []
    assert told == [0.5, 1.0]


def test_the_search_goes_on_where_it_stopped_and_begins_again_with_another_detector(tmp_path, monkeypatch):
    cases = [make_case(tmp_path, f"sub-{n:02d}_swi", balls=SPOTS, seed=n) for n in range(2)]
    folder = tmp_path / "candidates"
    searched = []
    run = distillation.microbleed_probability
    monkeypatch.setattr(
        distillation, "microbleed_probability", lambda *arguments: (searched.append(1), run(*arguments))[1]
    )
    first = candidate_places(detector(), cases[:1], SMALL, 0.5, CPU, folder)
    both = candidate_places(detector(), cases, SMALL, 0.5, CPU, folder)
    assert both[: len(first)] == first
    assert len(searched) == 2
    other = thresholding_detector(4, level=0.6)
    candidate_places(other, cases, SMALL, 0.5, CPU, folder)
    assert len(searched) == 4
    candidate_places(other, cases, SMALL, 0.4, CPU, folder)
    assert len(searched) == 6
    (folder / "sub-00_swi-candidates.json").write_text("{ cut off")
    candidate_places(other, cases, SMALL, 0.4, CPU, folder)
    assert len(searched) == 7
    assert json.loads((folder / "sub-00_swi-candidates.json").read_text())["cases"]


def test_patches_that_share_a_shelf_have_the_candidates_that_each_has_alone(tmp_path):
    alone = [make_case(tmp_path, f"sub-{n:02d}_swi", balls=SPOTS[: n % 3], seed=n) for n in range(11)]
    write_shelf(tmp_path / "together", [arrays_of(case) for case in alone], {})
    together = read_shelf(tmp_path / "together", {})
    one_by_one, at_once = (
        [
            (place.case.name, place.start, place.positive)
            for place in candidate_places(detector(), cases, SMALL, 0.5, CPU, into)
        ]
        for cases, into in ((alone, tmp_path / "a"), (together, tmp_path / "b"))
    )
    assert len(at_once) == sum(n % 3 for n in range(11))
    assert at_once == one_by_one


def test_a_candidate_lies_in_the_center_of_its_patch(tmp_path):
    case = make_case(tmp_path, balls=SPOTS)
    for place in candidate_places(detector(), [case], SMALL, 0.5, CPU, tmp_path / "candidates"):
        _, labels = cut(Draw(place, (0,)), NONE)
        middle = np.argwhere(labels > 0)
        middle = middle[np.linalg.norm(middle - 12, axis=1) < 4].mean(axis=0)
        assert middle == pytest.approx([12, 12, 12], abs=0.5)


def test_the_teacher_judges_as_in_inference_and_by_its_logits(tmp_path):
    teacher = lively_teacher()
    task = task_with(teacher, tmp_path)
    channels, classes = batch_of(task)
    student = task.network.eval()
    quiet = copy.deepcopy(teacher).eval()
    with torch.no_grad():
        expected = student_loss(student(channels), classes, quiet(channels)[1])
        scores_instead = student_loss(student(channels), classes, torch.sigmoid(quiet(channels)[1]))
        found = float(task.loss(student, [channels, classes]))
    assert found == pytest.approx(float(expected), rel=1e-4)
    assert abs(found - float(scores_instead)) > 0.01


def test_the_teacher_gets_no_gradient_and_does_not_change(tmp_path):
    teacher = lively_teacher()
    before = fingerprint(teacher)
    task = task_with(teacher, tmp_path)
    channels, classes = batch_of(task)
    task.loss(task.network, [channels, classes]).backward()
    assert all(value.grad is None for value in teacher.parameters())
    assert all(value.grad is not None for value in task.network.parameters())
    assert not teacher_logits(copy.deepcopy(teacher).eval(), channels).requires_grad
    fit(task, QUICK, CPU, tmp_path / "work")
    assert fingerprint(teacher) == before
    assert teacher.training


def test_a_student_that_is_the_teacher_is_corrected_by_the_classes_alone(tmp_path):
    teacher = lively_teacher()
    network = new_student()
    network.extractor.load_state_dict(teacher.extractor.state_dict())
    network.classifier.load_state_dict(teacher.classifier.state_dict())
    task = task_with(teacher, tmp_path, network.eval())
    channels, classes = batch_of(task)
    alone = 0.4 * torch.nn.functional.cross_entropy(network(channels), classes)
    assert float(task.loss(network, [channels, classes]).detach()) == pytest.approx(float(alone.detach()), rel=1e-4)


def test_without_a_teacher_the_classes_count_in_full(tmp_path):
    task = task_with(None, tmp_path)
    channels, classes = batch_of(task)
    network = task.network.eval()
    expected = torch.nn.functional.cross_entropy(network(channels), classes)
    assert float(task.loss(network, [channels, classes]).detach()) == pytest.approx(float(expected.detach()))


def test_a_student_of_another_teacher_is_another_training(tmp_path):
    teacher = lively_teacher()
    assert task_with(teacher, tmp_path).origin == task_with(lively_teacher(), tmp_path).origin
    assert task_with(teacher, tmp_path).origin != task_with(None, tmp_path).origin
    with torch.no_grad():
        teacher.classifier.logits.bias += 1
    assert task_with(teacher, tmp_path).origin != task_with(lively_teacher(), tmp_path).origin
