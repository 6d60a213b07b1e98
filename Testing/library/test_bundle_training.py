"""Training of a bundle: split of subjects, files and when they are written, interruptions, fine-tuning."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from CMMDetectLib.bundle import read_bundle
from CMMDetectLib.errors import CancelledError, InputError
from CMMDetectLib.network_grid import NetworkVoxel
from CMMDetectLib.progress import Progress
from CMMDetectTrainLib import network_training
from CMMDetectTrainLib.augmentation import Augmentation
from CMMDetectTrainLib.bundle_training import STEPS, TrainingPlan, train_bundle
from CMMDetectTrainLib.cases import case_of_scan
from CMMDetectTrainLib.evaluation_set import find_scans
from CMMDetectTrainLib.network_training import NetworkTraining
from CMMDetectTrainLib.splits import split_cases, split_subjects
from CMMDetectTrainLib.training import EpochRecord, Schedule, fingerprint
from CMMDetectTrainLib.training_job import work_folder
from training_cases import CPU, write_scan, write_start

FACTOR_ONE = Augmentation(factor=1, translation_vox=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Four subjects with microbleeds, one of them scanned three times, and one without."""
    folder = tmp_path_factory.mktemp("set")
    for number, name in enumerate(
        ["sub-01_run-1_swi", "sub-01_run-2_swi", "sub-01_T2starw", "sub-02_swi", "sub-03_swi", "sub-04_swi"]
    ):
        write_scan(folder / name.split("_")[0], name, seed=number)
    write_scan(folder / "sub-05", "sub-05_swi", spots=(), seed=9)
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return write_start(tmp_path_factory.mktemp("start") / "bundle")


def plan_of(start, **changes):
    plan = TrainingPlan(
        name="made",
        start=start.folder,
        networks=("teacher", "student"),
        schedule=Schedule(epochs=2, batch=4, decay_epochs=9),
        augmentation=FACTOR_ONE,
        patch_augmentation=FACTOR_ONE,
        given_brain=True,
    )
    return replace(plan, **changes)


@pytest.fixture(scope="module")
def trained(dataset, start, tmp_path_factory):
    """A bundle that was trained without interruption, its folder, and what was there while it was trained."""
    output = tmp_path_factory.mktemp("trained") / "bundle"
    there = []
    bundle = train_bundle(
        find_scans(dataset), plan_of(start), output, CPU, reported=lambda *_: there.append(output.exists())
    )
    return bundle, output, there


def test_a_trained_bundle_is_whole_and_says_what_it_learnt_from(trained, dataset):
    result, output, there = trained
    assert there == [False] * 4  # two epochs of teacher and student; the folder appears at the end
    bundle = read_bundle(output)
    assert result.bundle.folder == output
    assert bundle.description == result.validated.description
    assert bundle.description.name == "made"
    assert set(bundle.sha256) == {f"{name}.safetensors" for name in ("detector", "student", "teacher")}
    learnt = [entry for entry in find_scans(dataset) if entry.subject not in result.validation_subjects]
    subjects = {entry.subject for entry in learnt}
    microbleeds = 2 * sum(entry.subject != "sub-05" for entry in learnt)
    assert bundle.description.trained_on == (
        f"{len(learnt)} scans of {len(subjects)} subjects with {microbleeds} microbleeds; fine-tuned from start 3"
    )
    assert bundle.description.metrics["overlap"]["detection"]["tpr"]["value"] == 1
    record = json.loads((output / "training.json").read_text())
    assert record["validation_subjects"] == result.validation_subjects
    assert set(record["training_subjects"]) == subjects
    assert set(record["scans"].values()) == {entry.name for entry in find_scans(dataset)}
    assert set(record["curves"]) == {"teacher", "student"}
    assert "Loss curves" in (output / "validation" / "report.html").read_text(encoding="utf-8")
    assert not [path for path in output.parent.iterdir() if path not in (output, work_folder(output))]


