"""A review in the scene: what happens when a user changes its nodes."""

from dataclasses import replace
from zipfile import ZipFile

import numpy as np
import pytest
import slicer
import slicer.util

from CMMDetectLib.candidates import Stage
from CMMDetectLib.errors import OutputError
from CMMDetectLib.review_file import from_text, to_text
from CMMDetectLib.review_records import Verdict, position_of
from CMMDetectLib.review_state import ShownFilter
from CMMDetectLib.scene import ReviewScene, saved_review
from CMMDetectLib.scene_nodes import ACCEPTED, ROLES, find_hub
from review_in_scene import CANDIDATES, add_regions, labels, place_of, point_index, seen, session_of


def test_a_point_that_is_moved_moves_in_every_list_and_undo_brings_it_back(shown, session):
    session.move("cmb-0002", (-7.0, -4.5, 6.0))
    for role in ("final", "detection"):
        assert place_of(shown.points(role), "cmb-0002") == [-7.0, -4.5, 6.0]
    session.undo()
    assert place_of(shown.points("final"), "cmb-0002") == [-8.0, -4.0, 6.0]


def test_the_right_candidate_moves_after_others_have_left_the_list(shown, session):
    session.judge("cmb-0001", Verdict.ACCEPTED)
    session.judge("cmb-0002", Verdict.ACCEPTED)
    session.judge("cmb-0001", Verdict.REJECTED)
    session.move("cmb-0002", (-7.5, -4.0, 6.0))
    assert place_of(shown.points(ACCEPTED), "cmb-0002") == [-7.5, -4.0, 6.0]
    assert place_of(shown.points("final"), "cmb-0001") == [-4.0, -4.0, 6.0]


def test_every_point_is_locked(shown, session):
    session.judge("cmb-0001", Verdict.ACCEPTED)
    session.add((1.0, 2.0, 3.0))
    for role in ROLES:
        node = shown.points(role)
        assert all(node.GetNthControlPointLocked(index) for index in range(node.GetNumberOfControlPoints()))


def test_a_point_that_the_user_places_in_a_list_is_a_missed_microbleed(shown, session):
    shown.points("final").AddControlPointWorld(-2.0, -2.0, 3.0, "F-5")
    assert [item.id for item in session.accepted] == ["cmb-r001"]
    assert labels(shown.points(ACCEPTED)) == ["cmb-r001"]
    assert "F-5" not in labels(shown.points("final"))


def test_a_point_that_the_user_places_in_a_list_while_no_review_is_open_is_a_missed_microbleed(shown, session, volume):
    session.judge("cmb-0001", Verdict.ACCEPTED)
    lists = [shown.points("final"), shown.points(ACCEPTED)]
    shown.detach()
    for index, node in enumerate(lists):
        node.AddControlPointWorld(-2.0, -2.0, 3.0 + index, "F-5")
    again = ReviewScene(session, volume)
    assert [item.id for item in session.accepted] == ["cmb-0001", "cmb-r001", "cmb-r002"]
    assert sorted(labels(again.points(ACCEPTED))) == ["cmb-0001", "cmb-r001", "cmb-r002"]
    assert sorted(labels(again.points("final"))) == ["cmb-0001", "cmb-0002", "cmb-r001", "cmb-r002"]
    again.detach()
    ReviewScene(session, volume)
    assert len(session.candidates) == 6


def test_a_point_that_the_user_deletes_comes_back(shown, session):
    node = shown.points("final")
    node.RemoveNthControlPoint(0)
    assert sorted(labels(node)) == ["cmb-0001", "cmb-0002"]
    assert len(session.candidates) == 4
    session.judge("cmb-0001", Verdict.REJECTED)
    assert not node.GetNthControlPointSelected(point_index(node, "cmb-0001"))


