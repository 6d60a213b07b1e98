"""Slice views during a review: the place, the field of view, the slab, and one click."""

import numpy as np
import pytest
import slicer
import slicer.util
import vtk

from CMMDetectLib.errors import InputError
from CMMDetectLib.scan import Modality, to_voxel
from CMMDetectLib.scene_views import PointPlacer, Slab, jump_to, show_slab
from CMMDetectLib.scene_volume import affine_of, scan_of


@pytest.fixture
def views(scene):
    nodes = []
    for name, orientation, size in (("Red", "Axial", (400, 300)), ("Green", "Coronal", (200, 500))):
        node = scene.AddNewNodeByClass("vtkMRMLSliceNode", name)
        node.SetLayoutName(name)
        node.SetOrientation(orientation)
        node.SetDimensions(*size, 1)
        node.SetFieldOfView(250.0, 250.0 * size[1] / size[0], 1.0)
        nodes.append(node)
    return nodes


def center_of_view(node) -> list[float]:
    return [node.GetSliceToRAS().GetElement(row, 3) for row in range(3)]


def test_a_jump_centers_all_views_and_shows_the_same_millimetres_in_each(views):
    jump_to((12.0, -30.5, 41.25), field_of_view_mm=60.0)
    for node in views:
        assert center_of_view(node) == [12.0, -30.5, 41.25]
        width, height, _ = node.GetFieldOfView()
        assert min(width, height) == pytest.approx(60.0)
        assert width / height == pytest.approx(node.GetDimensions()[0] / node.GetDimensions()[1])


@pytest.mark.parametrize(
    ("modality", "kind"),
    [
        (Modality.SWI, vtk.VTK_IMAGE_SLAB_MIN),
        (Modality.T2STAR, vtk.VTK_IMAGE_SLAB_MIN),
        (Modality.QSM, vtk.VTK_IMAGE_SLAB_MAX),
    ],
)
def test_a_slab_shows_dark_lesions_as_minimum_and_bright_ones_as_maximum(views, modality, kind):
    show_slab(modality, thickness_mm=8.0)
    for node in views:
        assert node.GetSlabReconstructionEnabled()
        assert node.GetSlabReconstructionType() == kind
        assert node.GetSlabReconstructionThickness() == 8.0
    show_slab(None)
    assert not any(node.GetSlabReconstructionEnabled() for node in views)


def slab_of(node):
    return (
        bool(node.GetSlabReconstructionEnabled()),
        node.GetSlabReconstructionType(),
        node.GetSlabReconstructionThickness(),
    )


def test_the_end_of_a_slab_brings_back_the_users_own(views, scene):
    views[1].SetSlabReconstructionEnabled(True)
    views[1].SetSlabReconstructionType(vtk.VTK_IMAGE_SLAB_MEAN)
    views[1].SetSlabReconstructionThickness(20.0)
    before = [slab_of(node) for node in views]
    slab = Slab()
    slab.end()
    assert [slab_of(node) for node in views] == before
    slab.show(Modality.SWI, 8.0)
    slab.show(Modality.SWI, 6.0)
    assert [slab_of(node) for node in views] == [(True, vtk.VTK_IMAGE_SLAB_MIN, 6.0)] * 2
    slab.end()
    assert [slab_of(node) for node in views] == before
    slab.show(Modality.QSM)
    scene.RemoveNode(views[0])
    slab.end()
    assert slab_of(views[1]) == before[1]


def test_a_slab_leaves_a_view_alone_that_the_user_sets_meanwhile_and_reaches_a_new_one(views, scene):
    slab = Slab()
    slab.show(Modality.SWI, 8.0)
    views[0].SetSlabReconstructionEnabled(False)
    slab.show(Modality.SWI, 8.0)
    assert [slab_of(node)[0] for node in views] == [False, True]
    new = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Yellow")
    slab.show(Modality.SWI, 8.0)
    assert slab_of(new) == (True, vtk.VTK_IMAGE_SLAB_MIN, 8.0)
    slab.end()
    assert not any(slab_of(node)[0] for node in (*views, new))


@pytest.fixture
def interaction(scene):
    node = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    assert node is not None
    node.SetCurrentInteractionMode(node.ViewTransform)
    return node


def active_list(scene):
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    return scene.GetNodeByID(selection.GetActivePlaceNodeID() or "")


