"""Several scans, patients and readers in one session: each has what is theirs."""

import json

import numpy as np
import pytest
import qt
import slicer
from detect_steps import accept, add_scan, click, take_run, type_reader
from PySide6.QtTest import QTest

import slicer_host
from CMMDetectLib.candidates import Stage, at_stage
from CMMDetectLib.errors import OutputError
from CMMDetectLib.job import DetectionJob, run_job
from CMMDetectLib.review_file import read_review
from CMMDetectLib.scan import write_image
from CMMDetectLib.scene_nodes import REGIONS, ROLES, find_hub, owned
from CMMDetectLib.scene_volume import scan_of
from CMMDetectWidgets.review_keeper import showDetection


def contrast(panel):
    return panel.parameters().modality.name, panel.ui.modalityHintLabel.text


@pytest.fixture
def other_files(small_scan, tmp_path_factory):
    """What a run finds in the other patient."""
    folder = tmp_path_factory.mktemp("other")
    write_image(folder / "scan_swi.nii", np.ascontiguousarray(small_scan.array[:, ::-1]), small_scan.affine)
    job = DetectionJob(scan=str(folder / "scan_swi.nii"), output=str(folder / "out"), method="classical")
    return {kind: str(path) for kind, path in run_job(job).files.items()}


def test_two_patients_whose_scans_have_the_same_name_keep_their_own_files(reviewed, small_scan, tmp_path, other_files):
    results = tmp_path / "results"
    reviewed.ui.exportCollapsibleButton.collapsed = False
    accepted = accept(reviewed, 2)
    click(reviewed.ui.exportButton)
    before = {path.name: path.read_bytes() for path in results.iterdir() if path.is_file()}
    slicer.mrmlScene.Clear(0)
    other = add_scan(small_scan, "sub-01_swi", mirrored=True)
    type_reader(reviewed, "Ada")
    reviewed.enter()
    reviewed.ui.resultsFolderPathLineEdit.currentPath = str(results)
    assert reviewed.keeper.session is None
    take_run(reviewed, other, other_files)
    accept(reviewed, 1)
    click(reviewed.ui.exportButton)
    assert {name: (results / name).read_bytes() for name in before} == before
    assert {item.id for item in read_review(results / "sub-01_swi_review.json").accepted} == set(accepted)
    stem = reviewed.keeper.session.scan.name
    assert stem.startswith("sub-01_swi-") and (results / f"{stem}_reviewed.tsv").is_file()
    job = json.loads(reviewed._prepareJob(tmp_path).read_text())
    assert job["scan"].endswith(f"{stem}.nii")


def test_a_review_is_found_again_when_the_one_of_the_same_name_is_gone(reviewed, small_scan, tmp_path, other_files):
    results = tmp_path / "results"
    slicer.mrmlScene.Clear(0)
    for again in (False, True):
        other = add_scan(small_scan, "sub-01_swi", mirrored=True)
        reviewed.enter()
        reviewed.ui.resultsFolderPathLineEdit.currentPath = str(results)
        if not again:
            take_run(reviewed, other, other_files)
            accepted = accept(reviewed, 1)
            slicer.mrmlScene.Clear(0)
            (results / "sub-01_swi_review.json").unlink()
    assert [item.id for item in reviewed.keeper.session.accepted] == accepted


def test_what_a_run_found_goes_where_it_was_sent_whatever_is_chosen_when_it_ends(
    panel, volume, small_scan, found_files, tmp_path
):
    panel._prepareJob(tmp_path)
    box = panel.ui.modalityComboBox
    panel.ui.inputVolumeSelector.setCurrentNode(add_scan(small_scan, "sub-02_QSM", mirrored=True))
    panel.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "elsewhere")
    panel._onRunDone(found_files)
    assert panel.keeper.volume is volume and panel.keeper.folder == tmp_path / "results"
    assert panel.keeper.session.scan.modality == "swi" and "QSM" in box.currentText
    assert not (tmp_path / "elsewhere").exists()


def test_a_run_that_ends_while_a_scene_is_added_is_shown(panel, volume, found_files, tmp_path):
    panel._prepareJob(tmp_path)
    panel.onSceneStartLoad()
    panel._onRunDone(found_files)
    panel.onSceneLoaded()
    slicer_host.wait_until(lambda: True)
    assert panel.keeper.session.candidates


def test_the_contrast_is_guessed_anew_after_a_scan_was_taken_away(panel, volume, small_scan):
    assert contrast(panel) == ("SWI", "from the name")
    slicer.mrmlScene.RemoveNode(volume)
    panel.ui.inputVolumeSelector.setCurrentNode(add_scan(small_scan, "sub-02_QSM"))
    assert contrast(panel) == ("QSM", "from the name")


