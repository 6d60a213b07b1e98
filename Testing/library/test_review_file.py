"""Files of a review: saved after each decision, and opened again."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import phantoms
from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.orientation import Turn
from CMMDetectLib.review_file import (
    Autosave,
    content_checksum,
    from_text,
    identify,
    open_review,
    read_review,
    set_aside,
    start_review,
    to_text,
    write_review,
)
from CMMDetectLib.review_names import review_path
from CMMDetectLib.review_records import Certainty, Mimic, Verdict
from CMMDetectLib.scan import Modality, Scan, read_scan, write_image
from review_samples import SCAN, StepClock, session_of

ACCEPT, REJECT = Verdict.ACCEPTED, Verdict.REJECTED
NASTY_NOTE = 'größer\tals "7" mm\nsiehe\\ 脳 \u2028 </text>'


def full_disk(*_arguments, **_options):
    raise OSError(28, "No space left on device")


def worked_on():
    session = session_of(reader="Ada Lo", blind=True)
    session.add((11.0, 0.5, 0.0), Certainty.POSSIBLE)
    session.add((90.0, 0.0, 0.0))
    session.reveal()
    session.set_mimic("cmb-0002", Mimic.CALCIFICATION)
    session.set_note("cmb-0003", NASTY_NOTE)
    session.move("cmb-0003", (50.1, 1 / 3, -0.0))
    return session


def test_a_session_comes_back_from_its_text_exactly():
    session = worked_on()
    back = from_text(to_text(session))
    assert back.candidates == session.candidates
    assert (back.scan, back.run, back.state) == (session.scan, session.run, session.state)
    assert to_text(back) == to_text(session)
    assert back.undo_text is None


def test_a_session_goes_on_with_new_names():
    back = from_text(to_text(worked_on()))
    assert back.add((1, 2, 3)) == "cmb-r003"


@settings(max_examples=60, deadline=None)
@given(note=st.text(st.characters()), x=st.floats(-1e6, 1e6))
def test_any_note_and_any_number_come_back(note, x):
    session = session_of()
    session.set_note("cmb-0001", note)
    session.move("cmb-0001", (x, 0, 0))
    assert from_text(to_text(session)).candidates == session.candidates


def test_the_file_can_be_read_by_a_person_a_line_a_candidate():
    text = to_text(worked_on())
    lines = [line for line in text.splitlines() if '"id": "cmb-' in line and line.startswith("  {")]
    assert len(lines) == 5
    assert '"verdict": "accepted", "certainty": "possible"' in lines[0]
    assert json.loads(text)["format"] == "CMMDetect review"
    assert "größer" in text


def test_every_decision_is_in_the_file_when_the_call_returns(tmp_path):
    path = review_path(tmp_path, "sub-01_swi")
    session = session_of()
    start_review(path, session)
    assert path.name == "sub-01_swi_review.json"
    session.judge("cmb-0001", ACCEPT)
    assert read_review(path)["cmb-0001"].verdict == "accepted"
    session.undo()
    assert read_review(path)["cmb-0001"].verdict == "undecided"
    session.set_reader("Ada")
    assert read_review(path).reader == "Ada"
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_opening_the_file_goes_on_where_it_stopped_and_saves_on(tmp_path):
    path = tmp_path / "s_review.json"
    start_review(path, worked_on())
    opened = open_review(path, SCAN)
    assert opened.session.candidates == worked_on().candidates
    assert opened.kept is None
    opened.session.judge("cmb-0004", REJECT)
    assert read_review(path)["cmb-0004"].verdict == "rejected"
    assert len(list(tmp_path.iterdir())) == 1


def test_where_there_is_no_review_there_is_nothing_to_open(tmp_path):
    assert open_review(tmp_path / "s_review.json", SCAN) is None
    assert open_review(tmp_path / "s_review.json", SCAN, scene_text="") is None


def two_copies(tmp_path, file_is_newer):
    older, newer = session_of(), session_of(clock=StepClock("2026-06-01T08:00:00+00:00"))
    older.judge("cmb-0001", REJECT)
    newer.judge("cmb-0001", ACCEPT)
    in_file, in_scene = (newer, older) if file_is_newer else (older, newer)
    write_review(tmp_path / "s_review.json", in_file)
    return to_text(in_scene)


@pytest.mark.parametrize("file_is_newer", [True, False])
def test_of_two_copies_the_newer_one_wins_and_the_other_is_kept(tmp_path, file_is_newer):
    text = two_copies(tmp_path, file_is_newer)
    opened = open_review(tmp_path / "s_review.json", SCAN, text)
    assert opened.session["cmb-0001"].verdict == "accepted"
    assert opened.kept.name == "s_review-older.json"
    assert read_review(opened.kept)["cmb-0001"].verdict == "rejected"
    assert read_review(tmp_path / "s_review.json")["cmb-0001"].verdict == "accepted"
    again = open_review(tmp_path / "s_review.json", SCAN, two_copies(tmp_path, file_is_newer))
    assert again.kept.name == "s_review-older-2.json"


@pytest.mark.parametrize("decided_in_file", [True, False])
def test_a_copy_in_which_nobody_decided_anything_is_never_the_newer_one(tmp_path, decided_in_file):
    decided, unread = session_of(), session_of(clock=StepClock("2026-06-01T08:00:00+00:00"))
    decided.judge("cmb-0001", ACCEPT)
    unread.set_reader("Ada")
    in_file, in_scene = (decided, unread) if decided_in_file else (unread, decided)
    write_review(tmp_path / "s_review.json", in_file)
    opened = open_review(tmp_path / "s_review.json", SCAN, to_text(in_scene))
    assert opened.session["cmb-0001"].verdict == "accepted"
    assert opened.unread.reader == "Ada" and opened.kept is None
    assert [item.name for item in tmp_path.iterdir()] == ["s_review.json"]
    opened.session.judge("cmb-0002", REJECT)
    assert len(list(tmp_path.iterdir())) == 1


def test_copies_that_say_the_same_leave_one_file(tmp_path):
    start_review(tmp_path / "s_review.json", worked_on())
    opened = open_review(tmp_path / "s_review.json", SCAN, to_text(worked_on()))
    assert opened.kept is None
    assert len(list(tmp_path.iterdir())) == 1


def test_a_scene_without_its_file_writes_the_file_again(tmp_path):
    opened = open_review(tmp_path / "s_review.json", SCAN, to_text(worked_on()))
    assert opened.session.candidates == worked_on().candidates
    assert read_review(tmp_path / "s_review.json").candidates == worked_on().candidates


def test_a_scenes_review_opens_where_nothing_can_be_written_and_is_saved_when_it_can(tmp_path):
    folder = tmp_path / "later"
    opened = open_review(folder / "s_review.json", SCAN, to_text(worked_on()))
    assert "cannot write here" in opened.problem
    assert opened.session.candidates == worked_on().candidates
    folder.mkdir()
    opened.session.judge("cmb-0001", REJECT)
    assert read_review(folder / "s_review.json")["cmb-0001"].verdict == "rejected"


def test_an_older_file_that_could_not_be_kept_at_once_is_kept_at_the_first_change(tmp_path, monkeypatch):
    text = two_copies(tmp_path, file_is_newer=False)
    monkeypatch.setattr("pathlib.Path.write_text", full_disk)
    opened = open_review(tmp_path / "s_review.json", SCAN, text)
    monkeypatch.undo()
    assert "No space left" in opened.problem
    opened.session.set_note("cmb-0001", "x")
    assert read_review(tmp_path / "s_review.json")["cmb-0001"].note == "x"
    assert read_review(tmp_path / "s_review-older.json")["cmb-0001"].verdict == "rejected"


GOOD = to_text(session_of())
DAMAGED = {
    "empty": "",
    "cut off": GOOD[: len(GOOD) // 2],
    "another program's": '{"cells": []}',
    "a list": "[1, 2]",
    "newer": GOOD.replace('"version": 1', '"version": 2'),
    "no candidates": GOOD.replace('"candidates"', '"items"'),
    "unknown field": GOOD.replace('"p_detection"', '"p_first"'),
    "unknown verdict": GOOD.replace('"undecided"', '"perhaps"', 1),
    "unknown stage": GOOD.replace('"final"', '"last"', 1),
    "text for a number": GOOD.replace('"x": 10.0', '"x": "ten"'),
    "not a number": GOOD.replace('"x": 10.0', '"x": NaN'),
    "twice the same": GOOD.replace("cmb-0002", "cmb-0001"),
    "scan missing": GOOD.replace('"sha256"', '"md5"'),
    "infinity in the run": GOOD.replace('"classical"', "Infinity"),
    "endless revision": GOOD.replace('"revision": 0', '"revision": 1e999'),
    "list for a checksum": GOOD.replace(f'"{"a" * 64}"', "[]"),
    "nesting": "[" * 100000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_is_no_review_gives_one_line_and_is_never_overwritten(tmp_path, content):
    path = tmp_path / "s_review.json"
    path.write_text(content, encoding="utf-8")
    assert content != GOOD
    for scene_text in (None, GOOD):
        with pytest.raises(InputError, match=r"s_review\.json") as caught:
            open_review(path, SCAN, scene_text)
        assert "\n" not in str(caught.value)
    start_review(path, session_of())
    assert (tmp_path / "s_review-older.json").read_text(encoding="utf-8") == content
    assert read_review(path).candidates


def test_a_newer_version_is_named_as_such():
    with pytest.raises(InputError, match="newer version of CMMDetect; update"):
        from_text(DAMAGED["newer"])


def test_bytes_and_a_folder_in_the_files_place_give_one_line(tmp_path):
    path = tmp_path / "s_review.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="the review cannot be read"):
        open_review(path, SCAN)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="the review cannot be read"):
        open_review(path, SCAN)


def test_a_damaged_file_can_be_set_aside_and_the_scenes_copy_taken(tmp_path):
    path = tmp_path / "s_review.json"
    path.write_text("{", encoding="utf-8")
    assert set_aside(path).name == "s_review-older.json"
    opened = open_review(path, SCAN, to_text(worked_on()))
    assert opened.session.candidates == worked_on().candidates


def test_the_review_of_another_scan_is_refused_and_a_new_name_is_not(tmp_path):
    path = tmp_path / "s_review.json"
    start_review(path, session_of())
    with pytest.raises(InputError, match=r"another scan \(sub-01_swi\), not of sub-09_swi"):
        open_review(path, replace(SCAN, name="sub-09_swi", sha256="b" * 64))
    renamed = open_review(path, replace(SCAN, name="Patient A", path=None)).session
    assert renamed.scan.name == "Patient A"
    assert open_review(path, replace(SCAN, sha256=None)) is not None


def test_what_another_program_wrote_meanwhile_is_kept(tmp_path):
    path = tmp_path / "s_review.json"
    mine, theirs = session_of(), session_of(reader="Bea")
    start_review(path, mine)
    start_review(tmp_path / "other.json", theirs)
    (tmp_path / "other.json").replace(path)
    mine.judge("cmb-0001", ACCEPT)
    assert read_review(path)["cmb-0001"].verdict == "accepted"
    assert read_review(tmp_path / "s_review-older.json").reader == "Bea"
    mine.judge("cmb-0002", ACCEPT)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_is_gone_raises_in_one_line_and_the_session_stays(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    session = session_of()
    start_review(folder / "s_review.json", session)
    (folder / "s_review.json").unlink()
    folder.rmdir()
    with pytest.raises(OutputError, match="cannot write here") as caught:
        session.judge("cmb-0001", ACCEPT)
    assert "\n" not in str(caught.value)
    assert session["cmb-0001"].verdict == "accepted"
    folder.mkdir()
    session.judge("cmb-0002", REJECT)
    assert [item.verdict for item in read_review(folder / "s_review.json").candidates[:2]] == ["accepted", "rejected"]


def test_a_full_disk_leaves_the_last_good_file(tmp_path, monkeypatch):
    path = tmp_path / "s_review.json"
    session = session_of()
    start_review(path, session)
    before = path.read_text(encoding="utf-8")

    monkeypatch.setattr("pathlib.Path.write_text", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        session.judge("cmb-0001", ACCEPT)
    monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == before
    assert len(list(tmp_path.iterdir())) == 1
    assert session["cmb-0001"].verdict == "accepted"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_raises_in_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot write here"):
        start_review(tmp_path / "s_review.json", session_of())
    tmp_path.chmod(0o700)


def test_a_review_that_stood_in_the_way_of_a_new_one_is_kept_and_named(tmp_path):
    path = review_path(tmp_path, SCAN.name)
    assert start_review(path, session_of()) is None
    before = path.read_text()
    kept = start_review(path, session_of(reader="Ada Lo"))
    assert kept.read_text() == before
    assert read_review(path).reader == "Ada Lo"


def test_five_thousand_candidates_come_back(tmp_path):
    many = [Candidate(id=f"cmb-{n:05d}", x=n / 7, y=0.0, z=0.0, stage=Stage.DETECTION) for n in range(5000)]
    session = session_of(many)
    start_review(tmp_path / "s_review.json", session)
    session.judge("cmb-04999", ACCEPT)
    assert open_review(tmp_path / "s_review.json", SCAN).session.candidates == session.candidates


def brain_scan() -> Scan:
    array = np.random.default_rng(3).normal(100, 9, (6, 7, 8)).astype(np.float32)
    return Scan(array, phantoms.affine((0.8, 0.8, 3.0)), Modality.SWI, "a")


def test_a_scan_is_known_again_under_another_name_file_format_and_axis_order(tmp_path):
    scan = brain_scan()
    write_image(tmp_path / "b_swi.nii.gz", scan.array, scan.affine)
    turned = scan.turned(Turn((2, 0, 1), (True, False, True)))
    same = {content_checksum(item) for item in (scan, turned, read_scan(tmp_path / "b_swi.nii.gz"))}
    assert same == {identify(scan).sha256}
    changed = replace(scan, array=scan.array + np.float32(1))
    assert content_checksum(changed) not in same


def test_autosave_of_a_read_file_does_not_set_it_aside(tmp_path):
    path = tmp_path / "s_review.json"
    write_review(path, session_of())
    session = session_of()
    session.save = Autosave(path, read=True)
    session.judge("cmb-0001", ACCEPT)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_review_that_gets_another_file_leaves_none_behind_but_what_another_program_wrote(tmp_path):
    mine, path = session_of(), tmp_path / "s_review.json"
    start_review(path, mine)
    mine.save = mine.save.moved(tmp_path / "s_reader-Ada_review.json")
    mine.judge("cmb-0001", ACCEPT)
    assert [item.name for item in tmp_path.iterdir()] == ["s_reader-Ada_review.json"]
    write_review(tmp_path / "s_reader-Ada_review.json", session_of(reader="Bea"))
    mine.save = mine.save.moved(path)
    mine.judge("cmb-0002", REJECT)
    assert read_review(tmp_path / "s_reader-Ada_review.json").reader == "Bea"
    assert read_review(path)["cmb-0001"].verdict == "accepted"
