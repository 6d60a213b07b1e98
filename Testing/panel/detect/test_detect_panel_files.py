"""Nothing is lost: scenes, files, readers, exports."""

import json

import nibabel as nib
import numpy as np
import pytest
import slicer
from detect_steps import accept, click, place_point, take_run, type_reader

import slicer_host
from CMMDetectLib.candidates import Stage
from CMMDetectLib.review_file import from_text, read_review
from CMMDetectLib.scan import Modality, Scan
from CMMDetectLib.scene import saved_review
from CMMDetectLib.scene_nodes import ROLES
from CMMDetectTrainLib.annotations import read_annotations


def test_a_saved_scene_goes_on_where_it_stopped(reviewed, tmp_path, small_scan):
    accepted = accept(reviewed, 2)
    reviewed.review.add()
    place_point(small_scan.lesions[0] + (0, 0, 30))
    slicer.util.saveScene(str(tmp_path / "case.mrb"))
    before = [vars(item) for item in reviewed.keeper.session.candidates]
    slicer.mrmlScene.Clear(0)
    assert reviewed.keeper.session is None
    assert reviewed.review.listed == []
    for file in (tmp_path / "results").iterdir():
        file.unlink()
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    slicer_host.wait_until(lambda: True)
    assert [vars(item) for item in reviewed.keeper.session.candidates] == before
    assert {item.id for item in reviewed.keeper.session.accepted} == {*accepted, "cmb-r001"}
    assert reviewed.ui.detectionCheckBox.checked
    assert len(slicer.util.getNodesByClass("vtkMRMLTextNode")) == 1
    accept(reviewed, 3)
    assert (tmp_path / "results" / "sub-01_swi_review.json").is_file()


def test_closing_the_scene_loses_nothing(reviewed, small_scan, tmp_path):
    accepted = accept(reviewed, 2)
    slicer.mrmlScene.Clear(0)
    slicer.util.addVolumeFromArray(np.ascontiguousarray(small_scan.array.T), small_scan.affine, "sub-01_swi")
    reviewed.enter()
    reviewed.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")
    assert [item.id for item in reviewed.keeper.session.accepted] == accepted


def test_deleting_a_node_or_renaming_the_volume_loses_nothing(reviewed, volume):
    accepted = accept(reviewed, 1)
    slicer.mrmlScene.RemoveNode(reviewed.keeper.markings.points("accepted"))
    volume.SetName("another name")
    slicer_host.wait_until(lambda: True)
    accept(reviewed, 2)
    assert reviewed.keeper.markings.points("accepted").GetNumberOfControlPoints() == 2
    assert accepted[0] in {item.id for item in reviewed.keeper.session.accepted}


def test_a_script_that_removes_the_settings_too_leaves_a_panel_that_goes_on(reviewed):
    accepted = accept(reviewed, 2)
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetSingletonNode("CMMDetect", "vtkMRMLScriptedModuleNode"))
    slicer_host.wait_until(lambda: True)
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    assert reviewed.ui.inputVolumeSelector.currentNode() is reviewed.parameters().inputVolume is not None
    reviewed.ui.detectionCheckBox.click()
    assert slicer.mrmlScene.IsNodePresent(reviewed.parameters().parameterNode)


@pytest.mark.parametrize("searched_at_once", [False, True])
def test_the_review_of_a_scan_that_was_corrected_in_place_goes_on_and_the_earlier_one_stays(
    reviewed, volume, other_scan, found_files, tmp_path, searched_at_once
):
    accepted = accept(reviewed, 2)
    path = tmp_path / "results" / "sub-01_swi_review.json"
    before = path.read_text()
    slicer.util.arrayFromVolume(volume)[:] *= 1.01
    slicer.util.arrayFromVolumeModified(volume)
    if searched_at_once:
        take_run(reviewed, volume, found_files)
    reviewed.ui.inputVolumeSelector.setCurrentNode(other_scan)
    reviewed.ui.inputVolumeSelector.setCurrentNode(volume)
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)
    now = reviewed.keeper.session.save.path
    if not searched_at_once:
        assert f"check the marks. The review goes on as {now.name}" in reviewed.ui.messageLabel.text
    accept(reviewed, 3)
    assert now != path and len(read_review(now).accepted) == 3
    assert path.read_text() == before


