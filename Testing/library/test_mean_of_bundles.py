"""The mean of the weights of several trainings, from which the shipped model is made."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from CMMDetectLib.bundle import read_bundle, write_bundle
from CMMDetectLib.errors import InputError
from CMMDetectLib.networks import CandidateDetector, Student

SCRIPTS = Path(__file__).parents[1] / "benchmarks" / "default_model"


@pytest.fixture
def mean_of_bundles(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return import_module("mean_of_bundles").mean_of_bundles


@pytest.fixture
def others(small_bundle, tmp_path):
    """Two more trainings; the last one says whom it has not learnt from."""
    width = small_bundle.description.width
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        networks = {
            "detector": CandidateDetector(width),
            "student": Student(width),
            "teacher": small_bundle.teacher(),
        }
        made.append(write_bundle(tmp_path / f"training-{seed}", small_bundle.description, networks))
    (made[-1].folder / "training.json").write_text(json.dumps({"validation_subjects": ["sub-7"]}))
    return made


def test_every_weight_is_the_mean_of_the_trainings(mean_of_bundles, small_bundle, others, tmp_path):
    bundles = [small_bundle, *others]
    mean_of_bundles(bundles, tmp_path / "mean")
    back = read_bundle(tmp_path / "mean")
    for name in ("detector", "student"):
        weights = [getattr(bundle, name)().state_dict() for bundle in bundles]
        for key, tensor in getattr(back, name)().state_dict().items():
            if tensor.is_floating_point():
                assert torch.allclose(tensor, sum(state[key] for state in weights) / 3, atol=1e-6)
    assert json.loads((tmp_path / "mean" / "training.json").read_text()) == {"validation_subjects": ["sub-7"]}


def test_trainings_on_different_grids_have_no_mean(mean_of_bundles, small_bundle, others, tmp_path):
    coarse = replace(small_bundle.description, pixel_mm=2.0, slice_mm=3.0)
    networks = {"detector": small_bundle.detector(), "student": small_bundle.student()}
    other = write_bundle(tmp_path / "coarse", coarse, networks)
    with pytest.raises(InputError, match=r"coarse: has not the width and the grid"):
        mean_of_bundles([other, *others], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_the_last_one_has_to_say_whom_it_has_not_learnt_from(mean_of_bundles, small_bundle, others, tmp_path):
    with pytest.raises(InputError, match=r"does not say which subjects validated"):
        mean_of_bundles([*others, small_bundle], tmp_path / "mean")
