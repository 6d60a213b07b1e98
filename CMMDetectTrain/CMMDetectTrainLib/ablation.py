"""The ablation study of the paper (4.2, table 1): what each part of the method contributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from CMMDetectLib.bundle import ModelBundle, write_bundle
from CMMDetectLib.candidates import Stage
from CMMDetectLib.errors import InputError
from CMMDetectLib.networks import Student, Teacher
from CMMDetectLib.paper_method import PaperMethod

from . import distributed
from .bundle_training import NETWORKS, TrainedBundle, TrainingPlan, check_scans
from .evaluation_set import ScanEntry
from .experiment_report import Panels, curves_of, write_experiment
from .experiments import REPORT, Bench, PaperRow, describe_entries, describe_plan, row_of
from .splits import check_separate, check_validating
from .validation import validate

STEPS = {
    "(i) Stage 1 without FRST": PaperRow(0.86, 129.3, 0.02),
    "(ii) Stage 1 with FRST": PaperRow(0.975, 85.3, 0.03),
    "(iii) Stage 2 by the teacher": PaperRow(0.85, 19.6, 0.09),
    "(iv) Stage 2 without distillation": PaperRow(0.75, 12.8, 0.09),
    "(v) Stage 2 with distillation": PaperRow(0.9, 14.7, 0.11),
    "(vi) After post-processing": PaperRow(0.83, 0.5, 0.74),
}
"""The paper's table 1: 24 test subjects of UK Biobank with 40 microbleeds."""
FRST = "frst"
PARTS = 8
"""Three trainings, the teacher's thresholds and four evaluations."""


def run_ablation(training: Sequence[ScanEntry], test: Sequence[ScanEntry], plan: TrainingPlan, bench: Bench) -> None:
    """Train the method with and without its parts, and evaluate each variant on the test scans.

    All trainings start from the same weights and see the same patches; the two students judge the candidates of the
    same stage 1. Each variant has thresholds of its own, chosen on the validation subjects.

    Parameters
    ----------
    plan : how to train; networks and channels are set by the ablation

    Raises
    ------
    InputError
        If the data cannot be used, a scan is in both sets, or the folder holds another experiment.
    OutputError
        If something cannot be written.
    """
    if plan.start is not None:
        raise InputError("the ablation trains everything from the beginning; give a plan without start")
    check_validating(plan.validation_subjects, {entry.subject for entry in training})
    check_separate(training, test)
    check_scans(training, plan)
    sets = {"training": describe_entries(training), "test": describe_entries(test)}
    bench.claim({"experiment": "ablation", "plan": describe_plan(plan), **sets})
    others = tuple(name for name in plan.channels if name != FRST)
    plan = replace(plan, networks=NETWORKS, distill=True, channels=(*others, FRST))
    full = bench.train(training, plan, "full")
    rows = [(2, Stage.DETECTION), (5, Stage.DISCRIMINATION), (6, Stage.FINAL)]
    summaries = {"full": _measure(test, full.bundle, "full", rows, bench)}

    teacher = teacher_bundle(training, full, bench)
    summaries["teacher"] = _measure(test, teacher, "teacher", [(3, Stage.DISCRIMINATION)], bench)

    alone = replace(plan, networks=("detector", "student"), distill=False)
    blind = bench.train(training, replace(alone, channels=others), "without-frst")
    summaries["blind"] = _measure(test, blind.bundle, "without-frst", [(1, Stage.DETECTION)], bench)

    bench.reuse("full", "without-distillation", ("detector", "candidates"))
    untaught = bench.train(training, alone, "without-distillation")
    rows = [(4, Stage.DISCRIMINATION)]
    summaries["untaught"] = _measure(test, untaught.bundle, "without-distillation", rows, bench)
    _report(bench, summaries)


def _measure(
    test: Sequence[ScanEntry], bundle: ModelBundle, name: str, rows: Sequence[tuple[int, Stage]], bench: Bench
) -> Mapping[str, Any]:
    """Evaluate a bundle and write the rows of the paper's table, counted from 1, that it provides."""
    _, summary = bench.measure(test, PaperMethod(bundle, bench.compute), name)
    for number, stage in rows:
        step, paper = list(STEPS.items())[number - 1]
        bench.table.add(row_of(step, stage, summary, paper))
    return summary


def _report(bench: Bench, summaries: Mapping[str, Mapping[str, Any]]) -> None:
    full, teacher, blind, untaught = (summaries[name] for name in ("full", "teacher", "blind", "untaught"))
    students = {"student, distilled": full, "student, no distillation": untaught, "teacher": teacher}
    panels: Panels = {
        "A: candidate detection": curves_of({"with FRST": full, "without FRST": blind}, Stage.DETECTION),
        "B: candidate discrimination": curves_of(students, Stage.DISCRIMINATION),
    }
    write_experiment(bench.output / REPORT, "Ablation (the paper's table 1)", bench.table.ordered(), panels, NOTES)


def teacher_bundle(training: Sequence[ScanEntry], full: TrainedBundle, bench: Bench) -> ModelBundle:
    """Make a bundle that discriminates with the teacher's classifier arm and has thresholds of its own.

    Parameters
    ----------
    training : the scans that the bundle was trained and validated with
    """
    folder: Path = bench.output / "bundles" / "teacher"
    listener = bench.part("Choosing the teacher's thresholds")
    provisional = full.validated.bundle.description
    entries = [entry for entry in training if entry.subject in full.validation_subjects]

    def choose() -> ModelBundle:
        arm = classifier_arm(full.bundle.teacher(), provisional.width)
        networks = {"detector": full.bundle.detector(), "student": arm}
        described = replace(provisional, name=f"{provisional.name}-teacher", student_width=provisional.width)
        validated = validate(
            write_bundle(folder / "provisional", described, networks),
            entries,
            bench.compute,
            folder / "work",
            folder / "validation",
            bench.brain_extraction,
            bench.given_brain,
            lambda fraction: listener("validation", fraction, "validation subjects") if listener else None,
        )
        return write_bundle(folder / "bundle", validated.description, networks)

    return distributed.from_first(choose)


def classifier_arm(teacher: Teacher, width: int) -> Student:
    """Return the part of a teacher that classifies whole patches, as a network with a student's architecture."""
    arm = Student(width)
    arm.extractor.load_state_dict(teacher.extractor.state_dict())
    arm.classifier.load_state_dict(teacher.classifier.state_dict())
    return arm.eval()


NOTES = (
    "Thresholds were chosen on the validation subjects, at the knees of the FROC curves (of stage 1 at 0.3 at most), "
    "for rows (i), (iii) and (iv) on their own; rows (ii), (v) and (vi) are one method's.",
    "Rows (ii) to (vi) share one stage 1. All networks began with the same random weights and saw the same patches.",
    "The paper's numbers are of 24 UK Biobank subjects with 40 microbleeds (one microbleed is 0.025 of TPR), by the "
    "overlap rule; they were measured on other scans than these.",
)
