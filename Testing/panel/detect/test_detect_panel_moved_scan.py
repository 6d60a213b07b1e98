"""A scan that is moved: the reader finds the marks on the lesions, and is told that they went along."""

import nibabel as nib
import numpy as np
import slicer
import vtk
from detect_steps import accept, click, take_run

import slicer_host
from CMMDetectLib.review_file import read_review
from CMMDetectLib.review_records import position_of
from CMMDetectLib.scene_volume import affine_of

SHIFT_MM = (15.0, 0.0, -4.0)
TOLD = "its marks went with it"


def transform():
    matrix = vtk.vtkMatrix4x4()
    for axis, shift in enumerate(SHIFT_MM):
        matrix.SetElement(axis, 3, shift)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(matrix)
    return node


def move(volume, node=None):
    volume.SetAndObserveTransformNodeID((node or transform()).GetID())
    slicer_host.wait_until(lambda: True)


def places(panel):
    return np.array([position_of(item) for item in panel.keeper.session.candidates])


def open_again(panel, volume, other_scan):
    panel.ui.inputVolumeSelector.setCurrentNode(other_scan)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)


def test_marks_follow_a_scan_that_is_moved_and_decisions_and_exports_with_them(reviewed, volume, small_scan, tmp_path):
    before, accepted = places(reviewed), accept(reviewed, 2)
    move(volume)
    assert TOLD in reviewed.ui.messageLabel.text
    np.testing.assert_allclose(places(reviewed), before + SHIFT_MM, atol=1e-6)
    reviewed.ui.exportCollapsibleButton.collapsed = False
    click(reviewed.ui.exportButton)
    labels = nib.load(tmp_path / "results" / "sub-01_swi_reviewed.nii.gz")
    np.testing.assert_allclose(labels.affine, affine_of(volume), atol=1e-3)
    voxels = np.array(np.rint((before - small_scan.affine[:3, 3]) / np.diag(small_scan.affine)[:3]), int)
    marked = [
        voxel for voxel, item in zip(voxels, reviewed.keeper.session.candidates, strict=True) if item.id in accepted
    ]
    assert all(labels.dataobj[tuple(voxel)] > 0 for voxel in marked)
    volume.HardenTransform()
    slicer_host.wait_until(lambda: True)
    np.testing.assert_allclose(places(reviewed), before + SHIFT_MM, atol=1e-6)


def test_a_scan_that_was_moved_while_its_review_was_closed_is_told_and_has_its_marks(
    reviewed, volume, other_scan, small_scan
):
    before, accepted = places(reviewed), accept(reviewed, 2)
    reviewed.ui.inputVolumeSelector.setCurrentNode(other_scan)
    move(volume)
    reviewed.ui.inputVolumeSelector.setCurrentNode(volume)
    assert TOLD in reviewed.ui.messageLabel.text
    np.testing.assert_allclose(places(reviewed), before + SHIFT_MM, atol=1e-6)
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    open_again(reviewed, volume, other_scan)
    assert reviewed.ui.messageLabel.text == ""


def test_a_scan_that_comes_back_from_elsewhere_finds_its_file_and_is_told(reviewed, volume, small_scan, tmp_path):
    before, accepted = places(reviewed), accept(reviewed, 2)
    slicer.mrmlScene.Clear(0)
    elsewhere = small_scan.affine.copy()
    elsewhere[:3, 3] += SHIFT_MM
    slicer.util.addVolumeFromArray(np.ascontiguousarray(small_scan.array.T), elsewhere, "sub-01_swi")
    reviewed.enter()
    reviewed.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")
    assert TOLD in reviewed.ui.messageLabel.text
    np.testing.assert_allclose(places(reviewed), before + SHIFT_MM, atol=1e-3)
    assert [item.id for item in reviewed.keeper.session.accepted] == accepted
    # as long as nothing is decided the file stays as it was: it says itself where the scan lay
    saved = read_review(tmp_path / "results" / "sub-01_swi_review.json")
    np.testing.assert_allclose([position_of(item) for item in saved.candidates], before, atol=1e-6)


def test_a_moved_scan_that_is_searched_again_keeps_its_decisions(reviewed, volume, tmp_path):
    accepted = accept(reviewed, 2)
    move(volume)
    reviewed.logic.process(volume, method="classical", th_detection=0.1)
    reviewed.follower.forget()
    reviewed.update()
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    assert not [item.id for item in reviewed.keeper.session.candidates if "earlier" in item.id]


def test_what_is_found_in_a_scan_that_is_moved_meanwhile_lies_in_it(panel, volume, found_files, tmp_path):
    panel._prepareJob(tmp_path)
    node = transform()
    move(volume, node)
    panel._onRunDone(found_files)
    moved = places(panel)
    volume.SetAndObserveTransformNodeID(None)
    slicer_host.wait_until(lambda: True)
    np.testing.assert_allclose(moved, places(panel) + SHIFT_MM, atol=1e-6)
    take_run(panel, volume, found_files)
    np.testing.assert_allclose(moved, places(panel) + SHIFT_MM, atol=1e-6)
