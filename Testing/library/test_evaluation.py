"""An evaluation: what is measured, written and reported, and how it is resumed."""

import csv
import json
import re
import shutil
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import phantoms
from CMMDetectLib.candidates import Stage
from CMMDetectLib.classical_method import ClassicalMethod
from CMMDetectLib.cli import EXIT_INPUT, make_parser, run_command
from CMMDetectLib.detector import Detector
from CMMDetectLib.errors import InputError
from CMMDetectLib.scan import read_scan, write_image
from CMMDetectTrainLib.evaluate_command import add_evaluate
from CMMDetectTrainLib.evaluation import evaluate_dataset, read_record, write_evaluation
from CMMDetectTrainLib.evaluation_set import find_scans
from CMMDetectTrainLib.metrics import Rule
from CMMDetectTrainLib.report_figures import attribute_figure
from CMMDetectTrainLib.report_page import ReportFigure
from masked_scans import AFFINE, lesion_labels, save, write_masked_set
from small_scans import LESIONS_MM, lesion_positions, stripped_brain


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_masked_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def evaluated(dataset, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("evaluated")
    assert evaluate(dataset, "-o", output) == 0
    return output


def evaluate(*arguments: object) -> int:
    parser, commands = make_parser()
    add_evaluate(commands)
    return run_command(parser, ["evaluate", *map(str, arguments), "--method", "classical"])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_a_data_set_with_masks_is_measured_from_the_command_line(evaluated):
    measured = json.loads((evaluated / "metrics.json").read_text())
    final = {name: item["value"] for name, item in measured["stages"]["overlap"]["final"].items()}
    # both true lesions are found; one false positive in the first scan, three in the one without microbleeds
    assert (final["tpr"], final["fp_avg"], final["precision"]) == (1.0, 2.0, pytest.approx(2 / 6))
    assert final["f1"] == pytest.approx(2 * 2 / (2 + 6))
    assert measured["stages"]["center"]["final"] == measured["stages"]["overlap"]["final"]
    assert measured["large_lesions"] == {"lesions": 2, "stages": measured["stages"]}
    assert measured["clean_scans"]["final"]["fp_avg"]["value"] == 3
    assert set(measured["groups_of_scans"]["protocol"]) == {"ukbb", "oxvasc"}
    assert set(measured["groups_of_scans"]["field strength"]) == {"3.0 T"}


def test_the_lesion_table_says_where_every_lesion_is_and_whether_it_was_found(evaluated):
    rows = rows_of(evaluated / "lesions.tsv")
    assert [row["scan"] for row in rows] == ["sub-01_swi"] * 2
    assert {row["lost_by"] for row in rows} == {"n/a"}
    assert {row[f"found_{rule}_{stage}"] for row in rows for rule in Rule for stage in Stage} == {"1"}
    position = np.array([[float(row[axis]) for axis in "xyz"] for row in rows])
    nearest = np.linalg.norm(lesion_positions(AFFINE)[:, None] - position, axis=2).min(axis=0)
    assert (nearest < 0.5).all()
    diameter = np.sort([float(row["diameter_mm"]) for row in rows])
    assert diameter == pytest.approx([4.0, 5.0], abs=0.7)
    # pixels of 1 mm
    assert [row["diameter_vox"] for row in rows] == [row["diameter_mm"] for row in rows]
    assert all(float(row["conspicuity"]) > 6 for row in rows)


def test_the_report_holds_its_figures_and_needs_no_other_file(evaluated):
    page = (evaluated / "report.html").read_text(encoding="utf-8")
    images = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(images) == 3
    for image in images:
        assert ElementTree.fromstring(b64decode(image)).tag.endswith("svg")
    assert "src=" not in page.replace('src="data:', "") and "href=" not in page
    assert "Only the 2 microbleeds with an apparent diameter of at least 2 mm or 2 pixels" in page
    conspicuous = page[page.index("<h3>Conspicuity</h3>") :]
    assert re.match(r".*?<td[^>]*>6 SD and more</td><td[^>]*>2</td>", conspicuous)
    for heading in ("After each stage", "FROC", "Calibration", "Scans without microbleeds", "Definitions"):
        assert f"<h2>{heading}</h2>" in page


def test_one_scan_with_one_microbleed_is_told_in_the_singular(evaluated, tmp_path):
    record = read_record(evaluated / "scans" / "sub-01_swi.json")
    seen, unseen = record.lesions[0], replace(record.lesions[1], counted=False)
    write_evaluation(tmp_path, [replace(record, lesions=(seen, unseen))], ClassicalMethod().settings, {})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1 scan of 1 subject with 1 microbleed; 0 scans without any. Not counted: 1 microbleed more" in page
    assert not re.search(r"\b1 (scans|subjects|microbleeds)", page)


@pytest.mark.filterwarnings("error")
def test_a_cut_off_that_rejects_nothing_is_not_drawn(evaluated):
    records = [read_record(evaluated / "scans" / "sub-01_swi.json")]
    cutoffs = {"min_volume_mm3": 0.0, "max_ellipticity": 1.0, "min_skull_distance_mm": 0.0}
    lines = [
        attribute_figure(records, {**cutoffs, **some}).count("stroke-dasharray")
        for some in ({}, {"min_volume_mm3": 3.0})
    ]
    assert lines[1] == lines[0] + 1


def test_an_attribute_that_no_candidate_has_is_left_out(evaluated):
    record = read_record(evaluated / "scans" / "sub-01_swi.json")
    cutoffs = {"min_volume_mm3": 0.0, "max_ellipticity": 1.0, "min_skull_distance_mm": 0.0}

    def without(*names: str) -> str | None:
        unknown = dict.fromkeys(names)
        findings = [replace(item, candidate=replace(item.candidate, **unknown)) for item in record.findings]
        return attribute_figure([replace(record, findings=tuple(findings))], cutoffs)

    for name, label in (("ellipticity", "Ellipticity"), ("skull_distance_mm", "Distance to the edge")):
        assert label in without()
        assert label not in without(name)
    assert without("volume_mm3", "ellipticity", "skull_distance_mm") is None


def test_an_evaluation_goes_on_where_it_stopped(dataset, evaluated, tmp_path, monkeypatch):
    output = tmp_path / "again"
    (output / "scans").mkdir(parents=True)
    for name in ("run.json", "scans/sub-01_swi.json"):
        (output / name).write_bytes((evaluated / name).read_bytes())
    detected = []
    detect = Detector.detect

    def watched(self, scan, *more):
        detected.append(scan.name)
        return detect(self, scan, *more)

    monkeypatch.setattr(Detector, "detect", watched)
    assert evaluate(dataset, "-o", output) == 0
    assert detected == ["sub-02_swi"]
    assert json.loads((output / "metrics.json").read_text()) == json.loads((evaluated / "metrics.json").read_text())


def test_a_scan_that_cannot_be_read_is_named_before_any_other_is_evaluated(dataset, tmp_path, capsys):
    damaged = shutil.copytree(dataset, tmp_path / "set")
    last = sorted(damaged.rglob("*_swi.nii.gz"))[-1]
    last.write_bytes(last.read_bytes()[:2000])
    assert evaluate(damaged, "-o", tmp_path / "out") == EXIT_INPUT
    assert f"{last}: the file is cut off or damaged" in capsys.readouterr().err
    assert not list((tmp_path / "out" / "scans").iterdir())


def test_a_scan_whose_files_changed_is_evaluated_again(dataset, evaluated, tmp_path):
    changed, output = tmp_path / "set", tmp_path / "again"
    shutil.copytree(dataset, changed)
    shutil.copytree(evaluated, output)
    before = json.loads((output / "metrics.json").read_text())
    save(changed / "derivatives" / "masks" / "sub-02" / "sub-02_swi_microbleeds.nii.gz", lesion_labels())
    untouched = (output / "scans" / "sub-01_swi.json").read_bytes()
    assert evaluate(changed, "-o", output) == 0
    after = json.loads((output / "metrics.json").read_text())
    assert (before["lesions"], after["lesions"]) == (2, 2 + len(LESIONS_MM))
    assert (output / "scans" / "sub-01_swi.json").read_bytes() == untouched


def test_a_scan_that_was_taken_for_one_of_another_modality_is_evaluated_again(tmp_path):
    save(tmp_path / "set" / "patient.nii.gz", stripped_brain())
    save(tmp_path / "set" / "patient_microbleeds.nii.gz", lesion_labels())

    def final_tpr(modality: str) -> float:
        assert evaluate(tmp_path / "set", "-o", tmp_path / "out", "--modality", modality) == 0
        metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
        return metrics["stages"]["overlap"]["final"]["tpr"]["value"]

    assert [final_tpr(modality) for modality in ("swi", "qsm", "swi")] == [1, 0, 1]


def test_scans_are_grouped_by_a_table_of_participants_that_was_written_after_they_were_evaluated(
    dataset, evaluated, tmp_path, monkeypatch
):
    shutil.copytree(dataset, tmp_path / "set")
    shutil.copytree(evaluated, tmp_path / "out")
    (tmp_path / "set" / "participants.tsv").write_text("participant_id\tprotocol\nsub-01\tnorth\nsub-02\tsouth\n")
    monkeypatch.setattr(Detector, "detect", None)  # nothing is detected again
    assert evaluate(tmp_path / "set", "-o", tmp_path / "out") == 0
    groups = json.loads((tmp_path / "out" / "metrics.json").read_text())["groups_of_scans"]
    assert list(groups["protocol"]) == ["north", "south"]


def test_the_report_says_in_how_many_scans_the_brain_was_given(dataset, tmp_path, capsys):
    data, output = shutil.copytree(dataset, tmp_path / "set"), tmp_path / "out"
    assert evaluate(data, "-o", output, "--brain-masks") == EXIT_INPUT
    assert "--brain-masks: no scan has one" in capsys.readouterr().err
    assert not output.exists()
    save(data / "sub-01_swi_brain.nii.gz", (stripped_brain() > 0).astype(np.uint8))
    assert evaluate(data, "-o", output, "--brain-masks") == 0
    about = json.loads((output / "metrics.json").read_text())["about"]
    assert about["brain"] == "masks of the data set in 1 of 2 scans"


def test_a_model_is_measured_with_the_brain_extraction_that_is_asked_for(dataset, tmp_path, monkeypatch, capsys):
    asked = []

    def find_brain(scan, method):
        asked.append(method)
        return scan.array > 0, method

    monkeypatch.setattr("CMMDetectLib.preprocessing.find_brain", find_brain)
    assert evaluate(dataset, "-o", tmp_path / "out", "--brain-extraction", "hd-bet") == 0
    assert asked == ["hd-bet", "hd-bet"]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["about"]["brain"] == "extracted by hd-bet"
    assert evaluate(dataset, "-o", tmp_path / "out") == EXIT_INPUT
    assert "another method or other settings" in capsys.readouterr().err


def test_results_of_other_settings_are_never_mixed(dataset, evaluated, capsys):
    assert evaluate(dataset, "-o", evaluated, "--th-detection", "0.5") == EXIT_INPUT
    assert "another method or other settings" in capsys.readouterr().err


def test_an_evaluation_by_older_rules_is_not_gone_on_with(dataset, evaluated, tmp_path, capsys):
    shutil.copytree(evaluated, tmp_path / "out")
    path = tmp_path / "out" / "run.json"
    run = json.loads(path.read_text())
    del run["rules"]
    path.write_text(json.dumps(run))
    assert evaluate(dataset, "-o", tmp_path / "out") == EXIT_INPUT
    assert "older rules" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("subjects", "missing"),
    [("sub-02 sub-zz", "sub-zz"), ("02 sub-1", "02, sub-1"), ("sub-zz sub-01 sub-zz", "sub-zz")],
)
def test_subjects_that_are_not_there_are_named(dataset, tmp_path, capsys, subjects, missing):
    assert evaluate(dataset, "-o", tmp_path / "out", "--subjects", *subjects.split()) == EXIT_INPUT
    assert f"{dataset}: no scan with truth of {missing}; name subjects as" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000])
