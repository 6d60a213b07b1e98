"""The paper's experiments: rows are written at once and the same after an interruption, then one report."""

import csv
import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import phantoms
from CMMDetectLib import networks
from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.channels import PAPER_CHANNELS
from CMMDetectLib.cli import EXIT_INPUT
from CMMDetectLib.devices import choose_compute
from CMMDetectLib.errors import CancelledError, InputError
from CMMDetectLib.methods import Settings
from CMMDetectLib.networks import Teacher
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectTrainLib import bundle_training, cli, cross_validation, evaluation, experiments, validation
from CMMDetectTrainLib.ablation import STEPS, classifier_arm, run_ablation
from CMMDetectTrainLib.bundle_training import TrainedBundle, TrainingPlan
from CMMDetectTrainLib.case_list import CaseStatus, set_status
from CMMDetectTrainLib.evaluation_set import find_scans
from CMMDetectTrainLib.experiments import Bench, PaperRow, RowTable, copy_files, row_of, share_folder
from CMMDetectTrainLib.metrics import Finding, Lesion, ScanRecord
from CMMDetectTrainLib.report_page import ReportFigure
from CMMDetectTrainLib.splits import check_separate
from CMMDetectTrainLib.summary import summarize

SHAPE, SPACING = (36, 40, 20), (1.0, 1.0, 2.0)
TINY = (
    "--width 2 --epochs 1 --augmentation 1 --patches-an-epoch 4 --patch-size 16 --batch 4 --brain-masks --device cpu"
)
SETTINGS = Settings(0.3, 0.5, CutOffs())


def write_set(folder: Path, subjects: int, seed: int, clean: int = 1, modality: str = "swi") -> Path:
    """Stripped brains with two dark spheres each; the last ``clean`` subjects have none."""
    for number in range(subjects):
        tissue, mask = phantoms.brain(SHAPE, SPACING, noise=0.01, seed=100 * seed + number)
        labels = np.zeros(SHAPE, np.uint8)
        if number < subjects - clean:
            for label, center in enumerate(((14.0, 18.0, 18.0), (22.0, 24.0, 22.0)), 1):
                ball = phantoms.sphere(SHAPE, SPACING, center, 4.0)
                tissue *= 1 - 0.8 * ball
                labels[ball > 0.3] = label
        stem = folder / f"sub-{number + 1:02d}_{modality}"
        images = {"": np.where(mask, 1000 * tissue, 0), "_microbleeds": labels, "_brain": mask.astype(np.uint8)}
        folder.mkdir(exist_ok=True)
        for ending, array in images.items():
            nib.save(nib.Nifti1Image(array, phantoms.affine(SPACING)), f"{stem}{ending}.nii.gz")
    return folder


def rows_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "rows.tsv").open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def run(*arguments: object) -> int:
    return cli.main(["experiment", *(part for item in arguments for part in str(item).split(" "))])


def record(name: str, found: int, missed: int, false: int) -> ScanRecord:
    lesions = [Lesion(id=f"l{n}", x=20.0 * n, y=0, z=0, diameter_mm=4, volume_mm3=30) for n in range(found + missed)]
    candidate = Candidate(id="c", x=0, y=0, z=0, stage=Stage.FINAL, p_detection=0.9, p_discrimination=0.9)
    findings = [Finding(candidate=replace(candidate, x=20.0 * n), touches=(f"l{n}",)) for n in range(found)]
    findings += [Finding(candidate=replace(candidate, y=500.0 + n)) for n in range(false)]
    return ScanRecord(name=name, subject=name, lesions=tuple(lesions), findings=tuple(findings))


def summary(found: int = 3, missed: int = 1, false: int = 2) -> dict:
    return summarize([record("a", found, missed, false), record("b", 0, 0, 0)], SETTINGS)


@pytest.mark.parametrize("kind", ["ablation", "cross-validation"])
def test_the_help_names_no_option_that_there_is_not(kind, capsys):
    with pytest.raises(SystemExit):
        run(kind, "--help")
    assert "--from" not in capsys.readouterr().out


