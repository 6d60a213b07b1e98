"""Review: a reader goes through the candidates with keys and clicks."""

from dataclasses import replace

import numpy as np
import pytest
import qt
import slicer
from detect_steps import centers_of_views, place_point, take_run
from PySide6.QtTest import QTest

import slicer_host
from CMMDetectLib.candidates import Stage
from CMMDetectLib.review_file import read_review
from CMMDetectLib.review_records import Certainty, Mimic, position_of
from CMMDetectWidgets.candidate_table import MIMICS
from CMMDetectWidgets.shortcuts import SHORTCUTS, legend, tooltip

KEYS = {",": qt.Qt.Key_Comma, ".": qt.Qt.Key_Period}


def key_of(action):
    key = SHORTCUTS[action][0]
    return KEYS.get(key) or getattr(qt.Qt, f"Key_{key}")


def verdict(panel, name):
    return panel.keeper.session[name].verdict


def row_of(panel, name):
    row = panel.review.listed.index(name)
    return [panel.ui.candidateTable.item(row, column).text() for column in range(7)]


def click_row(panel, row):
    panel.ui.candidateTable.selectRow(row)


def saved(panel):
    """The review as the file has it."""
    return read_review(panel.keeper.session.save.path)


def test_the_table_lists_the_most_likely_first_and_a_row_centers_all_views(reviewed):
    order = reviewed.review.listed
    assert len(order) == len(reviewed.keeper.session.candidates) > 3
    likely = [float(row_of(reviewed, name)[2]) for name in order]
    assert likely == sorted(likely, reverse=True)
    click_row(reviewed, 1)
    assert reviewed.review.current == order[1]
    place = position_of(reviewed.keeper.session[order[1]])
    centers = centers_of_views()
    assert len(centers) >= 3
    np.testing.assert_allclose(centers, [place] * len(centers), atol=1e-3)
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        assert min(node.GetFieldOfView()[:2]) == pytest.approx(60)


def test_keys_judge_and_go_on(reviewed, press):
    first, second, third = reviewed.review.listed[:3]
    click_row(reviewed, 0)
    press(qt.Qt.Key_Y)
    assert (verdict(reviewed, first), reviewed.review.current) == ("accepted", second)
    press(qt.Qt.Key_N)
    assert (verdict(reviewed, second), reviewed.review.current) == ("rejected", third)
    press(qt.Qt.Key_Comma)
    press(qt.Qt.Key_Comma)
    assert reviewed.review.current == first
    press(qt.Qt.Key_U)
    assert (verdict(reviewed, first), reviewed.review.current) == ("undecided", first)
    press(qt.Qt.Key_Period)
    assert reviewed.review.current == second
    assert row_of(reviewed, second)[4] == "rejected"
    assert [item.verdict for item in saved(reviewed).candidates if item.id == second] == ["rejected"]


def test_progress_is_told_and_next_undecided_wraps(reviewed, press):
    order = reviewed.review.listed
    total = len(order)
    assert reviewed.ui.reviewProgressLabel.text == f"0 of {total}, 0 accepted"
    click_row(reviewed, total - 1)
    press(qt.Qt.Key_Y)
    assert reviewed.ui.reviewProgressLabel.text == f"1 of {total}, 1 accepted"
    assert reviewed.review.current == order[0]
    press(key_of("nextUndecided"))
    assert reviewed.review.current == order[1]


def test_undo_and_redo_follow_what_they_change(reviewed, press):
    first, second = reviewed.review.listed[:2]
    click_row(reviewed, 0)
    press(qt.Qt.Key_Y)
    press(qt.Qt.Key_N)
    press(qt.Qt.Key_Z, qt.Qt.ControlModifier)
    assert (verdict(reviewed, second), reviewed.review.current) == ("undecided", second)
    press(qt.Qt.Key_Z, qt.Qt.ControlModifier)
    assert (verdict(reviewed, first), reviewed.review.current) == ("undecided", first)
    assert not reviewed.ui.undoButton.isEnabled()
    press(qt.Qt.Key_Y, qt.Qt.ControlModifier)
    assert verdict(reviewed, first) == "accepted"


