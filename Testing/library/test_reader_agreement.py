"""Agreement of two readers, and the adjudication of their disagreements."""

import csv
import json
from dataclasses import replace

import pytest

from CMMDetectLib.errors import InputError
from CMMDetectLib.reader_agreement import adjudicate, agreement_path, cohens_kappa, compare_readers, write_agreement
from CMMDetectLib.review_records import Certainty, Mimic, Verdict, position_of
from review_samples import CANDIDATES, SCAN, session_of

ACCEPT, REJECT = Verdict.ACCEPTED, Verdict.REJECTED


@pytest.fixture
def ada():
    session = session_of(reader="Ada")
    session.set_certainty("cmb-0001", Certainty.DEFINITE)
    session.set_certainty("cmb-0002", Certainty.POSSIBLE)
    session.judge("cmb-0003", REJECT)
    session.set_mimic("cmb-0004", Mimic.VESSEL)
    session.add((90.0, 0.0, 0.0))
    session.add((110.0, 0.0, 0.0))
    return session


@pytest.fixture
def bea():
    session = session_of(reader="Bea")
    session.set_certainty("cmb-0001", Certainty.POSSIBLE)
    session.set_mimic("cmb-0002", Mimic.CALCIFICATION)
    session.set_note("cmb-0002", "bright on\tphase")
    session.add((130.0, 0.0, 0.0))
    session.add((91.0, 0.0, 0.0))
    session.set_mimic("cmb-0004", Mimic.VESSEL)
    return session


def test_the_counts_are_those_of_the_union_of_both_lists(ada, bea):
    found = compare_readers(ada, bea)
    assert len(found.lesions) == 7
    assert (found.both, found.only_first, found.only_second, found.neither, found.undecided) == (2, 2, 1, 1, 1)
    assert found.positive_agreement == pytest.approx(4 / 7)
    assert found.kappa == pytest.approx(cohens_kappa(2, 2, 1, 1))
    assert (found.same_certainty, found.with_certainty) == (0, 1)
    assert found.readers == ("Ada", "Bea")


def test_points_of_both_readers_within_3_mm_are_one_lesion_and_farther_ones_are_two():
    for distance, count in ((2.9, 1), (3.1, 2)):
        first, second = session_of([]), session_of([])
        first.add((0, 0, 0))
        second.add((distance, 0, 0))
        found = compare_readers(first, second)
        assert len(found.lesions) == count
        assert found.both == (count == 1)


def test_readers_who_move_one_candidate_apart_still_mean_the_same(ada, bea):
    ada.move("cmb-0001", (8.0, 0.0, 0.0))
    bea.move("cmb-0001", (12.0, 0.0, 0.0))
    lesion = compare_readers(ada, bea).lesions[0]
    assert (lesion.agreed, lesion.distance_mm) == (True, 4.0)


def test_agreement_has_no_kappa_where_chance_alone_agrees_and_none_without_lesions():
    empty = compare_readers(session_of([]), session_of([]))
    assert (empty.kappa, empty.positive_agreement, empty.lesions) == (None, None, ())
    first, second = session_of(CANDIDATES[:1]), session_of(CANDIDATES[:1])
    first.judge("cmb-0001", ACCEPT)
    second.judge("cmb-0001", ACCEPT)
    same = compare_readers(first, second)
    assert (same.kappa, same.positive_agreement, same.both) == (None, 1.0, 1)
    second.judge("cmb-0001", REJECT)
    assert compare_readers(first, second).kappa == 0.0


@pytest.mark.parametrize(
    ("counts", "kappa"), [((20, 5, 10, 15), 0.4), ((5, 0, 0, 5), 1.0), ((0, 5, 5, 0), -1.0), ((25, 25, 25, 25), 0.0)]
)
def test_kappa_is_that_of_the_textbook(counts, kappa):
    assert cohens_kappa(*counts) == pytest.approx(kappa)


