"""The scene that the other tests rely on behaves like Slicer's."""

import numpy as np
import pytest
import slicer
import slicer.util


@pytest.fixture
def volume(scene):
    return slicer.util.addVolumeFromArray(
        np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([1, 1, 2, 1.0]), "SWI"
    )


@pytest.fixture
def points(scene):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Candidates")
    node.AddControlPoint(1, 2, 3)
    return node


def test_every_test_starts_with_an_empty_scene(volume):
    from slicer_host.boot import empty_scene

    empty_scene()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0


def test_new_nodes_stand_in_the_subject_hierarchy_and_leave_it_when_removed(scene, volume):
    hierarchy = scene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemName(hierarchy.GetItemByDataNode(volume)) == "SWI"
    scene.RemoveNode(volume)
    assert hierarchy.GetNumberOfItems() == 0


@pytest.mark.parametrize("name", ["case.mrb", "case.mrml"])
def test_a_saved_scene_brings_back_points_and_folders(scene, points, tmp_path, name):
    hierarchy = scene.GetSubjectHierarchyNode()
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "CMMDetect")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(points), folder)
    slicer.util.saveNode(points, str(tmp_path / "points.mrk.json"))
    assert slicer.util.saveScene(str(tmp_path / name))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / name))
    found = slicer.util.getNode("Candidates")
    hierarchy = scene.GetSubjectHierarchyNode()
    assert found.GetNthControlPointPosition(0) == (1, 2, 3)
    assert hierarchy.GetItemName(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(found))) == "CMMDetect"


def test_volumes_points_and_tables_go_through_files(scene, volume, points, tmp_path):
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Table")
    slicer.util.updateTableFromArray(table, [np.array([0.5, 0.7])], ["probability"])
    for node, name in ((volume, "swi.nii.gz"), (points, "cmb.mrk.json"), (table, "cmb.tsv")):
        assert slicer.util.saveNode(node, str(tmp_path / name))
    scene.Clear(0)
    assert slicer.util.arrayFromVolume(slicer.util.loadVolume(str(tmp_path / "swi.nii.gz"))).shape == (2, 3, 4)
    assert slicer.util.loadMarkups(str(tmp_path / "cmb.mrk.json")).GetName() == "cmb"
    read = slicer.util.arrayFromTableColumn(slicer.util.loadTable(str(tmp_path / "cmb.tsv")), "probability")
    np.testing.assert_allclose(read, [0.5, 0.7])


def test_a_missing_file_is_an_error(scene, tmp_path):
    with pytest.raises(RuntimeError, match="Failed to load node"):
        slicer.util.loadVolume(str(tmp_path / "none.nii"))


def test_an_unknown_module_is_an_error(scene):
    with pytest.raises(AttributeError):
        slicer.modules.nonsense.logic()
