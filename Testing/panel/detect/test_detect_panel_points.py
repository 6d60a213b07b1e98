"""Review: a reader moves candidates and adds missed ones with clicks, which apply to one review only."""

from dataclasses import replace

import numpy as np
import pytest
import qt
import slicer
from detect_steps import click_row, key_of, place_point, row_of, take_run, verdict
from PySide6.QtTest import QTest

import slicer_host
from CMMDetectLib.candidates import Stage
from CMMDetectLib.review_records import position_of


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


@pytest.mark.parametrize("button", ["undoButton", "removeButton"])
def test_the_warning_of_a_point_goes_with_the_point(reviewed, press, button):
    place = position_of(reviewed.keeper.session[reviewed.review.listed[0]])
    press(key_of("add"))
    place_point(np.add(place, (3.0, 0.0, 0.0)))
    assert "only 3.0 mm away" in reviewed.ui.messageLabel.text
    QTest.mouseClick(getattr(reviewed.ui, button), qt.Qt.LeftButton)
    assert not reviewed.ui.messageLabel.isVisibleTo(reviewed.parent)


def test_escaping_the_place_mode_adds_nothing(reviewed, press):
    count = len(reviewed.keeper.session.candidates)
    press(qt.Qt.Key_A)
    interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    slicer_host.wait_until(lambda: not reviewed.views.placing)
    assert len(reviewed.keeper.session.candidates) == count
    assert not reviewed.ui.messageLabel.isVisibleTo(reviewed.parent)


@pytest.mark.parametrize("action", ["move", "add"])
def test_esc_takes_a_move_or_an_addition_back_and_is_slicers_key_otherwise(reviewed, press, host, action):
    users = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "the user's own")
    selection = slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    selection.SetActivePlaceNodeID(users.GetID())
    other = qt.QShortcut(qt.QKeySequence("Esc"), host.main_window)
    pressed = []
    other.connect("activated()", lambda: pressed.append("Slicer"))
    click_row(reviewed, 0)
    before, nodes, current = places(reviewed), slicer.mrmlScene.GetNumberOfNodes(), reviewed.review.current
    press(qt.Qt.Key_Escape)
    assert pressed == ["Slicer"]
    other.setEnabled(False)
    press(key_of(action))
    press(qt.Qt.Key_Escape)
    assert not reviewed.views.placing
    interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes and selection.GetActivePlaceNodeID() == users.GetID()
    assert places(reviewed) == before and reviewed.review.current == current
    assert reviewed.keeper.session.undo_text is None
    assert not reviewed.ui.messageLabel.isVisibleTo(reviewed.parent)
    other.setEnabled(True)
    press(qt.Qt.Key_Escape)
    assert pressed == ["Slicer", "Slicer"]
    other.setParent(None)


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


def test_a_candidate_that_leaves_the_list_is_not_moved_by_the_next_click(reviewed, press):
    name = next(item.id for item in reviewed.keeper.session.candidates if item.stage != Stage.FINAL)
    reviewed.review.choose(name)
    press(key_of("move"))
    reviewed.ui.detectionCheckBox.setChecked(False)
    assert name not in reviewed.review.listed
    assert not reviewed.views.placing
    assert not reviewed.ui.messageLabel.isVisibleTo(reviewed.parent)


def test_choosing_another_candidate_ends_a_move_but_not_an_addition(reviewed, press):
    click_row(reviewed, 0)
    press(key_of("move"))
    click_row(reviewed, 1)
    assert not reviewed.views.placing
    press(key_of("add"))
    click_row(reviewed, 0)
    assert reviewed.views.placing
    press(key_of("accept"))
    assert reviewed.views.placing and "Click in a slice view" in reviewed.ui.messageLabel.text
    place_point((1.0, 2.0, 3.0))
    assert position_of(reviewed.keeper.session[reviewed.review.current]) == (1.0, 2.0, 3.0)
    assert "Click in a slice view" not in reviewed.ui.messageLabel.text
