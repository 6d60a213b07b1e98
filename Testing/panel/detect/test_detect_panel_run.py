"""Inputs and Run: what the user sees before, during and after a detection."""

import json
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
import vtk
from detect_steps import centers_of_views, take_run
from PySide6.QtTest import QTest

import slicer_host
from CMMDetectLib.candidates import Stage, at_stage
from CMMDetectLib.errors import InputError
from CMMDetectLib.scene_volume import affine_of
from CMMDetectWidgets import worker_process
from CMMDetectWidgets.inputs import guessFromText


def apply(panel):
    QTest.mouseClick(panel.ui.applyButton, qt.Qt.LeftButton)


def problem(panel):
    return panel.ui.inputProblemLabel.text


def shown_volumes():
    return {node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}


def wait_for_the_end(panel, timeout_s=60):
    slicer_host.wait_until(lambda: not panel.run.running, timeout_s)


def test_a_run_finds_the_microbleeds_and_shows_every_stage(panel, volume, small_scan, tmp_path):
    assert panel.ui.modalityComboBox.currentText == "SWI"
    assert panel.ui.modalityHintLabel.text == "from the name"
    apply(panel)
    assert panel.ui.applyButton.text == "Cancel"
    assert not panel.ui.inputsCollapsibleButton.isEnabled()
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 0 or not panel.run.running, 30)
    wait_for_the_end(panel)
    assert panel.ui.applyButton.text == "Apply"
    session = panel.keeper.session
    final = at_stage(session.candidates, Stage.FINAL)
    assert panel.ui.stepLabel.text.endswith(f"{len(final)}.")
    assert volume.GetName() in panel.ui.stepLabel.text
    distances = np.linalg.norm(small_scan.lesions[:, None] - [[c.x, c.y, c.z] for c in final], axis=-1)
    assert (distances.min(axis=1) < 2).all()
    for stage in Stage:
        node = panel.keeper.markings.points(stage.value)
        assert node.GetNumberOfControlPoints() == len(at_stage(session.candidates, stage))
    assert (tmp_path / "results" / "sub-01_swi_candidates.tsv").is_file()
    assert (tmp_path / "results" / "sub-01_swi_review.json").is_file()
    assert not list(Path(slicer.app.temporaryPath).glob("cmmdetect-*"))


def test_cancelling_in_the_middle_leaves_nothing(panel, tmp_path):
    apply(panel)
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 0, 30)
    apply(panel)
    assert panel.ui.stepLabel.text == "Cancelling"
    wait_for_the_end(panel)
    assert panel.ui.stepLabel.text == "Cancelled."
    assert panel.ui.applyButton.text == "Apply" and panel.ui.applyButton.isEnabled()
    assert panel.keeper.session is None
    assert not list((tmp_path / "results").iterdir())


DONE_ALL_THE_SAME = """
import json, sys, time
from pathlib import Path
files, cancel = json.loads(sys.argv[1]), Path(sys.argv[2] + ".cancel")
news = {"stage": "writing", "progress": 0.9, "message": "writing"}
print(json.dumps(news), flush=True)
while not cancel.exists():
    time.sleep(0.05)
print(json.dumps({**news, "stage": "done", "files": files}), flush=True)
"""


def test_a_run_that_is_done_before_it_can_be_cancelled_is_shown_and_says_so(panel, found_files, monkeypatch):
    arguments = ["-c", DONE_ALL_THE_SAME, json.dumps(found_files)]
    monkeypatch.setattr(
        worker_process, "command", lambda job: (worker_process.pythonInterpreter(), [*arguments, str(job)])
    )
    apply(panel)
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 0, 30)
    apply(panel)
    wait_for_the_end(panel)
    assert panel.ui.stepLabel.text.startswith("The search was done before it could be stopped. Candidates")
    assert panel.keeper.session.candidates