def test_the_contrast_that_a_user_chose_for_a_scan_comes_back_with_it(panel, volume, small_scan, tmp_path):
    selector, box = panel.ui.inputVolumeSelector, panel.ui.modalityComboBox
    other = add_scan(small_scan, "sub-02_QSM")
    selector.setCurrentNode(other)
    box.setCurrentIndex(box.findText("SWI"))
    assert contrast(panel) == ("SWI", "")
    selector.setCurrentNode(volume)
    selector.setCurrentNode(other)
    assert contrast(panel) == ("SWI", "")
    slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    slicer_host.wait_until(lambda: True)
    selector.setCurrentNode(slicer.util.getNode("sub-01_swi"))
    selector.setCurrentNode(slicer.util.getNode("sub-02_QSM"))
    assert contrast(panel) == ("SWI", "")


def test_a_label_map_is_not_taken_for_the_first_scan(host, small_scan, detect_panel):
    labels = (small_scan.array > 0).T.astype(np.uint8)
    arguments = np.ascontiguousarray(labels), small_scan.affine, "labels"
    slicer.util.addVolumeFromArray(*arguments, nodeClassName="vtkMRMLLabelMapVolumeNode")
    detect_panel.enter()
    assert not detect_panel.ui.applyButton.enabled
    volume = add_scan(small_scan, "sub-01_swi")
    detect_panel.enter()
    assert detect_panel.parameters().inputVolume is volume


def test_a_reader_who_gives_the_name_late_goes_on_with_their_own_review(reviewed, volume, found_files, tmp_path):
    type_reader(reviewed, "Ada")
    accepted = accept(reviewed, 2)
    type_reader(reviewed, "")
    slicer_host.wait_until(lambda: True)
    type_reader(reviewed, "Ada")
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    assert not list((tmp_path / "results").glob("*older*"))


def test_what_a_script_found_is_reviewed_under_the_name_that_the_panel_shows(panel, small_scan, other_files):
    other = add_scan(small_scan, "sub-02_swi", mirrored=True)
    showDetection(other, scan_of(other, "swi"), other_files)
    type_reader(panel, "Ada")
    panel.ui.inputVolumeSelector.setCurrentNode(other)
    assert panel.ui.readerLineEdit.text == "Ada"
    accept(panel, 1)
    assert panel.keeper.session.save.path.name == "sub-02_swi_reader-Ada_review.json"
    assert [item.reader for item in panel.keeper.session.accepted] == ["Ada"]


def test_decisions_without_a_name_stay_in_their_file_when_the_reader_has_a_review(reviewed, tmp_path):
    type_reader(reviewed, "Ada")
    hers = accept(reviewed, 1)
    type_reader(reviewed, "")
    nobodys = accept(reviewed, 3)
    type_reader(reviewed, "Ada")
    assert [item.id for item in reviewed.keeper.session.accepted] == hers
    assert "sub-01_swi_review.json" in reviewed.ui.messageLabel.text
    kept = read_review(tmp_path / "results" / "sub-01_swi_review.json")
    assert {item.id for item in kept.accepted} == set(nobodys)


def test_a_reader_who_marks_first_adds_to_the_review_that_they_have(reviewed, volume, small_scan, tmp_path):
    type_reader(reviewed, "Ada")
    accepted = accept(reviewed, 2)
    slicer.mrmlScene.Clear(0)
    (tmp_path / "results" / "sub-01_swi_review.json").unlink()
    reviewed.ui.readerLineEdit.setText("")
    add_scan(small_scan, "sub-01_swi")
    reviewed.enter()
    reviewed.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")
    assert reviewed.keeper.session is None
    type_reader(reviewed, "Ada")
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    assert not list((tmp_path / "results").glob("*older*"))


def test_a_reader_takes_over_a_newer_run_and_no_older_one(reviewed):
    type_reader(reviewed, "Ada")
    accept(reviewed, 1)
    now = reviewed.keeper.session.run["created"]
    type_reader(reviewed, "Ben")
    mine = accept(reviewed, 1)
    session = reviewed.keeper.session
    session.run = {**session.run, "created": "1999-01-01T00:00:00+00:00"}
    session.save(session)
    type_reader(reviewed, "Ada")
    assert reviewed.keeper.session.run["created"] == now
    type_reader(reviewed, "Ben")
    assert reviewed.keeper.session.run["created"] == now
    assert [item.id for item in reviewed.keeper.session.accepted] == mine


def test_a_damaged_review_of_another_reader_is_in_nobodys_way(reviewed, volume, small_scan, tmp_path):
    type_reader(reviewed, "Ada")
    accepted = accept(reviewed, 2)
    slicer.mrmlScene.Clear(0)
    (tmp_path / "results" / "sub-01_swi_reader-Ben_review.json").write_text("damaged")
    add_scan(small_scan, "sub-01_swi")
    reviewed.enter()
    reviewed.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    type_reader(reviewed, "Ben")
    assert "damaged" in reviewed.ui.messageLabel.text
    assert reviewed.ui.readerLineEdit.text == "Ada" == reviewed.keeper.session.reader


