"""Steps of a user in tests of the panel for training."""

from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
import vtk
from PySide6.QtTest import QTest

import slicer_host
from CMMDetectLib.scan import Scan

CORRECTED_VOXEL = (2, 2, 2)


def add_volume(scan: Scan) -> Any:
    """Load a scan into the scene."""
    return slicer.util.addVolumeFromArray(np.ascontiguousarray(scan.array.T), scan.affine, scan.name)


def add_points(positions: Any, name: str = "reader A") -> Any:
    """Place points in the scene."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for number, position in enumerate(positions, 1):
        node.AddControlPointWorld(vtk.vtkVector3d(*(float(value) for value in position)), f"p{number}")
    return node


def choose(panel: Any, volume: Any, points: Any = None) -> None:
    """Choose scan and points, and wait for the regions."""
    panel.ui.labelVolumeSelector.setCurrentNode(volume)
    panel.ui.pointsSelector.setCurrentNode(points)
    wait_for_regions(panel)


def wait_for_regions(panel: Any) -> None:
    slicer_host.wait_until(lambda: not panel.labels._timer.isActive())


def correct(panel: Any, volume: Any) -> None:
    """Add a voxel to the first region, as the Segment Editor would."""
    paint(panel.labels._nodes.node, volume)


def paint(segmentation: Any, volume: Any) -> None:
    first = segmentation.GetSegmentation().GetNthSegmentID(0)
    array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, first, volume)
    array[CORRECTED_VOXEL] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, segmentation, first, volume)


def is_corrected(panel: Any, volume: Any) -> bool:
    """Whether the regions of a scan have the voxel of `correct`."""
    return panel.labels._nodes.labels(volume)[CORRECTED_VOXEL] == 1


def in_the_views() -> set[str]:
    """Names of the volumes in the background of the slice views."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = (slicer.mrmlScene.GetNodeByID(node.GetBackgroundVolumeID() or "") for node in composites)
    return {node.GetName() for node in shown if node is not None}


def reload_scene(path: Path) -> None:
    """Save the scene, close it and load it again."""
    slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    slicer_host.wait_until(lambda: True)
    slicer.util.loadScene(str(path))
    slicer_host.wait_until(lambda: True)


def click(button: Any) -> None:
    assert button.isEnabled(), (button.name, button.toolTip)
    QTest.mouseClick(button, qt.Qt.LeftButton)


def rows_of(table: Any) -> list[list[str]]:
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]


def segments(panel: Any) -> list[str]:
    """Names of the regions."""
    segmentation = panel.labels._nodes.node.GetSegmentation()
    return [segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())]


def start_tiny_training(panel: Any, name: str, start: Path | None = None, **settings: int) -> None:
    """Choose the smallest training that there is, and start it."""
    for widget, value in {"epochs": 2, "patience": 2, "batch": 4, "width": 2, "patches": 8, **settings}.items():
        getattr(panel.ui, f"{widget}SpinBox").setValue(value)
    panel.ui.trainingDeviceComboBox.setCurrentIndex(1)
    panel.ui.modelNameLineEdit.setText(name)
    panel.ui.startComboBox.setCurrentIndex(panel.ui.startComboBox.findData(str(start) if start else ""))
    click(panel.ui.startButton)
    assert panel.training.running


def wait_for_training(panel: Any) -> None:
    slicer_host.wait_until(lambda: not panel.training.running, 400)


def wait_for_epoch(panel: Any, network: str = "detector", number: int = 1) -> None:
    """Wait until an epoch was told."""

    def told() -> bool:
        assert panel.training.running, panel.ui.trainingStepLabel.text
        return any(each["network"] == network and each["epoch"] >= number for each in panel.training._epochs)

    slicer_host.wait_until(told, 300)
