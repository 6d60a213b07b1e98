"""Data set and Labels: from points to training cases."""

from dataclasses import asdict, replace

import numpy as np
import qt
import slicer
import vtk
from train_steps import add_points, add_volume, choose, click, rows_of, segments, wait_for_regions

import slicer_host
from CMMDetectLib.scan import read_labels, read_scan, write_image
from CMMDetectTrainLib.case_list import read_cases
from CMMDetectTrainLib.evaluation_set import find_scans
from training_sets import small_scan


def volumes(panel) -> list[float]:
    return [float(row[2].split()[0]) for row in rows_of(panel.ui.lesionTable)]


def test_regions_grow_at_the_points_and_are_measured(labeled, marked):
    assert labeled.ui.labelModalityComboBox.currentText == "SWI"
    rows = rows_of(labeled.ui.lesionTable)
    assert [row[0] for row in rows] == ["p1", "p2"] == segments(labeled)
    assert all(3.5 < float(row[1].split()[0]) < 6.5 for row in rows)
    found = labeled.labels._nodes.labels(marked.volume)
    for number in (1, 2):
        overlap = np.count_nonzero((found == number) & (marked.labels == number))
        assert overlap > 0.7 * np.count_nonzero(marked.labels == number)
    node = labeled.labels._nodes.node
    first = node.GetSegmentation().GetNthSegmentID(0)
    assert not node.GetDisplayNode().GetSegmentVisibility2DFill(first)
    assert node.GetDisplayNode().GetSegmentVisibility2DOutline(first)


def test_tolerance_and_largest_radius_act_at_once(labeled):
    before = volumes(labeled)
    labeled.ui.toleranceSlider.value = 2.0
    wait_for_regions(labeled)
    assert all(after > usual for after, usual in zip(volumes(labeled), before, strict=True))
    labeled.ui.inPlaneSpinBox.setValue(1)
    labeled.ui.throughPlaneSpinBox.setValue(1)
    wait_for_regions(labeled)
    assert all(after < usual for after, usual in zip(volumes(labeled), before, strict=True))
    assert "reaches the largest radius" in rows_of(labeled.ui.lesionTable)[0][4]


def test_a_point_that_is_moved_added_or_removed_is_followed(labeled, marked):
    marked.points.RemoveNthControlPoint(0)
    wait_for_regions(labeled)
    assert segments(labeled) == ["p2"]
    marked.points.SetNthControlPointPositionWorld(0, *marked.positions[0])
    wait_for_regions(labeled)
    found = labeled.labels._nodes.labels(marked.volume)
    assert np.count_nonzero(found[marked.labels == 1]) and not np.count_nonzero(found[marked.labels == 2])


