"""Fields for paths: a path is used once it has been typed completely."""

from types import SimpleNamespace

import ctk
import pytest
import qt
import slicer
from PySide6.QtTest import QTest

import slicer_host
from CMMDetectWidgets.path_field import TYPING_MS, PathField


@pytest.fixture
def shown(host) -> SimpleNamespace:
    """A field for folders that has the keyboard, and the paths that it told."""
    widget, told = ctk.ctkPathLineEdit(), []
    widget.setCurrentPath("/data")
    host.main_window.addPanel(widget)
    host.main_window.show()
    host.main_window.activateWindow()
    slicer_host.wait_until(lambda: host.main_window.isActiveWindow)
    (line,) = slicer.util.findChildren(widget, className="QLineEdit")
    line.setFocus()
    slicer_host.wait_until(line.hasFocus)
    yield SimpleNamespace(widget=widget, line=line, told=told, field=PathField(widget, told.append))
    host.main_window.removePanel(widget)


def wait_for_a_pause() -> None:
    QTest.qWait(TYPING_MS + 200)


def test_a_typed_path_is_taken_after_a_pause_and_not_key_by_key(shown):
    QTest.keyClicks(shown.line, "/swi")
    assert shown.widget.currentPath == "/data/swi"
    assert shown.told == [] and shown.field.path == "/data"
    wait_for_a_pause()
    assert shown.told == ["/data/swi"] == [shown.field.path]


def test_enter_takes_a_path_at_once_and_only_once(shown):
    QTest.keyClicks(shown.line, "/swi")
    QTest.keyClick(shown.line, qt.Qt.Key_Return)
    assert shown.told == ["/data/swi"]
    wait_for_a_pause()
    assert shown.told == ["/data/swi"]


def test_going_to_another_widget_takes_a_path_at_once(shown):
    QTest.keyClicks(shown.line, "/swi")
    shown.line.clearFocus()
    assert shown.told == ["/data/swi"]


def test_what_is_typed_and_deleted_again_is_nothing_new(shown):
    QTest.keyClicks(shown.line, "x")
    QTest.keyClick(shown.line, qt.Qt.Key_Backspace)
    wait_for_a_pause()
    assert shown.told == []


def test_a_path_that_is_completed_or_from_the_history_is_taken_after_a_pause(shown):
    for proposal in ("/data/a", "/data/b"):
        shown.line.setText(proposal)
    assert shown.told == []
    wait_for_a_pause()
    assert shown.told == ["/data/b"]


def test_a_path_that_a_dialog_or_a_script_sets_is_taken_at_once(shown):
    shown.line.clearFocus()
    shown.widget.setCurrentPath("/other")
    assert shown.told == ["/other"]


def test_a_field_that_is_emptied_is_told_although_ctk_does_not(shown):
    silent = []
    shown.widget.connect("currentPathChanged(QString)", silent.append)
    shown.line.selectAll()
    QTest.keyClick(shown.line, qt.Qt.Key_Delete)
    wait_for_a_pause()
    assert silent == [] and shown.told == [""]


def test_a_path_that_the_panel_shows_is_not_told(shown):
    shown.line.clearFocus()
    shown.field.show("/shown")
    assert shown.widget.currentPath == "/shown" == shown.field.path
    shown.field.flush()
    wait_for_a_pause()
    assert shown.told == []


def test_typing_in_the_middle_is_not_disturbed_by_what_the_panel_shows(shown):
    shown.line.setCursorPosition(1)
    for key in "old-":
        QTest.keyClicks(shown.line, key)
        shown.field.show("/data")
    assert shown.widget.currentPath == "/old-data" and shown.line.cursorPosition == 5
    shown.field.flush()
    shown.field.show("/old-data")
    assert shown.line.cursorPosition == 5 and shown.told == ["/old-data"]
