"""The MRML nodes of a review: how they are created, found and displayed. All their content comes from the session."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import slicer
import vtk

from .candidates import Candidate, Stage
from .errors import InputError
from .placement import Placement, motion, placement_of
from .review_records import Position, Verdict, position_of
from .scene_volume import affine_of
from .tables import MISSING

ACCEPTED = "accepted"
ROLES = (*(stage.value for stage in Stage), ACCEPTED)
"""The point lists of a review: candidates that passed each stage, and those that the reader accepted."""
TABLE, REGIONS, VOLUME = "table", "regions", "volume"
REVIEW_ATTRIBUTE = "CMMDetect.Review"
REFERENCE = "CMMDetect."
PLACE = "CMMDetect.Place"
"""Attribute of the regions: the placement of the scan that they were laid on."""
PUT_AWAY = "CMMDetect.PutAway"
"""Attribute of a display node that was visible before another scan was chosen."""

Color = tuple[float, float, float]
# colors of Okabe and Ito, which are safe for color-blind readers: warm is undecided, brighter for later stages
VERMILION, ORANGE, YELLOW = (0.84, 0.37, 0.0), (0.90, 0.62, 0.0), (0.94, 0.89, 0.26)
SKY_BLUE, GRAY = (0.34, 0.71, 0.91), (0.6, 0.6, 0.6)
# Slicer fills circles, squares and diamonds; only these two glyphs leave the center free
CROSS, STAR = "Cross2D", "StarBurst2D"
STYLES: dict[str, tuple[str, Color]] = {
    Stage.DETECTION.value: (CROSS, VERMILION),
    Stage.DISCRIMINATION.value: (CROSS, ORANGE),
    Stage.FINAL.value: (CROSS, YELLOW),
    ACCEPTED: (STAR, SKY_BLUE),
}
"""Glyph and color of each list; rejected candidates are gray."""
GLYPH_MM = 8.0
"""Glyph size; the free center is then nearly 4 mm wide."""


class Point(NamedTuple):
    """A candidate as a control point."""

    position: Position
    label: str
    description: str
    selected: bool
    visible: bool


def point_of(candidate: Candidate, visible: bool) -> Point:
    """Return a candidate as a control point; a rejected one is not selected, which makes it gray."""
    words = (candidate.verdict, candidate.certainty, candidate.mimic)
    return Point(
        position=position_of(candidate),
        label=candidate.id,
        description=", ".join(word for word in words if word),
        selected=candidate.verdict != Verdict.REJECTED,
        visible=visible,
    )


def find_hub(volume: Any) -> Any:
    """Return the node that holds the text of a volume's review and references its other nodes; None without one."""
    return next((hub for hub in _hubs() if hub.GetNodeReference(REFERENCE + VOLUME) is volume), None)


def show_only(volume: Any) -> None:
    """Show the markings of this scan that were hidden for another one, and hide those of all other scans.

    Without a volume, as after its scan was removed, all markings are hidden.
    """
    for hub in _hubs():
        wanted = volume is not None and hub.GetNodeReference(REFERENCE + VOLUME) is volume
        for node in filter(None, (owned(hub, role) for role in (*ROLES, REGIONS))):
            display = node.GetDisplayNode()
            if display is None:
                continue
            if wanted and display.GetAttribute(PUT_AWAY):
                display.RemoveAttribute(PUT_AWAY)
                display.SetVisibility(True)
            elif not wanted and display.GetVisibility():
                display.SetAttribute(PUT_AWAY, "1")
                display.SetVisibility(False)


def _hubs() -> list[Any]:
    return [node for node in slicer.util.getNodesByClass("vtkMRMLTextNode") if node.GetAttribute(REVIEW_ATTRIBUTE)]


def keep_in_scene_file(hub: Any) -> None:
    """Keep the text in the scene file itself, so that Slicer does not ask to save it as a separate file."""
    # a scene file does not store this setting: a scene saved without this module has a file for the text
    hub.SetForceCreateStorageNode(hub.CreateStorageNodeNever)
    if hub.GetStorageNode() is not None:
        slicer.mrmlScene.RemoveNode(hub.GetStorageNode())


def make_hub(volume: Any) -> Any:
    """Create that node."""
    hub = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", f"{volume.GetName()} review")
    hub.SetAttribute(REVIEW_ATTRIBUTE, "1")
    hub.SetNodeReferenceID(REFERENCE + VOLUME, volume.GetID())
    _put_into_folder(hub, hub, volume)
    return hub


