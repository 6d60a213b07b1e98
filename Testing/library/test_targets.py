"""What the table of the default model's targets is made of."""

import json
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pytest

from CMMDetectLib.errors import InputError
from CMMDetectLib.scan import Modality
from CMMDetectTrainLib.metrics import Lesion, ScanRecord

SCRIPTS = Path(__file__).parents[1] / "benchmarks" / "default_model"


@pytest.fixture
def read_evaluations(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return import_module("targets").read_evaluations


def evaluation(folder: Path, checksum: str, microbleeds: int) -> Path:
    """Write the evaluation of one scan, which has the same name in every cohort."""
    lesion = Lesion(id="cmb-0001", x=0.0, y=0.0, z=0.0, diameter_mm=4.0, volume_mm3=30.0)
    record = ScanRecord(
        name="sub-01_swi",
        subject="sub-01",
        groups={"modality": "swi"},
        lesions=(lesion,) * microbleeds,
        findings=(),
        sha256={"sub-01_swi.nii.gz": checksum},
    )
    (folder / "scans").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"method": "paper"}))
    (folder / "scans" / "sub-01_swi.json").write_text(json.dumps(asdict(record)))
    return folder


def test_scans_of_one_name_in_two_cohorts_are_both_measured(read_evaluations, tmp_path):
    folders = [evaluation(tmp_path / name, name, count) for count, name in enumerate("ab", 1)]
    records = read_evaluations(folders)["paper", Modality.SWI]
    assert [len(record.lesions) for record in records] == [1, 2]
    assert len({record.subject for record in records}) == 2


def test_a_scan_that_was_evaluated_twice_does_not_count_double(read_evaluations, tmp_path):
    folders = [evaluation(tmp_path / name, "same", 1) for name in "ab"]
    with pytest.raises(InputError, match=r"the same scan as in .*give the evaluations of one model"):
        read_evaluations(folders)