def test_a_row_holds_metrics_with_intervals_by_both_rules_and_the_papers_numbers():
    cells = row_of("x", Stage.FINAL, summary(), PaperRow(0.83, 0.5, 0.74)).cells()
    assert (cells["tpr"], cells["fp_avg"], cells["precision"]) == (0.75, 1.0, 0.6)
    assert cells["tpr_low"] is None  # all lesions are of one subject, so nothing can be said of their spread
    assert (cells["fp_avg_low"], cells["fp_avg_high"]) == (0.0, 2.0)
    assert (cells["center_tpr"], cells["center_fp_avg"]) == (0.75, 1.0)
    assert (cells["paper_tpr"], cells["paper_fp_avg"], cells["paper_precision"]) == (0.83, 0.5, 0.74)
    assert (cells["scans"], cells["lesions"], cells["th_detection"]) == (2, 4, 0.3)


def test_rows_are_on_disk_at_once_in_their_order_and_earlier_ones_stay(tmp_path):
    told = []
    table = RowTable(tmp_path / "rows.tsv", ["first", "second"], told.append)
    table.add(row_of("second", Stage.FINAL, summary()))
    assert [row["row"] for row in rows_in(tmp_path)] == ["second"]
    again = RowTable(tmp_path / "rows.tsv", ["first", "second"], told.append)
    again.add(row_of("first", Stage.FINAL, summary(found=4, missed=0)))
    assert [(row["row"], row["tpr"]) for row in rows_in(tmp_path)] == [("first", "1.0"), ("second", "0.75")]
    again.add(row_of("second", Stage.FINAL, summary(found=2, missed=2)))
    again.add(row_of("second", Stage.DETECTION, summary()))
    order = [(row["row"], row["stage"], row["tpr"]) for row in rows_in(tmp_path)]
    assert order == [("first", "final", "1.0"), ("second", "detection", "0.75"), ("second", "final", "0.5")]
    assert [row.name for row in told] == ["second", "first", "second", "second"]
    assert [row.stage for row in again.ordered()] == [Stage.FINAL, Stage.DETECTION, Stage.FINAL]


def test_a_folder_takes_one_experiment_only(tmp_path):
    bench = Bench(output=tmp_path / "out", table=None, compute=choose_compute("cpu"))
    bench.claim({"experiment": "ablation", "seed": 1})
    bench.claim({"experiment": "ablation", "seed": 1})
    with pytest.raises(InputError, match="holds another experiment; choose another -o"):
        bench.claim({"experiment": "ablation", "seed": 2})


def test_progress_goes_on_over_the_parts_of_an_experiment(tmp_path):
    news = []
    bench = Bench(output=tmp_path, table=None, compute=None, listener=lambda *item: news.append(item), parts=4)
    bench.part("one")("a", 0.5, "work")
    bench.part("two")("b", 0.5, "work")
    assert news == [("a", 0.125, "one: work"), ("b", 0.375, "two: work")]


def test_prepared_scans_are_shared_and_finished_networks_copied_once(tmp_path):
    share_folder(tmp_path / "cases", tmp_path / "a.training" / "cases")
    share_folder(tmp_path / "cases", tmp_path / "b.training" / "cases")
    (tmp_path / "a.training" / "cases" / "scan.npy").write_text("content")
    assert (tmp_path / "b.training" / "cases" / "scan.npy").read_text() == "content"
    source = tmp_path / "a.training" / "detector"
    source.mkdir()
    (source / "checkpoint.pt").write_text("trained")
    copy_files(source, tmp_path / "b.training" / "detector")
    (source / "checkpoint.pt").write_text("trained on")
    copy_files(source, tmp_path / "b.training" / "detector")
    assert (tmp_path / "b.training" / "detector" / "checkpoint.pt").read_text() == "trained"


def test_nothing_is_tested_on_what_it_was_trained_with(tmp_path):
    training, test = write_set(tmp_path / "train", 2, seed=1), write_set(tmp_path / "test", 2, seed=2)
    check_separate(find_scans(training), find_scans(test))
    # the same subject names are no matter, the same scan under another name is
    (test / "sub-02_swi.nii.gz").write_bytes((training / "sub-01_swi.nii.gz").read_bytes())
    with pytest.raises(InputError, match=r"sub-02_swi\.nii\.gz: is .*sub-01_swi\.nii\.gz of the training data"):
        check_separate(find_scans(training), find_scans(test))
    # in another file format it is the same scan, too
    (test / "sub-02_swi.nii.gz").unlink()
    (test / "sub-02_swi.nii").write_bytes(gzip.decompress((training / "sub-01_swi.nii.gz").read_bytes()))
    with pytest.raises(InputError, match=r"sub-02_swi\.nii: is .*sub-01_swi\.nii\.gz of the training data"):
        check_separate(find_scans(training), find_scans(test))