def owned(hub: Any, role: str) -> Any:
    """Return the node of a review that has a role; None if there is none."""
    return hub.GetNodeReference(REFERENCE + role)


def make_points(hub: Any, volume: Any, role: str) -> Any:
    """Create the point list of a role."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", f"{volume.GetName()} {role}")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    with slicer.util.NodeModify(display):
        glyph, color = STYLES[role]
        display.SetGlyphTypeFromString(glyph)
        display.SetUseGlyphScale(False)
        display.SetGlyphSize(GLYPH_MM)
        display.SetSelectedColor(*color)
        display.SetColor(*GRAY)
        display.SetActiveColor(*color)
        display.SetPointLabelsVisibility(False)
        display.SetPropertiesLabelVisibility(False)
        display.SetSliceProjection(False)
    own(hub, volume, role, node)
    return node


def own(hub: Any, volume: Any, role: str, node: Any) -> None:
    """Register a node under a role of a review."""
    node.SetAttribute(REFERENCE + "Role", role)
    hub.SetNodeReferenceID(REFERENCE + role, node.GetID())
    _put_into_folder(node, hub, volume)


Written = dict[str, tuple[str, Point]]
"""Content of a point list by candidate id: the id of the control point, and what was written to it."""


def write_points(node: Any, written: Written, wanted: Mapping[str, Point], names: Iterable[str]) -> None:
    """Update candidates in a point list; only differences are written, since each call costs time.

    Parameters
    ----------
    written : current content, updated in place
    wanted : wanted content by candidate id
    names : ids of the candidates to update; those that are not wanted are removed from the list
    """
    with slicer.util.NodeModify(node):
        gone = {written.pop(name)[0] for name in names if name in written and name not in wanted}
        if gone:
            remove_points(node, gone)
        index_of = {point_id: index for index, point_id in enumerate(_ids(node))}
        for name, point in wanted.items():
            point_id, last = written.get(name, ("", None))
            index = index_of.get(point_id)
            if index is None:
                index, last = node.AddControlPointWorld(vtk.vtkVector3d(*point.position), point.label), None
                point_id = node.GetNthControlPointID(index)
            if last != point:
                _write_point(node, index, point)
            written[name] = (point_id, point)


def remove_points(node: Any, ids: Collection[str]) -> None:
    """Remove control points by their own ids."""
    for index, point_id in reversed(list(enumerate(_ids(node)))):
        if point_id in ids:
            node.RemoveNthControlPoint(index)


def forget_changed(node: Any, written: Written) -> None:
    """Remove from ``written`` what has changed in the node, and from the node what is not in ``written``."""
    places = positions_by_id(node)
    for name, (point_id, point) in list(written.items()):
        if places.get(point_id) != point.position:
            del written[name]
    known = {point_id for point_id, _ in written.values()}
    if not known:
        node.RemoveAllControlPoints()
    elif places.keys() - known:
        remove_points(node, places.keys() - known)


def _ids(node: Any) -> list[str]:
    return [node.GetNthControlPointID(index) for index in range(node.GetNumberOfControlPoints())]


def _write_point(node: Any, index: int, point: Point) -> None:
    if _world_position(node, index) != point.position:
        node.SetNthControlPointPositionWorld(index, *point.position)
    node.SetNthControlPointLabel(index, point.label)
    node.SetNthControlPointDescription(index, point.description)
    node.SetNthControlPointSelected(index, point.selected)
    node.SetNthControlPointVisibility(index, point.visible)
    # the mouse must not move it by accident
    node.SetNthControlPointLocked(index, True)


def positions_by_id(node: Any) -> dict[str, Position]:
    """Return the positions of the control points that are defined, by control point id, RAS mm."""
    return {
        node.GetNthControlPointID(index): _world_position(node, index)
        for index in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointPositionStatus(index) == node.PositionDefined
    }


def placed_by_user(node: Any, names: Collection[str]) -> dict[str, Position]:
    """Give the control points, as `positions_by_id` does, that are none of the candidates with these names."""
    own = {
        node.GetNthControlPointID(index)
        for index in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointLocked(index) or node.GetNthControlPointLabel(index) in names
    }
    return {point_id: position for point_id, position in positions_by_id(node).items() if point_id not in own}


def _world_position(node: Any, index: int) -> Position:
    position = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(index, position)
    x, y, z = position
    return x, y, z


def make_table(hub: Any, volume: Any) -> Any:
    """Create the table of candidates, with the columns of the files."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", f"{volume.GetName()} candidates")
    with slicer.util.NodeModify(node):
        for field in fields(Candidate):
            column = vtk.vtkStringArray()
            column.SetName(field.name)
            node.AddColumn(column)
        node.SetLocked(True)
    own(hub, volume, TABLE, node)
    return node


