"""Gives data nodes their subject hierarchy item, as qSlicerSubjectHierarchyPluginLogic does in the application."""

import slicer
import vtk

SHOWN_AS_ITEMS = (
    "vtkMRMLModelNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLPlotChartNode",
    "vtkMRMLPlotSeriesNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
    "vtkMRMLTransformNode",
    "vtkMRMLVolumeNode",
)


class SubjectHierarchyKeeper:
    """Adds and removes items with their nodes; after a scene was read, adds those that the file did not bring."""

    def __init__(self, scene: vtk.vtkObject):
        self.scene = scene
        scene.AddObserver(scene.NodeAddedEvent, self._on_node_added)
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._on_node_about_to_be_removed)
        scene.AddObserver(scene.EndImportEvent, self._on_scene_read)
        scene.AddObserver(scene.EndRestoreEvent, self._on_scene_read)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_added(self, caller, event, node) -> None:
        if not (self.scene.IsImporting() or self.scene.IsRestoring()):
            self._add_item(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_about_to_be_removed(self, caller, event, node) -> None:
        if self.scene.IsClosing() or not _is_shown(node):
            return
        hierarchy = self.scene.GetSubjectHierarchyNode()
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)

    def _on_scene_read(self, caller, event) -> None:
        for index in range(self.scene.GetNumberOfNodes()):
            self._add_item(self.scene.GetNthNode(index))

    def _add_item(self, node) -> None:
        if not _is_shown(node):
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def _is_shown(node) -> bool:
    """Whether one of Slicer's plugins would own the node."""
    hidden = node.GetHideFromEditors() or node.IsA("vtkMRMLColorTableNode")
    return not hidden and any(node.IsA(shown) for shown in SHOWN_AS_ITEMS)
