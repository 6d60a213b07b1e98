"""Draw the panel for training beside real slice views.

    python Testing/benchmarks/train_screenshots.py [FOLDER]

The points are what the model that comes with CMMDetect finds in the sample scan, as large as microbleeds are.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "CMMDetect"), str(ROOT / "CMMDetectTrain")]

import slicer_host  # noqa: E402 - the paths come first

slicer_host.start()

import qt  # noqa: E402 - the host has to be running
import slicer  # noqa: E402 - the same
import vtk  # noqa: E402 - the same
from screenshots import (  # noqa: E402 - the same
    BACKGROUND,
    GAP_PX,
    MICROBLEED_MM,
    PANEL_PX,
    SAMPLE,
    VIEW_PX,
    save,
    view_picture,
)

from CMMDetectLib.candidates import Stage, at_stage  # noqa: E402 - the same
from CMMDetectLib.job import DetectionJob, run_job  # noqa: E402 - the same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "Resources", help="default: Resources")
    target = parser.parse_args().folder
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        settings = qt.QSettings()
        settings.setValue("CMMDetectTrain/Dataset", f"{folder}/dataset")
        settings.setValue("CMMDetect/ModelsFolder", f"{folder}/models")
        settings.setValue("CMMDetect/Reader", "AB")
        points = add_points(folder)
        panel = slicer_host.load_module(ROOT / "CMMDetectTrain" / "CMMDetectTrain.py")
        label(panel, points)
        save(compose(panel), target / "training.jpg")
        slicer_host.unload_module(panel)


def add_points(folder: str):
    """Mark what is as large as a microbleed."""
    found = run_job(DetectionJob(scan=str(SAMPLE), output=f"{folder}/found", method="paper")).detection.candidates
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "reader AB")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetVisibility(False)
    for item in at_stage(found, Stage.FINAL):
        if MICROBLEED_MM[0] <= item.diameter_mm <= MICROBLEED_MM[1]:
            number = node.GetNumberOfControlPoints() + 1
            node.AddControlPointWorld(vtk.vtkVector3d(item.x, item.y, item.z), f"reader AB-{number}")
    return node


def label(panel, points) -> None:
    """Grow, look at the first region, save the case."""
    ui = panel.ui
    slicer.util.mainWindow().show()
    ui.labelVolumeSelector.setCurrentNode(slicer.util.loadVolume(str(SAMPLE)))
    ui.pointsSelector.setCurrentNode(points)
    slicer_host.wait_until(lambda: not panel.labels._timer.isActive())
    ui.subjectLineEdit.setText("01")
    ui.saveCaseButton.click()
    ui.lesionTable.setCurrentCell(0, 0)
    ui.modelNameLineEdit.setText("our site")
    ui.trainingCollapsibleButton.collapsed = True
    ui.resultCollapsibleButton.collapsed = True
    slicer_host.wait_until(lambda: True)


def compose(panel) -> qt.QImage:
    """The panel, the axial view, and the others below it."""
    widget, half = panel.parent, (VIEW_PX - GAP_PX) // 2
    widget.show()
    # a short panel becomes no taller by resize, and the views beside it would be cut off
    widget.setMinimumHeight(PANEL_PX[1])
    widget.resize(*PANEL_PX)
    slicer_host.wait_until(lambda: True)
    image = qt.QImage(widget.width + GAP_PX + VIEW_PX, widget.height, qt.QImage.Format_RGB32)
    image.fill(qt.QColor(BACKGROUND))
    # the folder of this run is nobody's business
    line = panel.ui.datasetPathLineEdit
    was = line.blockSignals(True)
    line.currentPath = "Documents/Microbleeds"
    line.blockSignals(was)
    painter = qt.QPainter(image)
    painter.drawPixmap(0, 0, widget.grab())
    left, below = widget.width + GAP_PX, VIEW_PX + GAP_PX
    places = {"Red": (left, 0, VIEW_PX), "Yellow": (left, below, half), "Green": (left + half + GAP_PX, below, half)}
    for name, (x, y, size) in places.items():
        painter.drawImage(x, y, view_picture(name, size))
    painter.end()
    return image


if __name__ == "__main__":
    main()
