"""Review: what a reader writes is kept, whatever happens while it is written."""

from dataclasses import replace

import pytest
import slicer
from detect_steps import click_row, place_point, row_of, saved, take_run
from PySide6.QtTest import QTest

from CMMDetectLib.candidates import Stage
from CMMDetectLib.review_file import read_review


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