@pytest.mark.parametrize("role", [*ROLES, "table"])
def test_a_node_that_the_user_deletes_comes_back_with_all_decisions(shown, session, scene, role):
    session.judge("cmb-0001", Verdict.ACCEPTED)
    gone = shown._nodes[role]
    scene.RemoveNode(gone)
    again = shown._nodes[role]
    assert again is not gone
    assert scene.IsNodePresent(again)
    assert seen(shown) == ["cmb-0001", "cmb-0002", "cmb-0003", "cmb-0004"]
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == len(ROLES)
    session.judge("cmb-0002", Verdict.ACCEPTED)
    assert labels(shown.points(ACCEPTED)) == ["cmb-0001", "cmb-0002"]


def test_the_text_that_the_user_deletes_comes_back(shown, session, scene, volume):
    session.judge("cmb-0001", Verdict.ACCEPTED)
    scene.RemoveNode(find_hub(volume))
    assert from_text(saved_review(volume))["cmb-0001"].verdict == Verdict.ACCEPTED
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == len(ROLES)


def test_new_names_change_nothing(shown, session, volume):
    volume.SetName("Patient A")
    for role in ROLES:
        shown.points(role).SetName("x")
    session.judge("cmb-0001", Verdict.ACCEPTED)
    shown.refresh()
    before = [shown.points(role) for role in ROLES]
    again = ReviewScene(session, volume)
    assert [again.points(role) for role in ROLES] == before
    assert saved_review(volume) == to_text(session)


def test_showing_a_volume_again_ends_the_first_view_and_adds_nothing(shown, session, volume):
    before = session.candidates
    again = ReviewScene(session, volume)
    assert (shown.attached, again.attached) == (False, True)
    assert session.candidates == before
    second = session_of(CANDIDATES[:1], reader="Bea")
    ReviewScene(second, volume)
    assert (session.candidates, second.candidates) == (before, CANDIDATES[:1])
    session.judge("cmb-0002", Verdict.ACCEPTED)
    assert from_text(saved_review(volume)).reader == "Bea"


@pytest.mark.parametrize("name", ["case.mrb", "case.mrml"])
def test_a_saved_scene_goes_on_where_it_stopped(shown, session, scene, volume, tmp_path, name):
    session.judge("cmb-0001", Verdict.ACCEPTED)
    session.move("cmb-0001", (-4.5, -4.0, 6.0))
    session.set_note("cmb-0002", 'ein "Gefäß"\tim Sulcus;\nneben <Falx> & mehr 脳')
    slicer.util.saveNode(volume, str(tmp_path / "volume.nrrd"))
    for role in ROLES:
        slicer.util.saveNode(shown.points(role), str(tmp_path / f"{role}.mrk.json"))
    assert slicer.util.saveScene(str(tmp_path / name))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / name))
    volume = slicer.util.getFirstNodeByClassByName("vtkMRMLScalarVolumeNode", "sub-01_swi")
    back = from_text(saved_review(volume))
    assert back.candidates == session.candidates
    again = ReviewScene(back, volume)
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == len(ROLES)
    assert place_of(again.points(ACCEPTED), "cmb-0001") == [-4.5, -4.0, 6.0]
    assert seen(again) == ["cmb-0001", "cmb-0002", "cmb-0003", "cmb-0004"]


def saved_and_loaded(path):
    """Save the scene, close it and load it again; give the scan and the names of the files of text."""
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(path))
    with ZipFile(path) as files:
        texts = [file for file in files.namelist() if file.endswith(".txt")]
    return slicer.util.getFirstNodeByClassByName("vtkMRMLScalarVolumeNode", "sub-01_swi"), texts


def test_a_scene_that_is_loaded_and_saved_again_gets_no_file_for_the_review(shown, session, tmp_path):
    session.judge("cmb-0001", Verdict.ACCEPTED)
    volume, texts = saved_and_loaded(tmp_path / "first.mrb")
    assert texts == []
    ReviewScene(from_text(saved_review(volume)), volume)
    volume, texts = saved_and_loaded(tmp_path / "second.mrb")
    assert texts == []
    assert from_text(saved_review(volume))["cmb-0001"].verdict == Verdict.ACCEPTED


