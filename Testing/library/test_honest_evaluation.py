"""Nobody takes a part of a data set for the whole, or what a model has learnt by heart for what it can."""

import json
from pathlib import Path

import pytest

from CMMDetectLib.candidates import write_json
from CMMDetectTrainLib.case_list import CaseStatus, set_status
from CMMDetectTrainLib.cli import main
from CMMDetectTrainLib.evaluation_set import find_scans
from CMMDetectTrainLib.inserted_scans import insert_into_scans
from CMMDetectTrainLib.left_out import left_out
from CMMDetectTrainLib.seen_scans import seen_note, seen_scans, to_record
from training_cases import write_scan, write_start


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Three subjects; the scans of the last one have no label map, and phases never do."""
    for number in (1, 2, 3):
        write_scan(tmp_path / "set", f"sub-0{number}_swi", seed=number)
    write_scan(tmp_path / "set", "sub-03_T2starw", seed=4)
    for name in ("sub-03_swi", "sub-03_T2starw"):
        (tmp_path / "set" / f"{name}_microbleeds.nii.gz").unlink()
    write_scan(tmp_path / "set", "sub-01_part-phase_T2starw", seed=5)
    (tmp_path / "set" / "sub-01_part-phase_T2starw_microbleeds.nii.gz").unlink()
    return tmp_path / "set"


@pytest.fixture
def start(tmp_path):
    """A small bundle that never was trained."""
    return write_start(tmp_path / "start").folder


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "sub-03_T2starw, sub-03_swi"),
        (("SWI",), "sub-03_swi"),
        (("swi", ["sub-01"]), None),
        ((None, ["sub-01", "sub-03"]), "sub-03_T2starw, sub-03_swi"),
    ],
)
def test_scans_without_a_label_map_are_named(dataset, options, named):
    told = left_out(dataset, find_scans(dataset, *options, all_here=False), *options)
    expected = f"Left out, without <scan>_microbleeds.nii.gz, which may be empty: {named}"
    assert told == ([expected] if named else [])


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_what_is_left_out_is_said_before_the_long_work(dataset, tmp_path, capsys, monkeypatch, command, start):
    set_status(dataset, "sub-02_swi", CaseStatus.TO_CHECK)

    class LongWorkError(Exception):
        pass

    def work(entries, *_):
        assert [entry.name for entry in entries] == ["sub-01_swi"]
        raise LongWorkError

    monkeypatch.setattr("CMMDetectTrainLib.evaluation.evaluate_dataset", work)
    monkeypatch.setattr("CMMDetectTrainLib.bundle_training.train_bundle", work)
    with pytest.raises(LongWorkError):
        main([command, str(dataset), "-o", str(tmp_path / "made"), "--modality", "swi"])
    assert capsys.readouterr().out.splitlines() == [
        "Left out, still to be checked: sub-02_swi",
        "Left out, without <scan>_microbleeds.nii.gz, which may be empty: sub-03_swi",
    ]


def test_an_evaluation_on_subjects_that_the_model_was_trained_with_says_so(dataset, tmp_path, capsys, start):
    first, second = find_scans(dataset)
    write_json(start / "training.json", {"scans": to_record([second], None)})
    note = "The model was trained with 1 of these 2 subjects (sub-02), so these figures are too good;"
    assert main(["evaluate", str(dataset), "-o", str(tmp_path / "a"), "--model", str(start), "--brain-masks"]) == 0
    assert note in capsys.readouterr().out
    assert note in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a" / "metrics.json").read_text())["notes"][0].startswith(note)
    assert seen_note(start, [first], lambda _: None) == ""


def test_a_model_that_learnt_from_scans_with_simulated_microbleeds_has_seen_these_scans(dataset, tmp_path, start):
    first, second = find_scans(dataset)
    copies = insert_into_scans([second], tmp_path / "copies", 1, 3.0, 0, lambda _: None, given_brain=True)
    write_json(start / "training.json", {"scans": to_record(copies, None)})
    assert "trained with 1 of these 2 subjects (sub-02)" in seen_note(start, [first, second], lambda _: None)


def test_a_model_that_was_fine_tuned_still_knows_what_it_had_learnt_from_before(dataset, tmp_path, start):
    first, second = find_scans(dataset)
    write_json(start / "training.json", {"scans": to_record([first], None)})
    assert list(to_record([second], start).values()) == ["sub-01_swi", "sub-02_swi"]
    assert seen_scans(None) == seen_scans(tmp_path) == {}
