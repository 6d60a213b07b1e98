"""A whole training as the panel starts it, with narrow networks on small scans."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from CMMDetectLib.bundle import read_bundle
from CMMDetectLib.devices import choose_compute
from CMMDetectLib.errors import CancelledError, InputError, OutputError
from CMMDetectLib.job import DetectionJob, run_job
from CMMDetectLib.scan import read_labels, read_scan, write_image
from CMMDetectTrainLib import machine, training_run, training_worker
from CMMDetectTrainLib.case_list import CaseStatus, set_status
from CMMDetectTrainLib.comparison import Verdict
from CMMDetectTrainLib.evaluation_set import find_scans, read_lesions
from CMMDetectTrainLib.inserted_scans import insert_into_scans
from CMMDetectTrainLib.simulation.truth_files import TruthRecord, write_truth_table
from CMMDetectTrainLib.training_job import (
    ESTIMATE,
    PAUSE,
    STOP,
    TrainingJob,
    beside,
    read_comparison,
    read_epochs,
    read_job,
    unfinished_jobs,
    write_job,
)
from CMMDetectTrainLib.training_run import estimate_job, prepare_cases, run_training
from training_sets import known_bundle, tiny_job, write_training_set

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_set(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return known_bundle(tmp_path_factory.mktemp("known")).folder


@pytest.fixture(scope="module")
def trained(dataset: Path, known: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A fine-tuned bundle, compared with the one it began with, and all that was told on the way."""
    folder = tmp_path_factory.mktemp("models")
    job = tiny_job(dataset, folder / "site", start=str(known), old=str(known))
    told: list[tuple[str, float, str]] = []
    epochs: list[tuple[str, int, float]] = []
    notes: dict[str, int] = {}
    write_job(job)
    result = run_training(
        job,
        lambda *news: told.append(news),
        lambda name, record, left: epochs.append((name, record.epoch, left)),
        noted=lambda line: notes.update({line: len(epochs)}),
    )
    return SimpleNamespace(job=job, told=told, epochs=epochs, notes=notes, result=result)


@pytest.fixture
def quick_job(dataset: Path, known: Path, tmp_path: Path) -> TrainingJob:
    """Stage 1 alone, compared with nothing."""
    return tiny_job(dataset, tmp_path / "site", start=str(known), networks=("detector",), test_share=0.0)


def test_a_trained_bundle_is_whole_and_detects(trained, dataset, tmp_path):
    bundle = read_bundle(trained.result.bundle)
    assert bundle.description.name == "site" and "fine-tuned from known" in bundle.description.trained_on
    scan = find_scans(dataset)[0].scan
    job = DetectionJob(scan=str(scan), output=str(tmp_path), model=str(bundle.folder), device="cpu")
    assert run_job(job).files["candidates"].is_file()


def test_old_and_new_are_compared_on_subjects_that_nothing_was_learnt_from(trained):
    comparison = trained.result.comparison
    assert (comparison.old_name, comparison.new_name, comparison.subjects) == ("known", "site", 1)
    assert comparison.verdict is Verdict.UNKNOWN and "Too few data to tell" in comparison.sentence
    saved = read_comparison(trained.result.bundle)
    assert saved["sentence"] == comparison.sentence
    written = json.loads((trained.result.bundle / "training.json").read_text())
    assert not set(saved["test_subjects"]) & set(written["validation_subjects"])
    assert "2 scans of 2 subjects" in read_bundle(trained.result.bundle).description.trained_on


@pytest.mark.parametrize("which", ["start", "old"])
def test_subjects_that_a_model_to_compare_has_learnt_from_are_not_held_back(dataset, known, tmp_path, which):
    job = tiny_job(dataset, tmp_path / "site", **{which: str(known)})
    held_back = prepare_cases(job, lambda _: None).roles.test
    earlier = shutil.copytree(known, tmp_path / "earlier")
    (earlier / "training.json").write_text(json.dumps({"training_subjects": held_back}))
    assert not set(held_back) & set(prepare_cases(replace(job, **{which: str(earlier)}), lambda _: None).roles.test)


