"""A review in the scene: what a reader sees."""

from dataclasses import replace

import numpy as np
import pytest
import slicer
import slicer.util

from CMMDetectLib.candidates import Stage
from CMMDetectLib.review_records import Mimic, Verdict
from CMMDetectLib.review_state import ShownFilter
from CMMDetectLib.scene import ReviewScene
from CMMDetectLib.scene_nodes import ACCEPTED, ROLES, find_hub
from review_in_scene import CANDIDATES, add_regions, labels, place_of, point_index, seen, session_of


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


def test_the_table_says_what_the_session_says(shown, session):
    session.set_note("cmb-0002", "größer als\n7 mm")
    session.add((1, 2, 3))
    table = shown._nodes["table"].GetTable()
    column = table.GetColumnByName("verdict")
    assert [column.GetValue(row) for row in range(5)] == ["undecided"] * 4 + ["accepted"]
    assert table.GetColumnByName("note").GetValue(1) == "größer als\n7 mm"
    session.undo()
    assert table.GetNumberOfRows() == 4


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


def test_what_the_user_has_hidden_stays_hidden_when_the_key_is_released(shown, session, tmp_path):
    add_regions(shown, tmp_path)
    displays = {role: shown._nodes[role].GetDisplayNode() for role in (*ROLES, "regions")}
    displays["detection"].SetVisibility(False)
    displays["regions"].SetVisibility(False)
    shown.show_markings(True)
    shown.show_markings(False)
    shown.show_markings(False)
    session.judge("cmb-0001", Verdict.ACCEPTED)
    assert not any(display.GetVisibility() for display in displays.values())
    shown.show_markings(True)
    assert {role for role, display in displays.items() if not display.GetVisibility()} == {"detection", "regions"}


def test_a_review_that_is_opened_again_shows_what_was_shown_before(shown, session, volume):
    hidden = shown.points("detection").GetDisplayNode()
    hidden.SetVisibility(False)
    shown.show_markings(False)
    again = ReviewScene(session, volume)
    assert {role for role in ROLES if not again.points(role).GetDisplayNode().GetVisibility()} == {"detection"}


def test_regions_that_are_revealed_while_all_is_hidden_appear_with_the_rest(volume, tmp_path):
    session = session_of(blind=True)
    shown = ReviewScene(session, volume)
    add_regions(shown, tmp_path)
    shown.show_markings(False)
    session.reveal()
    display = shown._nodes["regions"].GetDisplayNode()
    assert not display.GetVisibility()
    shown.show_markings(True)
    assert display.GetVisibility()


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
