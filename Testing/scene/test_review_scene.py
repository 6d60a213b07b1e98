"""A review in the scene: what a reader sees, and what becomes of what a reader does to the nodes."""

from dataclasses import replace

import numpy as np
import pytest
import slicer
import slicer.util

from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.errors import OutputError
from CMMDetectLib.orientation import Turn
from CMMDetectLib.review import ReviewSession
from CMMDetectLib.review_file import from_text, to_text
from CMMDetectLib.review_records import Mimic, Verdict, position_of
from CMMDetectLib.review_state import ReviewState, ScanIdentity, ShownFilter
from CMMDetectLib.scan import write_image
from CMMDetectLib.scene import ReviewScene, saved_review
from CMMDetectLib.scene_nodes import ACCEPTED, ROLES, find_hub

AFFINE = np.diag([-0.8, -0.8, 3.0, 1.0])
CANDIDATES = [
    Candidate(id="cmb-0001", x=-4.0, y=-4.0, z=6.0, stage=Stage.FINAL, p_detection=0.9, p_discrimination=0.95),
    Candidate(id="cmb-0002", x=-8.0, y=-4.0, z=6.0, stage=Stage.FINAL, p_detection=0.7, p_discrimination=0.6),
    Candidate(
        id="cmb-0003",
        x=-4.0,
        y=-12.0,
        z=9.0,
        stage=Stage.DISCRIMINATION,
        rejected_by="volume",
        p_detection=0.8,
        p_discrimination=0.7,
    ),
    Candidate(id="cmb-0004", x=-9.0, y=-9.0, z=3.0, rejected_by="discrimination", p_detection=0.6),
]


@pytest.fixture
def volume(scene):
    array = np.random.default_rng(1).normal(100, 5, (8, 30, 20)).astype(np.float32)
    return slicer.util.addVolumeFromArray(array, AFFINE, "sub-01_swi")


def session_of(candidates=CANDIDATES, **state) -> ReviewSession:
    return ReviewSession(ScanIdentity("sub-01_swi"), candidates, state=ReviewState(**state))


def labels(node, only_visible=False) -> list[str]:
    return [
        node.GetNthControlPointLabel(index)
        for index in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointVisibility(index) or not only_visible
    ]


def seen(shown: ReviewScene) -> list[str]:
    """The candidates that have a mark on the scan; one with two marks would be there twice."""
    return sorted(label for role in ROLES for label in labels(shown.points(role), only_visible=True))


def point_index(node, label: str) -> int:
    return labels(node).index(label)


def place_of(node, label: str) -> list[float]:
    position = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(point_index(node, label), position)
    return position


def drag(node, label: str, position) -> None:
    """What the markups widget does at the end of a drag."""
    index = point_index(node, label)
    assert not node.GetNthControlPointLocked(index)
    node.SetNthControlPointPositionWorld(index, *position)
    node.InvokeEvent(node.PointEndInteractionEvent, index)


@pytest.fixture(autouse=True)
def no_error_of_an_observer_is_only_printed(capfd):
    """VTK prints what an observer raises and goes on."""
    yield
    assert "Error" not in capfd.readouterr().err


@pytest.fixture
def session():
    return session_of()


@pytest.fixture
def shown(session, volume):
    return ReviewScene(session, volume)


def test_each_stage_has_a_list_of_what_passed_it(shown):
    assert {role: labels(shown.points(role)) for role in ROLES} == {
        "detection": ["cmb-0001", "cmb-0002", "cmb-0003", "cmb-0004"],
        "discrimination": ["cmb-0001", "cmb-0002", "cmb-0003"],
        "final": ["cmb-0001", "cmb-0002"],
        "accepted": [],
    }
    assert shown.points("final").GetName() == "sub-01_swi final"
    assert place_of(shown.points("detection"), "cmb-0003") == [-4.0, -12.0, 9.0]


def test_a_candidate_has_one_mark_however_many_lists_it_is_in(shown):
    assert seen(shown) == ["cmb-0001", "cmb-0002", "cmb-0003", "cmb-0004"]


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (ShownFilter({Stage.FINAL}), ["cmb-0001", "cmb-0002"]),
        (ShownFilter({Stage.DISCRIMINATION}), ["cmb-0001", "cmb-0002", "cmb-0003"]),
        (ShownFilter({Stage.FINAL}, min_p_discrimination=0.9), ["cmb-0001"]),
        (ShownFilter({Stage.DETECTION}, min_p_detection=0.65), ["cmb-0001", "cmb-0002", "cmb-0003"]),
        (ShownFilter(()), []),
    ],
)
def test_stages_and_thresholds_hide_and_show_at_once(shown, view, expected):
    shown.show(view)
    assert seen(shown) == expected
    shown.show(ShownFilter())
    assert len(seen(shown)) == 4