@pytest.mark.parametrize("moment", ["_prepare", "_onDone"])
def test_after_a_surprise_the_button_starts_the_next_run_and_nothing_is_left(
    panel, found_files, monkeypatch, host, moment
):
    arguments = ["-c", DONE_ALL_THE_SAME, json.dumps(found_files)]

    def command(job):
        Path(f"{job}.cancel").touch()
        return worker_process.pythonInterpreter(), [*arguments, str(job)]

    def surprise(*_arguments):
        raise ZeroDivisionError("so it goes")

    monkeypatch.setattr(worker_process, "command", command)
    monkeypatch.setattr(panel.run, moment, surprise)
    apply(panel)
    wait_for_the_end(panel)
    assert "so it goes" in host.errors.pop()
    assert panel.ui.stepLabel.text.endswith("error log says why.")
    assert panel.ui.applyButton.text == "Apply" and panel.ui.applyButton.isEnabled()
    assert not list(Path(slicer.app.temporaryPath).glob("cmmdetect-*"))


LONG_STEP = """
import os, time
print('{"stage": "a", "progress": 0.1, "message": "a long step", "pid": %d}' % os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def launcher(monkeypatch, tmp_path):
    """Have the worker started as PythonSlicer does: by a process of its own that waits for it.

    Give a function that takes the arguments of the interpreter, or the usual ones.
    """
    path, number = tmp_path / "PythonLauncher", tmp_path / "number"
    path.write_text(f'#!/bin/sh\n"{worker_process.pythonInterpreter()}" "$@" &\necho $! > "{number}"\nwait $!\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    usual = worker_process.command

    def launch(arguments=None):
        monkeypatch.setattr(worker_process, "command", lambda job: (str(path), arguments or usual(job)[1]))
        return lambda: lives(int(number.read_text()))

    return launch


def lives(pid):
    """Whether a process runs; one that has ended and that nobody waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.is_file() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(os.name == "nt", reason="the launcher is a shell script")
def test_a_cancelled_run_in_a_long_step_is_ended_behind_its_launcher(panel, launcher, monkeypatch):
    monkeypatch.setattr(worker_process.WorkerProcess, "graceMs", 300)
    worker_lives = launcher(["-c", LONG_STEP])
    apply(panel)
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 0, 30)
    assert worker_lives()
    apply(panel)
    wait_for_the_end(panel)
    slicer_host.wait_until(lambda: not worker_lives(), 5)
    assert panel.ui.stepLabel.text == "Cancelled."


@pytest.mark.skipif(os.name == "nt", reason="the launcher is a shell script")
def test_closing_the_scene_ends_a_run_in_a_long_step_at_once(panel, launcher):
    worker_lives = launcher(["-c", LONG_STEP])
    apply(panel)
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 0, 30)
    assert worker_lives()
    slicer.mrmlScene.Clear(0)
    slicer_host.wait_until(lambda: not worker_lives(), 2)


@pytest.mark.skipif(os.name == "nt", reason="the launcher is a shell script")
def test_closing_the_scene_ends_the_run_behind_its_launcher_and_nothing_is_written(panel, launcher, tmp_path):
    worker_lives = launcher()
    apply(panel)
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 0, 30)
    assert worker_lives()
    slicer.mrmlScene.Clear(0)
    slicer_host.wait_until(lambda: not worker_lives(), 5)
    assert not list((tmp_path / "results").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="the launcher is a shell script")
def test_closing_the_scene_before_the_worker_said_anything_ends_it_too(panel, launcher, tmp_path):
    worker_lives = launcher()
    apply(panel)
    slicer_host.wait_until(lambda: (tmp_path / "number").is_file() and (tmp_path / "number").read_text(), 10)
    assert panel.ui.progressBar.value == 0
    slicer.mrmlScene.Clear(0)
    slicer_host.wait_until(lambda: not worker_lives(), 30)
    assert not list((tmp_path / "results").iterdir())


def test_a_crashed_worker_is_told_in_one_line(panel, monkeypatch):
    crash = ["-c", "import os; print('about to die', flush=True); os.abort()"]
    monkeypatch.setattr(worker_process, "command", lambda _job: (worker_process.pythonInterpreter(), crash))
    apply(panel)
    wait_for_the_end(panel)
    assert "ended unexpectedly" in panel.ui.stepLabel.text
    assert "\n" not in panel.ui.stepLabel.text
    assert "about to die" in panel.ui.logTextEdit.toPlainText()


