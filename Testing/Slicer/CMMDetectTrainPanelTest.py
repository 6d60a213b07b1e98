"""The panel for training inside the application: from points to a training case. Needs no network and no torch."""

import tempfile
import time
import unittest
from pathlib import Path

import numpy as np
import qt
import slicer
import vtk

LONGEST_WAIT_S = 30
SETTINGS = ("CMMDetectTrain/Dataset", "CMMDetect/ModelsFolder")
VOXEL = (20, 22, 8)


class CMMDetectTrainPanelTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(0)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.remembered = {name: qt.QSettings().value(name) for name in SETTINGS}
        slicer.util.selectModule("CMMDetectTrain")
        self.panel = slicer.modules.CMMDetectTrainWidget
        self.panel.ui.datasetPathLineEdit.currentPath = str(Path(self.folder.name) / "dataset")
        self.panel.ui.modelsPathLineEdit.currentPath = str(Path(self.folder.name) / "models")

    def tearDown(self):
        for name, value in self.remembered.items():
            qt.QSettings().setValue(name, value)
        slicer.mrmlScene.Clear(0)

    def addScan(self):
        k, j, i = np.ogrid[:16, :44, :40]
        lesion = (i - VOXEL[0]) ** 2 + (j - VOXEL[1]) ** 2 + (k - VOXEL[2]) ** 2 <= 4
        return slicer.util.addVolumeFromArray(100.0 - 80.0 * lesion + (i + j + k) % 3, name="sub-01_swi")

    def addPoint(self, volume):
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "reader A")
        node.AddControlPointWorld(vtk.vtkVector3d(*matrix.MultiplyPoint((*VOXEL, 1))[:3]))
        return node

    def editedNode(self):
        # the test host has no Segment Editor
        editor = getattr(slicer.modules, "SegmentEditorWidget", None)
        found = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
        self.assertIn(editor.editor.segmentationNode() if editor else found, [found])
        return found

    def waitFor(self, condition):
        end = time.monotonic() + LONGEST_WAIT_S
        while not condition() and time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.02)
        self.assertTrue(condition())

    def test_PointsBecomeACaseAndCorrectionsAreKept(self):
        ui, volume = self.panel.ui, self.addScan()
        ui.labelVolumeSelector.setCurrentNode(volume)
        ui.pointsSelector.setCurrentNode(self.addPoint(volume))
        self.waitFor(lambda: ui.lesionTable.rowCount == 1)
        self.assertTrue(ui.saveCaseButton.isEnabled(), ui.saveCaseButton.toolTip)
        ui.saveCaseButton.click()
        self.assertEqual(ui.caseTable.rowCount, 1)
        ui.editButton.click()
        self.assertEqual(slicer.util.selectedModule(), "SegmentEditor")
        node = self.editedNode()
        segment = node.GetSegmentation().GetNthSegmentID(0)
        array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume)
        array[0, 0, 0] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment, volume)
        slicer.util.selectModule("CMMDetectTrain")
        self.assertTrue(self.panel.labels.corrected)
        ui.saveCaseButton.click()
        saved = slicer.util.loadLabelVolume(str(next(Path(self.folder.name).rglob("*_microbleeds.nii.gz"))))
        self.assertEqual(np.count_nonzero(slicer.util.arrayFromVolume(saved)), np.count_nonzero(array))