def test_moving_keeps_the_place_of_the_detector(reviewed, press):
    name = reviewed.review.listed[0]
    click_row(reviewed, 0)
    before = reviewed.keeper.session[name]
    target = np.add(position_of(before), (1.0, 2.0, 0.0))
    press(qt.Qt.Key_M)
    assert reviewed.views.placing
    place_point(target)
    moved = reviewed.keeper.session[name]
    np.testing.assert_allclose(position_of(moved), target, atol=1e-6)
    assert (moved.x, moved.y, moved.z) == (before.x, before.y, before.z)
    assert reviewed.ui.removeButton.text == "Put back"
    QTest.mouseClick(reviewed.ui.removeButton, qt.Qt.LeftButton)
    assert position_of(reviewed.keeper.session[name]) == (before.x, before.y, before.z)


def test_adding_a_missed_one_beside_a_known_one_warns(reviewed, press):
    name = reviewed.review.listed[0]
    place = np.array(position_of(reviewed.keeper.session[name]))
    press(qt.Qt.Key_A)
    place_point(np.add(place, (3.0, 0.0, 0.0)))
    added = reviewed.review.current
    assert added.startswith("cmb-r") and verdict(reviewed, added) == "accepted"
    assert "only 3.0 mm away" in reviewed.ui.messageLabel.text
    assert row_of(reviewed, added)[1] == "reader"
    press(qt.Qt.Key_A)
    place_point(np.add(place, (0.0, 0.0, 40.0)))
    assert not reviewed.ui.messageLabel.isVisibleTo(reviewed.parent)
    QTest.mouseClick(reviewed.ui.removeButton, qt.Qt.LeftButton)
    press(qt.Qt.Key_Z, qt.Qt.ControlModifier)
    press(qt.Qt.Key_Z, qt.Qt.ControlModifier)
    press(qt.Qt.Key_Z, qt.Qt.ControlModifier)
    assert added not in reviewed.keeper.session


def test_escaping_the_place_mode_adds_nothing(reviewed, press):
    count = len(reviewed.keeper.session.candidates)
    press(qt.Qt.Key_A)
    interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    slicer_host.wait_until(lambda: not reviewed.views.placing)
    assert len(reviewed.keeper.session.candidates) == count


@pytest.fixture
def other_scan(small_scan):
    """Another patient's scan, loaded beside the first; no results of it are known."""
    array = np.ascontiguousarray(small_scan.array.T[:, ::-1])
    return slicer.util.addVolumeFromArray(array, small_scan.affine, "sub-02_swi")


def places(panel):
    """Where each candidate of the shown review lies."""
    return {item.id: position_of(item) for item in panel.keeper.session.candidates}


@pytest.mark.parametrize("action", ["move", "add"])
def test_a_click_that_was_awaited_for_one_scan_changes_nothing_in_the_review_of_another(
    reviewed, volume, other_scan, found_files, press, action
):
    reviewed.ui.inputVolumeSelector.setCurrentNode(other_scan)
    take_run(reviewed, other_scan, found_files)
    before = places(reviewed)
    reviewed.ui.inputVolumeSelector.setCurrentNode(volume)
    click_row(reviewed, 0)
    press(key_of(action))
    assert reviewed.views.placing
    reviewed.ui.inputVolumeSelector.setCurrentNode(other_scan)
    assert not reviewed.views.placing
    assert not reviewed.ui.messageLabel.isVisibleTo(reviewed.parent)
    assert reviewed.keeper.session.scan.name == "sub-02_swi" and places(reviewed) == before
    reviewed.ui.inputVolumeSelector.setCurrentNode(volume)
    assert places(reviewed) == before


def awaited_list():
    """The point list that a click would go into."""
    selection = slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    return slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())


