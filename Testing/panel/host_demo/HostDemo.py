"""A module that uses each kind of widget once; the tests of the host open it."""

import enum
from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Modality(enum.Enum):
    SWI = "swi"
    QSM = "qsm"

    def label(self):
        return self.name.lower()


class HostDemo(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Host Demo")
        slicer.app.connect("startupCompleted()", register_sample)


def register_sample():
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(category="Demo", sampleName="HostDemo")


@parameterNodeWrapper
class HostDemoParameterNode:
    inputVolume: vtkMRMLScalarVolumeNode
    modality: Modality = Modality.SWI
    method: Annotated[str, Choice(["classical", "paper"])] = "classical"
    threshold: Annotated[float, WithinRange(0, 1)] = 0.5
    count: Annotated[int, WithinRange(1, 9)] = 2
    blind: bool = False
    reader: str = ""
    folder: Path


class HostDemoWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self.applied = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/HostDemo.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = HostDemoLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self._shortcut = qt.QShortcut(qt.QKeySequence("Y"), slicer.util.mainWindow())
        self._shortcut.connect("activated()", self.onApply)
        self.setParameterNode(self.logic.getParameterNode())

    def enter(self):
        self.setParameterNode(self.logic.getParameterNode())

    def exit(self):
        self.setParameterNode(None)

    def cleanup(self):
        self.setParameterNode(None)
        self.removeObservers()
        self._shortcut.setEnabled(False)
        self._shortcut.setParent(None)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, node):
        if self._parameterNode is not None:
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.checkCanApply)
        self._parameterNode = node
        if node is not None:
            node.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.checkCanApply)
            self.checkCanApply()

    def checkCanApply(self, caller=None, event=None):
        self.ui.applyButton.enabled = self._parameterNode.inputVolume is not None

    def onApply(self, checked=False):
        self.applied.append(self._parameterNode.threshold)
        if self._parameterNode.reader == "trouble":
            raise RuntimeError("trouble in a slot")


class HostDemoLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return HostDemoParameterNode(super().getParameterNode())


class HostDemoTest(ScriptedLoadableModuleTest):
    def runTest(self):
        self.delayDisplay("Testing the demo")
        self.assertEqual(HostDemoLogic().getParameterNode().count, 2)