def test_a_scan_that_is_moved_has_its_regions_where_it_is_then(labeled, marked):
    """The points stay where they are: nothing is there any more."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    marked.volume.SetAndObserveTransformNodeID(transform.GetID())
    moved = vtk.vtkMatrix4x4()
    moved.SetElement(0, 3, 500.0)
    transform.SetMatrixTransformToParent(moved)
    wait_for_regions(labeled)
    assert volumes(labeled) == []
    marked.points.SetAndObserveTransformNodeID(transform.GetID())
    wait_for_regions(labeled)
    assert len(volumes(labeled)) == 2
    scan = labeled.labels.scan()
    assert scan.affine[0, 3] > 400
    found = labeled.labels._nodes.labels(marked.volume)
    assert np.count_nonzero((found > 0) & (marked.labels > 0)) > 0.7 * np.count_nonzero(marked.labels)


def test_a_scan_that_is_bent_is_refused_in_one_line(labeled, marked):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    bent = vtk.vtkThinPlateSplineTransform()
    for points in (bent.SetSourceLandmarks, bent.SetTargetLandmarks):
        points(vtk.vtkPoints())
    transform.SetAndObserveTransformToParent(bent)
    marked.volume.SetAndObserveTransformNodeID(transform.GetID())
    wait_for_regions(labeled)
    assert "harden the transform first" in labeled.ui.lesionMessageLabel.text
    assert not labeled.ui.saveCaseButton.isEnabled()


def test_choosing_a_row_centers_the_views_on_the_lesion(labeled, marked):
    labeled.ui.lesionTable.setCurrentCell(1, 0)
    slicer_host.wait_until(lambda: True)
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceToRAS()
    center = [red.GetElement(row, 3) for row in range(3)]
    assert np.linalg.norm(center - marked.positions[1]) < 2.5


def test_points_that_cannot_be_used_are_named_under_the_table(panel, marked):
    away = add_points([*marked.positions, marked.positions[0] + 0.2, marked.positions[0] + (0, 0, 300)])
    choose(panel, marked.volume, away)
    text = panel.ui.lesionMessageLabel.text
    assert "p3" in text and "is the same point as p1" in text
    assert "p4" in text and "lies outside the scan" in text
    assert len(rows_of(panel.ui.lesionTable)) == 2


def test_a_case_is_saved_as_training_reads_it_and_listed(labeled, marked, folders):
    labeled.ui.caseReaderLineEdit.setText("Ada")
    assert labeled.ui.saveCaseButton.text == "Save as training case sub-01_swi"
    click(labeled.ui.saveCaseButton)
    assert labeled.ui.saveMessageLabel.text == "Saved: sub-01_swi. Microbleeds: 2."
    (entry,) = find_scans(folders.dataset)
    saved = read_labels(entry.labels, read_scan(entry.scan))
    assert np.array_equal(saved, labeled.labels._nodes.labels(marked.volume))
    assert rows_of(labeled.ui.caseTable)[0][:5] == ["sub-01_swi", "2", "ok", "Ada", "reader A"]
    expected = "Cases: 1, of them ok: 1. Subjects: 1. Microbleeds to learn from: 2."
    assert labeled.ui.caseMessageLabel.text == expected


def test_cases_that_others_wrote_are_not_summed_up_as_if_they_had_no_microbleeds(labeled, folders):
    click(labeled.ui.saveCaseButton)
    (folders.dataset / "cases.tsv").unlink()
    labeled.enter()
    expected = "Microbleeds to learn from: 0. Cases in which they were not counted yet: 1."
    assert labeled.ui.caseMessageLabel.text.endswith(expected)


def test_the_same_scan_again_is_announced_on_the_button_and_replaces_its_labels(labeled, marked, folders):
    click(labeled.ui.saveCaseButton)
    assert labeled.ui.saveCaseButton.text == "Replace the labels of sub-01_swi"
    marked.points.RemoveNthControlPoint(1)
    wait_for_regions(labeled)
    click(labeled.ui.saveCaseButton)
    assert [case.microbleeds for case in read_cases(folders.dataset)] == [1]


def test_what_was_saved_is_told_no_longer_when_the_regions_have_changed(labeled, marked):
    click(labeled.ui.saveCaseButton)
    assert labeled.ui.saveMessageLabel.text.startswith("Saved: sub-01_swi")
    marked.points.RemoveNthControlPoint(1)
    wait_for_regions(labeled)
    assert labeled.ui.saveMessageLabel.text == ""
    click(labeled.ui.saveCaseButton)
    slicer.mrmlScene.Clear(0)
    assert labeled.ui.saveMessageLabel.text == ""


def test_the_same_scan_under_another_name_and_the_same_points_for_another_subject_are_refused_by_name(labeled, marked):
    click(labeled.ui.saveCaseButton)
    labeled.ui.subjectLineEdit.setText("09")
    click(labeled.ui.saveCaseButton)
    assert "the same scan is in the data set already, as sub-01_swi" in labeled.ui.saveMessageLabel.text
    other, _, _ = small_scan("sub-02_swi", 2, 1)
    other = replace(other, array=other.array + np.float32(1))
    labeled.ui.subjectLineEdit.setText("")
    choose(labeled, add_volume(other), marked.points)
    click(labeled.ui.saveCaseButton)
    assert "sub-02_swi: has the same coordinates as sub-01_swi" in labeled.ui.saveMessageLabel.text
    assert len(rows_of(labeled.ui.caseTable)) == 1


def test_what_was_corrected_in_the_segment_editor_is_saved_and_no_slider_undoes_it(labeled, marked, folders):
    node = labeled.labels._nodes.node
    first = node.GetSegmentation().GetNthSegmentID(0)
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, first, marked.volume)
    array[2, 2, 2] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, first, marked.volume)
    assert labeled.labels.corrected and not labeled.ui.toleranceSlider.isEnabled()
    labeled.parameters().tolerance = 2.0
    wait_for_regions(labeled)
    click(labeled.ui.saveCaseButton)
    (entry,) = find_scans(folders.dataset)
    assert read_labels(entry.labels, read_scan(entry.scan))[2, 2, 2] == 1
    assert rows_of(labeled.ui.caseTable)[0][5] == "corrected by hand"
    click(labeled.ui.growButton)
    assert not labeled.labels.corrected and labeled.labels._nodes.labels(marked.volume)[2, 2, 2] == 0


def test_a_scan_without_microbleeds_is_a_case_too(panel, marked, folders):
    choose(panel, marked.volume)
    assert panel.ui.saveCaseButton.text == "Save as a scan without microbleeds"
    click(panel.ui.saveCaseButton)
    (entry,) = find_scans(folders.dataset)
    assert not read_labels(entry.labels, read_scan(entry.scan)).any()


def test_a_case_to_check_can_be_marked_as_right_and_back_and_removed(labeled, folders, confirmed):
    labeled.ui.toCheckCheckBox.setChecked(True)
    click(labeled.ui.saveCaseButton)
    assert rows_of(labeled.ui.caseTable)[0][2] == "to check"
    labeled.ui.caseTable.setCurrentCell(0, 0)
    click(labeled.ui.okButton)
    assert rows_of(labeled.ui.caseTable)[0][2] == "ok" and not labeled.ui.okButton.isEnabled()
    click(labeled.ui.toCheckButton)
    assert rows_of(labeled.ui.caseTable)[0][2] == "to check"
    click(labeled.ui.removeCaseButton)
    assert confirmed == ["Delete the labels of sub-01_swi from the data set?"]
    assert rows_of(labeled.ui.caseTable) == [] and read_cases(folders.dataset) == []


def test_a_data_set_that_cannot_be_written_or_read_is_told_in_one_line(labeled, folders):
    (folders.other / "file").touch()
    labeled.ui.datasetPathLineEdit.currentPath = str(folders.other / "file")
    click(labeled.ui.saveCaseButton)
    assert "cannot write here" in labeled.ui.saveMessageLabel.text
    folders.dataset.mkdir()
    write_image(folders.dataset / "sub-01_swi_microbleeds.nii.gz", np.zeros((3, 3, 3), np.int16), np.eye(4))
    labeled.ui.datasetPathLineEdit.currentPath = str(folders.dataset)
    assert "sub-01_swi.nii.gz is missing" in labeled.ui.caseMessageLabel.text


def test_buttons_say_what_is_missing(panel, marked):
    assert panel.ui.saveCaseButton.toolTip == "Choose the scan first."
    marked.volume.SetName("unnamed")
    panel.ui.labelVolumeSelector.setCurrentNode(marked.volume)
    assert panel.ui.saveCaseButton.toolTip == "Say what contrast the scan has."
    panel.ui.labelModalityComboBox.setCurrentIndex(1)
    wait_for_regions(panel)
    panel.ui.datasetPathLineEdit.currentPath = ""
    assert panel.ui.saveCaseButton.toolTip == "Choose the folder of the data set first."


def test_closing_the_scene_forgets_the_labels_and_keeps_the_data_set(labeled, folders):
    click(labeled.ui.saveCaseButton)
    slicer.mrmlScene.Clear(0)
    slicer_host.wait_until(lambda: True)
    assert rows_of(labeled.ui.lesionTable) == [] and not labeled.ui.saveCaseButton.isEnabled()
    assert len(rows_of(labeled.ui.caseTable)) == 1
    scan, _, positions = small_scan("sub-03_swi", 1, 3)
    choose(labeled, add_volume(scan), add_points(positions))
    assert segments(labeled) == ["p1"]


def test_the_subject_and_the_reader_are_remembered_where_they_belong(labeled):
    labeled.ui.subjectLineEdit.setText("Miller 7")
    assert labeled.ui.saveCaseButton.text == "Save as training case sub-Miller7_swi"
    labeled.ui.caseReaderLineEdit.setText("Cleo")
    assert qt.QSettings().value("CMMDetect/Reader") == "Cleo"


def test_scripts_save_cases_without_the_panel(panel, marked, folders):
    case = panel.logic.process(marked.volume, "swi", folders.dataset, marked.points, reader="Ada")
    assert asdict(case)["microbleeds"] == 2 and find_scans(folders.dataset)


def test_the_modules_own_test_passes(panel):
    slicer.modules.CMMDetectTrainInstance.runTest(0)


def test_a_renamed_scan_is_announced_on_the_button_under_its_new_name(labeled, marked, folders):
    marked.volume.SetName("sub-07_swi")
    assert labeled.ui.saveCaseButton.text == "Save as training case sub-07_swi"
    click(labeled.ui.saveCaseButton)
    assert [case.name for case in read_cases(folders.dataset)] == ["sub-07_swi"]


def test_a_long_name_does_not_make_the_panel_wider(labeled, marked):
    before = labeled.ui.saveCaseButton.minimumSizeHint().width()
    name = "sub-01_ses-20260131T1200_acq-highres3mm_rec-norm_run-01_swi"
    marked.volume.SetName(name)
    assert labeled.ui.saveCaseButton.text == "Save as training case sub-01_ses-20260131…_rec-norm_run-01_swi"
    assert labeled.ui.saveCaseButton.minimumSizeHint().width() < 2 * before
    assert name in labeled.ui.saveCaseButton.toolTip


def test_the_chosen_case_stays_chosen_when_another_one_is_saved_and_none_is_when_it_is_removed(
    labeled, marked, confirmed
):
    click(labeled.ui.saveCaseButton)
    labeled.ui.caseTable.setCurrentCell(0, 0)
    other, _, positions = small_scan("sub-00_swi", 2, 2)
    choose(labeled, add_volume(other), add_points(positions))
    click(labeled.ui.saveCaseButton)
    assert [row[0] for row in rows_of(labeled.ui.caseTable)] == ["sub-00_swi", "sub-01_swi"]
    click(labeled.ui.toCheckButton)
    assert [row[2] for row in rows_of(labeled.ui.caseTable)] == ["ok", "to check"]
    click(labeled.ui.removeCaseButton)
    assert confirmed == ["Delete the labels of sub-01_swi from the data set?"]
    assert not labeled.ui.removeCaseButton.isEnabled()