def test_a_damaged_record_of_an_evaluation_is_named(dataset, evaluated, tmp_path, capsys, content):
    (tmp_path / "run.json").write_text(content)
    assert evaluate(dataset, "-o", tmp_path) == EXIT_INPUT
    assert f"{tmp_path / 'run.json'}: damaged; delete" in capsys.readouterr().err
    shutil.copy(evaluated / "run.json", tmp_path)
    (tmp_path / "scans" / "sub-01_swi.json").write_text(content)
    assert evaluate(dataset, "-o", tmp_path) == EXIT_INPUT
    assert "not the record of an evaluated scan" in capsys.readouterr().err


def test_tilted_slices_of_3_mm_are_grouped_as_such(tmp_path):
    tilt, angle = np.eye(4), np.deg2rad(1)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = tilt @ phantoms.affine((0.8, 0.8, 3.0))
    array = np.random.default_rng(0).random((8, 8, 4), np.float32)
    scan = tmp_path / "a_swi.nii.gz"
    write_image(scan, array, affine)
    write_image(tmp_path / "a_swi_microbleeds.nii.gz", np.zeros(array.shape, np.uint8), affine)
    assert 2.999 < max(read_scan(scan).spacing_mm) < 3.0
    (record,) = evaluate_dataset(find_scans(tmp_path), ClassicalMethod(), tmp_path / "out")
    assert record.groups["slice thickness"] == "3 mm and more"


def test_a_scan_in_which_nothing_can_be_detected_counts_as_missed(dataset, tmp_path, monkeypatch):
    def fail(self, scan, *more):
        raise InputError("no brain here")

    monkeypatch.setattr(Detector, "detect", fail)
    assert evaluate(dataset, "-o", tmp_path) == 0
    measured = json.loads((tmp_path / "metrics.json").read_text())
    assert measured["problems"] == dict.fromkeys(("sub-01_swi", "sub-02_swi"), "no brain here")
    assert measured["stages"]["overlap"]["final"]["tpr"]["value"] == 0
    assert "no brain here" in (tmp_path / "report.html").read_text()


def test_further_figures_and_names_go_safely_into_the_report(tmp_path):
    svg = '<svg xmlns="http://www.w3.org/2000/svg"/>'
    about = {"data set": "<b>odd</b>"}
    write_evaluation(tmp_path, [], ClassicalMethod().settings, about, [ReportFigure("Loss", "per epoch", svg)])
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Loss</h2>" in page and "per epoch" in page
    assert "<b>odd" not in page and "&lt;b&gt;odd" in page