@pytest.mark.parametrize("action", ["move", "add"])
def test_a_click_that_slicer_still_handles_while_the_scan_changes_is_dropped(
    reviewed, volume, other_scan, found_files, press, action
):
    reviewed.ui.inputVolumeSelector.setCurrentNode(other_scan)
    take_run(reviewed, other_scan, found_files)
    reviewed.ui.inputVolumeSelector.setCurrentNode(volume)
    click_row(reviewed, 0)
    before = places(reviewed)
    press(key_of(action))
    awaited_list().AddControlPointWorld(1.0, 2.0, 3.0)
    reviewed.ui.inputVolumeSelector.setCurrentNode(other_scan)
    slicer_host.wait_until(lambda: not reviewed.views.placing)
    assert places(reviewed) == before
    reviewed.ui.inputVolumeSelector.setCurrentNode(volume)
    assert places(reviewed) == before


@pytest.mark.parametrize("action", ["move", "add"])
def test_removing_the_scan_ends_the_wait_for_a_click(reviewed, volume, press, action):
    click_row(reviewed, 0)
    press(key_of(action))
    slicer.mrmlScene.RemoveNode(volume)
    assert reviewed.keeper.session is None
    assert not reviewed.views.placing


@pytest.mark.parametrize("button", ["removeButton", "undoButton"])
def test_an_added_point_that_is_taken_away_awaits_no_click_any_more(reviewed, press, button):
    press(key_of("add"))
    place_point((1.0, 2.0, 3.0))
    added = reviewed.review.current
    press(key_of("move"))
    QTest.mouseClick(getattr(reviewed.ui, button), qt.Qt.LeftButton)
    assert added not in reviewed.keeper.session
    assert not reviewed.views.placing
    assert not reviewed.ui.messageLabel.isVisibleTo(reviewed.parent)


def test_a_new_run_that_gives_the_name_to_another_lesion_ends_the_move(reviewed, press):
    session = reviewed.keeper.session
    click_row(reviewed, 0)
    press(key_of("move"))
    session.take_run(session.candidates)
    assert reviewed.views.placing
    session.take_run([replace(item, x=item.x + 9) for item in session.candidates])
    assert not reviewed.views.placing


def test_choosing_another_candidate_ends_a_move_but_not_an_addition(reviewed, press):
    click_row(reviewed, 0)
    press(key_of("move"))
    click_row(reviewed, 1)
    assert not reviewed.views.placing
    press(key_of("add"))
    click_row(reviewed, 0)
    assert reviewed.views.placing
    place_point((1.0, 2.0, 3.0))
    assert position_of(reviewed.keeper.session[reviewed.review.current]) == (1.0, 2.0, 3.0)


def test_certainty_mimic_and_note(reviewed):
    name = reviewed.review.listed[0]
    click_row(reviewed, 0)
    reviewed.ui.certaintyComboBox.setCurrentIndex(2)
    reviewed.ui.certaintyComboBox.activated.emit(2)
    assert reviewed.keeper.session[name].certainty == Certainty.POSSIBLE
    assert row_of(reviewed, name)[5] == "possible"
    reviewed.ui.mimicComboBox.setCurrentIndex(1)
    reviewed.ui.mimicComboBox.activated.emit(1)
    judged = reviewed.keeper.session[name]
    assert (judged.verdict, judged.certainty, judged.mimic) == ("rejected", None, Mimic.VESSEL)
    reviewed.ui.noteLineEdit.setFocus()
    QTest.keyClicks(reviewed.ui.noteLineEdit, "yes, no, why")
    QTest.keyClick(reviewed.ui.noteLineEdit, qt.Qt.Key_Return)
    assert reviewed.keeper.session[name].note == "yes, no, why"
    assert row_of(reviewed, name)[6] == "yes, no, why"
    assert verdict(reviewed, name) == "rejected"


