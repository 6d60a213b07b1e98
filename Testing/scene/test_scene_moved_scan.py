"""A scan that is moved takes the marks of its review along: they belong to its voxels."""

import numpy as np
import pytest
import slicer
import vtk

from CMMDetectLib.review_file import from_text, identify, to_text
from CMMDetectLib.scene import ReviewScene, saved_review
from CMMDetectLib.scene_nodes import ROLES
from CMMDetectLib.scene_volume import scan_of
from review_in_scene import CANDIDATES, add_regions, place_of

MARKED = [-4.0, -4.0, 6.0]
WAITING = []
"""What waits until the event that is being handled is over."""


@pytest.fixture
def told():
    """What the reader is told: an error, or whether marks went with the scan."""
    return []


@pytest.fixture
def shown(session, volume, told):
    WAITING.clear()
    return ReviewScene(session, volume, WAITING.append, lambda error: told.append(str(error)), told.append)


def settle():
    while WAITING:
        WAITING.pop(0)()


def tilted(x_mm=15.0):
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([0.96, -0.28, 0, x_mm, 0.28, 0.96, 0, 0, 0, 0, 1, -2, 0, 0, 0, 1])
    return matrix


def put_under(volume, matrix):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    settle()
    return transform


def moved_to(matrix, position):
    return list(matrix.MultiplyPoint([*position, 1.0])[:3])


def mark(shown, name="cmb-0001", role="final"):
    return place_of(shown.points(role), name)


def outline(shown, volume):
    """Voxels of the volume that the outlined region covers."""
    node = shown._nodes["regions"]
    segment = node.GetSegmentation().GetNthSegmentID(0)
    return np.argwhere(slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume).T).tolist()


def test_marks_and_outlines_go_with_a_scan_that_a_transform_moves_and_stay_when_it_is_hardened(
    shown, volume, told, tmp_path
):
    add_regions(shown, tmp_path)
    before = outline(shown, volume)
    transform = put_under(volume, vtk.vtkMatrix4x4())
    assert told == [] and mark(shown) == MARKED
    transform.SetMatrixTransformToParent(tilted())
    settle()
    volume.HardenTransform()
    settle()
    assert told == [True]
    np.testing.assert_allclose(mark(shown), moved_to(tilted(), MARKED), atol=1e-9)
    assert outline(shown, volume) == before


def test_a_scan_that_is_centered_or_put_back_has_its_marks(shown, volume, told):
    volume.SetOrigin(40, 50, 60)
    settle()
    assert mark(shown) == [36.0, 46.0, 66.0]
    volume.SetOrigin(0, 0, 0)
    settle()
    assert mark(shown) == MARKED
    assert told == [True, True]


def test_decisions_that_are_taken_back_after_the_scan_was_moved_leave_the_marks_on_it(shown, session, volume):
    session.move("cmb-0001", (-5.0, -4.0, 6.0))
    added = session.add((-2.0, -2.0, 3.0))
    session.remove(added)
    put_under(volume, tilted())
    np.testing.assert_allclose(mark(shown), moved_to(tilted(), (-5.0, -4.0, 6.0)), atol=1e-9)
    session.undo()
    np.testing.assert_allclose(mark(shown, added, "accepted"), moved_to(tilted(), (-2.0, -2.0, 3.0)), atol=1e-9)
    session.undo()
    session.undo()
    np.testing.assert_allclose(mark(shown), moved_to(tilted(), MARKED), atol=1e-9)


def test_a_scan_that_was_moved_while_nobody_looked_has_its_marks_when_it_is_opened_again(shown, volume, tmp_path):
    add_regions(shown, tmp_path)
    before = outline(shown, volume)
    shown.detach()
    put_under(volume, tilted())
    assert mark_in_list(volume) == MARKED
    back = from_text(saved_review(volume))
    assert back.follow_scan(identify(scan_of(volume, "swi")))
    again = ReviewScene(back, volume)
    np.testing.assert_allclose(mark(again), moved_to(tilted(), MARKED), atol=1e-9)
    assert outline(again, volume) == before


def mark_in_list(volume):
    """Where the scene has the first mark while no review is open."""
    return place_of(slicer.util.getNode(f"{volume.GetName()} final"), "cmb-0001")


def test_lists_and_outlines_that_are_moved_with_their_scan_are_not_moved_twice(shown, volume, tmp_path):
    add_regions(shown, tmp_path)
    before = outline(shown, volume)
    transform = put_under(volume, tilted())
    for node in (*(shown.points(role) for role in ROLES), shown._nodes["regions"]):
        node.SetAndObserveTransformNodeID(transform.GetID())
    transform.SetMatrixTransformToParent(tilted(30.0))
    settle()
    np.testing.assert_allclose(mark(shown), moved_to(tilted(30.0), MARKED), atol=1e-6)
    assert outline(shown, volume) == before


def bent():
    transform = vtk.vtkThinPlateSplineTransform()
    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    for x, y, z in [(0, 0, 0), (-16, 0, 0), (0, -24, 0), (0, 0, 24), (-16, -24, 24)]:
        before.InsertNextPoint(x, y, z)
        after.InsertNextPoint(x + 0.01 * y * z, y, z)
    transform.SetSourceLandmarks(before)
    transform.SetTargetLandmarks(after)
    transform.SetBasisToR()
    return transform


def test_a_scan_that_is_bent_leaves_its_marks_and_that_is_told(shown, session, volume, told):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(bent())
    volume.SetAndObserveTransformNodeID(transform.GetID())
    settle()
    volume.SetAttribute("Study", "7")
    settle()
    assert len(told) == 1 and "is warped by a transform" in told[0]
    volume.HardenTransform()
    settle()
    assert len(told) == 2 and "other voxels" in told[1]
    assert session.candidates == CANDIDATES
    assert mark(shown) == MARKED


def test_the_text_in_the_scene_goes_with_the_scan_too(shown, session, volume):
    put_under(volume, tilted())
    assert saved_review(volume) == to_text(session)
    assert not from_text(saved_review(volume)).follow_scan(identify(scan_of(volume, "swi")))
