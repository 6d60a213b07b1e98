"""Scenes that are saved, closed, opened and added, and the folder that belongs to them."""

import numpy as np
import qt
import slicer
from detect_steps import accept, add_scan, take_run
from PySide6.QtTest import QTest

import slicer_host
from CMMDetectLib.errors import OutputError


def test_a_run_that_ends_while_a_scene_is_added_is_shown(panel, volume, found_files, tmp_path):
    panel._prepareJob(tmp_path)
    panel.onSceneStartLoad()
    panel._onRunDone(found_files)
    panel.onSceneLoaded()
    slicer_host.wait_until(lambda: True)
    assert panel.keeper.session.candidates


def test_the_methods_own_thresholds_are_shown_again_after_the_scene_is_closed(panel, small_scan):
    names = ("thDetectionSlider", "thDiscriminationSlider", "minVolumeSpinBox", "minSkullDistanceSpinBox")

    def shown():
        return [getattr(panel.ui, name).value for name in names]

    before = shown()
    assert before != [0.3, 0.5, 2.5, 5.0]  # what the parameters begin with
    slicer.mrmlScene.Clear(0)
    add_scan(small_scan, "sub-02_swi")
    panel.enter()
    assert shown() == before


def test_a_review_in_a_scene_opens_where_nothing_can_be_written(reviewed, tmp_path, monkeypatch):
    accepted = accept(reviewed, 2)
    slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(0)

    def fail(path, session):
        raise OutputError(f"{path}: read-only")

    monkeypatch.setattr("CMMDetectLib.review_file.write_review", fail)
    for path in (tmp_path / "results").iterdir():
        path.unlink()
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    slicer_host.wait_until(lambda: True)
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    assert "read-only" in reviewed.ui.messageLabel.text


def test_saving_the_scene_elsewhere_does_not_move_an_open_review(panel, volume, found_files, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    panel.ui.resultsFolderPathLineEdit.currentPath = ""
    slicer.mrmlScene.SetURL(str(first / "scene.mrml"))
    panel.inputs.forget()
    panel.update()
    take_run(panel, volume, found_files)
    accept(panel, 1)
    slicer.mrmlScene.SetURL(str(second / "scene.mrml"))
    panel.ui.detectionCheckBox.setChecked(True)
    assert panel.keeper.folder == first
    assert panel.keeper.session.undo_text
    assert not list(second.iterdir())


def test_a_folder_that_is_typed_is_taken_when_it_is_whole(reviewed, tmp_path):
    accept(reviewed, 1)
    (line,) = slicer.util.findChildren(reviewed.ui.resultsFolderPathLineEdit, className="QLineEdit")
    line.setFocus()
    line.setCursorPosition(len(str(tmp_path)))
    QTest.keyClicks(line, "/of/Ada")
    slicer_host.wait_until(lambda: True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]
    assert reviewed.keeper.folder == tmp_path / "results" and reviewed.keeper.session.undo_text
    QTest.keyClick(line, qt.Qt.Key_Return)
    assert reviewed.inputs.folder() == tmp_path / "of" / "Ada" / "results"


def test_the_folder_of_the_scene_can_be_chosen_after_the_scene_was_saved(panel, tmp_path):
    (tmp_path / "case").mkdir()
    panel.ui.resultsFolderPathLineEdit.currentPath = ""
    slicer.mrmlScene.SetURL(str(tmp_path / "case" / "scene.mrml"))
    panel.update()
    panel.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "case")
    panel.update()
    assert panel.inputs.folder() == tmp_path / "case"


def test_results_of_the_next_patient_do_not_go_beside_the_scene_that_a_script_has_cleared(panel, small_scan, tmp_path):
    (tmp_path / "case").mkdir()
    panel.ui.resultsFolderPathLineEdit.currentPath = ""
    path = str(tmp_path / "case" / "scene.mrml")
    slicer.util.saveScene(path)
    # Slicer's own File > Close forgets the path, this does not
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.GetURL() == path
    add_scan(small_scan, "sub-02_swi")
    panel.enter()
    assert panel.inputs.folder() != tmp_path / "case"
    slicer.util.saveScene(path)
    panel.inputs.forget()
    assert panel.inputs.folder() == tmp_path / "case"
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)
    slicer_host.wait_until(lambda: True)
    assert panel.inputs.folder() == tmp_path / "case"


def test_a_scene_opens_with_the_scan_that_was_chosen_though_another_stands_before_it(panel, small_scan, tmp_path):
    add_scan(small_scan, "sub-01_swi")
    panel.ui.inputVolumeSelector.setCurrentNode(add_scan(small_scan, "sub-02_swi", mirrored=True))
    slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    slicer_host.wait_until(lambda: True)
    assert panel.parameters().inputVolume.GetName() == "sub-02_swi"
    assert panel.ui.inputVolumeSelector.currentNode() is panel.parameters().inputVolume


def test_a_mask_goes_with_its_scene_without_a_word(panel, volume, small_scan, host):
    mask = np.ascontiguousarray((small_scan.array > 0).T).astype(np.uint8)
    node = slicer.util.addVolumeFromArray(mask, small_scan.affine, "m", nodeClassName="vtkMRMLLabelMapVolumeNode")
    panel.ui.maskSelector.setCurrentNode(node)
    # Slicer's own selector drops its nodes when the panel has let go of its parameters
    panel.onSceneStartClose()
    panel.ui.maskSelector.setCurrentNode(None)
    assert not host.errors
    panel.onSceneReady()


def test_a_scene_that_is_added_leaves_the_brain_mask(panel, small_scan, tmp_path):
    mask = np.ascontiguousarray((small_scan.array > 0).T).astype(np.uint8)
    node = slicer.util.addVolumeFromArray(mask, small_scan.affine, "m", nodeClassName="vtkMRMLLabelMapVolumeNode")
    panel.ui.maskSelector.setCurrentNode(node)
    # in the application the selector loses its node when the scene is there, before the panel takes it
    panel.onSceneStartLoad()
    panel.ui.maskSelector.setCurrentNode(None)
    panel.onSceneLoaded()
    slicer_host.wait_until(lambda: True)
    assert panel.parameters().maskVolume is node
    assert panel.ui.maskSelector.currentNode() is node


def test_a_scene_that_is_added_leaves_the_chosen_scan_and_its_review(panel, volume, small_scan, found_files, tmp_path):
    other = add_scan(small_scan, "sub-00_swi", mirrored=True)
    take_run(panel, volume, found_files)
    accept(panel, 1)
    # Slicer's selectors lose their node and find it again while a scene is added to the open one
    panel.onSceneStartLoad()
    panel.ui.inputVolumeSelector.setCurrentNode(None)
    panel.ui.inputVolumeSelector.setCurrentNode(other)
    panel.onSceneLoaded()
    slicer_host.wait_until(lambda: True)
    assert panel.parameters().inputVolume is volume
    assert panel.keeper.session.undo_text