def test_only_validation_subjects_choose_thresholds_and_all_their_scans_do(trained, dataset):
    result, _, _ = trained
    validated = {record.name for record in result.validated.records}
    assert validated == {entry.name for entry in find_scans(dataset) if entry.subject in result.validation_subjects}
    assert validated


def test_networks_that_are_not_trained_stay_as_they_are(trained, start):
    _, output, _ = trained
    made = read_bundle(output)
    assert made.sha256["detector.safetensors"] == start.sha256["detector.safetensors"]
    for name in ("teacher", "student"):
        before, after = getattr(start, name)(), getattr(made, name)()
        for (part, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
            # every layer learnt, none is frozen; biases before batch normalization have no gradient
            assert part.endswith("bias") or not torch.equal(old, new), part


def test_fine_tuning_stage_1_changes_every_layer(dataset, start, tmp_path):
    entries = [entry for entry in find_scans(dataset) if entry.subject in ("sub-02", "sub-03")]
    cases = [case_of_scan(entry, tmp_path / "cases", given_brain=True) for entry in entries]
    plan = plan_of(start, networks=("detector",), patch_size=24)
    training = NetworkTraining(plan, start, CPU, tmp_path, Progress(None, STEPS), lambda *_: None, lambda: False)
    detector = training.run(split_cases(cases, [], 0.5, 0))["detector"]
    for (part, old), new in zip(start.detector().named_parameters(), detector.parameters(), strict=True):
        assert part.endswith("bias") or not torch.equal(old, new), part
    assert list(training.curves) == ["detector"]


def test_fine_tuning_keeps_the_networks_grid_unless_another_is_asked_for(start):
    on_grid = replace(start, description=replace(start.description, pixel_mm=0.8, slice_mm=3.0))
    assert plan_of(start).voxel_after(on_grid) == NetworkVoxel(0.8, 3.0)
    assert plan_of(start, slice_mm=1.6).voxel_after(on_grid) == NetworkVoxel(0.8, 1.6)
    assert plan_of(start, pixel_mm=0.5).voxel_after(None) == NetworkVoxel(0.5, None)


def test_a_training_interrupted_anywhere_comes_to_the_same_bundle(trained, dataset, start, tmp_path):
    _, whole, _ = trained
    output, moments = (
        tmp_path / "bundle",
        [("cases", 2), ("teacher", 3), ("candidates", 2), ("student", 2), ("validation", 3)],
    )
    for stage, calls in moments:
        seen = 0

        def listener(step, fraction, message, stage=stage, calls=calls):
            nonlocal seen
            seen += step == stage
            if seen == calls:
                raise CancelledError("stopped by the user")

        with pytest.raises(CancelledError):
            train_bundle(find_scans(dataset), plan_of(start), output, CPU, listener)
        assert not output.exists()
    train_bundle(find_scans(dataset), plan_of(start), output, CPU)
    assert read_bundle(output).sha256 == read_bundle(whole).sha256
    assert read_bundle(output).description == read_bundle(whole).description


def test_a_finished_training_gives_its_bundle_again_and_loses_no_file_that_was_put_there(trained, dataset, start):
    result, output, _ = trained
    before = read_bundle(output).sha256
    (output / "notes.txt").write_text("mine")
    epochs = []
    again = train_bundle(find_scans(dataset), plan_of(start), output, CPU, reported=lambda *_: epochs.append(1))
    assert not epochs
    assert read_bundle(output).sha256 == before
    assert again.validation_subjects == result.validation_subjects
    assert (work_folder(output) / "replaced" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("change", [{"th_candidates": 0.2}, {"patch_size": 32}, {"distill": False}])
def test_another_plan_in_the_same_folder_is_one_line(trained, dataset, start, change):
    _, output, _ = trained
    expected = rf"holds the training of another plan or other scans \(not the same: {next(iter(change))}\)"
    with pytest.raises(InputError, match=expected) as caught:
        train_bundle(find_scans(dataset), plan_of(start, **change), output, CPU)
    assert "\n" not in str(caught.value)


def test_a_plan_that_was_damaged_is_one_line(dataset, start, tmp_path):
    work = work_folder(tmp_path / "bundle")
    work.mkdir()
    (work / "plan.json").write_text("{")
    with pytest.raises(InputError, match=r"plan\.json: damaged"):
        train_bundle(find_scans(dataset), plan_of(start), tmp_path / "bundle", CPU)


def test_a_training_does_not_go_on_with_scans_taken_for_another_modality(start, tmp_path):
    for number, name in enumerate(("first", "second")):
        write_scan(tmp_path / "set", name, seed=number)

    def stop(step, *_):
        if step == "cases":
            raise CancelledError

    for modality, outcome in (("swi", CancelledError), ("qsm", InputError), ("swi", CancelledError)):
        entries = find_scans(tmp_path / "set", modality)
        with pytest.raises(outcome):
            train_bundle(entries, plan_of(start), tmp_path / "bundle", CPU, listener=stop)


def test_a_folder_with_something_else_is_left_alone(dataset, start, tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="exists already; choose another -o"):
        train_bundle(find_scans(dataset), plan_of(start), tmp_path / "bundle", CPU)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (tmp_path / "bundle" / "thesis.tex").read_text() == "mine"


def test_one_subject_is_too_few_and_that_is_said_before_any_work(dataset, start, tmp_path):
    with pytest.raises(InputError, match=r"at least two subjects with visible microbleeds.* has 1$"):
        train_bundle(find_scans(dataset, subjects=["sub-01"]), plan_of(start), tmp_path / "bundle", CPU)
    assert not list(tmp_path.iterdir())


def test_one_subject_with_microbleeds_is_too_few_and_none_too(dataset, start, tmp_path):
    entries = find_scans(dataset, subjects=["sub-02", "sub-05"])
    with pytest.raises(InputError, match=r"the data set has 1$") as caught:
        train_bundle(entries, plan_of(start), tmp_path / "one", CPU)
    assert "\n" not in str(caught.value)
    write_scan(tmp_path / "clean", "sub-06_swi", spots=())
    write_scan(tmp_path / "clean", "sub-07_swi", spots=())
    with pytest.raises(InputError, match=r"the data set has 0$"):
        train_bundle(find_scans(tmp_path / "clean"), plan_of(start), tmp_path / "none", CPU)


def test_a_stage_1_that_finds_nothing_is_one_line(dataset, tmp_path):
    blind = write_start(tmp_path / "blind", level=3.0)
    entries = find_scans(dataset, subjects=["sub-02", "sub-03"])
    with pytest.raises(InputError, match="stage 1 finds no microbleed of the training subjects") as caught:
        train_bundle(entries, plan_of(blind, networks=("student",), distill=False), tmp_path / "bundle", CPU)
    assert "\n" not in str(caught.value)


def test_a_network_that_comes_from_nowhere_is_one_line_before_any_work(dataset, tmp_path):
    plan = TrainingPlan(name="made", networks=("student",), given_brain=True)
    entries = find_scans(dataset, subjects=["sub-02", "sub-03"])
    with pytest.raises(InputError, match=r"the detector is not to be trained.* give --from"):
        train_bundle(entries, plan, tmp_path / "bundle", CPU)
    assert not list(tmp_path.iterdir())


class Subject(SimpleNamespace):
    """A case that is nothing but its subject and whether it has a visible microbleed."""


subjects = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["swi", "t2star", "qsm"]), st.sampled_from([-1, 0, 1])), max_size=40
)