def write_rows(node: Any, candidates: Sequence[Candidate], changed: Iterable[str] | None) -> None:
    """Update a table from the candidates; with ``changed`` only those rows, if the others are in place."""
    table = node.GetTable()
    names = [field.name for field in fields(Candidate)]
    columns = [table.GetColumnByName(name) for name in names]
    if any(column is None for column in columns):
        return
    ids = columns[0]
    count = len(candidates)
    in_place = ids.GetNumberOfValues() == count and all(
        ids.GetValue(row) == item.id for row, item in enumerate(candidates)
    )
    wanted = set(changed) if changed is not None and in_place else None
    with slicer.util.NodeModify(node):
        if not in_place:
            table.SetNumberOfRows(count)
        for row, item in enumerate(candidates):
            if wanted is None or item.id in wanted:
                for name, column in zip(names, columns, strict=True):
                    column.SetValue(row, _cell(getattr(item, name)))
        table.Modified()


def make_regions(hub: Any, volume: Any, path: Path, color: Color) -> Any:
    """Load a label map (label n is ``cmb-000n``) as a segmentation that outlines each region.

    Raises
    ------
    InputError
        If the file cannot be loaded.
    """
    # Slicer may reorder the axes of the file: from here on only world positions are used
    logic = slicer.modules.volumes.logic()
    labelmap = logic.AddArchetypeVolume(str(path), "CMMDetect labels", 1) if path.is_file() else None
    if labelmap is None:
        raise InputError(f"{path}: no label map can be loaded from here")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{volume.GetName()} regions")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetAttribute(PLACE, json.dumps(placement_of(affine_of(labelmap), labelmap.GetImageData().GetDimensions())))
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labelmap, node)
    slicer.mrmlScene.RemoveNode(labelmap)
    display = node.GetDisplayNode()
    display.SetAllSegmentsVisibility2DFill(False)
    segmentation = node.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments()):
        segmentation.GetNthSegment(index).SetColor(*color)
    own(hub, volume, REGIONS, node)
    return node


def show_all_regions(node: Any) -> None:
    """Show each region of an outline that is shown.

    Slicer 5.8 hides some of them when it loads a scene that holds a hidden segmentation too, as of another scan.
    """
    if node.GetDisplayNode() is not None:
        node.GetDisplayNode().SetAllSegmentsVisibility(True)


def lay(node: Any, place: Placement | None) -> None:
    """Bring regions to where the scan lies, if it was moved since they were laid on it."""
    if node.GetParentTransformNode() is not None:
        # who moves all that belongs to a scan moves these too
        node.SetAndObserveTransformNodeID(None)
    laid, there = node.GetAttribute(PLACE), json.dumps(place)
    if place is None or laid in (None, there):
        return
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    moved = motion(bounds.reshape(3, 2).T, json.loads(laid), place)
    if moved is not None:
        node.ApplyTransformMatrix(slicer.util.vtkMatrixFromArray(moved))
    node.SetAttribute(PLACE, there)


def _put_into_folder(node: Any, hub: Any, volume: Any) -> None:
    """Put a node into the subject hierarchy folder of the review, a child of the volume."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None:
        return
    invalid = hierarchy.GetInvalidItemID()
    home = _item(hierarchy, volume, hierarchy.GetSceneItemID())
    hub_item = hierarchy.GetItemByDataNode(hub)
    folder = hierarchy.GetItemParent(hub_item) if hub_item != invalid else invalid
    if folder in (invalid, hierarchy.GetSceneItemID(), home):
        folder = hierarchy.CreateFolderItem(home, f"{volume.GetName()} microbleeds")
    hierarchy.SetItemParent(_item(hierarchy, node, folder), folder)


def _item(hierarchy: Any, node: Any, parent: int) -> int:
    item = hierarchy.GetItemByDataNode(node)
    return int(item if item != hierarchy.GetInvalidItemID() else hierarchy.CreateItem(parent, node))


def _cell(value: object) -> str:
    if value is None:
        return MISSING
    return f"{value:.4g}" if isinstance(value, float) else str(value)
