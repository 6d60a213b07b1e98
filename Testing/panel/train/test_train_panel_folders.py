"""The folders of the data set and of the models, as they are typed."""

from collections.abc import Callable
from typing import Any

import pytest
import qt
import slicer
from PySide6.QtTest import QTest
from train_steps import click, rows_of

import slicer_host
from CMMDetectTrainLib.case_list import read_cases
from training_sets import write_training_set

FIELDS = {"datasetPathLineEdit": "CMMDetectTrain/Dataset", "modelsPathLineEdit": "CMMDetect/ModelsFolder"}


@pytest.fixture
def type_into(panel, host) -> Callable[[Any, str], None]:
    """Give a function that replaces what is in a field, key by key."""
    host.main_window.activateWindow()

    def type_text(widget: Any, text: str) -> None:
        (line,) = slicer.util.findChildren(widget, className="QLineEdit")
        line.setFocus()
        line.selectAll()
        QTest.keyClicks(line, text)

    return type_text


@pytest.mark.parametrize("field", FIELDS)
def test_a_folder_that_is_being_typed_is_not_remembered_before_it_is_whole(panel, folders, type_into, field):
    widget, before = getattr(panel.ui, field), qt.QSettings().value(FIELDS[field])
    type_into(widget, str(folders.other / "mine"))
    assert qt.QSettings().value(FIELDS[field]) == before
    slicer_host.wait_until(lambda: qt.QSettings().value(FIELDS[field]) != before)
    assert qt.QSettings().value(FIELDS[field]) == str(folders.other / "mine")


def test_cases_of_a_typed_folder_are_listed_after_enter(panel, folders, type_into):
    write_training_set(folders.other / "mine", (2,))
    type_into(panel.ui.datasetPathLineEdit, str(folders.other / "mine"))
    assert rows_of(panel.ui.caseTable) == []
    QTest.keyClick(slicer.util.findChildren(panel.ui.datasetPathLineEdit, className="QLineEdit")[0], qt.Qt.Key_Return)
    assert len(rows_of(panel.ui.caseTable)) == 1


def test_a_case_goes_into_the_folder_that_was_typed_just_before_the_click(labeled, folders, type_into):
    type_into(labeled.ui.datasetPathLineEdit, str(folders.other / "mine"))
    labeled.ui.saveCaseButton.click()  # as on a Mac, where a button leaves the keyboard to the field
    assert len(read_cases(folders.other / "mine")) == 1 and not folders.dataset.exists()


def test_a_case_of_a_folder_that_was_typed_just_before_the_click_is_not_written_over_unasked(
    labeled, folders, type_into
):
    click(labeled.ui.saveCaseButton)
    labeled.ui.datasetPathLineEdit.currentPath = str(folders.other / "mine")
    type_into(labeled.ui.datasetPathLineEdit, str(folders.dataset))
    assert labeled.ui.saveCaseButton.text == "Save as training case sub-01_swi"
    labeled.ui.saveCaseButton.click()
    assert "save it again to replace its labels" in labeled.ui.saveMessageLabel.text
    assert labeled.ui.saveCaseButton.text == "Replace the labels of sub-01_swi"


def test_what_was_saved_in_one_folder_is_not_told_of_another(labeled, folders):
    click(labeled.ui.saveCaseButton)
    assert labeled.ui.saveMessageLabel.text.startswith("Saved: sub-01_swi")
    labeled.ui.datasetPathLineEdit.currentPath = str(folders.other / "mine")
    slicer_host.wait_until(lambda: labeled.ui.saveCaseButton.text == "Save as training case sub-01_swi")
    assert labeled.ui.saveMessageLabel.text == ""


def test_a_folder_that_was_typed_just_before_leaving_is_remembered(panel, folders, module, type_into):
    type_into(panel.ui.datasetPathLineEdit, str(folders.other / "mine"))
    module.end()
    assert qt.QSettings().value("CMMDetectTrain/Dataset") == str(folders.other / "mine")
