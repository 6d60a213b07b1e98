"""Comparison of an old and a new model, and the conclusion that the numbers allow."""

import numpy as np
import pytest

from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.errors import InputError
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectTrainLib.comparison import Verdict, compare_records, paired_difference
from CMMDetectTrainLib.metrics import Finding, Lesion, ScanRecord, bootstrap_weights

NAMES = ("old", "new")
CUTOFFS = (CutOffs(), CutOffs())


def record(number: int, lesions: int, found: int, false: int) -> ScanRecord:
    true = tuple(
        Lesion(id=f"cmb-{n}", x=0.0, y=0.0, z=10.0 * n, diameter_mm=4.0, volume_mm3=30.0) for n in range(lesions)
    )
    touches = [(f"cmb-{n}",) for n in range(found)] + [()] * false
    findings = tuple(Finding(candidate=candidate(n), touches=touch) for n, touch in enumerate(touches))
    return ScanRecord(name=f"sub-{number}_swi", subject=f"sub-{number}", lesions=true, findings=findings)


def candidate(number: int) -> Candidate:
    return Candidate(
        id=f"cmb-{number:04d}",
        x=0.0,
        y=0.0,
        z=10.0 * number,
        stage=Stage.FINAL,
        p_detection=0.9,
        p_discrimination=0.9 - 0.01 * number,
        volume_mm3=30.0,
        diameter_mm=4.0,
        ellipticity=0.1,
        skull_distance_mm=20.0,
    )


def compare(old: list[tuple[int, int, int]], new: list[tuple[int, int, int]]):
    records = [[record(number, *counts) for number, counts in enumerate(some)] for some in (old, new)]
    return compare_records(*records, NAMES, CUTOFFS)


def test_a_model_that_finds_more_in_every_subject_is_better():
    found = compare([(4, 1, 1)] * 8, [(4, 3, 1)] * 8)
    assert found.verdict is Verdict.BETTER
    assert found.metrics["tpr"].difference.value == pytest.approx(0.5)
    assert found.sentence == (
        "new is better than old: it finds 24 of 32 microbleeds instead of 8, "
        "with 1.0 false positives per scan instead of 1.0."
    )
    assert (found.subjects, found.scans, found.microbleeds) == (8, 8, 32)


def test_a_model_that_finds_less_in_every_subject_is_worse():
    found = compare([(4, 3, 1)] * 8, [(4, 1, 1)] * 8)
    assert found.verdict is Verdict.WORSE and "Keep old" in found.sentence


def test_more_found_at_more_false_positives_is_both_better_and_worse():
    assert compare([(4, 1, 1)] * 8, [(4, 4, 6)] * 8).verdict is Verdict.MIXED


def test_a_sure_gain_does_not_hide_a_possible_loss():
    old = [(4, 4, 9)] * 8
    new = [(4, 4, 0)] * 7 + [(4, 0, 0)]
    found = compare(old, new)
    assert found.metrics["tpr"].difference.low < 0 <= found.metrics["tpr"].difference.high
    assert found.verdict is Verdict.MIXED


def test_what_other_subjects_could_turn_round_cannot_be_told():
    old = [(4, 2, 1)] * 8
    new = [(4, 4, 1), (4, 0, 1)] * 4
    new[0] = (4, 4, 0)
    found = compare(old, new)
    assert found.verdict is Verdict.UNKNOWN
    assert found.sentence.startswith("Too few data to tell whether new is better than old")


def test_a_handful_of_subjects_proves_nothing_however_clear_it_looks():
    found = compare([(4, 0, 5)] * 4, [(4, 4, 0)] * 4)
    assert found.verdict is Verdict.UNKNOWN
    assert "Too few data to tell" in found.sentence and "4 had microbleeds, and fewer than 5" in found.sentence


def test_subjects_without_microbleeds_count_for_false_positives_but_not_as_enough():
    found = compare([(4, 0, 5)] + [(0, 0, 5)] * 9, [(4, 4, 0)] + [(0, 0, 0)] * 9)
    assert (found.subjects, found.subjects_with_microbleeds, found.verdict) == (10, 1, Verdict.UNKNOWN)


def test_without_any_microbleed_there_is_a_sentence_too():
    found = compare([(0, 0, 1)] * 3, [(0, 0, 0)] * 3)
    assert found.metrics["tpr"].new.value is None
    assert "finds 0 of 0 microbleeds" in found.sentence


def test_the_interval_of_the_difference_is_that_of_pairs():
    """Subjects differ much more than methods do: only pairs show that the new one is always a little better."""
    rng = np.random.default_rng(0)
    easy = rng.integers(10, 90, 40).astype(float)
    many = np.full(40, 100.0)
    weights = bootstrap_weights([str(number) for number in range(40)])
    change = paired_difference((easy, many), (easy + 5, many), weights)
    assert change.value == pytest.approx(0.05)
    assert change.low == pytest.approx(0.05) and change.high == pytest.approx(0.05)
    unpaired = paired_difference((easy, many), (rng.permutation(easy) + 5, many), weights)
    assert unpaired.low < 0 < unpaired.high


def test_a_difference_in_one_subject_alone_has_no_interval_that_looks_sure():
    found = compare([(4, 0, 1), (0, 0, 2), (0, 0, 3)], [(4, 2, 0), (0, 0, 2), (0, 0, 1)])
    tpr, fp_avg = found.metrics["tpr"], found.metrics["fp_avg"]
    assert [item.value for item in (tpr.old, tpr.new, tpr.difference)] == [0, 0.5, 0.5]
    assert all(item.low is None for item in (tpr.old, tpr.new, tpr.difference))
    assert fp_avg.difference.low < fp_avg.difference.high


def test_the_froc_curves_of_both_are_there_to_be_drawn():
    found = compare([(4, 2, 1)] * 6, [(4, 3, 2)] * 6)
    assert found.froc["new"]["tpr"][-1] == pytest.approx(0.75)
    assert found.froc["old"]["fp_avg"][-1] == pytest.approx(1.0)
    assert found.as_json()["metrics"]["fp_avg"]["difference"]["value"] == pytest.approx(1.0)


def test_different_scans_cannot_be_compared():
    with pytest.raises(InputError, match="same scans"):
        compare_records([record(1, 1, 1, 0)], [record(2, 1, 1, 0)], NAMES, CUTOFFS)