def test_every_mimic_has_words(panel):
    assert list(MIMICS) == list(Mimic)
    box = panel.ui.mimicComboBox
    assert [box.itemText(index) for index in range(box.count)] == ["not said", *MIMICS.values()]
    assert len(set(MIMICS.values())) == len(Mimic)


def test_a_mimic_that_another_program_named_is_listed_as_it_is(reviewed):
    session = reviewed.keeper.session
    first, *others = session.candidates
    session.take_run([replace(first, verdict="rejected", mimic="tumor"), *others])
    reviewed.review.choose(first.id)
    assert row_of(reviewed, first.id)[5] == "tumor"
    assert reviewed.ui.mimicComboBox.currentText == ""


def write_note(panel, text):
    """Type into the line of the note and leave the keyboard there, as a click on a button does on macOS."""
    panel.ui.noteLineEdit.setFocus()
    QTest.keyClicks(panel.ui.noteLineEdit, text)


@pytest.mark.parametrize(
    "action", ["accept", "reject", "undecided", "next", "previous", "nextUndecided", "move", "add", "redo"]
)
def test_a_note_is_kept_whatever_is_done_while_the_keyboard_is_still_in_its_line(reviewed, action):
    click_row(reviewed, 0)
    name, other = reviewed.review.listed[:2]
    write_note(reviewed, "near a vessel")
    getattr(reviewed.review, action)()
    if action in ("move", "add"):
        place_point((5.0, 2.0, 3.0))
    assert reviewed.keeper.session[name].note == "near a vessel"
    assert row_of(reviewed, name)[6] == "near a vessel"
    assert [item.id for item in saved(reviewed).candidates if item.note] == [name]
    reviewed.review.choose(other)
    assert reviewed.ui.noteLineEdit.text == ""


def test_a_note_on_an_added_point_is_kept_when_the_point_is_moved_or_removed_and_brought_back(reviewed):
    reviewed.review.add()
    place_point((1.0, 2.0, 3.0))
    added = reviewed.review.current
    reviewed.review.move()
    write_note(reviewed, "near")
    place_point((5.0, 2.0, 3.0))
    assert reviewed.keeper.session[added].note == "near"
    write_note(reviewed, " a vessel")
    reviewed.review.remove()
    reviewed.review.undo()
    assert reviewed.keeper.session[added].note == "near a vessel"


def test_a_note_is_kept_when_its_candidate_leaves_the_list_while_it_is_written(reviewed):
    name = next(item.id for item in reviewed.keeper.session.candidates if item.stage != Stage.FINAL)
    reviewed.review.choose(name)
    write_note(reviewed, "near a vessel")
    reviewed.ui.detectionCheckBox.setChecked(False)
    assert name not in reviewed.review.listed
    assert reviewed.keeper.session[name].note == "near a vessel"
    assert reviewed.ui.noteLineEdit.text == ""


def test_a_note_is_kept_when_another_scan_is_chosen_or_the_scene_closed_while_it_is_written(
    reviewed, volume, other_scan
):
    click_row(reviewed, 0)
    name, file = reviewed.review.current, reviewed.keeper.session.save.path
    write_note(reviewed, "near")
    reviewed.ui.inputVolumeSelector.setCurrentNode(other_scan)
    reviewed.ui.inputVolumeSelector.setCurrentNode(volume)
    assert reviewed.keeper.session[name].note == "near"
    reviewed.review.choose(name)
    write_note(reviewed, " a vessel")
    slicer.mrmlScene.Clear(0)
    assert [item.note for item in read_review(file).candidates if item.id == name] == ["near a vessel"]


def test_undo_while_the_keyboard_is_in_the_line_takes_the_note_back(reviewed):
    click_row(reviewed, 0)
    name = reviewed.review.current
    write_note(reviewed, "near a vessel")
    reviewed.review.undo()
    assert reviewed.keeper.session[name].note is None
    assert reviewed.ui.noteLineEdit.text == ""
    reviewed.review.accept()
    assert reviewed.keeper.session[name].note is None