@pytest.mark.parametrize("kind", ["ablation", "cross-validation"])
def test_a_scan_under_the_names_of_two_subjects_is_refused_before_it_is_learnt_from_and_tested_on(
    tmp_path, capsys, kind
):
    data, test = write_set(tmp_path / "data", 4, seed=1), write_set(tmp_path / "test", 2, seed=2)
    shutil.copy(data / "sub-01_swi.nii.gz", data / "sub-03_swi.nii.gz")
    folders = [data, test] if kind == "ablation" else [data]
    assert run(kind, *folders, "-o", tmp_path / "out", TINY) == EXIT_INPUT
    assert "sub-03_swi.nii.gz: is the same scan as" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_ablation_without_microbleeds_to_learn_from_leaves_the_folder_to_the_right_one(sets, tmp_path, capsys):
    clean = write_set(tmp_path / "clean", 3, seed=3, clean=2)
    assert run("ablation", clean, sets[1], "-o", tmp_path / "out", TINY) == EXIT_INPUT
    assert "at least two subjects with visible microbleeds" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["ablation", "cross-validation"])
def test_experiments_learn_from_checked_cases_alone(sets, tmp_path, monkeypatch, kind):
    data = shutil.copytree(sets[0], tmp_path / "data")
    set_status(data, "sub-01_swi", CaseStatus.TO_CHECK)
    learnt = set()

    def train(entries, *_):
        learnt.update(entry.name for entry in entries)
        raise CancelledError("enough")

    monkeypatch.setattr(experiments, "train_bundle", train)
    folders = [data, sets[1]] if kind == "ablation" else [data]
    assert (
        run(kind, *folders, "-o", tmp_path / "out", f"{TINY} --folds 2" if len(folders) == 1 else TINY) == EXIT_INPUT
    )
    assert learnt and "sub-01_swi" not in learnt


def test_the_ablation_trains_with_frst_whatever_channels_were_asked_for(sets, tmp_path, monkeypatch):
    planned, entries = [], [find_scans(folder) for folder in sets]

    def train(_bench, _training, plan, _name):
        planned.append(set(plan.channels))
        raise CancelledError

    monkeypatch.setattr(Bench, "train", train)
    bench = Bench(output=tmp_path / "out", table=None, compute=choose_compute("cpu"))
    for channels in (("image",), PAPER_CHANNELS):
        with pytest.raises(CancelledError):
            run_ablation(*entries, TrainingPlan(name="any", channels=channels), bench)
        shutil.rmtree(tmp_path / "out")
    assert planned == [{"image", "frst"}] * 2


def test_the_teachers_classifier_arm_judges_as_the_teacher_does():
    torch.manual_seed(3)
    teacher = Teacher(4).eval()
    patches = torch.randn(3, 3, 24, 24, 24)
    with torch.no_grad():
        assert torch.equal(classifier_arm(teacher, 4)(patches), teacher(patches)[1])


def test_folds_share_no_subject_and_spread_those_with_microbleeds_evenly(tmp_path):
    entries = find_scans(write_set(tmp_path / "set", 7, seed=1, clean=3))
    folds = cross_validation.split_folds(entries, 2, seed=5)
    assert sorted(name for fold in folds for name in fold) == [f"sub-{n:02d}" for n in range(1, 8)]
    bearing = {f"sub-{n:02d}" for n in range(1, 5)}
    assert [len(fold & bearing) for fold in folds] == [2, 2]
    assert folds == cross_validation.split_folds(entries, 2, seed=5)
    assert folds != cross_validation.split_folds(entries, 2, seed=6)
    with pytest.raises(InputError, match=r"5 folds need at least 5 subjects with visible microbleeds; .* has 4"):
        cross_validation.split_folds(entries, 5, seed=5)
    with pytest.raises(InputError, match="--folds must be at least 2"):
        cross_validation.split_folds(entries, 1, seed=5)


