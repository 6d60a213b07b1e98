"""A case of the data set that is opened again: to look at it, to correct a region, to save it as the same case."""

import numpy as np
import pytest
import slicer
from train_steps import (
    CORRECTED_VOXEL,
    add_points,
    choose,
    click,
    correct,
    is_corrected,
    rows_of,
    segments,
    wait_for_regions,
)

from CMMDetectLib.scan import read_labels, read_scan, write_image
from CMMDetectTrainLib.case_list import read_cases
from CMMDetectTrainLib.evaluation_set import find_scans
from training_sets import small_scan


def show(panel, row: int = 0):
    """Open a case as the user does, and give its scan."""
    panel.ui.caseTable.setCurrentCell(row, 0)
    click(panel.ui.showCaseButton)
    wait_for_regions(panel)
    return panel.ui.labelVolumeSelector.currentNode()


def saved_labels(folder) -> np.ndarray:
    (entry,) = find_scans(folder)
    return read_labels(entry.labels, read_scan(entry.scan))


@pytest.fixture
def kept(labeled, marked):
    """The panel with one case in the data set, and nothing in the scene."""
    labeled.ui.caseReaderLineEdit.setText("Ada")
    click(labeled.ui.saveCaseButton)
    slicer.mrmlScene.Clear(0)
    return labeled


def test_a_region_of_a_case_is_corrected_and_kept_as_the_same_case(kept, folders):
    kept.ui.caseReaderLineEdit.setText("Bea")
    before = saved_labels(folders.dataset)
    volume = show(kept)
    assert segments(kept) == ["microbleed 1", "microbleed 2"] == [row[0] for row in rows_of(kept.ui.lesionTable)]
    assert "labels in the data set" in kept.ui.lesionMessageLabel.text
    assert kept.ui.editButton.isEnabled() and not kept.ui.toleranceSlider.isEnabled()
    correct(kept, volume)
    wait_for_regions(kept)
    assert "corrected by hand" in kept.ui.lesionMessageLabel.text
    assert kept.ui.saveCaseButton.text == "Replace the labels of sub-01_swi"
    click(kept.ui.saveCaseButton)
    assert kept.ui.saveMessageLabel.text == "Saved: sub-01_swi. Microbleeds: 2."
    changed = np.argwhere(saved_labels(folders.dataset) != before)
    assert changed.tolist() == [list(CORRECTED_VOXEL)]
    (row,) = rows_of(kept.ui.caseTable)
    assert row == ["sub-01_swi", "2", "ok", "Ada", "reader A", "corrected by hand"]


def test_a_case_of_another_program_is_corrected_under_its_own_name(panel, folders):
    scan, labels, _ = small_scan("P01_ses-2_swi", 2, 1)
    folders.dataset.mkdir()
    write_image(folders.dataset / "P01_ses-2_swi.nii.gz", scan.array, scan.affine)
    write_image(folders.dataset / "P01_ses-2_swi_microbleeds.nii.gz", (labels > 0).astype(np.float32), scan.affine)
    panel.refresh()
    volume = show(panel)
    assert len(segments(panel)) == 2
    correct(panel, volume)
    wait_for_regions(panel)
    assert panel.ui.saveCaseButton.text == "Replace the labels of P01_ses-2_swi"
    click(panel.ui.saveCaseButton)
    (case,) = read_cases(folders.dataset)
    assert (case.name, case.subject, case.microbleeds) == ("P01_ses-2_swi", "P01", 2)
    assert saved_labels(folders.dataset)[CORRECTED_VOXEL] == 1


def test_the_points_and_the_subject_of_the_scan_before_are_not_those_of_a_case_that_is_shown(kept, folders):
    other, _, positions = small_scan("sub-02_swi", 1, 5)
    choose(kept, slicer.util.addVolumeFromArray(other.array.T.copy(), other.affine, other.name), add_points(positions))
    kept.ui.subjectLineEdit.setText("02")
    volume = show(kept)
    assert kept.parameters().points is None and kept.ui.subjectLineEdit.text == ""
    assert kept.ui.saveCaseButton.text == "Replace the labels of sub-01_swi"
    click(kept.ui.saveCaseButton)
    assert [(case.name, case.points) for case in read_cases(folders.dataset)] == [("sub-01_swi", "reader A")]
    assert volume.GetName() == "sub-01_swi"


@pytest.mark.parametrize("answer", [True, False])
def test_corrections_that_were_not_saved_are_thrown_away_only_when_the_user_agrees(kept, questions, answer):
    questions.answer = answer
    volume = show(kept)
    show(kept)
    assert questions.asked == []
    correct(kept, volume)
    wait_for_regions(kept)
    show(kept)
    assert len(questions.asked) == 1 and "labels of sub-01_swi as they were saved?" in questions.asked[0]
    assert is_corrected(kept, volume) != answer


def test_regions_that_are_as_in_the_data_set_still_follow_their_points_when_the_case_is_shown(kept, marked):
    volume = show(kept)
    points = add_points(marked.positions)
    choose(kept, volume, points)
    click(kept.ui.growButton)
    click(kept.ui.saveCaseButton)
    show(kept)
    assert kept.parameters().points is points and kept.ui.toleranceSlider.isEnabled()
    points.RemoveNthControlPoint(1)
    wait_for_regions(kept)
    assert len(rows_of(kept.ui.lesionTable)) == 1


def test_a_case_without_microbleeds_is_shown_with_none(panel, marked, folders):
    choose(panel, marked.volume)
    click(panel.ui.saveCaseButton)
    slicer.mrmlScene.Clear(0)
    show(panel)
    assert rows_of(panel.ui.lesionTable) == []
    assert panel.ui.saveCaseButton.text == "Replace the labels of sub-01_swi by none"


def test_the_button_says_that_a_case_would_be_left_without_labels(kept):
    show(kept)
    click(kept.ui.growButton)
    assert kept.ui.saveCaseButton.text == "Replace the labels of sub-01_swi by none"


def test_a_case_that_is_looked_at_twice_is_loaded_once_and_with_its_newest_labels(kept, marked):
    shown = show(kept)
    points = add_points(marked.positions[:1])
    choose(kept, shown, points)
    click(kept.ui.growButton)
    click(kept.ui.saveCaseButton)
    assert show(kept) is shown and len(segments(kept)) == 1
    (scan,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert scan is shown


def test_a_case_that_is_shown_beside_its_scan_can_be_saved_again(labeled, marked):
    click(labeled.ui.saveCaseButton)
    shown = show(labeled)
    assert shown.GetName() == "sub-01_swi_1"
    choose(labeled, shown, marked.points)
    click(labeled.ui.saveCaseButton)
    assert labeled.ui.saveMessageLabel.text == "Saved: sub-01_swi. Microbleeds: 2."


@pytest.mark.parametrize("missing", ["sub-01_swi.nii.gz", "sub-01_swi_microbleeds.nii.gz"])
def test_a_case_whose_files_are_gone_is_told_in_one_line(kept, folders, missing):
    kept.ui.caseTable.setCurrentCell(0, 0)
    (folders.dataset / missing).unlink()
    click(kept.ui.showCaseButton)
    text = kept.ui.caseMessageLabel.text
    assert text.startswith("sub-01_swi: the scan or its labels cannot be loaded.") and missing in text
    assert "\n" not in text