def test_a_reader_compared_with_themselves_agrees_fully(ada):
    found = compare_readers(ada, ada)
    assert found.kappa == 1.0
    assert (found.only_first, found.only_second, found.undecided) == (0, 0, 0)
    assert found.readers == ("Ada (1)", "Ada (2)")


def test_the_table_has_a_row_a_lesion_and_the_numbers_lie_beside_it(ada, bea, tmp_path):
    write_agreement(tmp_path / "agreement.tsv", compare_readers(ada, bea))
    with (tmp_path / "agreement.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    words = [(row["id_first"], row["id_second"], row["verdict_first"], row["verdict_second"]) for row in rows]
    assert words == [
        ("cmb-0001", "cmb-0001", "accepted", "accepted"),
        ("cmb-0002", "cmb-0002", "accepted", "rejected"),
        ("cmb-0003", "cmb-0003", "rejected", "undecided"),
        ("cmb-0004", "cmb-0004", "rejected", "rejected"),
        ("cmb-r001", "cmb-r002", "accepted", "accepted"),
        ("cmb-r002", "n/a", "accepted", "absent"),
        ("n/a", "cmb-r001", "absent", "accepted"),
    ]
    assert [row["agreement"] for row in rows] == [
        *("agree", "disagree", "open", "agree", "agree", "disagree", "disagree")
    ]
    assert rows[1]["note_second"] == "bright on phase"
    assert rows[4]["distance_mm"] == "1.0000"
    numbers = json.loads((tmp_path / "agreement.json").read_text(encoding="utf-8"))
    assert (numbers["both"], numbers["readers"]) == (2, ["Ada", "Bea"])


def test_the_agreement_of_other_readers_leaves_that_of_the_first_two(ada, bea, tmp_path):
    def compared(*sessions):
        found = compare_readers(*sessions)
        path = agreement_path(tmp_path, "s", found.readers)
        write_agreement(path, found)
        return path.name

    cleo = session_of(reader="Cleo Lo")
    assert compared(ada, bea) == compared(bea, ada) == "s_agreement.tsv"
    before = (tmp_path / "s_agreement.tsv").read_bytes()
    assert compared(ada, cleo) == compared(cleo, ada) == "s_reader-Ada_reader-Cleo-Lo_agreement.tsv"
    assert (tmp_path / "s_agreement.tsv").read_bytes() == before
    (tmp_path / "s_agreement.json").write_text("damaged")
    assert compared(ada, bea) == "s_reader-Ada_reader-Bea_agreement.tsv"


def test_the_third_session_takes_over_what_both_say_and_leaves_the_rest_open(ada, bea):
    third = adjudicate(ada, bea, reader="Cleo")
    said = {item.id: item for item in third.candidates}
    assert [item.verdict for item in said.values()] == [
        *("accepted", "undecided", "undecided", "rejected", "accepted", "undecided", "undecided")
    ]
    assert len(said) == 7
    assert said["cmb-0001"].certainty is None
    assert said["cmb-0004"].mimic == "vessel"
    assert said["cmb-0002"].note == "Ada: accepted, possible; Bea: rejected, calcification, bright on\tphase"
    assert said["cmb-r002"].note == "Ada: accepted; Bea: not marked"
    assert said["cmb-0001"].reader == "Ada + Bea"
    assert position_of(said["cmb-r001-2"]) == (130.0, 0.0, 0.0)
    third.judge("cmb-0002", ACCEPT)
    assert third["cmb-0002"].reader == "Cleo"
    assert third.add((1, 2, 3)) == "cmb-r003"


def test_reviews_of_two_scans_and_unfinished_blind_reads_are_not_compared(ada):
    other = session_of(scan=replace(SCAN, name="sub-02_swi", sha256="b" * 64))
    with pytest.raises(InputError, match="two reviews of one scan"):
        compare_readers(ada, other)
    with pytest.raises(InputError, match="Bea is still in the blind read"):
        adjudicate(ada, session_of(reader="Bea", blind=True))