def test_opening_the_open_review_keeps_the_note_that_is_being_written(reviewed, tmp_path):
    accept(reviewed, 1)
    reviewed.review.choose(reviewed.review.listed[0])
    path = tmp_path / "results" / "sub-01_swi_review.json"
    reviewed.ui.sessionPathLineEdit.currentPath = str(path)
    reviewed.ui.noteLineEdit.setText("beside a vein")
    reviewed.ui.openSessionButton.click()
    assert "beside a vein" in {item.note for item in reviewed.keeper.session.candidates}
    assert not list(path.parent.glob("*older*"))


def test_the_counts_beside_the_stages_are_those_of_the_last_run(reviewed, volume, found_files):
    from dataclasses import replace

    before = reviewed.ui.finalCheckBox.text
    session = reviewed.keeper.session
    moved = [replace(item, stage=Stage.FINAL, rejected_by=None) for item in session.candidates]
    assert len(at_stage(moved, Stage.FINAL)) > len(at_stage(session.candidates, Stage.FINAL))
    session.take_run(moved, session.run)
    assert reviewed.ui.finalCheckBox.text == f"Final ({len(moved)})" != before


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


@pytest.mark.parametrize(("threshold", "shown"), [(0.004, 0.004), (0.0002, 0.001)])
def test_a_model_with_a_very_low_threshold_can_be_used(panel, monkeypatch, threshold, shown):
    from dataclasses import replace

    from CMMDetectLib.classical_method import ClassicalMethod
    from CMMDetectWidgets import input_section

    low = replace(ClassicalMethod().settings, th_discrimination=threshold)
    monkeypatch.setattr(input_section, "methodSettings", lambda _parameters: low)
    panel.inputs.forget()
    panel.update()
    assert panel.ui.thDiscriminationSlider.value == pytest.approx(shown)
    assert panel.ui.applyButton.enabled


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


def test_another_segmentation_does_not_become_the_brain_mask_where_the_one_in_use_is_removed(panel, small_scan):
    mask = np.ascontiguousarray((small_scan.array > 0).T).astype(np.uint8)
    label = "vtkMRMLLabelMapVolumeNode"
    nodes = [
        slicer.util.addVolumeFromArray(mask, small_scan.affine, name, nodeClassName=label)
        for name in ("other", "brain")
    ]
    panel.ui.maskSelector.setCurrentNode(nodes[1])
    assert panel.parameters().maskVolume is nodes[1]
    slicer.mrmlScene.RemoveNode(nodes[1])
    assert panel.parameters().maskVolume is None
    assert panel.ui.maskSelector.currentNode() is None


def shown_lists(volume):
    hub = find_hub(volume)
    return [owned(hub, role).GetDisplayNode().GetVisibility() for role in (*ROLES, REGIONS)]


def test_the_markings_of_one_patient_are_not_seen_in_the_scan_of_another(reviewed, volume, small_scan):
    other = add_scan(small_scan, "sub-02_swi", mirrored=True)
    owned(find_hub(volume), ROLES[0]).GetDisplayNode().SetVisibility(False)
    assert shown_lists(volume) == [0, 1, 1, 1, 1]
    reviewed.ui.inputVolumeSelector.setCurrentNode(other)
    assert shown_lists(volume) == [0, 0, 0, 0, 0]
    reviewed.ui.inputVolumeSelector.setCurrentNode(volume)
    # what the user had hidden stays so
    assert shown_lists(volume) == [0, 1, 1, 1, 1]


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


def test_a_review_that_was_put_right_opens_when_the_module_is_entered_again(reviewed, small_scan, tmp_path):
    accepted = accept(reviewed, 2)
    path = tmp_path / "results" / "sub-01_swi_review.json"
    content = path.read_text()
    slicer.mrmlScene.Clear(0)
    path.write_text("damaged")
    add_scan(small_scan, "sub-01_swi")
    reviewed.enter()
    reviewed.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")
    assert "damaged" in reviewed.ui.messageLabel.text
    path.write_text(content)
    reviewed.exit()
    reviewed.enter()
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    assert reviewed.ui.messageLabel.text == ""


def test_a_note_that_could_not_be_saved_when_its_review_was_closed_is_told(reviewed, small_scan, monkeypatch):
    def fail(path, session):
        raise OutputError("the disk is full")

    reviewed.review.choose(reviewed.review.listed[0])
    reviewed.ui.noteLineEdit.setText("beside a vein")
    monkeypatch.setattr("CMMDetectLib.review_file.write_review", fail)
    reviewed.ui.inputVolumeSelector.setCurrentNode(add_scan(small_scan, "sub-02_swi", mirrored=True))
    assert "the disk is full" in reviewed.ui.messageLabel.text


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
