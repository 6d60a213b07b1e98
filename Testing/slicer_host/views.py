"""Stands in for qSlicerLayoutManager: real slice logics and nodes, drawn only when a picture is wanted."""

from functools import cache

import slicer

from .boot import boot
from .slice_view import SliceView

ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


class SliceWidget:
    """The calls of qMRMLSliceWidget that panels and `slicer.util` make; it is its own controller and view."""

    def __init__(self, name: str):
        self.view = SliceView(boot().scene, boot().application_logic, name, ORIENTATIONS[name])

    def sliceLogic(self):
        return self.view.logic

    def mrmlSliceNode(self):
        return self.view.node

    def mrmlSliceCompositeNode(self):
        return self.view.logic.GetSliceCompositeNode()

    def interactorStyle(self):
        return self.view.style

    def sliceController(self):
        return self

    def sliceView(self):
        return self

    def setFocus(self) -> None:
        pass

    def fitSliceToBackground(self) -> None:
        self.view.fit()

    def forceRender(self) -> None:
        self.view.render()

    def scheduleRender(self) -> None:
        pass


class LayoutManager:
    """Three slice views; remembers the layout that was asked for in the real layout node."""

    threeDViewCount = tableViewCount = plotViewCount = 0

    def __init__(self):
        scene = boot().scene
        self._node = scene.GetSingletonNode("vtkMRMLLayoutNode", "vtkMRMLLayoutNode")
        if self._node is None:
            self._node = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
        self._widgets = {name: SliceWidget(name) for name in ORIENTATIONS}

    @property
    def layout(self) -> int:
        return self._node.GetViewArrangement()

    @layout.setter
    def layout(self, number: int) -> None:
        self.setLayout(number)

    def setLayout(self, number: int) -> None:
        self._node.SetViewArrangement(number)

    def layoutLogic(self):
        return self

    def GetLayoutNode(self):
        return self._node

    def mrmlScene(self):
        return slicer.mrmlScene

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._widgets)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return self._widgets.get(name)

    def mrmlSliceLogics(self):
        return boot().application_logic.GetSliceLogics()

    def resetSliceViews(self) -> None:
        for each in self._widgets.values():
            each.fitSliceToBackground()

    def pauseRender(self) -> None:
        pass

    def resumeRender(self) -> None:
        pass


@cache
def layout_manager() -> LayoutManager:
    """Return the one layout manager; its slice nodes are in the scene from the first call on."""
    return LayoutManager()