def test_the_review_of_a_scan_whose_new_name_tells_no_contrast_opens_again(reviewed, volume, other_scan):
    accepted = accept(reviewed, 2)
    volume.SetName("Patient A")
    reviewed.ui.inputVolumeSelector.setCurrentNode(other_scan)
    reviewed.ui.inputVolumeSelector.setCurrentNode(volume)
    assert reviewed.ui.modalityComboBox.currentText == "SWI"
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)


def test_deleting_the_volume_closes_its_review_and_leaves_no_marks_on_nothing(reviewed, volume):
    accept(reviewed, 1)
    lists = [reviewed.keeper.markings.points(role) for role in ROLES]
    slicer.mrmlScene.RemoveNode(volume)
    assert reviewed.keeper.session is None
    assert reviewed.ui.reviewProgressLabel.text == "Nothing to review yet."
    assert not any(node.GetDisplayNode().GetVisibility() for node in lists)


def test_a_full_disk_is_told_and_the_verdict_stays(reviewed, monkeypatch):
    from CMMDetectLib.errors import OutputError

    def fail(session):
        raise OutputError("the disk is full")

    reviewed.keeper.session.save = fail
    name = accept(reviewed, 1)[0]
    assert reviewed.keeper.session[name].verdict == "accepted"


def test_a_full_disk_stays_in_sight_whatever_else_is_told_until_all_is_saved(reviewed, small_scan, monkeypatch):
    from CMMDetectLib.errors import OutputError

    def fail(path, session):
        raise OutputError("the disk is full")

    monkeypatch.setattr("CMMDetectLib.review_file.write_review", fail)
    reviewed.review.add()
    place_point(small_scan.lesions[0] + (0, 0, 30))
    assert reviewed.review.current == "cmb-r001"
    assert reviewed.ui.messageLabel.text == "Not saved: the disk is full"
    accept(reviewed, len(reviewed.review.listed))
    assert reviewed.ui.messageLabel.text == "Not saved: the disk is full\nEvery candidate in view is decided."
    reviewed.review.move()
    assert reviewed.ui.messageLabel.text.startswith("Not saved: the disk is full\nClick in a slice view")
    monkeypatch.undo()
    place_point(small_scan.lesions[0] + (9, 0, 30))
    assert reviewed.ui.messageLabel.text == ""
    assert read_review(reviewed.keeper.session.save.path).candidates == reviewed.keeper.session.candidates


def test_a_second_reader_begins_with_an_open_mind(reviewed, tmp_path):
    type_reader(reviewed, "Ada")
    first = accept(reviewed, 2)
    type_reader(reviewed, "Ben")
    assert reviewed.keeper.session.reader == "Ben"
    assert reviewed.keeper.session.accepted == []
    assert 'a new review. That of "Ada" is kept' in reviewed.ui.messageLabel.text
    accept(reviewed, 1)
    ada = read_review(tmp_path / "results" / "sub-01_swi_reader-Ada_review.json")
    assert {item.id for item in ada.accepted} == set(first)
    type_reader(reviewed, "Ada")
    assert {item.id for item in reviewed.keeper.session.accepted} == set(first)


def test_a_reader_of_almost_the_same_name_neither_sees_nor_changes_what_the_first_one_said(reviewed):
    type_reader(reviewed, "A. B.")
    first = accept(reviewed, 2)
    type_reader(reviewed, "A B")
    assert reviewed.keeper.session.reader == "A B"
    assert reviewed.keeper.session.accepted == []
    second = accept(reviewed, 1)
    for name, accepted in (("A. B.", first), ("A B", second)):
        type_reader(reviewed, name)
        assert reviewed.keeper.session.reader == name
        assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)


def test_two_readers_are_compared_and_settled(reviewed, tmp_path):
    type_reader(reviewed, "Ada")
    accept(reviewed, 2)
    type_reader(reviewed, "Ben")
    accept(reviewed, 1)
    reviewed.ui.sessionPathLineEdit.currentPath = str(tmp_path / "results" / "sub-01_swi_reader-Ada_review.json")
    reviewed.ui.exportCollapsibleButton.collapsed = False
    click(reviewed.ui.compareButton)
    table = reviewed.ui.agreementTable
    shown = {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}
    assert shown["Both accepted"] == "1"
    assert (tmp_path / "results" / "sub-01_swi_agreement.tsv").is_file()
    click(reviewed.ui.adjudicateButton)
    third = reviewed.keeper.session
    assert third.reader == "adjudication"
    assert len(third.accepted) == 1
    assert any("Ada" in (item.note or "") for item in third.candidates)