def test_the_mean_of_folds_leaves_out_what_a_fold_cannot_tell():
    nothing = summarize([record("c", 0, 0, 2)], SETTINGS)
    row = cross_validation.mean_row(Stage.FINAL, [summary(), summary(found=4, missed=0, false=0), nothing])
    cells = row.cells()
    assert cells["tpr"] == pytest.approx((0.75 + 1) / 2)
    assert cells["fp_avg"] == pytest.approx((1 + 0 + 2) / 3)
    assert (cells["scans"], cells["lesions"], cells["tpr_low"]) == (5, 8, None)


@pytest.fixture
def no_figures(monkeypatch):
    """The figures of single evaluations and trainings take longer than all the rest."""
    nothing = ReportFigure("Nothing", "", "<svg/>")
    monkeypatch.setattr(evaluation, "write_report", lambda path, *_: path.write_text(""))
    monkeypatch.setattr(bundle_training, "loss_figure", lambda _: nothing)
    monkeypatch.setattr(validation, "calibration_figure", lambda *_: nothing)


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sets")
    return write_set(folder / "train", 5, seed=1), write_set(folder / "test", 3, seed=2)


def test_the_ablation_goes_from_scans_to_six_rows_and_on_after_an_interruption(
    sets, tmp_path, monkeypatch, capsys, no_figures
):
    monkeypatch.setattr(networks, "MICROBLEED_SHARE", 0.5)  # trained for a moment only, stage 1 must mark something
    output = tmp_path / "ablation"
    trained, train = [], experiments.train_bundle

    def interrupted(entries, plan, *more):
        trained.append(plan.name)
        if len(trained) == 2:
            raise CancelledError("stopped")
        return train(entries, plan, *more)

    monkeypatch.setattr(experiments, "train_bundle", interrupted)
    assert run("ablation", *sets, "-o", output, TINY) == EXIT_INPUT
    names = list(STEPS)
    assert [row["row"] for row in rows_in(output)] == [names[1], names[2], names[4], names[5]]
    before = {row["row"]: row for row in rows_in(output)}
    detected = {path: path.stat().st_mtime_ns for path in (output / "evaluations").rglob("scans/*.json")}
    assert detected
    assert run("ablation", *sets, "-o", output, TINY) == 0
    rows = {row["row"]: row for row in rows_in(output)}
    assert list(rows) == names
    assert all(rows[name] == row for name, row in before.items())
    assert all(path.stat().st_mtime_ns == time for path, time in detected.items())
    # rows ii to vi share one stage 1, and so its threshold
    assert len({rows[name]["th_detection"] for name in names[1:]}) == 1
    curves = [
        json.loads((output / "bundles" / name / "training.json").read_text())["curves"]
        for name in ("full", "without-distillation", "without-frst")
    ]
    assert curves[0]["detector"] == curves[1]["detector"] != curves[2]["detector"]
    assert curves[0]["student"] != curves[1]["student"]
    model = json.loads((output / "bundles" / "full" / "model.json").read_text())
    assert set(model["calibration"]) == {
        "slope",
        "offset",
        "detection_slope",
        "calcium_slopes",
        "edge_slopes",
        "burden",
    }
    assert set(model["metrics"]["calibration"]) == {"before", "after"}
    page = (output / "report.html").read_text()
    assert "paper 0.975" in page and "paper 129.3" in page and all(name.split(") ")[1] in page for name in names)
    assert "image/svg+xml" in page
    assert "paper: 0.975, 85.3, 0.03" in capsys.readouterr().out


def test_cross_validation_tests_every_scan_once_and_pools(sets, tmp_path, monkeypatch, small_bundle, no_figures):
    learnt = []

    def train(entries, plan, output, *more):
        learnt.append({entry.name for entry in entries})
        assert plan.start is None
        return TrainedBundle(small_bundle, {}, None, [])

    monkeypatch.setattr(experiments, "train_bundle", train)
    output = tmp_path / "folds"
    assert run("cross-validation", sets[0], "-o", output, "--folds 2", TINY) == 0
    rows = rows_in(output)
    assert [row["row"] for row in rows[::3]] == ["Fold 1", "Fold 2", "All folds pooled", "Mean of folds"]
    assert {row["scans"] for row in rows if row["row"] == "All folds pooled"} == {"5"}
    everyone = {f"sub-{n:02d}_swi" for n in range(1, 6)}
    tested = [{path.stem for path in (output / "evaluations" / f"fold-{n}" / "scans").iterdir()} for n in (1, 2)]
    assert tested[0] | tested[1] == everyone and not tested[0] & tested[1]
    assert [everyone - names for names in learnt] == tested
    assert "All folds pooled" in (output / "report.html").read_text()
    assert run("cross-validation", sets[0], "-o", output, "--folds 3", TINY) == EXIT_INPUT
    longer = TINY.replace("epochs 1", "epochs 2")
    assert run("cross-validation", sets[0], "-o", output, "--folds 2", longer) == EXIT_INPUT