def test_a_verdict_from_elsewhere_does_not_touch_what_is_being_written(reviewed):
    click_row(reviewed, 0)
    name = reviewed.review.current
    write_note(reviewed, "near vessel")
    reviewed.ui.noteLineEdit.setCursorPosition(5)
    reviewed.keeper.session.judge(name, "accepted")
    QTest.keyClicks(reviewed.ui.noteLineEdit, "a ")
    reviewed.review.takeNote()
    reviewed.keeper.session.judge(name, "rejected")
    QTest.keyClicks(reviewed.ui.noteLineEdit, "big ")
    reviewed.review.takeNote()
    assert reviewed.keeper.session[name].note == "near a big vessel"


def test_a_note_that_one_line_cannot_show_stays_as_it_is(reviewed):
    name = reviewed.review.listed[0]
    reviewed.keeper.session.set_note(name, "two\nlines")
    reviewed.review.choose(name)
    reviewed.review.accept()
    assert reviewed.keeper.session[name].note == "two\nlines"


def test_a_run_that_ends_while_a_note_is_written_leaves_the_reader_there(reviewed, volume, found_files):
    click_row(reviewed, 1)
    name = reviewed.review.current
    write_note(reviewed, "near a")
    take_run(reviewed, volume, found_files)
    assert (reviewed.review.current, reviewed.ui.noteLineEdit.text) == (name, "near a")
    QTest.keyClicks(reviewed.ui.noteLineEdit, " vessel")
    reviewed.review.accept()
    assert reviewed.keeper.session[name].note == "near a vessel"


def test_a_run_that_renames_the_candidate_leaves_the_writer_at_the_lesion(reviewed, volume, found_files, monkeypatch):
    session = reviewed.keeper.session
    found = session.candidates
    names = [item.id for item in found]
    renamed = [replace(item, id=name, p_detection=0.5) for item, name in zip(found, reversed(names), strict=True)]
    monkeypatch.setattr(reviewed.keeper, "takeRun", lambda *_arguments: session.take_run(renamed))
    reviewed.review.choose(names[0])
    write_note(reviewed, "near a")
    take_run(reviewed, volume, found_files)
    assert (reviewed.review.current, reviewed.ui.noteLineEdit.text) == (names[-1], "near a")
    QTest.keyClicks(reviewed.ui.noteLineEdit, " vessel")
    reviewed.review.accept()
    assert {item.id: item.note for item in session.candidates if item.note} == {names[-1]: "near a vessel"}


def test_what_stage_3_rejected_can_be_rescued(reviewed):
    session = reviewed.keeper.session
    lost = next(item for item in session.candidates if item.rejected_by not in (None, "discrimination"))
    reviewed.review.choose(lost.id)
    QTest.mouseClick(reviewed.ui.acceptButton, qt.Qt.LeftButton)
    assert session[lost.id].verdict == "accepted"
    assert session[lost.id].rejected_by == lost.rejected_by
    reviewed.ui.detectionCheckBox.setChecked(False)
    assert lost.id in reviewed.review.listed


def test_stages_and_probabilities_hide_and_show_at_once(reviewed):
    session = reviewed.keeper.session
    reviewed.ui.detectionCheckBox.setChecked(False)
    finals = {item.id for item in session.candidates if item.stage == Stage.FINAL}
    assert set(reviewed.review.listed) == finals
    assert f"({len(finals)})" in reviewed.ui.finalCheckBox.text
    reviewed.ui.minDiscriminationSlider.value = 0.9
    likely = {item.id for item in session.candidates if item.id in finals and item.p_discrimination >= 0.9}
    assert set(reviewed.review.listed) == likely < finals
    node = reviewed.keeper.markings.points("final")
    shown = [node.GetNthControlPointVisibility(index) for index in range(node.GetNumberOfControlPoints())]
    assert sum(shown) == len(likely)
    reviewed.ui.minDiscriminationSlider.value = 0.0
    assert set(reviewed.review.listed) == finals


