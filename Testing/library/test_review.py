"""A review session: verdicts, certainties, mimics, added and moved points."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from CMMDetectLib.candidates import Stage
from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.review import ReviewSession
from CMMDetectLib.review_records import (
    Certainty,
    Mimic,
    Verdict,
    moved_mm,
    position_of,
)
from CMMDetectLib.review_state import ShownFilter
from review_samples import CANDIDATES, SCAN, session_of

ACCEPT, REJECT, UNDECIDED = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.UNDECIDED


def test_a_verdict_says_who_gave_it_and_when_in_utc():
    east = timezone(timedelta(hours=2))
    session = session_of(clock=lambda: datetime(2026, 5, 1, 10, 0, 0, tzinfo=east), reader="Ada Lo")
    session.judge("cmb-0002", ACCEPT)
    item = session["cmb-0002"]
    assert (item.verdict, item.reader, item.reviewed_at) == ("accepted", "Ada Lo", "2026-05-01T08:00:00+00:00")
    assert session["cmb-0001"] == CANDIDATES[0]


def test_certainty_accepts_and_a_mimic_rejects_in_one_step():
    session = session_of()
    session.set_certainty("cmb-0001", Certainty.POSSIBLE)
    assert (session["cmb-0001"].verdict, session["cmb-0001"].certainty) == ("accepted", "possible")
    session.set_mimic("cmb-0001", Mimic.VESSEL)
    item = session["cmb-0001"]
    assert (item.verdict, item.certainty, item.mimic) == ("rejected", None, "vessel")
    session.undo()
    session.undo()
    assert session["cmb-0001"] == CANDIDATES[0]
    assert session.undo_text is None


def test_a_verdict_drops_what_belongs_to_the_other_one_and_keeps_its_own():
    session = session_of()
    session.set_certainty("cmb-0001", Certainty.DEFINITE)
    session.judge("cmb-0001", ACCEPT)
    assert session["cmb-0001"].certainty == "definite"
    session.judge("cmb-0001", UNDECIDED)
    assert session["cmb-0001"].certainty is None
    session.set_mimic("cmb-0001", Mimic.IRON)
    session.set_mimic("cmb-0001", None)
    assert (session["cmb-0001"].verdict, session["cmb-0001"].mimic) == ("rejected", None)
    session.set_certainty("cmb-0001", None)
    assert session["cmb-0001"].verdict == "rejected"


def test_the_same_verdict_again_makes_no_step_of_undo():
    session = session_of()
    session.judge("cmb-0001", ACCEPT)
    told = []
    session.add_listener(told.append)
    session.judge("cmb-0001", ACCEPT)
    session.set_note("cmb-0001", "")
    session.put_back("cmb-0001")
    assert told == []
    session.undo()
    assert session.undo_text is None


def test_accepting_what_a_stage_rejected_rescues_it_and_keeps_the_reason():
    session = session_of()
    session.judge("cmb-0004", ACCEPT)
    session.judge("cmb-0001", ACCEPT)
    assert [item.id for item in session.accepted if item.rejected_by] == ["cmb-0004"]
    assert session["cmb-0004"].rejected_by == "discrimination"


def test_a_correction_keeps_the_detectors_position():
    session = session_of()
    session.move("cmb-0001", np.float32([13, 4, 0]))
    item = session["cmb-0001"]
    assert (item.x, item.y, item.z) == (10.0, 0.0, 0.0)
    assert position_of(item) == (13.0, 4.0, 0.0)
    assert moved_mm(item) == pytest.approx(5.0)
    session.put_back("cmb-0001")
    assert position_of(session["cmb-0001"]) == (10.0, 0.0, 0.0)
    session.undo()
    assert moved_mm(session["cmb-0001"]) == pytest.approx(5.0)


@pytest.mark.parametrize("position", [(np.nan, 0, 0), (np.inf, 0, 0), (1, 2)])
def test_a_position_that_is_none_is_refused_and_changes_nothing(position):
    session = session_of()
    with pytest.raises(ValueError):
        session.move("cmb-0001", position)
    with pytest.raises(ValueError):
        session.add(position)
    assert session.candidates == CANDIDATES


def test_a_point_of_a_reviewed_table_stays_when_another_is_added():
    known = replace(CANDIDATES[0], id="cmb-r001", origin="reader", verdict="accepted")
    session = session_of([known])
    assert session.add((80, 0, 0)) == "cmb-r002"
    assert session["cmb-r001"] == known
    session.undo()
    assert session.candidates == [known]


def test_a_missed_microbleed_is_added_as_accepted_and_its_name_is_never_used_again():
    session = session_of(reader="Ada")
    first = session.add((1, 2, 3), Certainty.POSSIBLE)
    item = session[first]
    assert (first, item.origin, item.verdict, item.certainty) == ("cmb-r001", "reader", "accepted", "possible")
    session.move(first, (4, 5, 6))
    assert (position_of(session[first]), moved_mm(session[first])) == ((4.0, 5.0, 6.0), 0.0)
    session.remove(first)
    assert first not in session
    assert session.add((7, 8, 9)) == "cmb-r002"
    session.undo()
    session.undo()
    assert position_of(session[first]) == (4.0, 5.0, 6.0)


def test_what_the_detector_found_cannot_be_removed():
    session = session_of()
    with pytest.raises(InputError, match="reject it instead"):
        session.remove("cmb-0001")
    with pytest.raises(KeyError):
        session.judge("cmb-9999", ACCEPT)
    assert session.candidates == CANDIDATES


@pytest.mark.parametrize("bad", [{"verdict": "maybe"}, {"x": float("nan")}, {"p_detection": "high"}, {"id": 7}])
def test_a_candidate_that_could_not_be_saved_is_refused_at_the_start(bad):
    with pytest.raises(InputError, match="not a candidate"):
        session_of([replace(CANDIDATES[0], **bad)])


def test_two_candidates_of_one_name_are_refused_and_two_at_one_place_are_not():
    with pytest.raises(InputError, match="two candidates are named cmb-0001"):
        session_of([CANDIDATES[0], CANDIDATES[0]])
    twins = session_of([CANDIDATES[0], replace(CANDIDATES[0], id="cmb-0002")])
    twins.judge("cmb-0002", REJECT)
    assert twins["cmb-0001"].verdict == "undecided"


def test_a_new_point_near_a_known_one_is_told_with_its_distance():
    session = session_of()
    session.move("cmb-0002", (13.0, 0.0, 0.0))
    found = session.nearby((12.0, 0, 0))
    assert [(item.id, distance) for item, distance in found] == [("cmb-0002", 1.0), ("cmb-0001", 2.0)]
    assert [item.id for item, _ in session.nearby((12.0, 0, 0), but="cmb-0002")] == ["cmb-0001"]
    assert session.nearby((100, 0, 0)) == []
    assert session_of([]).nearby((0, 0, 0)) == []


def test_while_blind_only_own_points_are_near():
    session = session_of(blind=True)
    own = session.add((11.0, 0, 0))
    assert [item.id for item, _ in session.nearby((10.5, 0, 0))] == [own]


def test_progress_counts_what_is_in_view():
    session = session_of()
    session.judge("cmb-0001", ACCEPT)
    session.judge("cmb-0003", REJECT)
    assert vars(session.progress()) == {"total": 4, "decided": 2, "accepted": 1}
    final = session.progress(session.shown(ShownFilter({Stage.FINAL})))
    assert vars(final) == {"total": 2, "decided": 1, "accepted": 1}


def test_going_through_the_list_wraps_around():
    session = session_of()
    assert session.next(None) == "cmb-0001"
    assert session.next("cmb-0004") == "cmb-0001"
    assert session.previous("cmb-0001") == "cmb-0004"
    assert session.previous(None) == "cmb-0004"
    order = ["cmb-0003", "gone", "cmb-0001"]
    assert session.next("cmb-0003", order) == "cmb-0001"
    assert session.next("cmb-0001", order) == "cmb-0003"
    assert session_of([]).next(None) is None


def test_next_undecided_passes_over_what_is_decided_and_ends_when_all_is():
    session = session_of()
    session.judge("cmb-0002", ACCEPT)
    session.judge("cmb-0004", REJECT)
    assert session.next_undecided("cmb-0001") == "cmb-0003"
    assert session.next_undecided("cmb-0003") == "cmb-0001"
    assert session.next_undecided("cmb-0004") == "cmb-0001"
    assert session.next_undecided(None) == "cmb-0001"
    session.judge("cmb-0001", ACCEPT)
    assert session.next_undecided("cmb-0003") == "cmb-0003"
    session.judge("cmb-0003", ACCEPT)
    assert session.next_undecided("cmb-0003") is None


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (ShownFilter(), [1, 2, 3, 4]),
        (ShownFilter({Stage.FINAL}), [1, 2]),
        (ShownFilter({Stage.DISCRIMINATION}), [1, 2, 3]),
        (ShownFilter({Stage.DETECTION}), [1, 2, 3, 4]),
        (ShownFilter(min_p_detection=0.75), [1, 2]),
        (ShownFilter(min_p_discrimination=0.65), [1, 3, 4]),
        (ShownFilter(()), []),
    ],
)
def test_a_view_hides_and_never_changes_the_list(view, expected):
    session = session_of()
    assert [item.id for item in session.shown(view)] == [f"cmb-{number:04d}" for number in expected]
    assert session.candidates == CANDIDATES


def test_what_the_reader_accepted_or_added_is_always_in_view():
    session = session_of()
    session.judge("cmb-0004", ACCEPT)
    own = session.add((1, 2, 3))
    session.judge(own, REJECT)
    assert [item.id for item in session.shown(ShownFilter((), 1.0, 1.0))] == ["cmb-0004", own]


def test_a_blind_read_hides_the_detectors_candidates_until_they_are_revealed():
    session = session_of(blind=True)
    assert (session.visible, session.shown(), session.next(None)) == ([], [], None)
    assert "cmb-0001" not in session
    with pytest.raises(KeyError):
        session.judge("cmb-0001", ACCEPT)
    session.add((11.0, 0.0, 0.0), Certainty.DEFINITE)
    session.add((90.0, 0.0, 0.0))
    assert session.progress().total == 2
    assert session.reveal() == {"cmb-r001": "cmb-0001"}
    assert len(session.visible) == 5


def test_a_match_loses_neither_position_and_counts_once():
    session = session_of(blind=True, reader="Ada")
    session.add((11.0, 1.0, 0.0), Certainty.POSSIBLE)
    session.set_note("cmb-r001", "faint")
    session.add((90.0, 0.0, 0.0))
    session.reveal()
    both = session["cmb-0001"]
    assert (both.x, both.y, both.z, both.p_detection) == (10.0, 0.0, 0.0, 0.9)
    assert position_of(both) == (11.0, 1.0, 0.0)
    assert (both.verdict, both.certainty, both.note, both.reader) == ("accepted", "possible", "faint", "Ada")
    assert [item.id for item in session.accepted] == ["cmb-0001", "cmb-r002"]
    read = session.state.blind_read
    assert [item.id for item in read.points] == ["cmb-r001", "cmb-r002"]
    assert read.matches == {"cmb-r001": "cmb-0001"}


def test_undo_parts_a_wrong_match_but_makes_nothing_unseen():
    session = session_of(blind=True)
    session.add((11.0, 0.0, 0.0))
    session.reveal()
    session.undo()
    assert session["cmb-0001"].verdict == "undecided"
    assert session["cmb-r001"].verdict == "accepted"
    assert not session.blind
    session.undo()
    assert session.candidates == CANDIDATES
    session.redo()
    session.redo()
    assert [item.id for item in session.accepted] == ["cmb-0001"]


def test_two_own_points_on_one_candidate_match_it_once():
    session = session_of(blind=True)
    session.add((12.0, 0.0, 0.0))
    session.add((10.5, 0.0, 0.0))
    assert session.reveal() == {"cmb-r002": "cmb-0001"}
    assert "cmb-r001" in session


def test_a_blind_read_that_ends_before_the_scan_was_searched_may_begin_again():
    session = ReviewSession(SCAN, [])
    session.start_blind()
    point = session.add((0.0, 0.0, 0.0))
    assert session.reveal() == {} and not session.blind
    session.start_blind()
    session.take_run(CANDIDATES)
    assert session.blind and [item.id for item in session.visible] == [point]


def test_a_blind_read_cannot_begin_after_a_look():
    session = session_of()
    session.start_blind()
    assert session.blind
    session.reveal()
    with pytest.raises(InputError, match="seen already"):
        session.start_blind()
    judged = session_of()
    judged.judge("cmb-0001", REJECT)
    with pytest.raises(InputError, match="seen already"):
        judged.start_blind()
    assert session_of().reveal() == {}


def test_listeners_are_told_what_changed_and_not_after_they_leave():
    session, told = session_of(), []
    session.add_listener(told.append)
    session.judge("cmb-0001", ACCEPT)
    session.add((1, 2, 3))
    session.undo()
    session.set_reader(" Ada ")
    session.remove_listener(told.append)
    session.judge("cmb-0002", ACCEPT)
    assert told == [frozenset({"cmb-0001"}), frozenset({"cmb-r001"}), frozenset({"cmb-r001"}), frozenset()]
    assert session.reader == "Ada"


def test_a_full_disk_keeps_nothing_from_the_session_or_its_views():
    session, told = session_of(), []
    saved = []

    def save(current):
        if not saved:
            saved.append(None)
            raise OutputError("disk full")
        saved.append(current.candidates)

    session.save = save
    session.add_listener(told.append)
    with pytest.raises(OutputError):
        session.judge("cmb-0001", ACCEPT)
    assert session["cmb-0001"].verdict == "accepted"
    assert told == [frozenset({"cmb-0001"})]
    session.judge("cmb-0002", ACCEPT)
    assert [item.verdict for item in saved[-1][:2]] == ["accepted", "accepted"]


def test_a_view_that_fails_does_not_keep_a_verdict_from_the_file():
    session, saved = session_of(), []

    def broken(_ids):
        raise RuntimeError("a window is gone")

    session.add_listener(broken)
    session.save = lambda current: saved.append(current["cmb-0001"].verdict)
    with pytest.raises(RuntimeError):
        session.judge("cmb-0001", ACCEPT)
    assert saved == ["accepted"]


def test_a_clock_that_is_set_back_does_not_make_the_newer_copy_the_older_one():
    times = [datetime.fromisoformat(f"2026-05-01T{hour}:00:00+00:00") for hour in ("09", "09", "07", "07")]
    session = session_of(clock=lambda: times.pop(0))
    session.judge("cmb-0001", ACCEPT)
    first = session.state
    session.judge("cmb-0001", REJECT)
    assert (session.state.changed_at, session.state.revision) > (first.changed_at, first.revision)
