"""The figures of a training: loss curves and the student's features."""

from dataclasses import replace

import numpy as np
import torch

from CMMDetectTrainLib import training_figures
from CMMDetectTrainLib.patches import CandidateSet, centered_place, every_place
from CMMDetectTrainLib.training import EpochRecord
from CMMDetectTrainLib.training_figures import LEAST_POINTS, embed, feature_figure, loss_figure
from training_cases import SMALL, make_case, new_student

CURVE = [EpochRecord(0, 2.0, 1.5, 1e-3, 1.0), EpochRecord(1, 1.0, 0.7, 1e-3, 1.0), EpochRecord(2, 0.5, 0.9, 1e-4, 1.0)]


def places(folder, positive, negative):
    case = make_case(folder)
    spots = np.random.default_rng(0).uniform((4, 4, 4), (36, 32, 16), (positive + negative, 3))
    return [centered_place(case, spot, SMALL, number < positive) for number, spot in enumerate(spots)]


def test_every_network_has_its_curves_and_the_kept_epoch():
    svg = loss_figure({"detector": CURVE, "student": CURVE[:1]}).svg
    for word in ("Detector", "Student", "Epoch", "Loss", "training", "validation", "kept"):
        assert f"<!-- {word} -->" in svg  # letters are drawn as outlines, with the text as a comment


def test_the_features_are_those_behind_the_last_layer_but_one(tmp_path):
    student = new_student(4).train()
    found = places(tmp_path, 3, 4)
    features = embed(student, found)
    assert features.shape == (7, 2)
    with torch.no_grad():
        layer = student.classifier.logits
        logits = torch.from_numpy(features) @ layer.weight.T + layer.bias
        patches = CandidateSet(every_place(found))
        whole = student.eval()(torch.stack([patches[index][0] for index in range(7)]))
    assert torch.allclose(logits, whole, atol=1e-5)


def test_features_are_embedded_batch_by_batch_and_drawn(tmp_path, monkeypatch):
    found = places(tmp_path, LEAST_POINTS, LEAST_POINTS + 3)
    student = new_student(8)
    whole = embed(student, found)
    monkeypatch.setattr(training_figures, "BATCH", 5)
    assert np.allclose(embed(student, found), whole, atol=1e-5)
    figure = feature_figure(student, found)
    assert "<!-- t-SNE 1 -->" in figure.svg and "<!-- no microbleed -->" in figure.svg
    assert f"{2 * LEAST_POINTS + 3} candidates" in figure.caption


def test_few_candidates_make_no_picture(tmp_path):
    assert feature_figure(new_student(4), places(tmp_path, LEAST_POINTS - 1, 30)) is None
    assert feature_figure(new_student(4), []) is None


def test_candidates_that_all_look_alike_make_no_picture(tmp_path):
    student = new_student(4)
    with torch.no_grad():
        student.classifier.features[5].weight.zero_()
    assert feature_figure(student, places(tmp_path, LEAST_POINTS, LEAST_POINTS)) is None


def test_a_curve_of_one_epoch_can_be_drawn():
    assert "<svg" in loss_figure({"detector": [replace(CURVE[0], training_loss=0.0)]}).svg
