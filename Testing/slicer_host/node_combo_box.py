"""Stands in for qMRMLNodeComboBox: a combo box of the scene's nodes.

As the real one it shows nothing without a scene, and an empty box that must show a node takes the first that comes,
unless None was set on purpose. When the chosen node is removed, the one before it is chosen, None too if it is there.
"""

from typing import ClassVar

import slicer
import vtk
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QWidget

from .observing import observe
from .stand_in import publish, stored


@publish(slicer)
class qMRMLNodeComboBox(QWidget):
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    nodeActivated = Signal(object)

    VTK_SIGNALS: ClassVar[dict[str, str]] = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged(PyObject)",
        "currentNodeChanged(bool)": "currentNodeChanged(PyObject)",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser(PyObject)",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated(PyObject)",
    }

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._scene, self._tags, self._name_tags = None, [], []
        self._ids: list[str] = []
        self._current, self._wanted = "", ""
        self._none_was_set = False
        self._attributes: list[tuple[str, str, str | None]] = []
        self._box = QComboBox()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.activated.connect(self._on_chosen)

    nodeTypes = stored("QStringList", [], "_refresh")
    noneEnabled = stored(bool, False, "_refresh")
    addEnabled = stored(bool, True)
    removeEnabled = stored(bool, True)
    renameEnabled = stored(bool, False)
    editEnabled = stored(bool, False)
    showHidden = stored(bool, False, "_refresh")
    showChildNodeTypes = stored(bool, True, "_refresh")
    selectNodeUponCreation = stored(bool, True)
    baseName = stored(str, "")
    noneDisplay = stored(str, "None", "_refresh")
    currentNodeID = Property(str, lambda self: self._current, lambda self, node_id: self.setCurrentNodeID(node_id))

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        self._tags = []
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent)
            self._tags = [observe(scene, event, self._on_scene_changed) for event in events]
        self._refresh()

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id: str | None) -> None:
        """Choose a node; one that is not listed yet is chosen when it appears."""
        node_id = node_id or ""
        self._none_was_set = not node_id
        self._wanted = node_id if node_id not in self._ids else ""
        self._select(node_id if node_id in self._ids else "")

    def nodeCount(self) -> int:
        return sum(bool(each) for each in self._ids)

    def nodeFromIndex(self, index: int):
        return self._scene.GetNodeByID([each for each in self._ids if each][index])

    def addAttribute(self, node_type: str, name: str, value: str | None = None) -> None:
        """Show nodes of the type only if they have the attribute."""
        self._attributes.append((node_type, name, value))
        self._refresh()

    def addNode(self, node_type: str | None = None):
        """Create a node as the entry `Create new ...` does."""
        kind = node_type or self.nodeTypes[0]
        name = self.baseName or kind.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(kind, self._scene.GenerateUniqueName(name))
        for _, attribute, value in self._attributes:
            node.SetAttribute(attribute, value)
        self._refresh()
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _is_shown(self, node) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        kinds = [kind for kind in self.nodeTypes if node.IsA(kind)]
        if not kinds or not (self.showChildNodeTypes or node.GetClassName() in kinds):
            return False
        needed = [(name, value) for kind, name, value in self._attributes if node.IsA(kind)]
        found = [(node.GetAttribute(name), value) for name, value in needed]
        return all(has is not None and value in (None, has) for has, value in found)

    def _on_scene_changed(self, scene, event) -> None:
        self._refresh()

    def _refresh(self) -> None:
        if self._scene is not None and self._scene.IsBatchProcessing():
            return
        nodes = self._nodes()
        was, was_empty = self._ids, not any(self._ids)
        self._list(nodes)
        if self._wanted and self._wanted in self._ids:
            self._wanted, chosen = "", self._wanted
        elif self._current in self._ids:
            chosen = self._current
        elif self._current in was[1:] and was[was.index(self._current) - 1] in self._ids:
            chosen = was[was.index(self._current) - 1]
        else:
            must_choose = nodes and not self.noneEnabled and (self._current or (was_empty and not self._none_was_set))
            chosen = nodes[0].GetID() if must_choose else ""
        self._select(chosen)

    def _nodes(self) -> list:
        if self._scene is None:
            return []
        nodes = (self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if self._is_shown(node)]

    def _list(self, nodes: list) -> None:
        for node, tag in self._name_tags:
            node.RemoveObserver(tag)
        self._name_tags = [(each, observe(each, vtk.vtkCommand.ModifiedEvent, self._on_modified)) for each in nodes]
        was = self._box.blockSignals(True)
        self._box.clear()
        self._ids = [""] * bool(self.noneEnabled) + [node.GetID() for node in nodes]
        self._box.addItems([self.noneDisplay] * bool(self.noneEnabled) + [node.GetName() or "" for node in nodes])
        self._box.blockSignals(was)

    def _on_modified(self, node, event) -> None:
        if node.GetID() in self._ids:
            index = self._ids.index(node.GetID())
            if self._box.itemText(index) != node.GetName():
                self._box.setItemText(index, node.GetName() or "")

    def _select(self, node_id: str) -> None:
        self._box.setCurrentIndex(self._ids.index(node_id) if node_id in self._ids else -1)
        if node_id != self._current:
            self._current = node_id
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node_id)

    def _on_chosen(self, index: int) -> None:
        self.setCurrentNodeID(self._ids[index])
        self.nodeActivated.emit(self.currentNode())