def test_an_accepted_candidate_gets_its_own_list_and_stays_in_view(shown, session):
    session.judge("cmb-0003", Verdict.ACCEPTED)
    shown.show(ShownFilter({Stage.FINAL}, min_p_detection=0.99))
    assert labels(shown.points(ACCEPTED)) == ["cmb-0003"]
    assert seen(shown) == ["cmb-0003"]
    session.undo()
    assert labels(shown.points(ACCEPTED)) == []


def test_a_rejected_candidate_is_gray_where_it_was(shown, session):
    session.set_mimic("cmb-0001", Mimic.VESSEL)
    node = shown.points("final")
    assert not node.GetNthControlPointSelected(point_index(node, "cmb-0001"))
    assert node.GetNthControlPointSelected(point_index(node, "cmb-0002"))
    assert "vessel" in node.GetNthControlPointDescription(point_index(node, "cmb-0001"))


def test_marks_are_open_small_and_carry_no_text(shown):
    for role in ROLES:
        display = shown.points(role).GetDisplayNode()
        assert display.GetGlyphTypeAsString(display.GetGlyphType()) in {"Cross2D", "StarBurst2D"}
        assert not display.GetUseGlyphScale()
        assert not display.GetPointLabelsVisibility()
        assert not display.GetPropertiesLabelVisibility()
        assert not display.GetSliceProjection()


def test_a_point_is_locked_until_it_is_to_be_moved_and_then_gives_the_session_its_place(shown, session):
    node = shown.points("final")
    assert all(node.GetNthControlPointLocked(index) for index in range(2))
    shown.unlock("cmb-0002")
    drag(node, "cmb-0002", (-7.0, -4.5, 6.0))
    assert position_of(session["cmb-0002"]) == (-7.0, -4.5, 6.0)
    assert (session["cmb-0002"].x, session["cmb-0002"].y) == (-8.0, -4.0)
    assert node.GetNthControlPointLocked(point_index(node, "cmb-0002"))
    assert place_of(shown.points("detection"), "cmb-0002") == [-7.0, -4.5, 6.0]
    session.undo()
    assert place_of(node, "cmb-0002") == [-8.0, -4.0, 6.0]


def test_the_right_candidate_moves_after_others_have_left_the_list(shown, session):
    session.judge("cmb-0001", Verdict.ACCEPTED)
    session.judge("cmb-0002", Verdict.ACCEPTED)
    session.judge("cmb-0001", Verdict.REJECTED)
    shown.unlock("cmb-0002")
    drag(shown.points(ACCEPTED), "cmb-0002", (-7.5, -4.0, 6.0))
    assert position_of(session["cmb-0002"]) == (-7.5, -4.0, 6.0)
    assert position_of(session["cmb-0001"]) == (-4.0, -4.0, 6.0)


def test_a_point_that_the_user_places_in_a_list_is_a_missed_microbleed(shown, session):
    shown.points("final").AddControlPointWorld(-2.0, -2.0, 3.0, "F-5")
    assert [item.id for item in session.accepted] == ["cmb-r001"]
    assert labels(shown.points(ACCEPTED)) == ["cmb-r001"]
    assert "F-5" not in labels(shown.points("final"))


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


def test_all_lies_in_one_folder_under_the_volume(shown, scene, volume, tmp_path):
    add_regions(shown, tmp_path)
    hierarchy = scene.GetSubjectHierarchyNode()
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in shown._nodes.values()}
    assert len(shown._nodes) == len(ROLES) + 2
    assert len(folders) == 1
    folder = folders.pop()
    assert hierarchy.GetItemName(folder) == "sub-01_swi microbleeds"
    assert hierarchy.GetItemParent(folder) == hierarchy.GetItemByDataNode(volume)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(find_hub(volume))) == folder


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


