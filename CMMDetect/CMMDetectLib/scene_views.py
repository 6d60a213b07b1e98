"""Slice views during a review: jumping to a lesion, slabs, and placing one point. All positions are RAS mm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
import vtk

from .review_records import Position
from .scan import Modality

FIELD_OF_VIEW_MM = 60.0
SLAB_MM = 10.0
SLAB_BEFORE = "CMMDetect.SlabBefore"
"""Attribute of a slice node: whether it had a slab before, of which type and thickness."""
Later = Callable[[Callable[[], None]], None]
"""Calls a function after the current event has been handled."""


def at_once(function: Callable[[], None]) -> None:
    """Call a function now, for use without an event loop."""
    function()


def slice_nodes() -> list[Any]:
    """Return the slice nodes of the scene."""
    return list(slicer.util.getNodesByClass("vtkMRMLSliceNode"))


def jump_to(position_mm: Sequence[float], field_of_view_mm: float = FIELD_OF_VIEW_MM) -> None:
    """Center all slice views at a point, with the given length in mm along their shorter side."""
    for node in slice_nodes():
        width, height = node.GetDimensions()[:2]
        with slicer.util.NodeModify(node):
            node.JumpSliceByCentering(*position_mm)
            if width > 0 and height > 0:
                scale = field_of_view_mm / min(width, height)
                node.SetFieldOfView(width * scale, height * scale, node.GetFieldOfView()[2])


def show_scan(volume: Any) -> None:
    """Show a volume in the background of all slice views, unless it is there or the application has no views."""
    if slicer.app.layoutManager() is None:
        return
    shown = {node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
    if shown != {volume.GetID()}:
        slicer.util.setSliceViewerLayers(background=volume, fit=True)


def show_slab(modality: Modality | None, thickness_mm: float = SLAB_MM) -> None:
    """Show a slab in all slice views, minimum intensity for dark lesions and maximum for QSM; None ends it."""
    for node in slice_nodes():
        with slicer.util.NodeModify(node):
            node.SetSlabReconstructionEnabled(modality is not None)
            if modality is not None:
                kind = vtk.VTK_IMAGE_SLAB_MIN if modality.lesions_are_dark else vtk.VTK_IMAGE_SLAB_MAX
                node.SetSlabReconstructionType(kind)
                node.SetSlabReconstructionThickness(thickness_mm)


class Slab:
    """A slab in all slice views that restores their earlier state when it ends: a user may have a slab of their own.

    The earlier state is stored in the slice nodes, so that a slab that was saved with a scene can be ended as well.
    """

    def __init__(self) -> None:
        self._shown: tuple[Modality, float] | None = None

    def show(self, modality: Modality, thickness_mm: float = SLAB_MM) -> None:
        """Show it as `show_slab` does; what the user then changes in a view stays until other arguments are given."""
        new = [node for node in slice_nodes() if node.GetAttribute(SLAB_BEFORE) is None]
        if not new and self._shown == (modality, thickness_mm):
            return
        for node in new:
            kind, thickness = node.GetSlabReconstructionType(), node.GetSlabReconstructionThickness()
            node.SetAttribute(SLAB_BEFORE, f"{int(node.GetSlabReconstructionEnabled())} {kind} {thickness}")
        show_slab(modality, thickness_mm)
        self._shown = (modality, thickness_mm)

    def end(self) -> None:
        """Restore the views; without a slab of this class nothing is touched."""
        self._shown = None
        for node in slice_nodes():
            before = node.GetAttribute(SLAB_BEFORE)
            if before is not None:
                enabled, kind, thickness = before.split()
                with slicer.util.NodeModify(node):
                    node.SetSlabReconstructionEnabled(enabled == "1")
                    node.SetSlabReconstructionType(int(kind))
                    node.SetSlabReconstructionThickness(float(thickness))
                node.RemoveAttribute(SLAB_BEFORE)


def _nothing() -> None:
    """Do nothing."""


class PointPlacer:
    """Lets the user click one point in a slice view; in a 3D view a click would have no depth.

    Parameters
    ----------
    later : defers a function until Slicer has handled the click
    """

    def __init__(self, later: Later = at_once) -> None:
        self._later = later
        self._node: Any = None
        self._placed: Callable[[Position], None] | None = None
        self._cancelled = _nothing
        self._before: tuple[str | None, str | None, int] = (None, None, 0)
        self._observed: list[tuple[Any, int]] = []

    @property
    def active(self) -> bool:
        """Whether it is waiting for a click."""
        return self._node is not None

    def start(self, placed: Callable[[Position], None], cancelled: Callable[[], None] = _nothing) -> None:
        """Wait for a click and call a function with its position; an earlier wait ends.

        Parameters
        ----------
        placed : called with the position
        cancelled : called if the user ends the wait, by a right click or by choosing another tool of Slicer
        """
        self.stop()
        selection, interaction = _singletons()
        # Slicer makes a new list the active one as soon as it is added
        self._before = (
            selection.GetActivePlaceNodeClassName(),
            selection.GetActivePlaceNodeID(),
            interaction.GetPlaceModePersistence(),
        )
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLMarkupsFiducialNode")
        node.UnRegister(None)
        node.SetName("CMMDetect point")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        self._node = slicer.mrmlScene.AddNode(node)
        self._placed, self._cancelled = placed, cancelled
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetPointLabelsVisibility(False)
        self._allow_slices()
        selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
        selection.SetActivePlaceNodeID(node.GetID())
        interaction.SetPlaceModePersistence(False)
        interaction.SetCurrentInteractionMode(interaction.Place)
        self._observe(node, node.PointPositionDefinedEvent, self._on_defined)
        self._observe(interaction, interaction.InteractionModeChangedEvent, self._on_mode)
        scene = slicer.mrmlScene
        self._observe(scene, scene.StartCloseEvent, self._on_close)
        # another layout may create further slice views
        self._observe(scene, scene.NodeAddedEvent, self._allow_slices)

    def stop(self) -> None:
        """Stop waiting."""
        node, self._node, self._placed = self._node, None, None
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed.clear()
        if node is None or not slicer.mrmlScene.IsNodePresent(node):
            return
        selection, interaction = _singletons()
        if interaction.GetCurrentInteractionMode() == interaction.Place:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        ours = selection.GetActivePlaceNodeID() == node.GetID()
        slicer.mrmlScene.RemoveNode(node)
        if ours:
            # the list in which the user was placing points becomes active again
            kind, active, persistent = self._before
            selection.SetReferenceActivePlaceNodeClassName(kind)
            selection.SetActivePlaceNodeID(active)
            interaction.SetPlaceModePersistence(persistent)

    def _observe(self, node: Any, event: int, handler: Callable[..., None]) -> None:
        self._observed.append((node, node.AddObserver(event, handler)))

    def _allow_slices(self, _caller: Any = None, _event: str = "") -> None:
        for view in slice_nodes():
            self._node.GetDisplayNode().AddViewNodeID(view.GetID())

    def _on_defined(self, _caller: Any, _event: str) -> None:
        position, placed = [0.0, 0.0, 0.0], self._placed
        if self._node is None or placed is None or not self._node.GetNumberOfDefinedControlPoints():
            return
        self._node.GetNthControlPointPositionWorld(0, position)
        self._placed = None

        def finish() -> None:
            self.stop()
            x, y, z = position
            placed((x, y, z))

        self._later(finish)

    def _on_mode(self, interaction: Any, _event: str) -> None:
        # Slicer leaves the place mode by itself after the click, and when the user cancels
        if interaction.GetCurrentInteractionMode() != interaction.Place and self._placed is not None:
            self._later(self._stop_if_waiting)

    def _stop_if_waiting(self) -> None:
        if self._placed is not None:
            self.stop()
            self._cancelled()

    def _on_close(self, _caller: Any, _event: str) -> None:
        self.stop()


def _singletons() -> tuple[Any, Any]:
    scene = slicer.mrmlScene
    return (
        scene.GetNodeByID("vtkMRMLSelectionNodeSingleton"),
        scene.GetNodeByID("vtkMRMLInteractionNodeSingleton"),
    )
