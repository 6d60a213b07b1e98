"""The truth table of a simulated scan in an evaluation: regions, visibility, mimics, and which stage lost a lesion."""

from pathlib import Path

import numpy as np
import pytest

from CMMDetectLib.candidates import Stage
from CMMDetectLib.classical_method import ClassicalMethod
from CMMDetectLib.errors import InputError
from CMMDetectLib.methods import Settings
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectLib.scan import read_scan
from CMMDetectTrainLib.evaluation import evaluate_dataset, lost_by
from CMMDetectTrainLib.evaluation_set import find_scans, read_lesions, read_mimics
from CMMDetectTrainLib.simulation.truth_files import Truth, TruthRecord, write_truth
from masked_scans import AFFINE, lesion_labels, save
from small_scans import lesion_positions, stripped_brain


def test_a_truth_table_with_fewer_microbleeds_than_labels_is_refused(simulated):
    entry = find_scans(simulated)[0]
    table = entry.truth_file("_truth.tsv")
    table.write_text("".join(line for line in table.open() if not line.startswith(("cmb-0002", "cmb-0003"))))
    with pytest.raises(InputError, match=r"sub-001_swi_truth\.tsv: lists 1 microbleed, but .* has the label 2"):
        read_lesions(entry, read_scan(entry.scan))


def truth_record(number: int, kind: str, position: np.ndarray, visible: bool = True) -> TruthRecord:
    x, y, z = (float(value) for value in position)
    name = f"{'cmb' if kind == 'microbleed' else 'mimic'}-{number:04d}"
    return TruthRecord(name, kind, "thalamus", x, y, z, 1.0, 2.0, 4.5, 20.0, visible)


@pytest.fixture
def simulated(tmp_path) -> Path:
    """A set as the simulation writes it: a visible lesion, one below noise, one without a voxel, a calcification."""
    labels, (first, second, third) = lesion_labels(), lesion_positions(AFFINE)
    records = (
        truth_record(1, "microbleed", first),
        truth_record(2, "microbleed", second, visible=False),
        truth_record(3, "microbleed", first + 40, visible=False),
        truth_record(1, "calcification", third),
    )
    truth = Truth(records, (labels * (labels < 3)).astype(np.uint16), (labels == 3).astype(np.uint16))
    save(tmp_path / "sub-001" / "swi" / "sub-001_swi.nii.gz", stripped_brain())
    folder = tmp_path / "derivatives" / "truth" / "sub-001" / "swi"
    folder.mkdir(parents=True)
    write_truth(folder, "sub-001_swi", truth, AFFINE)
    save(folder.parent / "sub-001_brain.nii.gz", (stripped_brain() > 0).astype(np.uint8))
    return tmp_path


def test_simulated_truth_brings_regions_visibility_and_mimics(simulated, tmp_path):
    (record,) = evaluate_dataset(find_scans(simulated), ClassicalMethod(), tmp_path / "out", given_brain=True)
    assert [(item.region, item.counted, item.diameter_mm) for item in record.lesions] == [
        ("thalamus", True, 4.5),
        ("thalamus", False, 4.5),
        ("thalamus", False, 4.5),
    ]
    final = [item for item in record.findings if item.candidate.stage is Stage.FINAL]
    assert sorted((item.touches, item.mimic) for item in final if item.touches or item.mimic) == [
        ((), "calcification"),
        (("cmb-0001",), None),
        (("cmb-0002",), None),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (255, r"sub-001_swi_truth\.tsv: lists 1 mimic, but sub-001_swi_mimics\.nii\.gz has the label 255"),
        (-1, r"sub-001_swi_mimics\.nii\.gz: has the label -1; 0 is background, mimics have numbers above it"),
    ],
)
def test_a_map_of_mimics_that_does_not_fit_its_truth_table_is_named(simulated, tmp_path, value, expected):
    entry = find_scans(simulated)[0]
    save(entry.truth_file("_mimics.nii.gz"), ((lesion_labels() == 3) * value).astype(np.int16))
    with pytest.raises(InputError, match=expected):
        read_mimics(entry, read_scan(entry.scan))
    with pytest.raises(InputError, match=expected):
        evaluate_dataset([entry], ClassicalMethod(), tmp_path / "out")


def test_the_table_says_which_step_lost_a_lesion(simulated, tmp_path):
    strict = ClassicalMethod(Settings(0.3, 0.3, CutOffs(min_volume_mm3=1000)))
    (record,) = evaluate_dataset(find_scans(simulated), strict, tmp_path / "strict")
    assert lost_by(record, record.lesions[0]) == "volume"
    blind = ClassicalMethod(Settings(0.999, 0.3, CutOffs()))
    (record,) = evaluate_dataset(find_scans(simulated), blind, tmp_path / "blind")
    assert lost_by(record, record.lesions[0]) == "detection"


@pytest.mark.parametrize("content", [b"id\tM\xfcnchen\n", b"id\tkind\nc\tmicrobleed\n"])
def test_a_damaged_truth_table_is_named_in_one_line(simulated, content):
    entry = find_scans(simulated)[0]
    entry.truth_file("_truth.tsv").write_bytes(content)
    with pytest.raises(InputError, match=r"sub-001_swi_truth\.tsv: not a t"):
        read_lesions(entry, read_scan(entry.scan))
