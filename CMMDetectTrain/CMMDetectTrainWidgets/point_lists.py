"""Points from files and reviews, as nodes of the scene and back."""

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


def pointsOf(node):
    """Give the points of a node that were placed; none without a node."""
    found = []
    for index in range(node.GetNumberOfControlPoints() if node is not None else 0):
        if node.GetNthControlPointPositionStatus(index) == node.PositionDefined:
            position = [0.0, 0.0, 0.0]
            node.GetNthControlPointPositionWorld(index, position)
            label = node.GetNthControlPointLabel(index) or _("point {number}").format(number=index + 1)
            found.append(AnnotatedPoint(label, tuple(position)))
    return found


def sourceOf(node):
    """Say where the points of a node came from."""
    return "" if node is None else node.GetAttribute(SOURCE) or node.GetName()


def readerOf(node):
    """Give who marked the points, "" if nothing tells it."""
    return "" if node is None else node.GetAttribute(READER) or ""


def loadPoints(path, scan):
    """Read points of a file or of a saved review into a new node; give the node and what its reader should know.

    Raises
    ------
    InputError
        If the file cannot be read, or is the review of another scan.
    """
    path = Path(path)
    if path.name.endswith(SUFFIX):
        return _fromSession(read_review(path), scan, path.name), []
    points, problems = read_points(path, scan)
    return _made(points, path.name, ""), problems


def loadReview(volume, scan):
    """Take the accepted candidates of the review that the scene holds of a volume into a new node.

    Raises
    ------
    InputError
        If there is no review, or it is one of another scan.
    """
    text = saved_review(volume)
    if text is None:
        raise InputError(_("{scan}: the scene holds no review of it").format(scan=volume.GetName()))
    return _fromSession(from_text(text), scan, _("review of {scan}").format(scan=volume.GetName()))


def _fromSession(session, scan, source):
    identity = identify(scan)
    if session.scan.sha256 not in (None, identity.sha256):
        raise InputError(_("{source}: the review of another scan").format(source=source))
    session.follow_scan(identity)
    points = [AnnotatedPoint(item.id, tuple(position_of(item))) for item in session.accepted]
    return _made(points, source, session.reader)


def _made(points, source, reader):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", source.partition(".")[0])
    node.CreateDefaultDisplayNodes()
    node.SetAttribute(SOURCE, source)
    node.SetAttribute(READER, reader)
    with slicer.util.NodeModify(node):
        for point in points:
            node.AddControlPointWorld(vtk.vtkVector3d(*point.position_mm), point.name)
    return node