@pytest.mark.parametrize("button", ["compareButton", "adjudicateButton"])
def test_a_reader_is_not_compared_with_themselves(reviewed, tmp_path, button):
    type_reader(reviewed, "Ada")
    accept(reviewed, 2)
    before, session = sorted((tmp_path / "results").iterdir()), reviewed.keeper.session
    reviewed.ui.sessionPathLineEdit.currentPath = str(tmp_path / "results" / "sub-01_swi_reader-Ada_review.json")
    reviewed.ui.exportCollapsibleButton.collapsed = False
    click(getattr(reviewed.ui, button))
    assert "is the review that is shown here" in reviewed.ui.exportLabel.text
    assert not reviewed.ui.agreementTable.isVisibleTo(reviewed.parent)
    assert reviewed.keeper.session is session and sorted((tmp_path / "results").iterdir()) == before


def test_how_the_readers_of_one_scan_agree_is_not_said_of_another(reviewed, other_scan, tmp_path):
    type_reader(reviewed, "Ada")
    accept(reviewed, 2)
    type_reader(reviewed, "Ben")
    reviewed.ui.sessionPathLineEdit.currentPath = str(tmp_path / "results" / "sub-01_swi_reader-Ada_review.json")
    reviewed.ui.exportCollapsibleButton.collapsed = False
    click(reviewed.ui.compareButton)
    assert reviewed.ui.agreementTable.isVisibleTo(reviewed.parent) and reviewed.ui.exportLabel.text
    reviewed.ui.inputVolumeSelector.setCurrentNode(other_scan)
    assert not reviewed.ui.agreementTable.isVisibleTo(reviewed.parent) and not reviewed.ui.exportLabel.text


def test_a_review_of_another_scan_is_refused(reviewed, tmp_path):
    other = json.loads((tmp_path / "results" / "sub-01_swi_review.json").read_text())
    other["scan"]["sha256"] = "0" * 64
    (tmp_path / "other_review.json").write_text(json.dumps(other))
    reviewed.ui.sessionPathLineEdit.currentPath = str(tmp_path / "other_review.json")
    reviewed.ui.exportCollapsibleButton.collapsed = False
    click(reviewed.ui.openSessionButton)
    assert "another scan" in reviewed.ui.exportLabel.text


def test_without_a_review_the_export_buttons_say_why(panel):
    assert not panel.ui.exportButton.isEnabled()
    assert panel.ui.exportButton.toolTip == "There is no review to export yet."


def test_the_export_has_points_regions_and_annotations_that_train(reviewed, small_scan, tmp_path):
    accept(reviewed, 2)
    reviewed.ui.exportCollapsibleButton.collapsed = False
    click(reviewed.ui.trainingButton)
    assert "healthy" in reviewed.ui.exportLabel.text
    for name in reviewed.review.listed[2:]:
        reviewed.review.choose(name)
        click(reviewed.ui.rejectButton)
    click(reviewed.ui.trainingButton)
    case = {path.name for path in (tmp_path / "results" / "training").iterdir()}
    assert case == {"sub-01_swi.nii.gz", "sub-01_swi_microbleeds.nii.gz"}
    click(reviewed.ui.exportButton)
    folder = tmp_path / "results"
    assert "Accepted microbleeds: 2. Written to" in reviewed.ui.exportLabel.text
    points = json.loads((folder / "sub-01_swi_accepted.mrk.json").read_text())["markups"][0]["controlPoints"]
    labels = nib.load(folder / "sub-01_swi_reviewed.nii.gz")
    assert len(points) == 2 and set(np.unique(labels.dataobj)) == {0, 1, 2}
    np.testing.assert_allclose(labels.affine, small_scan.affine, atol=1e-3)
    scan = Scan(small_scan.array, small_scan.affine, Modality.SWI)
    annotated = read_annotations(folder / "sub-01_swi_reviewed.tsv", scan)
    assert [point.name for point in annotated.points] == [item.id for item in reviewed.keeper.session.accepted]