def test_progress_rises_from_reading_to_comparing_and_every_epoch_tells_the_time_left(trained):
    fractions = [fraction for _, fraction, _ in trained.told]
    assert fractions == sorted(fractions) and fractions[-1] <= 1
    steps = list(dict.fromkeys(step for step, _, _ in trained.told))
    assert steps[0] == "reading" and steps[-1] == "comparison" and "teacher" in steps
    assert [(name, epoch) for name, epoch, _ in trained.epochs] == [
        (name, epoch) for name in ("detector", "teacher", "student") for epoch in (0, 1)
    ]
    assert trained.epochs[0][2] > 0 and trained.epochs[-1][2] == 0


def test_every_network_says_which_epoch_it_is_in_and_how_long_it_takes_at_most(trained):
    messages = {message for _, _, message in trained.told}
    for what in ("stage 1", "the teacher", "the student"):
        assert f"Training {what}: epoch 1 of up to 2" in messages
        assert f"Training {what}: epoch 2 of up to 2, at most 1 min more" in messages


def test_what_is_trained_with_which_data_is_said_before_the_first_epoch(trained):
    before = [line for line, epochs in trained.notes.items() if not epochs]
    assert before == [
        "Training: 2 scans of 2 subjects with 3 microbleeds. Validation: 1 scan of 1 subject with 2 microbleeds",
        f"Networks: detector, teacher, student; width 2; on {', '.join(choose_compute('cpu').describe().values())}",
        "detector: 8 patches an epoch, 2 to validate with",
    ]
    assert list(trained.notes.values()) == [0, 0, 0, 2, 4]


def test_working_files_go_when_all_is_done(trained):
    assert not trained.job.work.exists() and trained.job.finished