@given(subjects, st.floats(0.05, 0.95), st.integers(0, 5), st.integers(0, 35))
def test_no_subject_ever_trains_and_validates(scans, share, seed, shelves):
    cases = [Subject(subject=f"sub-{n}", modality=kind, labels=np.array([0, label])) for n, kind, label in scans]
    simulated = [Subject(subject=f"simulated-{n // 3}", labels=np.array([1])) for n in range(shelves)]
    bleeding = {case.subject for case in cases if case.labels.max() > 0}
    if len(bleeding) < 2:
        with pytest.raises(InputError, match=f"has {len(bleeding)}$"):
            split_cases(cases, simulated, share, seed)
        return
    split = split_cases(cases, simulated, share, seed)
    training, validation = ({case.subject for case in part} for part in (split.training, split.validation))
    assert not training & validation
    assert len(split.training) + len(split.validation) == len(cases) + len(simulated)
    assert bleeding & training and bleeding & validation
    assert set(split.subjects) == {name for name in validation if name.startswith("sub-")}
    assert split_subjects(cases[::-1], share, seed) == set(split.subjects)


def test_of_many_subjects_the_share_validates_of_those_with_and_without_microbleeds():
    cases = [Subject(subject=f"sub-{n}", labels=np.array([n % 2])) for n in range(100)]
    chosen = split_subjects(cases, 0.2, 0)
    assert sum(int(name[4:]) % 2 for name in chosen) == 10
    assert len(chosen) == 20
    assert chosen != split_subjects(cases, 0.2, 1)


