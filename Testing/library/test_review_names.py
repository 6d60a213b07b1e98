"""Names of review files: readers and scans are kept apart."""

from dataclasses import replace

import pytest

from CMMDetectLib.errors import InputError
from CMMDetectLib.review_file import read_review, start_review
from CMMDetectLib.review_names import may_have_reviews, own_stem, review_path
from CMMDetectLib.review_records import Verdict
from review_samples import SCAN, session_of

ACCEPT, REJECT = Verdict.ACCEPTED, Verdict.REJECTED


def test_a_second_reader_has_a_file_of_their_own(tmp_path):
    names = {review_path(tmp_path, "s", reader).name for reader in ("", "Ada Lo", "Bea", "../../etc", "脳")}
    assert names == {
        *("s_review.json", "s_reader-Ada-Lo_review.json", "s_reader-Bea_review.json"),
        *("s_reader-etc_review.json", "s_reader-脳_review.json"),
    }


@pytest.mark.parametrize(("one", "other"), [("A. B.", "A B"), ("A-B", "A B"), ("Ada", "ada"), ("Ada (MD)", "Ada MD")])
def test_readers_whose_names_a_file_name_cannot_tell_apart_have_files_of_their_own(tmp_path, one, other):
    for reader, verdict in ((one, ACCEPT), (other, REJECT)):
        session = session_of(reader=reader)
        assert start_review(review_path(tmp_path, "s", reader), session) is None
        session.judge("cmb-0001", verdict)
    read = {reader: read_review(review_path(tmp_path, "s", reader)) for reader in (one, other)}
    assert [read[one].reader, read[one]["cmb-0001"].verdict] == [one, ACCEPT]
    assert [read[other].reader, read[other]["cmb-0001"].verdict] == [other, REJECT]
    assert len(list(tmp_path.iterdir())) == 2
    assert len({path.name.casefold() for path in tmp_path.iterdir()}) == 2
    # whoever has the longer name keeps it when the other one's file is gone
    review_path(tmp_path, "s", one).unlink()
    assert read_review(review_path(tmp_path, "s", other)).reader == other


def test_a_reader_finds_the_review_that_was_saved_under_their_name_before_names_were_told_apart(tmp_path):
    path = tmp_path / "s_reader-A-B_review.json"
    start_review(path, session_of(reader="A. B."))
    assert review_path(tmp_path, "s", "A. B.") == review_path(tmp_path, "s", "A.  B.") == path
    path.write_text("damaged")
    assert review_path(tmp_path, "s", "A. B.") == path


def test_a_name_without_a_letter_is_not_that_of_nobody(tmp_path):
    start_review(review_path(tmp_path, "s"), session_of())
    assert review_path(tmp_path, "s", "???") != review_path(tmp_path, "s") == tmp_path / "s_review.json"
    assert review_path(tmp_path, "other", "???") != review_path(tmp_path, "other")


def test_two_scans_of_one_name_have_files_of_their_own(tmp_path):
    mine, other = (replace(SCAN, sha256=letter * 64) for letter in "ab")
    assert own_stem(tmp_path, mine) == SCAN.name
    session = session_of(reader="Ada Lo")
    session.scan = mine
    start_review(review_path(tmp_path, SCAN.name, "Ada Lo"), session)
    assert own_stem(tmp_path, mine) == SCAN.name
    assert own_stem(tmp_path, other) == f"{SCAN.name}-bbbbbbbb"
    start_review(review_path(tmp_path, f"{SCAN.name}-bbbbbbbb"), session_of())
    review_path(tmp_path, SCAN.name, "Ada Lo").rename(tmp_path / "elsewhere.json")
    assert own_stem(tmp_path, other) == f"{SCAN.name}-bbbbbbbb"
    assert may_have_reviews(tmp_path, SCAN.name) and not may_have_reviews(tmp_path, "another")


def test_a_damaged_review_is_in_the_way_only_where_no_other_tells_whose_the_name_is(tmp_path):
    (tmp_path / f"{SCAN.name}_review.json").write_text("damaged")
    with pytest.raises(InputError, match="damaged"):
        own_stem(tmp_path, SCAN)
    start_review(review_path(tmp_path, SCAN.name, "Ada Lo"), session_of(reader="Ada Lo"))
    assert own_stem(tmp_path, SCAN) == SCAN.name
