import csv
import json
import os
import re
import shutil
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pytest

import phantoms
from CMMDetectLib.candidates import Stage
from CMMDetectLib.classical_method import ClassicalMethod
from CMMDetectLib.cli import EXIT_INPUT, make_parser, run_command
from CMMDetectLib.detector import Detector
from CMMDetectLib.errors import InputError
from CMMDetectLib.methods import Settings
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectLib.scan import read_scan, write_image
from CMMDetectTrainLib.evaluate_command import add_evaluate
from CMMDetectTrainLib.evaluation import evaluate_dataset, lost_by, read_record, write_evaluation
from CMMDetectTrainLib.evaluation_set import find_scans, read_lesions, read_mimics
from CMMDetectTrainLib.metrics import Rule
from CMMDetectTrainLib.report_figures import attribute_figure
from CMMDetectTrainLib.report_page import ReportFigure
from CMMDetectTrainLib.simulation.truth_files import Truth, TruthRecord, write_truth
from small_scans import LESIONS_MM, SHAPE, SPACING_MM, lesion_positions, stripped_brain

AFFINE = phantoms.affine(SPACING_MM)
DARK_SPOT = len(LESIONS_MM)  # the label of a lesion that the truth does not know, hence a false positive


def lesion_labels() -> np.ndarray:
    """The label map of all microbleeds of the brain."""
    labels = np.zeros(SHAPE, np.int16)
    for number, (*center, diameter) in enumerate(LESIONS_MM, 1):
        labels[phantoms.sphere(SHAPE, SPACING_MM, tuple(center), diameter) > 0.3] = number
    return labels


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Two subjects with the same brain: one's mask has two of the three dark spots, the other's has none."""
    folder = tmp_path_factory.mktemp("set")
    labels, brain = lesion_labels(), stripped_brain()
    masks = {"sub-01": ((labels > 0) & (labels != DARK_SPOT)).astype(np.uint8), "sub-02": np.zeros(SHAPE, np.uint8)}
    for subject, mask in masks.items():
        save(folder / subject / "swi" / f"{subject}_swi.nii.gz", brain)
        save(folder / "derivatives" / "masks" / subject / f"{subject}_swi_microbleeds.nii.gz", mask)
    rows = ["participant_id\tprotocol\tfield_t", "sub-01\tukbb\t3.0", "sub-02\toxvasc\tn/a"]
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    return folder


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


def test_subjects_and_modality_choose_the_scans(dataset):
    assert [entry.name for entry in find_scans(dataset, subjects=["sub-02"])] == ["sub-02_swi"]
    with pytest.raises(InputError, match="no scan with truth"):
        find_scans(dataset, modality="qsm")


@pytest.mark.parametrize(
    ("subjects", "missing"),
    [("sub-02 sub-zz", "sub-zz"), ("02 sub-1", "02, sub-1"), ("sub-zz sub-01 sub-zz", "sub-zz")],
)
def test_subjects_that_are_not_there_are_named(dataset, tmp_path, capsys, subjects, missing):
    assert evaluate(dataset, "-o", tmp_path / "out", "--subjects", *subjects.split()) == EXIT_INPUT
    assert f"{dataset}: no scan with truth of {missing}; name subjects as" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"participant_id\tprotocol\nsub-01\tM\xfcnchen\n", "not a text file in UTF-8"),
        (b'participant_id\tprotocol\nsub-01\t"3 T\nsub-02\t"\n', "line 2 has a quotation mark"),
        (b"participant_id\tprotocol\nsub-01\t" + 200_000 * b"n" + b"\n", "not a table"),
    ],
)
def test_a_damaged_table_of_participants_is_named_in_one_line(tmp_path, content, told):
    save(tmp_path / "sub-01_swi.nii.gz", stripped_brain())
    save(tmp_path / "sub-01_swi_microbleeds.nii.gz", lesion_labels())
    (tmp_path / "participants.tsv").write_bytes(content)
    with pytest.raises(InputError, match=rf"participants\.tsv: {told}"):
        find_scans(tmp_path)


def test_a_table_of_participants_out_of_a_spreadsheet_program_is_read(tmp_path):
    save(tmp_path / "sub-01_swi.nii.gz", stripped_brain())
    save(tmp_path / "sub-01_swi_microbleeds.nii.gz", lesion_labels())
    table = "participant_id\tprotocol\tfield_t\r\n\r\nsub-02\tx\r\nsub-01\tMünchen\t3\r\n"
    (tmp_path / "participants.tsv").write_text(table, encoding="utf-8-sig", newline="")
    groups = {"modality": "swi", "protocol": "München", "field strength": "3 T"}
    assert find_scans(tmp_path)[0].groups == groups


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000])
def test_a_damaged_record_of_an_evaluation_is_named(dataset, evaluated, tmp_path, capsys, content):
    (tmp_path / "run.json").write_text(content)
    assert evaluate(dataset, "-o", tmp_path) == EXIT_INPUT
    assert f"{tmp_path / 'run.json'}: damaged; delete" in capsys.readouterr().err
    shutil.copy(evaluated / "run.json", tmp_path)
    (tmp_path / "scans" / "sub-01_swi.json").write_text(content)
    assert evaluate(dataset, "-o", tmp_path) == EXIT_INPUT
    assert "not the record of an evaluated scan" in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_leaves_no_scan_out_in_silence(tmp_path, monkeypatch):
    save(tmp_path / "sub-01_swi.nii.gz", stripped_brain())
    save(tmp_path / "sub-01_swi_microbleeds.nii.gz", lesion_labels())
    (tmp_path / "sub-02").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "sub-02")
    with pytest.raises(InputError, match="sub-02: its files cannot be read"):
        find_scans(tmp_path)
    with pytest.raises(InputError, match=r"nowhere: cannot be read \(No such file or directory\)"):
        find_scans(tmp_path / "nowhere")


def test_a_header_and_its_voxels_are_one_image(tmp_path):
    for stem, array in (("b_swi", stripped_brain()), ("b_swi_microbleeds", lesion_labels())):
        nib.save(nib.Nifti1Pair(array, AFFINE), tmp_path / f"{stem}.img")
    [entry] = find_scans(tmp_path)
    assert entry.scan.name == "b_swi.img"
    assert len(read_lesions(entry, read_scan(entry.scan))[0]) == len(LESIONS_MM)
    before = entry.checksums(False)
    nib.save(nib.Nifti1Pair(stripped_brain() + 1, AFFINE), tmp_path / "b_swi.img")
    assert entry.checksums(False) != before
    save(tmp_path / "b_swi.nii.gz", stripped_brain())
    with pytest.raises(InputError, match="is there 2 times"):
        find_scans(tmp_path)


def test_a_data_set_of_links_is_found_by_the_names_of_the_links(dataset, tmp_path):
    for number, file in enumerate(sorted(path for path in dataset.rglob("*.nii.gz"))):
        key = tmp_path / ".git" / "annex" / f"MD5E-{number}.nii.gz"
        key.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, key)
        (tmp_path / file.name).symlink_to(key)
    assert [entry.name for entry in find_scans(tmp_path)] == [entry.name for entry in find_scans(dataset)]


def test_subjects_whose_folders_are_links_are_not_left_out_and_links_in_circles_end(dataset, tmp_path):
    shutil.copytree(dataset / "derivatives", tmp_path / "set" / "derivatives")
    shutil.copytree(dataset / "sub-01", tmp_path / "set" / "sub-01")
    (tmp_path / "set" / "sub-02").symlink_to(dataset / "sub-02", target_is_directory=True)
    (tmp_path / "set" / "derivatives" / "raw").symlink_to(tmp_path / "set", target_is_directory=True)
    assert [entry.name for entry in find_scans(tmp_path / "set")] == ["sub-01_swi", "sub-02_swi"]


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


def test_scans_of_one_person_are_of_one_subject_whatever_modality_or_session_their_names_tell(tmp_path):
    names = ["P01_swi", "P01_T2starw", "P02_ses-1_swi", "P02_ses-2_run-1_swi", "sub-P02_ses-1_swi"]
    for name in names:
        save(tmp_path / f"{name}.nii.gz", stripped_brain())
        save(tmp_path / f"{name}_microbleeds.nii.gz", lesion_labels())
    subjects = {entry.name: entry.subject for entry in find_scans(tmp_path)}
    assert subjects == dict(zip(names, ["P01", "P01", "P02", "P02", "sub-P02"], strict=True))


def test_what_was_detected_is_not_taken_for_truth(tmp_path):
    save(tmp_path / "scan.nii.gz", stripped_brain())
    save(tmp_path / "out" / "scan_microbleeds.nii.gz", lesion_labels())
    assert [entry.name for entry in find_scans(tmp_path, "swi")] == ["scan"]
    (tmp_path / "out" / "scan_candidates.tsv").touch()
    with pytest.raises(InputError, match="no scan with truth"):
        find_scans(tmp_path, "swi")


def test_a_label_map_without_its_scan_or_on_another_grid_is_named(tmp_path):
    labels = save(tmp_path / "masks" / "a_swi_microbleeds.nii.gz", lesion_labels(), AFFINE + np.eye(4, k=3))
    with pytest.raises(InputError, match=r"a_swi\.nii\.gz is missing"):
        find_scans(tmp_path)
    scan = save(tmp_path / "a_swi.nii.gz", stripped_brain())
    with pytest.raises(InputError, match=f"{labels.name}: the label map lies on another grid"):
        read_lesions(find_scans(tmp_path)[0], read_scan(scan))


def test_labels_that_touch_stay_two_lesions_and_one_label_is_split_into_clusters(tmp_path):
    scan = read_scan(save(tmp_path / "a_swi.nii.gz", stripped_brain()))
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:12, 10, 10], labels[12:14, 10, 10], labels[40, 40, 20] = 3, 7, 7
    save(tmp_path / "a_swi_microbleeds.nii.gz", labels)
    entry = find_scans(tmp_path)[0]
    several, numbered = read_lesions(entry, scan)
    assert [(item.diameter_vox, item.is_large) for item in several] == [(1.596, False)] * 2
    assert [(item.id, item.volume_mm3) for item in several] == [("cmb-0003", 4.0), ("cmb-0007", 6.0)]
    assert np.array_equal(numbered, np.select([labels == 3, labels == 7], [1, 2]))
    save(tmp_path / "a_swi_microbleeds.nii.gz", (labels > 0).astype(np.uint8))
    split, numbered = read_lesions(entry, scan)
    assert [item.volume_mm3 for item in split] == [8.0, 2.0]
    assert numbered.max() == 2


@pytest.mark.parametrize("value", [1, 2, 255, 2_000_000_000])
def test_the_lesions_of_a_mask_are_told_apart_whichever_number_marks_them(tmp_path, value):
    scan = read_scan(save(tmp_path / "a_swi.nii.gz", stripped_brain()))
    save(tmp_path / "a_swi_microbleeds.nii.gz", ((lesion_labels() > 0) * value).astype(np.int32))
    lesions, numbered = read_lesions(find_scans(tmp_path)[0], scan)
    assert [item.id for item in lesions] == ["cmb-0001", "cmb-0002", "cmb-0003"]
    assert sorted(np.unique(numbered)) == [0, 1, 2, 3]


def test_a_huge_label_takes_no_memory_and_keeps_its_name(tmp_path):
    scan = read_scan(save(tmp_path / "a_swi.nii.gz", stripped_brain()))
    labels = lesion_labels().astype(np.int32)
    labels[labels == 2] = 2_000_000_000
    save(tmp_path / "a_swi_microbleeds.nii.gz", labels)
    lesions, numbered = read_lesions(find_scans(tmp_path)[0], scan)
    assert [item.id for item in lesions] == ["cmb-0001", "cmb-0003", "cmb-2000000000"]
    assert sorted(np.unique(numbered)) == [0, 1, 2, 3]


def test_numbers_of_classes_are_not_taken_for_two_scattered_microbleeds(tmp_path):
    scan = read_scan(save(tmp_path / "a_swi.nii.gz", stripped_brain()))
    labels = np.zeros(SHAPE, np.uint8)
    labels[4, 10, 10] = labels[60, 10, 10] = 1
    labels[30, 30, 20] = 2
    save(tmp_path / "a_swi_microbleeds.nii.gz", labels)
    with pytest.raises(InputError, match=r"a_swi_microbleeds\.nii\.gz: lesion 1 is \d+ mm wide; number every"):
        read_lesions(find_scans(tmp_path)[0], scan)
    save(tmp_path / "a_swi_microbleeds.nii.gz", (labels > 0).astype(np.uint8))
    assert len(read_lesions(find_scans(tmp_path)[0], scan)[0]) == 3


def test_a_negative_label_is_refused_by_the_name_of_its_file(tmp_path):
    scan = read_scan(save(tmp_path / "a_swi.nii.gz", stripped_brain()))
    save(tmp_path / "a_swi_microbleeds.nii.gz", -lesion_labels())
    with pytest.raises(InputError, match=r"a_swi_microbleeds\.nii\.gz: has the label -3"):
        read_lesions(find_scans(tmp_path)[0], scan)


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
