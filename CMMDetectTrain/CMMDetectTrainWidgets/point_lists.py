"""Points from files and reviews as nodes of the scene, and back."""

from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _

from CMMDetectLib.errors import InputError
from CMMDetectLib.review_file import SUFFIX, from_text, identify, read_review
from CMMDetectLib.review_records import position_of
from CMMDetectLib.scene import saved_review
from CMMDetectTrainLib.annotations import AnnotatedPoint, read_points

SOURCE = "CMMDetectTrain.Source"
READER = "CMMDetectTrain.Reader"
OF_SCAN = "CMMDetectTrain.PointsOf"
"""Role of the scan that points were loaded for: what is loaded for it from the same source again takes their place."""


def pointsOf(node):
    """Return the defined points of a node; none without a node."""
    found = []
    for index in range(node.GetNumberOfControlPoints() if node is not None else 0):
        if node.GetNthControlPointPositionStatus(index) == node.PositionDefined:
            position = [0.0, 0.0, 0.0]
            node.GetNthControlPointPositionWorld(index, position)
            label = node.GetNthControlPointLabel(index) or _("point {number}").format(number=index + 1)
            found.append(AnnotatedPoint(label, tuple(position)))
    return found


def sourceOf(node):
    """Return where the points of a node came from."""
    return "" if node is None else node.GetAttribute(SOURCE) or node.GetName()


def readerOf(node):
    """Return who marked the points, "" if it is not known."""
    return "" if node is None else node.GetAttribute(READER) or ""


def loadPoints(path, volume, scan):
    """Read points of a file or of a saved review into a node; return the node and a list of problems.

    Parameters
    ----------
    path : file of the points
    volume : node of the scan that the points lie in; its points that were read from the file before are replaced
    scan : the same as a `Scan`

    Raises
    ------
    InputError
        If the file cannot be read, or is the review of another scan.
    """
    path = Path(path)
    if path.name.endswith(SUFFIX):
        return _fromSession(read_review(path), volume, scan, path.name), []
    points, problems = read_points(path, scan)
    return _listed(points, volume, path.name, ""), problems


def loadReview(volume, scan):
    """Copy the accepted candidates of a volume's review in the scene into a node, which is always the same one.

    Raises
    ------
    InputError
        If there is no review, or it is one of another scan.
    """
    text = saved_review(volume)
    if text is None:
        raise InputError(_("{scan}: the scene holds no review of it").format(scan=volume.GetName()))
    return _fromSession(from_text(text), volume, scan, _("review of {scan}").format(scan=volume.GetName()))


def _fromSession(session, volume, scan, source):
    identity = identify(scan)
    if session.scan.sha256 not in (None, identity.sha256):
        raise InputError(_("{source}: the review of another scan").format(source=source))
    session.follow_scan(identity)
    points = [AnnotatedPoint(item.id, tuple(position_of(item))) for item in session.accepted]
    return _listed(points, volume, source, session.reader)


def _listed(points, volume, source, reader):
    """Put points into the list of their scan and source, which is made where there is none yet."""
    node = _loadedBefore(volume, source) or _made(volume, source)
    node.SetAttribute(READER, reader)
    with slicer.util.NodeModify(node):
        node.RemoveAllControlPoints()
        for point in points:
            node.AddControlPointWorld(vtk.vtkVector3d(*point.position_mm), point.name)
    return node


def _loadedBefore(volume, source):
    nodes = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    own = (node for node in nodes if node.GetNodeReferenceID(OF_SCAN) == volume.GetID())
    return next((node for node in own if node.GetAttribute(SOURCE) == source), None)


def _made(volume, source):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", source.partition(".")[0])
    node.CreateDefaultDisplayNodes()
    node.SetAttribute(SOURCE, source)
    node.SetNodeReferenceID(OF_SCAN, volume.GetID())
    return node
