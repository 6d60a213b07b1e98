"""Inputs and Advanced: which scan, contrast, mask and method are searched, and why they may be refused."""

import json

import numpy as np
import pytest
import qt
import slicer
import vtk
from detect_steps import apply, problem, wait_for_the_end
from PySide6.QtTest import QTest

import slicer_host
from CMMDetectLib.scene_volume import affine_of
from CMMDetectWidgets.inputs import guessFromText


def test_without_a_scan_apply_says_why(panel, volume):
    slicer.mrmlScene.RemoveNode(volume)
    assert not panel.ui.applyButton.isEnabled()
    assert problem(panel) == panel.ui.applyButton.toolTip == "Choose the scan to search."


def add_volume(small_scan, name):
    volume = slicer.util.addVolumeFromArray(np.ascontiguousarray(small_scan.array.T), small_scan.affine, name)
    slicer_host.wait_until(lambda: True)
    return volume


def test_a_scan_that_is_loaded_into_the_open_panel_is_chosen_and_a_second_one_is_not(panel, volume, small_scan):
    slicer.mrmlScene.RemoveNode(volume)
    first = add_volume(small_scan, "sub-02_swi")
    assert panel.ui.inputVolumeSelector.currentNode() is first
    assert panel.ui.applyButton.isEnabled()
    add_volume(small_scan, "sub-03_swi")
    assert panel.parameters().inputVolume is first


def test_a_scan_that_is_loaded_in_another_module_waits_until_the_panel_is_shown_again(panel, volume, small_scan):
    slicer.mrmlScene.RemoveNode(volume)
    panel.exit()
    scan = add_volume(small_scan, "sub-02_swi")
    assert panel.parameters().inputVolume is None
    panel.enter()
    assert panel.parameters().inputVolume is scan


def test_an_unknown_contrast_has_to_be_chosen(panel, small_scan):
    other = slicer.util.addVolumeFromArray(np.ascontiguousarray(small_scan.array.T), small_scan.affine, "Volume")
    panel.ui.inputVolumeSelector.setCurrentNode(other)
    assert problem(panel) == "Say what contrast the scan has."
    panel.ui.modalityComboBox.setCurrentIndex(2)
    assert panel.ui.applyButton.isEnabled()
    panel.ui.resultsFolderPathLineEdit.currentPath += "x"
    assert panel.ui.modalityComboBox.currentIndex == 2


def test_all_inputs_end_at_one_edge_when_nothing_tells_the_contrast(panel, volume):
    volume.SetName("Volume")
    panel.ui.inputVolumeSelector.setCurrentNode(None)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    slicer_host.wait_until(lambda: True)
    ends = {
        box.mapTo(panel.parent, qt.QPoint(box.width, 0)).x()
        for box in (panel.ui.modalityComboBox, panel.ui.methodComboBox)
    }
    assert len(ends) == 1


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1, 20, 20), "2D slice"), ((20, 20, 20), "the same value")],
)
def test_a_volume_that_cannot_work_is_refused_before_the_run(panel, shape, words):
    node = slicer.util.addVolumeFromArray(np.zeros(shape, np.int16), np.eye(4), "odd_swi")
    panel.ui.inputVolumeSelector.setCurrentNode(node)
    assert words in problem(panel)
    assert not panel.ui.applyButton.isEnabled()


def test_a_scan_that_a_transform_has_sheared_is_refused_before_the_run(panel, volume):
    matrix = vtk.vtkMatrix4x4()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    assert panel.ui.applyButton.isEnabled()
    matrix.SetElement(0, 1, 0.05)
    transform.SetMatrixTransformToParent(matrix)
    panel.update()
    assert "sheared" in problem(panel)


