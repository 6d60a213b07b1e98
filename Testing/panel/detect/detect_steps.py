"""What tests of the panel do as a user would."""

from typing import Any

import numpy as np
import slicer
import vtk

import slicer_host


def take_run(panel: Any, volume: Any, files: dict[str, str]) -> None:
    """Do what the panel does when the worker is done."""
    panel._searched = volume
    panel._onRunDone(files)
    panel.update()


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
