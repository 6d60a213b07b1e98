"""Steps of a user in tests of the panel."""

from typing import Any

import numpy as np
import qt
import slicer
import vtk
from PySide6.QtTest import QTest

import slicer_host
from CMMDetectLib.review import ReviewSession
from CMMDetectLib.review_file import read_review
from CMMDetectLib.scene_volume import affine_of
from CMMDetectWidgets.shortcuts import SHORTCUTS


def add_scan(small_scan: Any, name: str, mirrored: bool = False) -> Any:
    """Add a scan to the scene; mirrored, it is another patient's."""
    array = small_scan.array[:, ::-1] if mirrored else small_scan.array
    return slicer.util.addVolumeFromArray(np.ascontiguousarray(array.T), small_scan.affine, name)


def take_run(panel: Any, volume: Any, files: dict[str, str]) -> None:
    """Do what the panel does when the worker is done."""
    panel.follower._searched, panel.follower._searchedAt = (volume, *panel._chosen()[1:]), affine_of(volume)
    panel._onRunDone(files)
    panel.update()


def apply(panel: Any) -> None:
    """Click Apply, which is also Cancel."""
    QTest.mouseClick(panel.ui.applyButton, qt.Qt.LeftButton)


def wait_for_the_end(panel: Any, timeout_s: float = 60) -> None:
    """Wait until no detection runs."""
    slicer_host.wait_until(lambda: not panel.run.running, timeout_s)


def problem(panel: Any) -> str:
    """Give what the panel says under its inputs."""
    return str(panel.ui.inputProblemLabel.text)


KEYS = {",": qt.Qt.Key_Comma, ".": qt.Qt.Key_Period}


def key_of(action: str) -> Any:
    """Give the key of an action of the review."""
    key = SHORTCUTS[action][0]
    return KEYS.get(key) or getattr(qt.Qt, f"Key_{key}")


def saved(panel: Any) -> ReviewSession:
    """Give the review as its file has it."""
    return read_review(panel.keeper.session.save.path)


def verdict(panel: Any, name: str) -> str:
    """Give the verdict on a candidate."""
    return str(panel.keeper.session[name].verdict)


def row_of(panel: Any, name: str) -> list[str]:
    """Give the texts of a candidate's row."""
    row = panel.review.listed.index(name)
    return [panel.ui.candidateTable.item(row, column).text() for column in range(7)]


def click_row(panel: Any, row: int) -> None:
    """Choose the candidate of a row."""
    panel.ui.candidateTable.selectRow(row)


def click(button: Any) -> None:
    """Click a button of the panel."""
    QTest.mouseClick(button, qt.Qt.LeftButton)
    slicer_host.wait_until(lambda: True)


def type_reader(panel: Any, name: str) -> None:
    """Give the reader's name."""
    panel.ui.readerLineEdit.setText(name)
    panel.ui.readerLineEdit.editingFinished.emit()


def accept(panel: Any, count: int) -> list[str]:
    """Accept the first candidates of the list, and give their names."""
    names: list[str] = panel.review.listed[:count]
    for name in names:
        panel.review.choose(name)
        click(panel.ui.acceptButton)
    return names


def place_point(position_mm: Any) -> None:
    """Do what a click of the user in a slice view does while a point is awaited."""
    selection = slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    node = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    node.AddControlPoint(vtk.vtkVector3d(*(float(value) for value in position_mm)))
    slicer_host.wait_until(lambda: True)


def centers_of_views() -> np.ndarray:
    """RAS millimetres in the middle of each slice view."""
    found = []
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        matrix = node.GetSliceToRAS()
        found.append([matrix.GetElement(row, 3) for row in range(3)])
    return np.array(found)


def shown_volumes() -> set[str]:
    """Ids of the volumes in the background of the slice views."""
    return {node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
