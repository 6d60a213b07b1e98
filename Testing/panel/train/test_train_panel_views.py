"""The slice views belong to the module that is shown."""

import numpy as np
import pytest
import slicer
from train_steps import add_volume, choose, correct, in_the_views, reload_scene, rows_of, wait_for_regions

from training_sets import small_scan


@pytest.fixture
def elsewhere(labeled) -> object:
    """The panel while the user looks at something else in another module."""
    slicer.util.selectModule("Data")
    seen = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4)), name="what the user looks at")
    slicer.util.setSliceViewerLayers(background=seen)
    return labeled


def test_the_scan_to_label_is_shown_while_the_module_is(panel, marked):
    choose(panel, marked.volume, marked.points)
    assert in_the_views() == {"sub-01_swi"}


def test_a_scene_that_is_loaded_keeps_its_own_views_until_the_module_is_shown(elsewhere, tmp_path):
    reload_scene(tmp_path / "seen.mrb")
    wait_for_regions(elsewhere)
    assert len(rows_of(elsewhere.ui.lesionTable)) == 2
    assert in_the_views() == {"what the user looks at"}
    slicer.util.selectModule("CMMDetectTrain")
    wait_for_regions(elsewhere)
    assert in_the_views() == {"sub-01_swi"}


def test_regions_that_follow_a_point_outside_of_the_module_leave_the_views_alone(elsewhere, marked):
    marked.points.RemoveNthControlPoint(0)
    wait_for_regions(elsewhere)
    assert len(rows_of(elsewhere.ui.lesionTable)) == 1
    assert in_the_views() == {"what the user looks at"}


def test_going_to_another_module_and_back_changes_no_view(elsewhere):
    slicer.util.selectModule("CMMDetectTrain")
    wait_for_regions(elsewhere)
    assert in_the_views() == {"what the user looks at"}


def test_corrections_in_the_segment_editor_are_measured_when_the_module_is_shown_again(elsewhere, marked):
    before = rows_of(elsewhere.ui.lesionTable)
    correct(elsewhere, marked.volume)
    wait_for_regions(elsewhere)
    assert rows_of(elsewhere.ui.lesionTable) == before
    slicer.util.selectModule("CMMDetectTrain")
    assert rows_of(elsewhere.ui.lesionTable)[0][2] != before[0][2]
    assert elsewhere.ui.saveCaseButton.isEnabled() and elsewhere.labels.corrected


def test_a_scan_that_was_loaded_for_another_module_is_not_shown_by_this_one(elsewhere):
    elsewhere.parameters().labelVolume = add_volume(small_scan("sub-02_swi", 1, 5)[0])
    wait_for_regions(elsewhere)
    assert in_the_views() == {"what the user looks at"}