@pytest.mark.parametrize(("folds", "told"), [(9, "9 folds need at least 9 subjects"), (1, "at least 2")])
def test_folds_that_cannot_be_made_leave_the_folder_to_the_right_command(sets, tmp_path, capsys, folds, told):
    assert run("cross-validation", sets[0], "-o", tmp_path / "folds", f"--folds {folds}", TINY) == EXIT_INPUT
    assert told in capsys.readouterr().err
    assert not (tmp_path / "folds").exists()


@pytest.mark.parametrize(
    ("kind", "told"),
    [("ablation", "sub-99: not among the given subjects"), ("cross-validation", "draws the validation")],
)
def test_wrong_validation_subjects_leave_the_folder_to_the_right_command(sets, tmp_path, capsys, kind, told):
    data = sets if kind == "ablation" else sets[:1]
    options = f"{TINY} --validation-subjects sub-99"
    assert run(kind, *data, "-o", tmp_path / "out", options) == EXIT_INPUT
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_model_is_measured_on_data_sets_of_any_modality_beside_the_floor(sets, small_bundle, tmp_path, no_figures):
    description = json.loads((small_bundle.folder / "model.json").read_text())
    (small_bundle.folder / "model.json").write_text(json.dumps({**description, "modality": ["qsm"]}))
    output, other = tmp_path / "out", write_set(tmp_path / "thick", 2, seed=4, modality="T2starw")
    options = f"--model {small_bundle.folder} --methods paper classical blob --brain-masks --device cpu"
    assert run("generalization", sets[1], other, options, "-o", output) == 0
    rows = rows_in(output)
    assert [row["row"] for row in rows[::3]] == [
        f"{data}, {method}" for data in ("test (swi)", "thick (t2star)") for method in ("paper", "classical", "blob")
    ]
    found = {row["row"]: float(row["tpr"]) for row in rows if row["stage"] == "detection"}
    assert found["test (swi), classical"] == found["test (swi), blob"] == 1
    page = (output / "report.html").read_text()
    assert "What the paper found" in page and "289" in page


def test_data_sets_whose_evaluations_would_lie_in_one_folder_are_refused(sets, tmp_path, capsys):
    folders = [shutil.copytree(sets[number], tmp_path / name) for number, name in enumerate(("site-A", "site_A"))]
    command = ("generalization", *folders, "-o", tmp_path / "out", "--methods blob --brain-masks")
    assert run(*command) == EXIT_INPUT
    assert "site-A: two data sets have this name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_generalization_says_what_is_missing(sets, tmp_path, capsys):
    command = ("generalization", *sets, "-o", tmp_path / "x", "--methods blob --subjects")
    assert run(*command, "sub-01 sub-98 sub-99") == EXIT_INPUT
    assert f"{sets[0]}, {sets[1]}: no scan with truth of sub-98, sub-99" in capsys.readouterr().err
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "experiment.json").write_text("[]")
    assert run(*command, "sub-01") == EXIT_INPUT
    assert "experiment.json: damaged; delete" in capsys.readouterr().err
    (tmp_path / "x" / "rows.tsv").write_text("row\tstages\nsub-01\tfinal\n")
    assert run(*command, "sub-01") == EXIT_INPUT
    assert "rows.tsv: not the rows of an experiment" in capsys.readouterr().err
    for other in (sets[0], tmp_path / "Train"):
        assert run("generalization", sets[0], other, "-o", tmp_path / "x", "--methods blob") == EXIT_INPUT
        assert "two data sets have this name" in capsys.readouterr().err
    assert run("generalization", sets[0], "-o", tmp_path / "x", "--model", tmp_path) == EXIT_INPUT
    assert "no model bundle" in capsys.readouterr().err
