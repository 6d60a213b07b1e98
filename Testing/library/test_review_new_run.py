"""A new run of the detector on a scan takes over what its reader has decided."""

from dataclasses import replace

from CMMDetectLib.candidates import Candidate, read_table, write_table
from CMMDetectLib.review import ReviewSession
from CMMDetectLib.review_records import Certainty, Mimic, carried_over, is_touched, pair_up, position_of
from review_samples import CANDIDATES, session_of


def reviewed() -> ReviewSession:
    session = session_of(reader="Ada")
    session.set_certainty("cmb-0001", Certainty.DEFINITE)
    session.move("cmb-0002", (31.0, 0.0, 0.0))
    session.set_mimic("cmb-0004", Mimic.VESSEL)
    session.add((90.0, 0.0, 0.0))
    return session


def test_the_same_run_takes_decisions_over_by_name_even_from_a_table(tmp_path):
    session = reviewed()
    shifted = [replace(item, x=item.x + 0.00004, p_detection=0.5) for item in CANDIDATES]
    write_table(tmp_path / "t.tsv", shifted, {})
    session.take_run(read_table(tmp_path / "t.tsv"), {"again": True})
    assert [item.verdict for item in session.candidates] == [
        *("accepted", "undecided", "undecided", "rejected", "accepted")
    ]
    assert position_of(session["cmb-0002"]) == (31.0, 0.0, 0.0)
    assert session["cmb-0001"].p_detection == 0.5
    assert session.run == {"again": True}
    assert session.undo() is None


def test_another_run_takes_decisions_over_by_place_and_keeps_what_it_does_not_have():
    session = reviewed()
    new = [
        Candidate(id="cmb-0001", x=70.5, y=0.0, z=0.0),
        Candidate(id="cmb-0002", x=11.0, y=0.0, z=0.0),
        Candidate(id="cmb-0003", x=90.0, y=1.0, z=0.0),
    ]
    session.take_run(new)
    said = {item.id: item for item in session.candidates}
    assert list(said) == ["cmb-0001", "cmb-0002", "cmb-0003", "cmb-0002-earlier"]
    assert said["cmb-0001"].mimic == "vessel"
    assert (said["cmb-0002"].certainty, said["cmb-0002"].x) == ("definite", 11.0)
    assert said["cmb-0003"].verdict == "accepted"
    assert position_of(said["cmb-0003"]) == (90.0, 0.0, 0.0)
    assert position_of(said["cmb-0002-earlier"]) == (31.0, 0.0, 0.0)


def test_a_new_run_in_a_blind_read_stays_apart_from_the_readers_points():
    session = session_of(blind=True)
    session.add((11.0, 0.0, 0.0))
    session.take_run([replace(item, x=item.x + 1, id="n" + item.id) for item in CANDIDATES])
    assert [item.id for item in session.visible] == ["cmb-r001"]
    assert session.reveal() == {"cmb-r001": "ncmb-0001"}


def test_untouched_candidates_of_an_earlier_run_leave_nothing():
    assert [item.id for item in carried_over(CANDIDATES, [], blind=False)] == []
    assert not any(is_touched(item) for item in CANDIDATES)


def test_pairs_prefer_the_same_record_and_are_one_to_one():
    close = [replace(CANDIDATES[0], id="a"), replace(CANDIDATES[0], id="b", x=11.0)]
    pairs = pair_up(close, list(reversed(close)))
    assert pairs.both == ((0, 1), (1, 0))
    pairs = pair_up(close, [replace(close[1], id="c", x=10.9)])
    assert (pairs.both, pairs.only_first, pairs.only_second) == (((1, 0),), (0,), ())
    assert pair_up([], close).only_second == (0, 1)
