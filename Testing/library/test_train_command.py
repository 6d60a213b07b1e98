"""``cmmdetect train``: its options, what it refuses, and a whole run from coordinates to an evaluated bundle."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from CMMDetectLib.bundle import SHIPPED_BUNDLE, read_bundle, write_bundle
from CMMDetectLib.channels import CHANNELS, PAPER_CHANNELS
from CMMDetectLib.cli import EXIT_INPUT, EXIT_INTERRUPTED
from CMMDetectLib.networks import CandidateDetector, Student
from CMMDetectLib.scan import Modality
from CMMDetectTrainLib import bundle_training
from CMMDetectTrainLib.bundle_training import NETWORKS, TrainingPlan
from CMMDetectTrainLib.cli import main
from CMMDetectTrainLib.evaluation import read_record
from CMMDetectTrainLib.metrics import Rule, score_scan
from CMMDetectTrainLib.simulation.patches import PatchSource
from CMMDetectTrainLib.thresholds import froc, tpr_at
from CMMDetectTrainLib.training_job import work_folder
from known_networks import untrained_description
from training_cases import write_scan

TRAINED_ON, HELD_OUT = range(1, 10), range(10, 13)
WIDTH = 4


def names(numbers):
    return [f"sub-{number:02d}" for number in numbers]


@pytest.fixture
def small_set(tmp_path):
    for name in ("sub-01_swi", "sub-02_swi"):
        write_scan(tmp_path / "set", name)
    return tmp_path / "set"


@pytest.fixture
def planned(small_set, tmp_path, monkeypatch):
    """Give a function that runs the command up to the training, and gives its status, plan and scans."""
    asked = {}

    class NotTrainedError(Exception):
        pass

    def stop(entries, plan, output, *_):
        asked.update(entries=entries, plan=plan, output=output)
        raise NotTrainedError

    monkeypatch.setattr(bundle_training, "train_bundle", stop)

    def run(*options):
        with pytest.raises(NotTrainedError):
            main(["train", str(small_set), "-o", str(tmp_path / "made"), *options])
        return asked

    return run


def test_the_paper_is_the_default(planned):
    plan = planned()["plan"]
    assert plan == TrainingPlan(name="made")
    assert (plan.schedule.epochs, plan.schedule.patience, plan.schedule.batch) == (100, 20, 8)
    assert (plan.patch_size, plan.augmentation.factor, plan.patch_augmentation.factor) == (48, 10, 5)
    assert plan.networks == NETWORKS


def test_options_reach_the_plan(planned, tmp_path):
    options = (
        "--patch-size 32 --width 8 --epochs 3 --patience 2 --batch 4 --epsilon 1e-8 --decay 0.5 --decay-epochs 5 "
        "--augmentation 2 --seed 7 --validation-share 0.5 --patches-an-epoch 80 --simulated-patches 100 --processes 2 "
        "--averaging 0.9 --brain-masks --no-distillation --networks detector student --name other --learning-rate 0.01"
    )
    plan = planned(*options.split())["plan"]
    schedule = plan.schedule
    assert (plan.patch_size, plan.width, plan.name, plan.networks) == (32, 8, "other", ("detector", "student"))
    assert (schedule.epochs, schedule.patience, schedule.batch, schedule.seed) == (3, 2, 4, 7)
    assert (schedule.decay, schedule.decay_epochs, schedule.learning_rate) == (0.5, 5, 0.01)
    assert (schedule.epsilon, schedule.averaging) == (1e-8, 0.9)
    assert (plan.augmentation.factor, plan.validation_share, plan.patches_an_epoch) == (2, 0.5, 80)
    assert (plan.simulated_patches, plan.processes, plan.given_brain, plan.distill) == (100, 2, True, False)


def test_each_network_can_have_its_own_schedule(planned):
    numbers = "--epochs 9 3 5 --batch 8 32 16 --warm-up 0 0 9 --learning-rate 0.002 0.001 0.0005"
    plan = planned(*numbers.split())["plan"]
    assert [plan.schedule_of(name).learning_rate for name in NETWORKS] == [0.002, 0.001, 0.0005]
    assert [plan.schedule_of(name).epochs for name in NETWORKS] == [9, 3, 5]
    assert [plan.schedule_of(name).batch for name in NETWORKS] == [8, 32, 16]
    assert [plan.schedule_of(name).warm_up for name in NETWORKS] == [0, 0, 9]
    assert [planned("--epochs", "4")["plan"].schedule_of(name).epochs for name in NETWORKS] == [4, 4, 4]


def test_the_student_and_the_networks_grid_can_have_sizes_of_their_own(planned):
    sizes = "--width 8 --student-width 16 --pixel 0.8 --slice 1.6 --decay-epochs 3 2 5"
    plan = planned(*sizes.split())["plan"]
    assert (plan.width, plan.student_width, plan.pixel_mm, plan.slice_mm) == (8, 16, 0.8, 1.6)
    assert [plan.schedule_of(name).decay_epochs for name in NETWORKS] == [3, 2, 5]


def test_networks_can_be_trained_on_the_papers_channels_alone(planned):
    assert planned()["plan"].channels == CHANNELS
    assert planned("--channels", "image", "frst")["plan"].channels == PAPER_CHANNELS


def test_validation_subjects_can_be_named(planned):
    assert planned("--validation-subjects", "sub-02")["plan"].validation_subjects == ("sub-02",)


def test_noise_and_contrast_reach_the_patches_of_all_networks(planned):
    plan = planned("--noise-variance", "0.004", "--contrast", "1.3")["plan"]
    for augmentation in (plan.augmentation, plan.patch_augmentation):
        assert (augmentation.noise_variance, augmentation.contrast) == ((0.001, 0.004), 1.3)


def test_the_student_can_learn_from_less_sure_candidates(planned):
    assert planned("--th-candidates", "0.005")["plan"].th_candidates == 0.005


def test_fine_tuning_begins_with_a_smaller_learning_rate_unless_one_is_given(planned):
    plan = planned("--from", "bundle")["plan"]
    assert (plan.start, plan.schedule.learning_rate) == (Path("bundle"), 1e-4)
    assert planned("--from", "bundle", "--learning-rate", "0.002")["plan"].schedule.learning_rate == 0.002


def test_the_model_that_comes_with_cmmdetect_is_fine_tuned_without_knowing_where_it_lies(planned):
    assert planned("--from", "shipped")["plan"].start == SHIPPED_BUNDLE


def test_only_the_subjects_asked_for_are_used(planned):
    assert [entry.name for entry in planned("--subjects", "sub-02")["entries"]] == ["sub-02_swi"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--epochs 0", "--epochs must be one number or three, and at least 1"),
        ("--epochs 3 2", "--epochs must be one number or three, and at least 1"),
        ("--noise-variance -1", "--noise-variance must not be negative"),
        ("--contrast 0.5", "--contrast at least 1"),
        ("--patches-an-epoch 1", "--patches-an-epoch at least 2"),
        ("--patch-size 8", "--patch-size must be at least 16"),
        ("--validation-share 1", "--validation-share must lie between 0 and 1"),
        ("--width 3", "--width must be even"),
        ("--width 0", "--width must be even"),
        ("--width 32 --from bundle", "--width cannot be chosen with --from"),
        ("--student-width 5", "--student-width must be even"),
        ("--channels phase", "--channels phase: not a channel; choose from image, frst, with_vessels"),
        ("--pixel 8", "--pixel must lie between 0.2 and 2 mm"),
        ("--slice 0.1", "--slice must lie between 0.4 and 6 mm"),
        ("--decay-epochs 2 2", "--decay-epochs must be one number or three"),
        ("--warm-up -1", "--warm-up must be one number or three, and at least 0"),
        ("--batch 8 0 8", "--batch must be one number or three, and at least 1"),
        ("--validation-subjects sub-99", "sub-99: not among the given subjects"),
        ("--validation-subjects sub-01 sub-02", "all subjects are chosen for validation"),
        ("--learning-rate 0", "--learning-rate must lie above 0"),
        ("--learning-rate 0.1 0.1", "and be one number or three"),
        ("--learning-rate 0.1 2 0.1", "--learning-rate must lie above 0 and not above 1"),
        ("--learning-rate 0.1 nan 0.1", "--learning-rate must lie above 0 and not above 1"),
        ("--noise-variance nan", "--noise-variance must not be negative"),
        ("--contrast nan", "--contrast at least 1"),
        ("--contrast inf", "both finite"),
        ("--th-candidates 0", "--th-candidates must lie above 0"),
        ("--decay -1", "--decay must lie above 0"),
        ("--seed -1", "--seed -1: must not be negative"),
        ("--averaging 1", "--averaging must not be negative and must lie below 1"),
        ("--epsilon 0", "--epsilon must lie above 0"),
        ("--networks teatcher", "--networks teatcher: not a network; choose from detector, teacher, student"),
        ("--resume", "no training to resume here"),
        ("--from nowhere", "nowhere: no model bundle"),
        ("--subjects sub-01", "at least two subjects with visible microbleeds"),
        ("--modality qsm", "no scan with truth here"),
    ],
)
def test_what_cannot_be_is_one_line(small_set, tmp_path, capsys, options, told):
    assert main(["train", str(small_set), "-o", str(tmp_path / "made"), *options.split()]) == EXIT_INPUT
    error = capsys.readouterr().err.strip()
    assert told in error
    assert "\n" not in error
    assert not (tmp_path / "made").exists() and not work_folder(tmp_path / "made").exists()


def test_subjects_without_microbleeds_leave_the_folder_to_the_right_command(small_set, tmp_path, capsys):
    image = nib.load(small_set / "sub-02_swi_microbleeds.nii.gz")
    clean = nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine)
    nib.save(clean, small_set / "sub-02_swi_microbleeds.nii.gz")
    assert main(["train", str(small_set), "-o", str(tmp_path / "made")]) == EXIT_INPUT
    assert "at least two subjects with visible microbleeds" in capsys.readouterr().err
    assert not work_folder(tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("validating", "told"),
    [
        ("sub-02", "no validation subject has visible microbleeds; choose some that have"),
        ("sub-01", "only validation subjects have visible microbleeds; leave some for training"),
    ],
)
def test_a_training_without_microbleeds_on_either_side_of_its_split_is_refused_before_hours_of_work(
    small_set, tmp_path, capsys, validating, told
):
    image = nib.load(small_set / "sub-02_swi_microbleeds.nii.gz")
    clean = nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine)
    nib.save(clean, small_set / "sub-02_swi_microbleeds.nii.gz")
    options = ["--validation-subjects", validating]
    assert main(["train", str(small_set), "-o", str(tmp_path / "made"), *options]) == EXIT_INPUT
    assert told in capsys.readouterr().err
    assert not work_folder(tmp_path / "made").exists()


def test_a_scan_of_two_names_is_refused_before_one_of_them_validates_what_the_other_taught(
    small_set, tmp_path, capsys
):
    shutil.copy(small_set / "sub-01_swi.nii.gz", small_set / "sub-02_swi.nii.gz")
    assert main(["train", str(small_set), "-o", str(tmp_path / "made")]) == EXIT_INPUT
    assert "sub-02_swi.nii.gz: is the same scan as" in capsys.readouterr().err
    assert not work_folder(tmp_path / "made").exists()


def test_a_label_map_that_cannot_be_used_is_named_before_any_scan_is_prepared(small_set, tmp_path, capsys):
    write_scan(small_set, "sub-03_swi", seed=3)
    image = nib.load(small_set / "sub-03_swi_microbleeds.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[1:], image.affine), small_set / "sub-03_swi_microbleeds.nii.gz")
    assert main(["train", str(small_set), "-o", str(tmp_path / "made")]) == EXIT_INPUT
    assert "sub-03_swi_microbleeds.nii.gz: the label map lies on another grid" in capsys.readouterr().err
    assert not work_folder(tmp_path / "made").exists()


@pytest.mark.parametrize(("command", "hint"), [("train", "the same command with --resume"), ("evaluate", "the same")])
def test_who_interrupts_long_work_is_told_how_it_goes_on(small_set, tmp_path, capsys, monkeypatch, command, hint):
    def interrupt(*_):
        work_folder(tmp_path / "made").mkdir(exist_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr("CMMDetectTrainLib.evaluation.evaluate_dataset", interrupt)
    monkeypatch.setattr(bundle_training, "train_bundle", interrupt)
    assert main([command, str(small_set), "-o", str(tmp_path / "made")]) == EXIT_INTERRUPTED
    assert capsys.readouterr().err.startswith(f"cmmdetect: interrupted; {hint}")


def test_who_interrupts_a_training_before_it_has_begun_is_not_told_to_resume_it(
    small_set, tmp_path, capsys, monkeypatch
):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_training, "check_twins", interrupt)
    assert main(["train", str(small_set), "-o", str(tmp_path / "made")]) == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "cmmdetect: interrupted\n"
    assert not work_folder(tmp_path / "made").exists()


def test_a_brain_mask_that_cannot_be_used_is_named_before_any_scan_is_prepared(small_set, tmp_path, capsys):
    image = nib.load(small_set / "sub-02_swi_brain.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), small_set / "sub-02_swi_brain.nii.gz")
    assert main(["train", str(small_set), "-o", str(tmp_path / "made"), "--brain-masks"]) == EXIT_INPUT
    assert "sub-02_swi_brain.nii.gz: the brain mask is empty" in capsys.readouterr().err
    assert not work_folder(tmp_path / "made").exists()


def test_a_begun_training_is_not_begun_again_by_mistake(small_set, tmp_path, capsys):
    work_folder(tmp_path / "made").mkdir()
    assert main(["train", str(small_set), "-o", str(tmp_path / "made")]) == EXIT_INPUT
    assert "a training was begun here; add --resume" in capsys.readouterr().err


def write_simulated_set(folder: Path) -> None:
    """Twelve small simulated scans with a brain mask and points where the microbleeds are."""
    source = PatchSource((Modality.SWI,), (64, 64, 24), anatomy_share=0.0, lesion_free_share=0.0)
    rng = np.random.default_rng(4)
    for name in names([*TRAINED_ON, *HELD_OUT]):
        seen = []
        while len(seen) < 2:
            patch = source.draw(rng)
            seen = [item for item in patch.truth.records if item.kind == "microbleed" and item.visible]
        scan = folder / name / f"{name}_swi.nii.gz"
        scan.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(patch.image, patch.grid.affine), scan)
        brain = nib.Nifti1Image(patch.brain.astype(np.uint8), patch.grid.affine)
        nib.save(brain, scan.with_name(f"{name}_swi_brain.nii.gz"))
        rows = [f"{item.id},{item.x:.3f},{item.y:.3f},{item.z:.3f}" for item in seen]
        scan.with_name("points.csv").write_text("\n".join(["name,x,y,z", *rows]) + "\n")


def write_untrained(folder: Path) -> Path:
    torch.manual_seed(1)
    description = untrained_description("untrained", WIDTH, modality=(Modality.SWI,))
    return write_bundle(folder, description, {"detector": CandidateDetector(WIDTH), "student": Student(WIDTH)}).folder


def found_at(data: Path, bundle: Path, output: Path, fp_avg: float) -> float:
    """TPR of stage 1 on the held-out subjects with so many false positives per scan.

    Matched by center: one cluster over the whole brain would touch every lesion.
    """
    options = ["--subjects", *names(HELD_OUT), "--brain-masks", "--model", str(bundle)]
    assert main(["evaluate", str(data), "-o", str(output), *options]) == 0
    records = [read_record(path) for path in sorted((output / "scans").iterdir())]
    assert len(records) == len(HELD_OUT)
    curve = froc([score_scan(record, Rule.CENTER, lambda candidate: candidate.p_detection) for record in records])
    return 0.0 if curve is None else tpr_at(curve, fp_avg)


def test_from_coordinates_to_an_evaluated_bundle(tmp_path, capsys):
    data, bundle = tmp_path / "set", tmp_path / "bundle"
    write_simulated_set(data)
    for points in sorted(data.rglob("points.csv")):
        scan = next(points.parent.glob("*_swi.nii.gz"))
        labels = scan.with_name(scan.name.replace("_swi", "_swi_microbleeds"))
        assert main(["masks", str(scan), str(points), "-o", str(labels)]) == 0
    settings = (
        f"--width {WIDTH} --epochs 5 --augmentation 20 --patch-size 24 --batch 4 --patches-an-epoch 160 "
        "--learning-rate 0.01 --decay-epochs 2 --decay 0.4"
    )
    options = ["--subjects", *names(TRAINED_ON), "--brain-masks", *settings.split()]
    assert main(["train", str(data), "-o", str(bundle), *options]) == 0

    told = capsys.readouterr().out
    for network in NETWORKS:
        assert f"{network} epoch 5: loss" in told
    assert "Trained on 7 scans of 7 subjects with" in told
    description = read_bundle(bundle).description
    record = json.loads((bundle / "training.json").read_text())
    assert set(record["validation_subjects"]) < set(names(TRAINED_ON))
    detector = [epoch["validation_loss"] for epoch in record["curves"]["detector"]]
    assert detector[-1] < detector[0] - 0.1
    assert description.th_detection >= 0.1
    trained = found_at(data, bundle, tmp_path / "trained", fp_avg=4.0)
    untrained = found_at(data, write_untrained(tmp_path / "untrained"), tmp_path / "from-untrained", fp_avg=4.0)
    # nine small scans and a minute teach half of them; marks placed by chance would find none
    assert trained >= untrained + 0.3
