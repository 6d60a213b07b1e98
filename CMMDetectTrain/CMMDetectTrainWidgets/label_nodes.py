"""The regions of a scan's microbleeds in the scene: a segmentation that the user can correct."""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

COLOR = (1.0, 0.4, 0.1)
ROLE = "CMMDetectTrain.Scan"


class LabelNodes:
    """Shows a label map as outlines and reads it back.

    Parameters
    ----------
    onCorrected : called when somebody else changes the regions
    """

    def __init__(self, onCorrected):
        self._onCorrected = onCorrected
        self._node = None
        self._observed = []
        self._writing = False

    @property
    def node(self):
        """The segmentation node, None where none is shown."""
        return self._node if self._node is not None and slicer.mrmlScene.IsNodePresent(self._node) else None

    def show(self, volume, labels, names):
        """Outline regions.

        Parameters
        ----------
        volume : the scan's node
        labels : (I, J, K) on the voxels of the scan
        names : of the labels from 1
        """
        self._writing = True
        try:
            node = self._nodeOf(volume)
            node.GetSegmentation().RemoveAllSegments()
            if labels.any():
                self._fill(node, volume, labels, names)
        finally:
            self._writing = False

    def labels(self, volume):
        """Give the regions as they are now, (I, J, K) on the voxels of the scan."""
        if self.node is None or not self.node.GetSegmentation().GetNumberOfSegments():
            return np.zeros(volume.GetImageData().GetDimensions(), np.int32)
        ids = vtk.vtkStringArray()
        for segment in self.node.GetSegmentation().GetSegmentIDs():
            ids.InsertNextValue(segment)
        labelmap = _labelmap(volume)
        try:
            slicer.modules.segmentations.logic().ExportSegmentsToLabelmapNode(self.node, ids, labelmap, volume)
            return slicer.util.arrayFromVolume(labelmap).T.astype(np.int32)
        finally:
            slicer.mrmlScene.RemoveNode(labelmap)

    def forget(self):
        """Let go of the nodes; what is in the scene stays there."""
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed, self._node = [], None

    def _nodeOf(self, volume):
        if self.node is not None and self.node.GetNodeReferenceID(ROLE) == volume.GetID():
            return self.node
        self.forget()
        own = [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
            if node.GetNodeReferenceID(ROLE) == volume.GetID()
        ]
        self._node = own[0] if own else self._made(volume)
        segmentation = self._node.GetSegmentation()
        for event in (
            segmentation.SourceRepresentationModified,
            segmentation.SegmentAdded,
            segmentation.SegmentRemoved,
        ):
            self._observed.append((segmentation, segmentation.AddObserver(event, self._onModified)))
        return self._node

    def _made(self, volume):
        name = _("{scan} microbleeds").format(scan=volume.GetName())
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAllSegmentsVisibility2DFill(False)
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        node.SetNodeReferenceID(ROLE, volume.GetID())
        return node

    def _fill(self, node, volume, labels, names):
        labelmap = _labelmap(volume)
        try:
            slicer.util.updateVolumeFromArray(labelmap, np.ascontiguousarray(labels.T.astype(np.int16)))
            slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labelmap, node)
        finally:
            slicer.mrmlScene.RemoveNode(labelmap)
        node.GetDisplayNode().SetAllSegmentsVisibility2DFill(False)
        segmentation = node.GetSegmentation()
        for index in range(segmentation.GetNumberOfSegments()):
            segment = segmentation.GetNthSegment(index)
            segment.SetName(names[segment.GetLabelValue() - 1])
            segment.SetColor(*COLOR)

    def _onModified(self, _caller=None, _event=None):
        if not self._writing:
            self._onCorrected()


def _labelmap(volume):
    """An empty label map that lies where a scan lies, its transforms included."""
    node = slicer.vtkMRMLLabelMapVolumeNode()
    node.SetName("CMMDetectTrain labels")
    # hidden before it is there: no list of volumes shall flicker
    node.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(node)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    return node
