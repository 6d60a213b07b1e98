"""The cut-offs of stage 3."""

import math
from dataclasses import replace

import pytest

from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.postprocessing import CutOffs, postprocess

PASSED = Candidate(
    id="cmb-0001",
    x=0,
    y=0,
    z=0,
    stage=Stage.DISCRIMINATION,
    volume_mm3=20.0,
    ellipticity=0.1,
    skull_distance_mm=10.0,
)


def test_a_candidate_within_all_cut_offs_is_final():
    assert postprocess(PASSED, CutOffs()) == replace(PASSED, stage=Stage.FINAL)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"volume_mm3": 2.49}, "volume"),
        ({"volume_mm3": 524.0}, "volume"),
        ({"ellipticity": 0.21}, "ellipticity"),
        ({"skull_distance_mm": 4.99}, "skull_distance"),
        ({"volume_mm3": 1.0, "ellipticity": 0.9, "skull_distance_mm": 0.0}, "volume"),
    ],
)
def test_the_first_cut_off_that_fails_is_named(change, reason):
    judged = postprocess(replace(PASSED, **change), CutOffs())
    assert judged.rejected_by == reason
    assert judged.stage is Stage.DISCRIMINATION


@pytest.mark.parametrize(
    "change", [{"volume_mm3": 2.5}, {"volume_mm3": 523.0}, {"ellipticity": 0.2}, {"skull_distance_mm": 5.0}]
)
def test_a_value_on_the_cut_off_passes(change):
    assert postprocess(replace(PASSED, **change), CutOffs()).stage is Stage.FINAL


@pytest.mark.parametrize(
    ("name", "limit"), [("volume_mm3", 2.5), ("volume_mm3", 10**3 * math.pi / 6), ("skull_distance_mm", 5.0)]
)
def test_the_same_voxels_saved_by_another_library_give_the_same_candidates(name, limit):
    for size in (limit * (1 - 6e-8), limit, limit * (1 + 6e-8)):
        assert postprocess(replace(PASSED, **{name: size}), CutOffs()).stage is Stage.FINAL


def test_what_is_wider_than_any_microbleed_is_not_final_whatever_the_cut_offs():
    none = CutOffs(min_volume_mm3=0.0, max_ellipticity=1.0, min_skull_distance_mm=0.0)
    assert postprocess(replace(PASSED, volume_mm3=4 / 3 * math.pi * 4.9**3), none).stage is Stage.FINAL
    assert postprocess(replace(PASSED, volume_mm3=4 / 3 * math.pi * 5.1**3), none).rejected_by == "volume"


def test_a_distance_that_is_not_known_rejects_nothing():
    assert postprocess(replace(PASSED, skull_distance_mm=None), CutOffs()).stage is Stage.FINAL


def test_what_stage_2_rejected_stays_as_it_is():
    rejected = replace(PASSED, stage=Stage.DETECTION, rejected_by="discrimination", volume_mm3=1.0)
    assert postprocess(rejected, CutOffs()) is rejected