def test_every_patch_that_a_network_sees_is_of_its_own_subjects(dataset, start, tmp_path, monkeypatch):
    seen = {}

    def fit(task, *_):
        parts = {"training": task.draw(0), "validation": task.validation}
        seen[task.name] = {kind: {draw.place.case.subject for draw in part._draws} for kind, part in parts.items()}
        return [EpochRecord(0, 1.0, 1.0, 0.1, 0.0)]

    monkeypatch.setattr(network_training, "fit", fit)
    plan = plan_of(start, networks=("detector", "teacher", "student"), patch_size=24)
    result = train_bundle(find_scans(dataset), plan, tmp_path / "bundle", CPU)
    assert list(seen) == ["detector", "teacher", "student"]
    for parts in seen.values():
        assert parts["validation"] <= set(result.validation_subjects)
        assert not parts["training"] & set(result.validation_subjects)
        assert parts["training"] and parts["validation"]


def test_a_new_teacher_begins_with_stage_1_and_one_that_is_fine_tuned_with_itself(
    dataset, start, tmp_path, monkeypatch
):
    begun = {}

    def fit(task, *_):
        begun[task.name] = (
            [fingerprint(getattr(task.network, part)) for part in ("extractor", "segmentor")]
            if task.name != "student"
            else []
        )
        return [EpochRecord(0, 1.0, 1.0, 0.1, 0.0)]

    monkeypatch.setattr(network_training, "fit", fit)
    monkeypatch.setattr(NetworkTraining, "_candidates", lambda *_: split_nothing)
    split_nothing = SimpleNamespace(training=[], validation=[], origin="")
    entries = [entry for entry in find_scans(dataset) if entry.subject in ("sub-02", "sub-03")]
    cases = [case_of_scan(entry, tmp_path / "cases", given_brain=True) for entry in entries]
    for bundle in (None, start):
        plan = plan_of(start, networks=("detector", "teacher", "student"), width=2)
        training = NetworkTraining(plan, bundle, CPU, tmp_path, Progress(None, STEPS), lambda *_: None, lambda: False)
        training.run(split_cases(cases, [], 0.5, 0))
        same = begun["teacher"] == begun["detector"]
        assert same == (bundle is None)


@pytest.mark.parametrize("times", [1, 2])
def test_a_student_of_another_width_begins_anew_beside_networks_that_stay(
    dataset, start, tmp_path, monkeypatch, times
):
    monkeypatch.setattr(network_training, "fit", lambda *_: [EpochRecord(0, 1.0, 1.0, 0.1, 0.0)])
    known = start.description.width
    plan = plan_of(start, networks=("student",), student_width=times * known)
    made = train_bundle(find_scans(dataset), plan, tmp_path / "bundle", CPU).bundle
    assert (made.description.width, made.student().extractor.at_full.outputs) == (known, times * known)
    assert made.sha256["detector.safetensors"] == start.sha256["detector.safetensors"]
    assert (made.sha256["student.safetensors"] == start.sha256["student.safetensors"]) == (times == 1)
