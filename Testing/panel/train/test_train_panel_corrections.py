"""Regions that were corrected by hand, or deleted: what stays, and what is saved."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from train_steps import (
    add_points,
    add_volume,
    choose,
    click,
    correct,
    is_corrected,
    paint,
    reload_scene,
    rows_of,
    wait_for_regions,
)

import slicer_host
from CMMDetectLib.scan import read_labels, read_scan
from CMMDetectTrainLib.case_list import read_cases
from CMMDetectTrainLib.evaluation_set import find_scans
from training_sets import small_scan


@pytest.fixture
def other(labeled) -> SimpleNamespace:
    """Another scan, not chosen yet, with one microbleed that is marked."""
    scan, _, positions = small_scan("sub-02_swi", 1, 5)
    return SimpleNamespace(volume=add_volume(scan), points=add_points(positions, "reader B"))


@pytest.fixture
def corrected(labeled, marked) -> object:
    """The panel with a scan whose first region was corrected."""
    correct(labeled, marked.volume)
    wait_for_regions(labeled)
    return labeled


def saved_labels(folder) -> np.ndarray:
    (entry,) = find_scans(folder)
    return read_labels(entry.labels, read_scan(entry.scan))


def test_corrections_are_there_when_the_scan_is_chosen_again(corrected, marked, other):
    choose(corrected, other.volume, other.points)
    assert not corrected.labels.corrected and corrected.ui.toleranceSlider.isEnabled()
    choose(corrected, marked.volume, marked.points)
    assert is_corrected(corrected, marked.volume) and corrected.labels.corrected
    assert corrected.ui.growButton.isVisibleTo(corrected.parent) and not corrected.ui.toleranceSlider.isEnabled()


def test_corrections_are_there_when_a_saved_scene_is_loaded(corrected, tmp_path):
    reload_scene(tmp_path / "corrected.mrb")
    wait_for_regions(corrected)
    assert is_corrected(corrected, slicer.util.getNode("sub-01_swi")) and corrected.labels.corrected
    assert corrected.ui.saveCaseButton.text == "Save as training case sub-01_swi"


def test_corrections_outlive_the_points_and_other_points_and_are_saved(corrected, marked, other, folders):
    corrected.ui.pointsSelector.setCurrentNode(other.points)
    wait_for_regions(corrected)
    assert is_corrected(corrected, marked.volume)
    for points in (other.points, marked.points):
        slicer.mrmlScene.RemoveNode(points)
    wait_for_regions(corrected)
    assert corrected.ui.saveCaseButton.text == "Save as training case sub-01_swi"
    click(corrected.ui.saveCaseButton)
    assert saved_labels(folders.dataset)[2, 2, 2] == 1
    assert [(case.microbleeds, case.note) for case in read_cases(folders.dataset)] == [(2, "corrected by hand")]


def test_regions_that_were_corrected_while_another_scan_was_chosen_stay(labeled, marked, other):
    own = labeled.labels._nodes.node
    choose(labeled, other.volume, other.points)
    paint(own, marked.volume)
    choose(labeled, marked.volume, marked.points)
    assert is_corrected(labeled, marked.volume) and labeled.labels.corrected


def test_regions_that_were_corrected_before_the_module_was_opened_stay(labeled, marked, module, tmp_path):
    own = labeled.labels._nodes.node
    module.end()
    paint(own, marked.volume)
    reload_scene(tmp_path / "corrected.mrb")
    again = module.start()
    wait_for_regions(again)
    assert is_corrected(again, slicer.util.getNode("sub-01_swi")) and again.labels.corrected


def test_regions_that_nobody_corrected_are_not_taken_for_corrected_when_a_saved_scene_is_loaded(labeled, tmp_path):
    reload_scene(tmp_path / "grown.mrb")
    wait_for_regions(labeled)
    assert len(rows_of(labeled.ui.lesionTable)) == 2 and not labeled.labels.corrected


def test_the_table_measures_corrected_regions_and_centers_the_views_on_them(labeled, marked):
    before = rows_of(labeled.ui.lesionTable)
    correct(labeled, marked.volume)
    wait_for_regions(labeled)
    after = rows_of(labeled.ui.lesionTable)
    assert [row[0] for row in after] == ["p1", "p2"] and after[0][3] == ""
    assert after[0][2] != before[0][2] and after[1][2] == before[1][2]
    assert "corrected by hand" in labeled.ui.lesionMessageLabel.text
    labeled.ui.lesionTable.setCurrentCell(1, 0)
    slicer_host.wait_until(lambda: True)
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceToRAS()
    assert np.linalg.norm([red.GetElement(row, 3) for row in range(3)] - marked.positions[1]) < 2.5


def test_a_region_that_was_removed_or_emptied_by_hand_is_not_counted(labeled, marked, folders):
    segmentation = labeled.labels._nodes.node.GetSegmentation()
    first = segmentation.GetNthSegmentID(0)
    empty = np.zeros_like(slicer.util.arrayFromVolume(marked.volume), np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(empty, labeled.labels._nodes.node, first, marked.volume)
    wait_for_regions(labeled)
    assert [row[4] for row in rows_of(labeled.ui.lesionTable)] == ["is empty and is not saved", ""]
    click(labeled.ui.saveCaseButton)
    assert labeled.ui.saveMessageLabel.text == "Saved: sub-01_swi. Microbleeds: 1."
    for segment in list(segmentation.GetSegmentIDs()):
        segmentation.RemoveSegment(segment)
    wait_for_regions(labeled)
    labeled.ui.subjectLineEdit.setText("empty")
    assert labeled.ui.saveCaseButton.text == "Save as a scan without microbleeds"


def test_only_grow_again_throws_corrections_away(corrected, marked):
    click(corrected.ui.growButton)
    assert not is_corrected(corrected, marked.volume) and not corrected.labels.corrected
    assert corrected.ui.toleranceSlider.isEnabled() and not corrected.ui.growButton.isVisibleTo(corrected.parent)
    corrected.ui.toleranceSlider.value = 2.0
    wait_for_regions(corrected)
    assert not corrected.labels.corrected


def test_deleted_regions_are_not_saved_as_a_scan_without_microbleeds(labeled, folders):
    slicer.mrmlScene.RemoveNode(labeled.labels._nodes.node)
    click(labeled.ui.saveCaseButton)
    assert labeled.ui.saveMessageLabel.text == "sub-01_swi: its regions were deleted; grow them again"
    assert read_cases(folders.dataset) == [] == rows_of(labeled.ui.lesionTable)
    assert not labeled.ui.saveCaseButton.isEnabled()
    click(labeled.ui.growButton)
    click(labeled.ui.saveCaseButton)
    assert [case.microbleeds for case in read_cases(folders.dataset)] == [2]


def test_regions_that_were_deleted_in_another_module_are_missed_when_the_panel_is_shown_again(labeled):
    slicer.util.selectModule("Data")
    slicer.mrmlScene.RemoveNode(labeled.labels._nodes.node)
    slicer.util.selectModule("CMMDetectTrain")
    assert rows_of(labeled.ui.lesionTable) == []
    assert labeled.ui.saveCaseButton.toolTip == "The regions were deleted. Grow them again."
    assert labeled.ui.growButton.isVisibleTo(labeled.parent)


def test_a_scan_that_is_chosen_again_has_its_own_points_and_regions(labeled, marked, other):
    choose(labeled, other.volume, other.points)
    labeled.ui.labelVolumeSelector.setCurrentNode(marked.volume)
    wait_for_regions(labeled)
    assert labeled.ui.pointsSelector.currentNode() is marked.points
    assert [row[0] for row in rows_of(labeled.ui.lesionTable)] == ["p1", "p2"]


def test_a_scan_without_microbleeds_that_is_chosen_again_has_none(labeled, marked, other):
    choose(labeled, other.volume, None)
    choose(labeled, marked.volume, marked.points)
    labeled.ui.labelVolumeSelector.setCurrentNode(other.volume)
    wait_for_regions(labeled)
    assert labeled.ui.pointsSelector.currentNode() is None
    assert not rows_of(labeled.ui.lesionTable)


def test_the_regions_of_the_scan_before_are_not_saved_for_the_next_one(labeled, folders):
    scan, _, _ = small_scan("sub-02_swi", 2, 1)
    labeled.ui.labelVolumeSelector.setCurrentNode(add_volume(replace(scan, array=scan.array + np.float32(1))))
    labeled.ui.pointsSelector.setCurrentNode(None)
    assert not labeled.ui.saveCaseButton.isEnabled()
    assert labeled.ui.saveCaseButton.toolTip == "The regions are being grown."
    wait_for_regions(labeled)
    assert labeled.ui.saveCaseButton.text == "Save as a scan without microbleeds"


def test_a_point_that_was_just_moved_is_not_saved_with_the_region_of_its_old_place(labeled, marked):
    marked.points.SetNthControlPointPositionWorld(0, *(marked.positions[0] + 1.0))
    assert not labeled.ui.saveCaseButton.isEnabled()
    wait_for_regions(labeled)
    assert labeled.ui.saveCaseButton.isEnabled()