def test_a_missing_interpreter_is_told_in_one_line(panel, monkeypatch):
    monkeypatch.setattr(worker_process, "command", lambda _job: ("/nowhere/python", []))
    apply(panel)
    wait_for_the_end(panel)
    assert "could not be started" in panel.ui.stepLabel.text


def test_what_the_worker_refuses_is_told_in_its_words(panel, monkeypatch, tmp_path):
    (tmp_path / "results").rmdir()
    (tmp_path / "results").write_text("a file where the folder should be")
    apply(panel)
    wait_for_the_end(panel)
    assert "cannot write here" in panel.ui.stepLabel.text


def test_leaving_the_module_does_not_stop_a_run_but_closing_the_scene_does(panel):
    apply(panel)
    slicer.util.selectModule("Data")
    assert panel.run.running
    slicer.mrmlScene.Clear(0)
    assert not panel.run.running
    assert not list(Path(slicer.app.temporaryPath).glob("cmmdetect-*"))


def test_a_run_that_ends_leaves_the_views_to_the_module_that_is_shown(panel, volume, small_scan, found_files):
    other = slicer.util.addVolumeFromArray(np.ascontiguousarray(small_scan.array.T), small_scan.affine, "T1")
    slicer.util.selectModule("Data")
    slicer.util.setSliceViewerLayers(background=other)
    before = centers_of_views()
    take_run(panel, volume, found_files)
    assert np.array_equal(centers_of_views(), before)
    assert shown_volumes() == {other.GetID()}
    slicer.util.selectModule("CMMDetect")
    assert shown_volumes() == {volume.GetID()}
    chosen = panel.keeper.session[panel.review.current]
    assert np.allclose(centers_of_views(), (chosen.x, chosen.y, chosen.z), atol=0.01)


def test_after_reload_the_views_follow_at_once(panel, volume, found_files):
    panel.cleanup()
    again = type(panel)(panel.parent)
    again.setup()
    take_run(again, volume, found_files)
    chosen = again.keeper.session[again.review.current]
    assert np.allclose(centers_of_views(), (chosen.x, chosen.y, chosen.z), atol=0.01)


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


def test_the_sample_scan_is_registered_and_loads_without_network(panel):
    import SampleData

    source = SampleData.SampleDataLogic.registered[-1]
    assert source.sampleName == "CMMDetectSample"
    node = SampleData.SampleDataLogic().downloadSample("CMMDetectSample")
    assert node.GetImageData().GetDimensions() == (192, 224, 56)


def test_scripts_detect_without_the_panel(panel, volume):
    found = panel.logic.process(volume, method="classical")
    final = at_stage(found.candidates, Stage.FINAL)
    assert len(final) >= 3
    assert found.points["final"].GetNumberOfControlPoints() == len(final)


def test_scripts_run_the_best_method_that_can_with_the_model_in_use(panel, volume, monkeypatch, tmp_path):
    jobs = []

    def keep(path):
        jobs.append(json.loads(path.read_text()))
        raise InputError("kept")

    monkeypatch.setattr(sys.modules[type(panel).__module__], "runBlocking", keep)
    monkeypatch.setattr("CMMDetectWidgets.inputs.networksReady", lambda: True)
    monkeypatch.setattr("CMMDetectWidgets.inputs.modelFolder", lambda chosen: Path(chosen or tmp_path / "in-use"))
    for options in ({}, {"model": str(tmp_path / "other")}, {"method": "classical"}):
        with pytest.raises(InputError, match="kept"):
            panel.logic.process(volume, **options)
    monkeypatch.setattr("CMMDetectWidgets.inputs.networksReady", lambda: False)
    with pytest.raises(InputError, match="kept"):
        panel.logic.process(volume)
    assert [job["method"] for job in jobs] == ["paper", "paper", "classical", "classical"]
    assert [job.get("model") for job in jobs] == [str(tmp_path / "in-use"), str(tmp_path / "other"), None, None]


def test_the_self_test_of_the_module_passes(panel):
    slicer.modules.CMMDetectInstance.runTest()