def test_a_mask_on_other_voxels_is_refused(panel, small_scan):
    label = "vtkMRMLLabelMapVolumeNode"
    mask = slicer.util.addVolumeFromArray(np.ones((5, 6, 7), np.uint8), np.eye(4), "mask", nodeClassName=label)
    panel.ui.maskSelector.setCurrentNode(mask)
    assert "other voxels" in problem(panel)
    panel.ui.maskSelector.setCurrentNode(None)
    assert panel.ui.applyButton.isEnabled()


def test_an_empty_segment_is_no_brain_mask_though_it_shares_its_voxels_with_another(panel, volume):
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    label = "vtkMRMLLabelMapVolumeNode"
    values = np.ones_like(slicer.util.arrayFromVolume(volume), np.uint8)
    mask = slicer.util.addVolumeFromArray(values, affine_of(volume), "mask", nodeClassName=label)
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(mask, segmentation)
    segmentation.GetSegmentation().AddEmptySegment("empty")
    panel.ui.maskSelector.setCurrentNode(segmentation)
    assert panel.ui.applyButton.isEnabled(), problem(panel)
    panel.parameters().maskSegment = "empty"
    assert problem(panel) == "The segment that is the brain mask is empty."


@pytest.mark.parametrize("kind", ["label map", "segment"])
def test_a_mask_limits_the_search(panel, volume, small_scan, kind):
    half = np.ascontiguousarray((small_scan.array > 0).T).astype(np.uint8)
    half[:, 60:] = 0
    label = "vtkMRMLLabelMapVolumeNode"
    mask = slicer.util.addVolumeFromArray(half, small_scan.affine, "mask", nodeClassName=label)
    if kind == "segment":
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(mask, segmentation)
        mask = segmentation
    panel.ui.maskSelector.setCurrentNode(mask)
    assert panel.ui.maskSegmentComboBox.isVisibleTo(panel.parent) == (kind == "segment")
    assert panel.ui.applyButton.isEnabled(), problem(panel)
    apply(panel)
    wait_for_the_end(panel)
    j = [np.linalg.solve(small_scan.affine, [c.x, c.y, c.z, 1])[1] for c in panel.keeper.session.candidates]
    assert j and max(j) < 61


def test_own_thresholds_reach_the_run(panel, tmp_path):
    of_the_model = panel.ui.thDetectionSlider.value
    assert of_the_model != 0.75
    panel.ui.ownThresholdsCheckBox.setChecked(True)
    panel.ui.thDetectionSlider.value = 0.75
    panel.ui.minVolumeSpinBox.value = 20.0
    apply(panel)
    wait_for_the_end(panel)
    provenance = json.loads((tmp_path / "results" / "sub-01_swi_candidates.json").read_text())["provenance"]
    text = json.dumps(provenance)
    assert "0.75" in text and "20.0" in text
    panel.ui.ownThresholdsCheckBox.setChecked(False)
    assert panel.ui.thDetectionSlider.value == of_the_model


def test_without_torch_the_classical_method_runs_and_pytorch_is_offered(panel, monkeypatch):
    monkeypatch.setattr("CMMDetectWidgets.installation.torchVersion", lambda: None)
    panel.update()
    assert "classical method will run" in problem(panel)
    assert panel.ui.installButton.isVisibleTo(panel.parent)
    panel.ui.methodComboBox.setCurrentIndex(1)
    assert "need PyTorch" in problem(panel) and not panel.ui.applyButton.isEnabled()
    QTest.mouseClick(panel.ui.installButton, qt.Qt.LeftButton)
    assert "Extensions Manager" in problem(panel)
    panel.ui.methodComboBox.setCurrentIndex(2)
    assert panel.ui.applyButton.isEnabled()
    assert not panel.ui.installButton.isVisibleTo(panel.parent)


@pytest.mark.parametrize(
    ("name", "modality"),
    [("AX SWAN 3mm", "swi"), ("t2*_gre", "t2star"), ("QSM_map", "qsm"), ("ep2d diff", None), ("swi_minIP", "swi")],
)
def test_scanners_names_tell_the_contrast(name, modality):
    assert guessFromText(name) == modality