def test_cases_to_check_are_not_learnt_from(dataset, quick_job, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in dataset.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    for number in (1, 2, 3):
        set_status(copy, f"sub-{number:02d}_swi", CaseStatus.TO_CHECK)
    with pytest.raises(InputError, match="here 1 of 1 have any"):
        estimate_job(replace(quick_job, dataset=str(copy)))


def test_the_estimate_is_a_range_and_trains_nothing(quick_job):
    estimate, prepared = estimate_job(quick_job)
    assert 0 < estimate.low_seconds < estimate.high_seconds
    assert set(estimate.epoch_seconds) == {"detector"}
    assert prepared.training_microbleeds == 5 and len(prepared.roles.validation) == 1
    assert not quick_job.work.exists() and not Path(quick_job.output).exists()
    longer = estimate_job(replace(quick_job, epochs=200, patience=20))[0]
    assert longer.high_seconds > 2 * estimate.high_seconds


def test_a_map_on_another_grid_is_named_before_the_long_work(dataset, quick_job, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in dataset.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    write_image(copy / "sub-02_swi_microbleeds.nii.gz", np.zeros((4, 5, 6), np.int16), np.eye(4))
    with pytest.raises(InputError, match=r"sub-02_swi_microbleeds\.nii\.gz: the label map lies on another grid"):
        estimate_job(replace(quick_job, dataset=str(copy)))


def test_a_folder_that_cannot_be_written_is_named_before_the_long_work(quick_job, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: cannot write here"):
        run_training(replace(quick_job, output=str(tmp_path / "file" / "site")))


def test_too_little_memory_or_disk_is_told_with_what_there_is(quick_job, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 5 * 2**20)
    with pytest.raises(InputError, match=r"needs \d+ MB of memory and 5 MB are free"):
        run_training(quick_job)
    monkeypatch.setattr(machine, "free_memory", lambda: None)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    with pytest.raises(InputError, match=r"needs \d+ MB on this disk and 1 MB are free"):
        run_training(quick_job)
    assert not quick_job.work.exists()


def test_simulated_microbleeds_go_into_training_scans_and_into_no_other(quick_job, dataset, monkeypatch):
    seen: dict[str, list[Path]] = {}

    def train(entries: list, plan: object, *_: object) -> None:
        seen["scans"] = [entry.scan for entry in entries if entry.subject not in plan.validation_subjects]
        seen["validation"] = [entry.scan for entry in entries if entry.subject in plan.validation_subjects]
        seen["labels"] = [entry.labels for entry in entries if entry.subject not in plan.validation_subjects]

    import CMMDetectTrainLib.bundle_training as bundle_training

    monkeypatch.setattr(bundle_training, "train_bundle", train)
    job = replace(quick_job, inserted=3, keep_work=True)
    run_training(job)
    assert all(path.parent == dataset for path in seen["validation"]) and seen["validation"]
    for copy, labels in zip(seen["scans"], seen["labels"], strict=True):
        own, scan = read_scan(dataset / copy.name), read_scan(copy)
        before, after = read_labels(dataset / labels.name, own), read_labels(labels, scan)
        assert after.max() > before.max()
        assert np.array_equal(after[before > 0], before[before > 0])
        darker = scan.array[(after > 0) & (before == 0)] < own.array[(after > 0) & (before == 0)]
        assert darker.mean() > 0.8
    written = {path: path.stat().st_mtime_ns for path in seen["scans"]}
    run_training(job)
    assert written == {path: path.stat().st_mtime_ns for path in seen["scans"]}


def test_what_of_its_own_a_scan_does_not_show_is_not_judged_in_a_copy_with_simulated_microbleeds_either(tmp_path):
    entry = find_scans(write_training_set(tmp_path / "data", [3]))[0]
    own, _ = read_lesions(entry, read_scan(entry.scan))

    def copied(visible: list[bool]) -> list[bool]:
        records = [
            TruthRecord(item.id, "microbleed", "unknown", item.x, item.y, item.z, None, 5.0, 5.0, 65.0, shown)
            for item, shown in zip(own, visible, strict=True)
        ]
        write_truth_table(entry.truth_file("_truth.tsv"), records)
        copy = insert_into_scans([entry], tmp_path / "copies", 3, 3.0, 0, lambda _: None)[0]
        lesions, labels = read_lesions(copy, read_scan(copy.scan))
        assert len(lesions) == labels.max() > len(own)
        return [lesion.counted for lesion in lesions]

    assert copied([True, False, True])[:3] == [True, False, True]
    again = copied([True, True, False])
    assert again[:3] == [True, True, False]
    assert all(again[3:])


def test_a_training_with_simulated_microbleeds_goes_on_where_its_model_lies_in_the_data_set(
    quick_job, dataset, tmp_path
):
    data = shutil.copytree(dataset, tmp_path / "data")
    job = replace(quick_job, dataset=str(data), output=str(data / "models" / "site"), inserted=1)

    def pause(step: str, _fraction: float, _message: str) -> None:
        if step == "detector":
            raise CancelledError

    with pytest.raises(CancelledError):
        run_training(job, pause)
    assert [entry.name for entry in find_scans(data)] == [entry.name for entry in find_scans(dataset)]
    run_training(job)


def test_a_paused_training_goes_on_to_the_same_weights(quick_job, tmp_path):
    job = replace(quick_job, epochs=3)
    whole = run_training(replace(job, output=str(tmp_path / "whole")))

    def pause(step: str, _fraction: float, _message: str) -> None:
        if step == "detector" and epochs:
            raise CancelledError

    epochs: list[str] = []
    write_job(job)
    with pytest.raises(CancelledError):
        run_training(job, pause, lambda name, *_: epochs.append(name))
    assert unfinished_jobs(tmp_path) == [job] and not Path(job.output).exists()
    run_training(job, reported=lambda name, *_: epochs.append(name))
    assert len(epochs) == 3 and unfinished_jobs(tmp_path) == []
    weights = [(folder / "detector.safetensors").read_bytes() for folder in (whole.bundle, Path(job.output))]
    assert weights[0] == weights[1]


def test_stopping_keeps_the_best_so_far(quick_job):
    job = replace(quick_job, epochs=500, patience=500)
    epochs: list[int] = []
    result = run_training(job, None, lambda _, record, __: epochs.append(record.epoch), lambda: len(epochs) >= 2)
    assert epochs == [0, 1] and read_bundle(result.bundle).description.name == "site"


# ---------------------------------------------------------------------------- the child process


def news_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def start(path: Path) -> subprocess.Popen:
    paths = [str(ROOT / "CMMDetect"), str(ROOT / "CMMDetectTrain")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "CMMDetectTrainLib.training_worker", str(path)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_epoch(process: subprocess.Popen) -> dict:
    for line in process.stdout:
        if (news := news_of(line)) and news[0]["stage"] == "epoch":
            return news[0]
    raise AssertionError(process.stderr.read())


def test_a_child_is_paused_and_stopped_by_files_beside_its_job(quick_job):
    path = write_job(replace(quick_job, epochs=400, patience=400))
    first = start(path)
    news = wait_for_epoch(first)
    assert (news["network"], news["epoch"], news["message"]) == ("detector", 1, "detector, epoch 1")
    assert read_epochs(path)[0].items() <= news.items()
    assert min(news["training_loss"], news["validation_loss"], news["seconds_left"]) > 0
    beside(path, PAUSE).touch()
    last = news_of(first.communicate(timeout=120)[0])[-1]
    assert (first.returncode, last["stage"]) == (3, "cancelled")
    write_job(read_job(path), path)
    second = start(path)
    assert wait_for_epoch(second)["epoch"] > 1
    beside(path, STOP).touch()
    out, _ = second.communicate(timeout=120)
    assert second.returncode == 0
    done = news_of(out)[-1]
    assert done["stage"] == "done" and Path(done["files"]["report"]).is_file()
    assert read_bundle(done["files"]["bundle"]).description.name == "site"


def test_the_child_gives_an_estimate(quick_job, tmp_path, capsys):
    path = write_job(replace(quick_job, task=ESTIMATE), tmp_path / "estimate.json")
    assert training_worker.main([str(path)]) == 0
    last = news_of(capsys.readouterr().out)[-1]
    assert last["high_seconds"] > last["low_seconds"] > 0
    assert last["subjects"] == {"training": 3, "validation": 1, "test": 0}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"dataset": "nowhere"}, "nowhere"),
        ({"colour": "red"}, "not a training job"),
        ({"task": "sing"}, "unknown task 'sing'"),
        ({"width": 3, "start": None}, "width must be even"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"inserted": 2, "field_t": 5.0}, "field strength 5 T"),
        ({"start": "nowhere"}, "nowhere: no model bundle"),
    ],
)
def test_a_job_that_cannot_be_done_ends_with_one_line(quick_job, tmp_path, capsys, change, problem):
    path = write_job(quick_job, tmp_path / "job.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert training_worker.main([str(path)]) == 2
    last = news_of(capsys.readouterr().out)[-1]
    assert last["stage"] == "error" and problem in last["message"] and "\n" not in last["message"]


def test_a_missing_package_is_named(quick_job, tmp_path, capsys, monkeypatch):
    path = write_job(quick_job, tmp_path / "job.json")

    def missing(*_: object) -> None:
        raise ModuleNotFoundError("no module", name="matplotlib")

    monkeypatch.setattr(training_run, "run_training", missing)
    assert training_worker.main([str(path)]) == 2
    assert "matplotlib, which is not installed" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["case_list", "bundle_shelf", "training_job", "label_map", "annotations"])
def test_what_the_panel_imports_needs_no_package_that_slicer_has_not(module):
    banned = ("torch", "matplotlib", "nibabel", "skimage", "rich", "nilearn", "safetensors")
    program = f"import sys; sys.modules.update(dict.fromkeys({banned!r})); import CMMDetectTrainLib.{module}"
    paths = os.pathsep.join([str(ROOT / "CMMDetect"), str(ROOT / "CMMDetectTrain")])
    environment = {**os.environ, "PYTHONPATH": paths}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_the_worker_needs_neither_rich_nor_nilearn(quick_job, tmp_path):
    path = write_job(replace(quick_job, task=ESTIMATE, inserted=1), tmp_path / "job.json")
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('rich', 'nilearn', 'skimage', 'nibabel'))); "
        "import CMMDetectTrainLib.bundle_training, CMMDetectTrainLib.evaluation; "
        f"from CMMDetectTrainLib.training_worker import main; sys.exit(main([{str(path)!r}]))"
    )
    paths = os.pathsep.join([str(ROOT / "CMMDetect"), str(ROOT / "CMMDetectTrain")])
    environment = {**os.environ, "PYTHONPATH": paths}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stdout.decode() + ended.stderr.decode()