def test_the_table_says_what_the_session_says(shown, session):
    session.set_note("cmb-0002", "größer als\n7 mm")
    session.add((1, 2, 3))
    table = shown._nodes["table"].GetTable()
    column = table.GetColumnByName("verdict")
    assert [column.GetValue(row) for row in range(5)] == ["undecided"] * 4 + ["accepted"]
    assert table.GetColumnByName("note").GetValue(1) == "größer als\n7 mm"
    session.undo()
    assert table.GetNumberOfRows() == 4


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


def test_closing_the_scene_leaves_the_session_as_it_was(shown, session, scene):
    session.judge("cmb-0001", Verdict.ACCEPTED)
    scene.Clear(0)
    assert not shown.attached
    session.judge("cmb-0002", Verdict.REJECTED)
    shown.show(ShownFilter({Stage.FINAL}))
    shown.show_markings(False)
    shown.unlock("cmb-0001")
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


def test_a_blind_read_shows_nothing_of_the_detector(volume, tmp_path):
    session = session_of(blind=True)
    shown = ReviewScene(session, volume)
    add_regions(shown, tmp_path)
    session.add((-4.0, -4.5, 6.0))
    assert seen(shown) == ["cmb-r001"]
    assert [shown.points(role).GetNumberOfControlPoints() for role in ROLES] == [1, 1, 1, 1]
    assert shown._nodes["table"].GetTable().GetNumberOfRows() == 1
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    session.reveal()
    assert seen(shown) == ["cmb-0001", "cmb-0002", "cmb-0003", "cmb-0004"]
    assert place_of(shown.points(ACCEPTED), "cmb-0001") == [-4.0, -4.5, 6.0]
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1


def test_markings_are_hidden_while_a_key_is_held(shown, session, tmp_path):
    add_regions(shown, tmp_path)
    displays = [shown._nodes[role].GetDisplayNode() for role in (*ROLES, "regions")]
    shown.show_markings(False)
    assert not any(display.GetVisibility() for display in displays)
    shown.show_markings(True)
    assert all(display.GetVisibility() for display in displays)


def add_regions(shown: ReviewScene, folder) -> None:
    """A label map on the grid of the volume: one voxel labeled 1, in a left-handed file, which Slicer turns."""
    array = np.zeros((20, 30, 8), np.int32)
    array[5:7, 5:7, 2] = 1
    turn = Turn((0, 1, 2), (True, False, False))
    write_image(folder / "labels.nii.gz", turn.apply(array), turn.affine(AFFINE, array.shape))
    shown.show_regions(folder / "labels.nii.gz")


def test_regions_lie_where_the_label_map_has_them(shown, volume, tmp_path):
    add_regions(shown, tmp_path)
    node = shown._nodes["regions"]
    segment = node.GetSegmentation().GetNthSegmentID(0)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume)
    assert np.argwhere(mask.T).tolist() == [[5, 5, 2], [5, 6, 2], [6, 5, 2], [6, 6, 2]]
    assert not node.GetDisplayNode().GetSegmentVisibility2DFill(segment)


def test_two_candidates_at_one_place_and_an_empty_list_are_shown(volume):
    twins = [CANDIDATES[0], replace(CANDIDATES[0], id="cmb-0009")]
    session = session_of(twins)
    shown = ReviewScene(session, volume)
    session.judge("cmb-0009", Verdict.ACCEPTED)
    assert seen(shown) == ["cmb-0001", "cmb-0009"]
    shown.detach()
    assert seen(ReviewScene(session_of([]), volume)) == []


def test_what_cannot_be_saved_after_a_drag_is_reported_and_stays(session, volume):
    def full_disk(_session):
        raise OutputError("disk full")

    session.save = full_disk
    told = []
    shown = ReviewScene(session, volume, failed=told.append)
    shown.unlock("cmb-0001")
    drag(shown.points("final"), "cmb-0001", (-5.0, -4.0, 6.0))
    assert [str(error) for error in told] == ["disk full"]
    assert position_of(session["cmb-0001"]) == (-5.0, -4.0, 6.0)


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


def test_a_blind_second_reader_does_not_see_the_outlines_that_are_there(shown, volume, tmp_path):
    add_regions(shown, tmp_path)
    display = shown._nodes["regions"].GetDisplayNode()
    second = session_of(reader="Bea", blind=True)
    again = ReviewScene(second, volume)
    assert not display.GetVisibility()
    again.show_markings(False)
    again.show_markings(True)
    assert not display.GetVisibility()
    second.reveal()
    assert display.GetVisibility()