def test_two_readers_export_into_one_folder_and_neither_loses_anything(reviewed, tmp_path):
    reviewed.ui.exportCollapsibleButton.collapsed = False
    folder, before = tmp_path / "results", {}
    for reader, count in (("Ada", 2), ("Ben", 1)):
        type_reader(reviewed, reader)
        accept(reviewed, count)
        for name in reviewed.review.listed[count:]:
            reviewed.review.choose(name)
            click(reviewed.ui.rejectButton)
        click(reviewed.ui.exportButton)
        click(reviewed.ui.trainingButton)
        now = {path: path.read_bytes() for path in folder.glob("sub-01_swi*") if "_review." not in path.name}
        assert before.items() <= now.items()
        before = now
    assert "kept as sub-01_swi_microbleeds-older.nii.gz" in reviewed.ui.exportLabel.text.replace("\u200b", "")
    assert (folder / "sub-01_swi_reader-Ben_reviewed.tsv").is_file()
    for name, count in (("sub-01_swi_microbleeds.nii.gz", 1), ("sub-01_swi_microbleeds-older.nii.gz", 2)):
        assert np.asarray(nib.load(folder / "training" / name).dataobj).max() == count


def test_the_export_has_the_note_that_is_being_written(reviewed, tmp_path):
    accept(reviewed, 1)
    reviewed.review.choose(reviewed.review.listed[0])
    reviewed.ui.noteLineEdit.setText("beside a vein")
    reviewed.ui.exportButton.click()  # leaves the keyboard where it is, as a click on a Mac does
    assert "beside a vein" in (tmp_path / "results" / "sub-01_swi_reviewed.tsv").read_text(encoding="utf-8")


def test_a_new_run_keeps_the_decisions(reviewed, volume, found_files):
    accepted = accept(reviewed, 2)
    take_run(reviewed, volume, found_files)
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)


def test_scripts_do_not_lose_the_decisions_of_the_panel(reviewed, volume):
    accepted = accept(reviewed, 2)
    found = reviewed.logic.process(volume, method="classical")
    assert len([item for item in found.candidates if item.stage == Stage.FINAL]) >= 2
    assert {item.id for item in reviewed.keeper.session.accepted} == set(accepted)


def test_the_reader_sees_what_a_script_finds_meanwhile_and_the_scene_what_the_reader_decides_then(reviewed, volume):
    before = len(reviewed.review.listed)
    found = reviewed.logic.process(volume, method="classical", th_detection=0.5)
    assert 0 < len(reviewed.review.listed) == len(found.candidates) < before
    accepted = accept(reviewed, 2)
    marks = reviewed.keeper.markings.points("accepted")
    assert [marks.GetNthControlPointLabel(index) for index in range(marks.GetNumberOfControlPoints())] == accepted
    assert {item.id for item in from_text(saved_review(volume)).accepted} == set(accepted)


@pytest.mark.parametrize("text", ["{", '{"format": "other"}'])
def test_a_damaged_review_file_is_told_and_not_overwritten(panel, text, tmp_path, volume, found_files):
    path = tmp_path / "results" / "sub-01_swi_review.json"
    path.write_text(text)
    panel.follower.forget()
    panel.update()
    assert panel.keeper.session is None
    assert str(path) in panel.ui.messageLabel.text


def test_a_long_name_of_an_exported_file_does_not_make_the_panel_wider(panel, volume, found_files, tmp_path):
    volume.SetName("5_t2_swi_tra_p2_1.5mm_SWI_Combined_patient_0815_second_scan_swi")
    take_run(panel, volume, found_files)
    panel.ui.exportCollapsibleButton.collapsed = False
    before = panel._panel.minimumSizeHint().width()
    click(panel.ui.exportButton)
    assert len(list((tmp_path / "results").glob("5_t2_swi_*_accepted.mrk.json"))) == 1
    assert panel.ui.exportLabel.text.replace("\u200b", "").count("5_t2_swi_tra_p2_1.5mm") == 4
    assert panel.ui.exportLabel.minimumSizeHint().width() < before