def test_markings_hide_while_the_key_is_held(reviewed, host):
    display = reviewed.keeper.markings.points("final").GetDisplayNode()
    reviewed.ui.candidateTable.setFocus()
    QTest.keyPress(host.main_window, qt.Qt.Key_H)
    assert not display.GetVisibility()
    QTest.keyRelease(qt.QApplication.focusWidget() or reviewed.ui.CMMDetect, qt.Qt.Key_H)
    assert display.GetVisibility()
    QTest.mousePress(reviewed.ui.hideButton, qt.Qt.LeftButton)
    assert not display.GetVisibility()
    QTest.mouseRelease(reviewed.ui.hideButton, qt.Qt.LeftButton)
    assert display.GetVisibility()


def test_the_slab_follows_its_key_and_thickness(reviewed, press):
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    press(qt.Qt.Key_S)
    assert all(node.GetSlabReconstructionEnabled() for node in views)
    assert {node.GetSlabReconstructionThickness() for node in views} == {10.0}
    reviewed.ui.slabSpinBox.value = 6
    assert {node.GetSlabReconstructionThickness() for node in views} == {6.0}
    press(qt.Qt.Key_S)
    assert not any(node.GetSlabReconstructionEnabled() for node in views)


def test_a_slab_and_a_hidden_list_of_the_users_own_survive_entering_and_leaving_the_module(reviewed, press):
    view = slicer.util.getNodesByClass("vtkMRMLSliceNode")[0]
    display = reviewed.keeper.markings.points("final").GetDisplayNode()
    slicer.util.selectModule("Data")
    view.SetSlabReconstructionEnabled(True)
    view.SetSlabReconstructionThickness(20)
    display.SetVisibility(False)
    for _visit in range(2):
        slicer.util.selectModule("CMMDetect")
        reviewed.update()
        assert view.GetSlabReconstructionEnabled() and view.GetSlabReconstructionThickness() == 20
        assert not display.GetVisibility()
        press(key_of("slab"))
        assert view.GetSlabReconstructionThickness() == 10
        slicer.util.selectModule("Data")
        assert view.GetSlabReconstructionEnabled() and view.GetSlabReconstructionThickness() == 20
        assert not display.GetVisibility()
    view.SetSlabReconstructionEnabled(False)


