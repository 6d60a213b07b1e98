"""Reviews of a scan that was moved since: every position belongs to its voxel."""

import json
from dataclasses import replace

import numpy as np
import pytest

from CMMDetectLib.errors import InputError
from CMMDetectLib.orientation import Turn
from CMMDetectLib.placement import as_placement, placement_of
from CMMDetectLib.reader_agreement import adjudicate, compare_readers
from CMMDetectLib.review_file import from_text, identify, open_review, read_review, start_review, to_text, write_review
from CMMDetectLib.review_records import Verdict, position_of
from CMMDetectLib.scan import Modality, Scan, to_world
from review_samples import CANDIDATES, SCAN, session_of

HERE = placement_of(np.diag([0.8, 0.8, 3.0, 1.0]), (200, 200, 50))
MOTION = np.array([[0.96, -0.28, 0, 12], [0.28, 0.96, 0, -5], [0, 0, 1, 7], [0, 0, 0, 1.0]])
THERE = as_placement(MOTION @ np.array(HERE))
SCAN_HERE, SCAN_THERE = replace(SCAN, affine=HERE), replace(SCAN, affine=THERE)


def reviewed(scan=SCAN_HERE, **state):
    session = session_of(scan=scan, **state)
    session.judge("cmb-0001", Verdict.ACCEPTED)
    session.move("cmb-0001", (11.0, 1.0, 0.0))
    return session


def places(session):
    return np.array([[position_of(item), (item.x, item.y, item.z)] for item in session.candidates])


def test_a_review_of_a_scan_that_was_moved_opens_on_the_same_voxels_and_says_so(tmp_path):
    start_review(tmp_path / "s_review.json", reviewed())
    opened = open_review(tmp_path / "s_review.json", SCAN_THERE)
    assert opened.moved
    np.testing.assert_allclose(places(opened.session), to_world(MOTION, places(reviewed())), atol=1e-9)
    assert opened.session.progress() == reviewed().progress()
    back = open_review(tmp_path / "s_review.json", SCAN_HERE)
    assert not back.moved
    assert back.session.candidates == reviewed().candidates


def test_the_next_decision_saves_where_the_scan_lies_now(tmp_path):
    start_review(tmp_path / "s_review.json", reviewed())
    opened = open_review(tmp_path / "s_review.json", SCAN_THERE)
    opened.session.judge("cmb-0002", Verdict.REJECTED)
    saved = read_review(tmp_path / "s_review.json")
    assert saved.scan == SCAN_THERE
    assert saved.candidates == opened.session.candidates


def test_a_review_that_does_not_say_where_its_scan_lay_opens_as_it_is(tmp_path):
    earlier = json.loads(to_text(reviewed()))
    del earlier["affine"]
    (tmp_path / "s_review.json").write_text(json.dumps(earlier))
    opened = open_review(tmp_path / "s_review.json", SCAN_THERE)
    assert not opened.moved
    assert opened.session.candidates == reviewed().candidates
    assert opened.session.scan == SCAN_THERE


def test_an_earlier_version_can_read_what_the_scan_is():
    assert set(json.loads(to_text(reviewed()))["scan"]) == {"name", "path", "modality", "sha256"}


@pytest.mark.parametrize("affine", [[[1]], "here", np.zeros((4, 4)).tolist(), [[1, 0, 0, "x"]] * 4])
def test_a_damaged_place_is_told_in_one_line(affine):
    content = json.loads(to_text(reviewed()))
    content["affine"] = affine
    with pytest.raises(InputError, match="a damaged review") as caught:
        from_text(json.dumps(content))
    assert "\n" not in str(caught.value)


def test_what_formats_round_moves_nothing_however_often_it_is_opened():
    session = reviewed()
    before = session.candidates
    for step in range(1, 50):
        affine = np.array(HERE)
        affine[0, 3] += 0.002 * step
        assert not session.follow_scan(replace(SCAN, affine=as_placement(affine)))
    assert session.candidates == before
    assert session.scan.affine == HERE


def test_a_review_without_marks_goes_on_wherever_its_scan_lies():
    session = session_of([], scan=SCAN_HERE)
    assert not session.follow_scan(SCAN_THERE)
    session.add((1.0, 2.0, 3.0))
    assert not session.follow_scan(SCAN_THERE)
    assert position_of(session["cmb-r001"]) == (1.0, 2.0, 3.0)


def test_what_is_taken_back_lies_where_the_scan_is_now():
    session = reviewed()
    session.follow_scan(SCAN_THERE)
    session.undo()
    np.testing.assert_allclose(position_of(session["cmb-0001"]), to_world(MOTION, (10.0, 0.0, 0.0)), atol=1e-9)
    session.follow_scan(SCAN_HERE)
    session.redo()
    np.testing.assert_allclose(position_of(session["cmb-0001"]), (11.0, 1.0, 0.0), atol=1e-9)


def test_the_points_of_a_blind_read_go_along():
    session = session_of(scan=SCAN_HERE, blind=True)
    session.add((11.0, 0.5, 0.0))
    session.reveal()
    session.follow_scan(SCAN_THERE)
    (point,) = session.state.blind_read.points
    np.testing.assert_allclose(position_of(point), to_world(MOTION, (11.0, 0.5, 0.0)), atol=1e-9)


def test_positions_stay_where_the_scan_has_other_voxels_than_were_reviewed():
    session = reviewed()
    assert not session.follow_scan(replace(SCAN_THERE, sha256="b" * 64))
    assert session.candidates == reviewed().candidates
    assert session.scan == replace(SCAN_THERE, sha256="b" * 64)


def test_a_move_of_the_scan_is_told_and_is_no_decision(tmp_path):
    session, told, saved = reviewed(), [], []
    session.add_listener(told.append)
    session.save = saved.append
    before = session.state
    session.follow_scan(SCAN_THERE)
    assert told == [frozenset(item.id for item in CANDIDATES)]
    assert session.state == before and session.undo_text == "Move cmb-0001"
    assert saved == []


def test_a_scene_that_is_saved_beside_its_file_keeps_no_second_copy_when_only_the_scan_was_moved_or_renamed(tmp_path):
    write_review(tmp_path / "s_review.json", reviewed())
    in_scene = reviewed()
    in_scene.follow_scan(replace(SCAN_THERE, path="/elsewhere/scan.nii", name="Patient A"))
    opened = open_review(tmp_path / "s_review.json", SCAN_THERE, to_text(in_scene))
    assert opened.kept is None
    np.testing.assert_allclose(places(opened.session), to_world(MOTION, places(reviewed())), atol=1e-9)
    assert len(list(tmp_path.iterdir())) == 1


def test_two_readers_of_a_scan_that_was_moved_in_between_have_the_same_lesions():
    first, second = reviewed(reader="Ada"), reviewed(reader="Ben")
    second.follow_scan(SCAN_THERE)
    assert compare_readers(first, second).both == 1
    third = adjudicate(first, second)
    assert len(third.candidates) == len(CANDIDATES)
    assert third.scan.affine == HERE


def test_a_scan_lies_at_one_place_however_its_axes_are_stored():
    array = np.random.default_rng(3).normal(100, 9, (6, 7, 8)).astype(np.float32)
    scan = Scan(array, MOTION @ np.diag([0.8, 0.8, 3.0, 1.0]), Modality.SWI, "a")
    turned = scan.turned(Turn((2, 0, 1), (True, False, True)))
    np.testing.assert_allclose(identify(turned).affine, identify(scan).affine, atol=1e-9)