def count_lists() -> int:
    return len(slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"))


def test_one_click_gives_its_place_and_leaves_no_node(scene, interaction):
    clicks, placer = [], PointPlacer()
    placer.start(clicks.append)
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    active_list(scene).AddControlPointWorld(1.0, 2.0, 3.0)
    assert clicks == [(1.0, 2.0, 3.0)]
    assert not placer.active
    assert count_lists() == 0
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform


def test_the_click_is_taken_when_slicer_has_handled_it(scene, interaction):
    clicks, soon = [], []
    placer = PointPlacer(soon.append)
    placer.start(clicks.append)
    active_list(scene).AddControlPointWorld(1.0, 2.0, 3.0)
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    assert clicks == []
    for function in soon:
        function()
    assert clicks == [(1.0, 2.0, 3.0)]
    assert count_lists() == 0


def test_leaving_the_place_mode_ends_the_wait(scene, interaction):
    clicks, placer = [], PointPlacer()
    placer.start(clicks.append)
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    assert not placer.active
    assert (clicks, count_lists()) == ([], 0)


def test_who_awaits_a_click_is_told_that_the_user_wants_to_give_none(scene, interaction):
    told, placer = [], PointPlacer()
    placer.start(told.append, lambda: told.append("cancelled"))
    placer.stop()
    assert told == []
    placer.start(told.append, lambda: told.append("cancelled"))
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    assert told == ["cancelled"]


def test_a_click_in_a_3d_view_is_no_place_but_one_in_a_slice_view_that_comes_meanwhile_is(views, scene, interaction):
    three = scene.AddNewNodeByClass("vtkMRMLViewNode")
    PointPlacer().start(print)
    late = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    display = active_list(scene).GetDisplayNode()
    assert not display.IsDisplayableInView(three.GetID())
    assert all(display.IsDisplayableInView(view.GetID()) for view in (*views, late))


def test_the_list_of_the_user_takes_their_next_point_again(scene, interaction):
    mine = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsFiducialNode")
    selection.SetActivePlaceNodeID(mine.GetID())
    interaction.SetPlaceModePersistence(True)
    clicks, placer = [], PointPlacer()
    placer.start(clicks.append)
    placer.start(clicks.append)
    active_list(scene).AddControlPointWorld(1.0, 2.0, 3.0)
    assert len(clicks) == 1
    assert active_list(scene) is mine
    assert interaction.GetPlaceModePersistence()
    interaction.SetPlaceModePersistence(False)


def test_starting_again_or_closing_the_scene_ends_the_wait(scene, interaction):
    first, second, placer = [], [], PointPlacer()
    placer.start(first.append)
    placer.start(second.append)
    assert count_lists() == 1
    active_list(scene).AddControlPointWorld(1.0, 2.0, 3.0)
    assert (first, second) == ([], [(1.0, 2.0, 3.0)])
    placer.start(first.append)
    scene.Clear(0)
    assert not placer.active


def test_a_node_for_placing_is_not_saved_and_not_listed(scene, interaction):
    PointPlacer().start(print)
    assert active_list(scene).GetHideFromEditors()
    assert not active_list(scene).GetSaveWithScene()


def add_volume(array, affine, name="sub-01_swi"):
    return slicer.util.addVolumeFromArray(array, affine, name)


def test_a_volume_becomes_a_scan_with_its_place_in_the_world(scene):
    affine = np.array([[-0.8, 0, 0.1, 10], [0, 0.8, 0, -20], [0.05, 0, 3, 30], [0, 0, 0, 1.0]])
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    scan = scan_of(add_volume(array, affine), Modality.SWI)
    assert scan.array.shape == (5, 4, 3)
    assert scan.array[4, 1, 2] == array[2, 1, 4]
    assert scan.name == "sub-01_swi"
    np.testing.assert_allclose(scan.affine, affine, atol=1e-12)


def test_a_transform_above_the_volume_counts(scene):
    volume = add_volume(np.zeros((3, 4, 5)), np.eye(4))
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 7.0)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    assert to_voxel(affine_of(volume), (9.0, 1.0, 0.0)).tolist() == [2.0, 1.0, 0.0]


@pytest.mark.parametrize("values", [np.zeros((3, 4, 5, 3)), np.zeros((1, 4, 5)), np.full((3, 4, 5), np.nan)])
def test_a_volume_that_is_no_scan_is_refused_in_one_line(scene, values):
    kind = "vtkMRMLVectorVolumeNode" if values.ndim == 4 else "vtkMRMLScalarVolumeNode"
    volume = slicer.util.addVolumeFromArray(values, np.eye(4), "colors", kind)
    with pytest.raises(InputError, match="colors") as caught:
        scan_of(volume, Modality.SWI)
    assert "\n" not in str(caught.value)


def test_nan_around_a_brain_in_the_scene_is_background_and_nan_in_it_is_refused(scene):
    values = np.full((5, 6, 7), np.nan)
    values[1:4, 1:5, 1:6] = 300
    assert np.array_equal(scan_of(add_volume(values, np.eye(4)), Modality.SWI).array, np.nan_to_num(values).T)
    values[2, 2, 2] = np.nan
    with pytest.raises(InputError, match="some voxels are NaN or infinite; replace them"):
        scan_of(add_volume(values, np.eye(4)), Modality.SWI)


def test_an_empty_volume_is_refused(scene):
    with pytest.raises(InputError, match="not one 3D volume"):
        scan_of(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"), Modality.SWI)
