"""The regions of a scan's microbleeds in the scene: a segmentation that the user can correct."""

import hashlib

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from CMMDetectLib.errors import InputError

COLOR = (1.0, 0.4, 0.1)
ROLE = "CMMDetectTrain.Scan"
POINTS = "CMMDetectTrain.Points"
"""Reference role of the points at which regions were grown."""
CORRECTED = "CMMDetectTrain.Corrected"
"""Attribute of a segmentation that was corrected by hand or is `OPENED`: it is not filled again unless asked for."""
OPENED = "opened"
"""Value of that attribute while the labels of an opened case are unchanged."""
GROWN = "CMMDetectTrain.Grown"
"""Attribute of a segmentation: checksum of the regions that were grown into it."""


class LabelNodes:
    """Shows a label map as outlines and reads it back.

    Whether regions were corrected is stored in the segmentation itself, so that it is known when the scan is chosen
    again and after the scene was saved and loaded.

    Parameters
    ----------
    onCorrected : called when anything else changes the regions
    """

    def __init__(self, onCorrected):
        self._onCorrected = onCorrected
        self._node = None
        self._observed = []
        self._writing = False
        self._compared = False

    @property
    def node(self):
        """The segmentation that was requested last, None if there is none."""
        return self._node if self._node is not None and slicer.mrmlScene.IsNodePresent(self._node) else None

    def of(self, volume):
        """Return the segmentation of a scan's regions, None if there is none."""
        if volume is None:
            return None
        if self.node is not None and _belongs(self.node, volume):
            return self.node
        self.forget()
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        self._observe(next((node for node in nodes if _belongs(node, volume)), None))
        return self._node

    def isCorrected(self, volume):
        """Whether the regions of a scan were corrected by hand, or opened for that."""
        node = self.of(volume)
        return node is not None and node.GetAttribute(CORRECTED) is not None

    def isOpened(self, volume):
        """Whether a scan has the labels of a case, as they were opened."""
        node = self.of(volume)
        return node is not None and node.GetAttribute(CORRECTED) == OPENED

    def compare(self, volume):
        """Detect corrections made while the node was not observed: another scan was chosen, or the module closed."""
        node = self.of(volume)
        if node is None or self._compared:
            return
        self._compared = True
        if node.GetAttribute(GROWN) not in (None, _fingerprint(self.labels(volume))):
            node.SetAttribute(CORRECTED, "true")

    def release(self, volume):
        """Discard the mark of corrected regions, so that they may be grown again."""
        node = self.of(volume)
        if node is not None:
            node.RemoveAttribute(CORRECTED)
            self._compared = True

    def pointsOf(self, volume):
        """Return the points at which a scan's regions were last grown, None without any."""
        node = self.of(volume)
        return node.GetNodeReference(POINTS) if node is not None else None

    def show(self, volume, labels, names, points=None):
        """Show regions as outlines, replacing earlier ones.

        Parameters
        ----------
        volume : the scan's node
        labels : (I, J, K) on the voxels of the scan
        names : names of the labels from 1
        points : node of the points at which they were grown
        """
        self._writing = True
        try:
            if self.of(volume) is None:
                self._observe(self._made(volume))
            self._node.GetSegmentation().RemoveAllSegments()
            if labels.any():
                self._fill(self._node, volume, labels, names)
            self._node.SetAttribute(GROWN, _fingerprint(labels))
            self._node.SetNodeReferenceID(POINTS, points.GetID() if points is not None else None)
            self._compared = True
        finally:
            self._writing = False

    def open(self, volume, labels, names):
        """Outline the labels of a case; they are not grown again unasked. As of `show`; its points stay."""
        self.show(volume, labels, names, self.pointsOf(volume))
        self._node.SetAttribute(CORRECTED, OPENED)

    def holds(self, volume, labels):
        """Whether the regions of a scan are those of a label map."""
        return self.of(volume) is not None and _fingerprint(self.labels(volume)) == _fingerprint(labels)

    def labels(self, volume):
        """Return the current regions, (I, J, K) int32 on the voxels of the scan.

        Raises
        ------
        InputError
            If the scan has no segmentation because it was deleted, unlike a scan without regions.
        """
        node = self.of(volume)
        if node is None:
            raise InputError(_("{scan}: its regions were deleted; grow them again").format(scan=volume.GetName()))
        if not node.GetSegmentation().GetNumberOfSegments():
            return np.zeros(volume.GetImageData().GetDimensions(), np.int32)
        ids = vtk.vtkStringArray()
        for segment in node.GetSegmentation().GetSegmentIDs():
            ids.InsertNextValue(segment)
        labelmap = _labelmap(volume)
        try:
            slicer.modules.segmentations.logic().ExportSegmentsToLabelmapNode(node, ids, labelmap, volume)
            return slicer.util.arrayFromVolume(labelmap).T.astype(np.int32)
        finally:
            slicer.mrmlScene.RemoveNode(labelmap)

    def names(self, volume):
        """Return the names of the regions, in the order of their labels."""
        node = self.of(volume)
        segmentation = node.GetSegmentation() if node is not None else None
        count = segmentation.GetNumberOfSegments() if segmentation is not None else 0
        return [segmentation.GetNthSegment(index).GetName() for index in range(count)]

    def forget(self):
        """Release the nodes, which stay in the scene."""
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed, self._node, self._compared = [], None, False

    def _observe(self, node):
        self._node = node
        if node is None:
            return
        segmentation = node.GetSegmentation()
        for event in (
            segmentation.SourceRepresentationModified,
            segmentation.SegmentAdded,
            segmentation.SegmentRemoved,
        ):
            self._observed.append((segmentation, segmentation.AddObserver(event, self._onModified)))

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
            self._node.SetAttribute(CORRECTED, "true")
            self._onCorrected()


def _belongs(node, volume):
    """Whether a segmentation was made for a scan."""
    return node.GetNodeReferenceID(ROLE) == volume.GetID()


def _fingerprint(labels):
    """Checksum of a label map; only the order of labels counts, since a segmentation renumbers them."""
    places = np.flatnonzero(labels)
    _values, order = np.unique(labels.flat[places], return_inverse=True)
    return hashlib.sha256(places.astype(np.int64).tobytes() + order.astype(np.int64).tobytes()).hexdigest()


def _labelmap(volume):
    """Create an empty label map with the geometry of a scan, including its transforms."""
    node = slicer.vtkMRMLLabelMapVolumeNode()
    node.SetName("CMMDetectTrain labels")
    # hidden before it is added, so that no list of volumes flickers
    node.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(node)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    return node