def test_a_file_that_the_review_got_while_the_module_was_not_there_is_given_up_again(shown, session, tmp_path):
    session.judge("cmb-0001", Verdict.ACCEPTED)
    saved_and_loaded(tmp_path / "first.mrb")
    volume, texts = saved_and_loaded(tmp_path / "without the module.mrb")
    assert len(texts) == 1
    again = from_text(saved_review(volume))
    ReviewScene(again, volume)
    again.judge("cmb-0002", Verdict.REJECTED)
    volume, texts = saved_and_loaded(tmp_path / "third.mrb")
    assert texts == []
    assert from_text(saved_review(volume))["cmb-0002"].verdict == Verdict.REJECTED


def test_each_region_of_a_saved_scene_is_outlined_though_slicer_has_hidden_some(shown, session, tmp_path):
    add_regions(shown, tmp_path)
    volume, _texts = saved_and_loaded(tmp_path / "case.mrb")
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    (region,) = node.GetSegmentation().GetSegmentIDs()
    # as Slicer 5.8 does to the first ones where another segmentation of the scene is hidden
    node.GetDisplayNode().SetSegmentVisibility(region, False)
    ReviewScene(from_text(saved_review(volume)), volume)
    assert node.GetDisplayNode().GetSegmentVisibility(region)


def test_closing_the_scene_leaves_the_session_as_it_was(shown, session, scene):
    session.judge("cmb-0001", Verdict.ACCEPTED)
    scene.Clear(0)
    assert not shown.attached
    session.judge("cmb-0002", Verdict.REJECTED)
    shown.show(ShownFilter({Stage.FINAL}))
    shown.show_markings(False)
    shown.refresh()
    assert session.progress().decided == 2
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 0


def test_removing_the_volume_leaves_the_session_as_it_was(shown, session, scene, volume):
    scene.RemoveNode(volume)
    session.judge("cmb-0002", Verdict.REJECTED)
    assert not shown.attached
    assert session["cmb-0002"].verdict == Verdict.REJECTED


def test_opening_another_scans_review_leaves_the_first_ones_nodes_alone(shown, session, scene, volume):
    other = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4)), np.eye(4), "sub-02_swi")
    second = session_of([replace(CANDIDATES[0], x=3.0)])
    shown_too = ReviewScene(second, other)
    second.judge("cmb-0001", Verdict.ACCEPTED)
    assert labels(shown.points(ACCEPTED)) == []
    assert place_of(shown.points("final"), "cmb-0001") == [-4.0, -4.0, 6.0]
    assert place_of(shown_too.points("final"), "cmb-0001") == [3.0, -4.0, 6.0]
    assert saved_review(volume) == to_text(session)
    assert saved_review(other) == to_text(second)


def test_what_cannot_be_saved_after_a_point_was_placed_is_reported_and_stays(session, volume):
    def full_disk(_session):
        raise OutputError("disk full")

    session.save = full_disk
    told = []
    shown = ReviewScene(session, volume, failed=told.append)
    shown.points("final").AddControlPointWorld(-5.0, -4.0, 6.0, "F-5")
    assert [str(error) for error in told] == ["disk full"]
    assert position_of(session["cmb-r001"]) == (-5.0, -4.0, 6.0)


def test_outlines_that_the_user_deletes_come_back_and_are_given_up_when_their_file_is_gone(
    session, scene, volume, tmp_path
):
    told = []
    shown = ReviewScene(session, volume, failed=told.append)
    add_regions(shown, tmp_path)
    scene.RemoveNode(shown._nodes["regions"])
    assert scene.IsNodePresent(shown._nodes["regions"])
    (tmp_path / "labels.nii.gz").unlink()
    scene.RemoveNode(shown._nodes["regions"])
    session.judge("cmb-0001", Verdict.ACCEPTED)
    assert session["cmb-0001"].verdict == "accepted"
    assert len(told) == 1