def test_a_slab_is_not_saved_with_the_scene(reviewed, press, tmp_path):
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    press(key_of("slab"))
    slicer.util.saveScene(str(tmp_path / "case.mrb"))
    assert all(node.GetSlabReconstructionEnabled() for node in nodes)
    press(key_of("slab"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    slicer_host.wait_until(lambda: True)
    assert not any(node.GetSlabReconstructionEnabled() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"))


def test_a_slab_of_the_users_own_stays_while_the_contrast_is_unknown(reviewed, press):
    view = slicer.util.getNodesByClass("vtkMRMLSliceNode")[0]
    view.SetSlabReconstructionEnabled(True)
    view.SetSlabReconstructionThickness(20)
    press(key_of("slab"))
    assert view.GetSlabReconstructionThickness() == 10
    reviewed.ui.modalityComboBox.setCurrentIndex(0)
    assert view.GetSlabReconstructionEnabled() and view.GetSlabReconstructionThickness() == 20
    reviewed.ui.modalityComboBox.setCurrentIndex(1)
    assert view.GetSlabReconstructionThickness() == 10
    view.SetSlabReconstructionEnabled(False)


def test_the_slab_goes_on_in_the_next_scene_and_what_was_set_in_the_last_one_does_not(reviewed, small_scan):
    slicer.util.getNodesByClass("vtkMRMLSliceNode")[0].SetSlabReconstructionEnabled(True)
    QTest.mouseClick(reviewed.ui.slabButton, qt.Qt.LeftButton)
    slicer.mrmlScene.Clear(0)
    slicer.util.addVolumeFromArray(np.ascontiguousarray(small_scan.array.T), small_scan.affine, "sub-02_swi")
    reviewed.enter()
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    assert reviewed.ui.slabButton.isChecked() and views
    assert all(node.GetSlabReconstructionEnabled() for node in views)
    QTest.mouseClick(reviewed.ui.slabButton, qt.Qt.LeftButton)
    assert not any(node.GetSlabReconstructionEnabled() for node in views)


def test_keys_live_only_while_the_module_is_open(reviewed, press):
    name = reviewed.review.listed[0]
    click_row(reviewed, 0)
    press(qt.Qt.Key_S)
    slicer.util.selectModule("Data")
    assert not any(node.GetSlabReconstructionEnabled() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"))
    press(qt.Qt.Key_Y)
    assert verdict(reviewed, name) == "undecided"
    slicer.util.selectModule("CMMDetect")
    press(qt.Qt.Key_Y)
    assert verdict(reviewed, name) == "accepted"


def test_one_table_names_the_keys_everywhere(panel):
    for name, (key, text) in SHORTCUTS.items():
        assert f"<b>{key}</b>" in legend() and text in legend()
        assert key in tooltip(name)
    assert panel.ui.acceptButton.toolTip == tooltip("accept")
    assert not panel.ui.keysLabel.isVisibleTo(panel.parent)
    QTest.mouseClick(panel.ui.keysButton, qt.Qt.LeftButton)
    assert panel.ui.keysLabel.isVisibleTo(panel.parent)


def test_the_keys_of_the_application_come_back(detect_panel, host):
    action = qt.QAction("Undo", host.main_window)
    action.setObjectName("EditUndoAction")
    action.setShortcut(qt.QKeySequence("Ctrl+Z"))
    slicer.util.selectModule("Data")
    slicer.util.selectModule("CMMDetect")
    assert action.shortcut.toString() == ""
    slicer.util.selectModule("Data")
    assert action.shortcut.toString() == "Ctrl+Z"
    action.setParent(None)


def test_a_blind_read_comes_before_the_detector(panel, volume, found_files, small_scan, press):
    panel.ui.blindCheckBox.setChecked(True)
    take_run(panel, volume, found_files)
    assert panel.review.listed == []
    assert panel.ui.finalCheckBox.text == "Final"
    assert "hidden" in panel._onRunDone(found_files)
    nodes = [panel.keeper.markings.points(stage.value) for stage in Stage]
    assert [node.GetNumberOfControlPoints() for node in nodes] == [0, 0, 0]
    assert panel.ui.blindLabel.isVisibleTo(panel.parent)
    press(qt.Qt.Key_A)
    place_point(small_scan.lesions[0] + (0.5, 0, 0))
    press(qt.Qt.Key_A)
    place_point(small_scan.lesions[0] + (0, 0, 25))
    assert len(panel.review.listed) == 2
    QTest.mouseClick(panel.ui.revealButton, qt.Qt.LeftButton)
    assert "1 of your points" in panel.ui.messageLabel.text
    assert not panel.ui.blindLabel.isVisibleTo(panel.parent)
    accepted = panel.keeper.session.accepted
    assert sorted(item.origin for item in accepted) == ["detector", "reader"]
    panel.ui.blindCheckBox.setChecked(True)
    assert "seen already" in panel.ui.messageLabel.text
    assert not panel.ui.blindCheckBox.checked


def test_a_reader_can_mark_before_any_detection(panel, small_scan, press, volume, found_files):
    panel.ui.blindCheckBox.setChecked(True)
    press(qt.Qt.Key_A)
    place_point(small_scan.lesions[1])
    assert [item.id for item in panel.keeper.session.visible] == ["cmb-r001"]
    take_run(panel, volume, found_files)
    assert [item.id for item in panel.keeper.session.visible] == ["cmb-r001"]
    QTest.mouseClick(panel.ui.revealButton, qt.Qt.LeftButton)
    assert [item.origin for item in panel.keeper.session.accepted] == ["detector"]
