"""Stand-ins for the other qMRML widgets that the panels use, on the real scene."""

from typing import ClassVar

import slicer
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget

from . import node_combo_box
from .observing import observe
from .stand_in import publish, stored


@publish(slicer)
class qMRMLWidget(QWidget):
    """The top level of a module's panel; hands the scene on through the connections of the .ui file."""

    mrmlSceneChanged = Signal(object)
    VTK_SIGNALS: ClassVar[dict[str, str]] = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)"}

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@publish(slicer)
class qSlicerAbstractModuleWidget(qMRMLWidget):
    """What a module's panel is built in; it knows whether the module is shown."""

    isEntered = stored(bool, False)


@publish(slicer)
class qMRMLSegmentSelectorWidget(QWidget):
    """A segmentation and one of its segments."""

    currentNodeChanged = Signal(object)
    currentSegmentChanged = Signal(str)
    VTK_SIGNALS: ClassVar[dict[str, str]] = {"currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged(PyObject)"}

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._node_box, self._segment_box = node_combo_box.qMRMLNodeComboBox(), QComboBox()
        self._node_box.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._node_box.noneEnabled = True
        self._ids: list[str] = []
        self._observed, self._tag = None, None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._node_box)
        layout.addWidget(self._segment_box)
        self._node_box.currentNodeChanged.connect(self._on_node)
        self._segment_box.currentIndexChanged.connect(self._on_segment)

    noneEnabled = Property(bool, lambda self: self._node_box.noneEnabled, lambda self, on: self._allow_none(on))
    selectNodeUponCreation = stored(bool, False)
    segmentationNodeSelectorVisible = stored(bool, True)

    def mrmlScene(self):
        return self._node_box.mrmlScene()

    def setMRMLScene(self, scene) -> None:
        self._node_box.setMRMLScene(scene)

    def currentNode(self):
        return self._node_box.currentNode()

    def currentNodeID(self) -> str:
        return self._node_box.currentNodeID

    def setCurrentNode(self, node) -> None:
        self._node_box.setCurrentNode(node)

    def currentSegmentID(self) -> str:
        index = self._segment_box.currentIndex
        return self._ids[index] if 0 <= index < len(self._ids) else ""

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._segment_box.setCurrentIndex(self._ids.index(segment_id) if segment_id in self._ids else -1)

    def _allow_none(self, allowed: bool) -> None:
        self._node_box.noneEnabled = allowed

    def _on_node(self, node) -> None:
        if self._observed is not None:
            self._observed.RemoveObserver(self._tag)
        self._observed = node
        if node is not None:
            self._tag = observe(node, slicer.vtkSegmentation.SegmentAdded, self._list_segments)
        self._list_segments(node, "")
        self.currentNodeChanged.emit(node)

    def _list_segments(self, caller, event) -> None:
        segmentation = self._observed.GetSegmentation() if self._observed is not None else None
        self._ids = list(segmentation.GetSegmentIDs()) if segmentation else []
        chosen = self._segment_box.currentText
        self._segment_box.clear()
        self._segment_box.addItems([segmentation.GetSegment(each).GetName() for each in self._ids])
        self._segment_box.setCurrentText(chosen)

    def _on_segment(self, index: int) -> None:
        self.currentSegmentChanged.emit(self.currentSegmentID())
