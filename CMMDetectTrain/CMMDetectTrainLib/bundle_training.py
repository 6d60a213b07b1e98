"""Train a model bundle from a data set with known microbleeds: three networks, then thresholds and cut-offs."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from torch import nn

from CMMDetectLib.bundle import BundleDescription, ModelBundle, read_bundle, write_bundle
from CMMDetectLib.candidates import write_json
from CMMDetectLib.devices import Compute
from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.networks import Student
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectLib.progress import Listener, Progress, Tick
from CMMDetectLib.results import prepare_folder
from CMMDetectLib.scan import guess_modality, read_mask, read_scan
from CMMDetectLib.wording import counted

from . import distributed
from .cases import Case, case_of_scan
from .evaluation_set import ScanEntry, has_microbleeds
from .json_file import read_object
from .network_training import NetworkTraining, Noted, Reported
from .report_page import ReportFigure
from .seen_scans import to_record
from .simulated_cases import simulated_cases
from .splits import SplitCases, check_microbleeds, check_subjects, check_twins, check_validating, split_cases
from .training import EpochRecord, fingerprint
from .training_figures import feature_figure, loss_figure
from .training_job import TRAINING_FILE, work_folder
from .training_plan import NETWORKS, TrainingPlan, different_parts, plan_as_json
from .validation import Validated, validate

__all__ = ["NETWORKS", "TrainedBundle", "TrainingPlan", "train_bundle"]
STEPS = {
    "reading": ("Reading the scans", 1.0),
    "cases": ("Preparing scans", 8.0),
    "simulation": ("Simulating patches", 8.0),
    "detector": ("Training stage 1", 45.0),
    "teacher": ("Training the teacher", 20.0),
    "candidates": ("Finding the candidates of stage 1", 4.0),
    "student": ("Training the student", 8.0),
    "validation": ("Choosing thresholds on the validation subjects", 7.0),
}


@dataclass(frozen=True)
class TrainedBundle:
    """Result of a training.

    Attributes
    ----------
    bundle : with thresholds, cut-offs and the metrics of the validation subjects
    curves : loss curves by network
    validated : evaluation by which thresholds and cut-offs were chosen
    validation_subjects : subjects that the networks were not trained on
    """

    bundle: ModelBundle
    curves: dict[str, list[EpochRecord]]
    validated: Validated
    validation_subjects: list[str]


def train_bundle(
    entries: Sequence[ScanEntry],
    plan: TrainingPlan,
    output: Path,
    compute: Compute,
    listener: Listener | None = None,
    reported: Reported = lambda *_: None,
    noted: Noted = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedBundle:
    """Train a bundle; an interrupted training of the same plan is resumed.

    Prepared scans, simulated patches and checkpoints are kept in `work_folder`, which may be deleted afterwards. The
    bundle is moved into place when it is complete.

    Parameters
    ----------
    listener : called with the progress; it may raise `CancelledError`, and nothing is lost
    reported : called after each epoch of each network
    noted : called with lines about what is going to be trained, with which data and on which device
    should_stop : returns True to end the network's training with the best weights so far

    Raises
    ------
    InputError
        If the data are unusable or too few, or a folder holds something else.
    OutputError
        If something cannot be written.
    """
    return _Run(entries, plan, output, compute, Progress(listener, STEPS)).train(reported, should_stop, noted)


def check_scans(entries: Sequence[ScanEntry], plan: TrainingPlan, tick: Tick = lambda _: None) -> None:
    """Check that all scans can be used, that there are microbleeds to train and validate with, and no twins.

    This is called before the long preparation, and before the working folder is created: a folder that was created for
    refused scans could not be used for others.

    Raises
    ------
    InputError
        If a scan, its labels or its brain mask cannot be used, there are no such microbleeds, or a scan occurs under
        the names of two subjects.
    """
    bearing = set()
    for number, entry in enumerate(entries, 1):
        if has_microbleeds(entry):
            bearing.add(entry.subject)
        if plan.given_brain and entry.brain:
            read_mask(entry.brain, read_scan(entry.scan, entry.modality))
        tick(number / len(entries))
    # simulated patches bring microbleeds of their own
    if not plan.simulated_patches or not plan.validation_subjects:
        check_microbleeds(bearing, plan.validation_subjects, "student" in plan.networks)
    check_twins(entries)


class _Run:
    def __init__(
        self, entries: Sequence[ScanEntry], plan: TrainingPlan, output: Path, compute: Compute, progress: Progress
    ) -> None:
        self.entries, self.plan, self.output, self.compute, self.progress = entries, plan, output, compute, progress
        self.start = read_bundle(plan.start) if plan.start else None
        self.work = work_folder(output)
        self.voxel = plan.voxel_after(self.start)

    def train(self, reported: Reported, should_stop: Callable[[], bool], noted: Noted) -> TrainedBundle:
        plan = self.plan
        followed = self.progress, reported, should_stop, noted
        training = NetworkTraining(plan, self.start, self.compute, self.work, *followed)
        subjects = {entry.subject for entry in self.entries}
        check_subjects(len(subjects))
        check_validating(plan.validation_subjects, subjects)
        distributed.from_first(self._claim)
        scans, simulated = self._scan_cases(), self._simulated_cases()
        split = split_cases(scans, simulated, plan.validation_share, plan.seed, plan.validation_subjects)
        self._note(split, scans, training)
        networks = training.run(split)
        description = self._describe(split, scans, training)
        with self.progress.step("validation") as tick:
            return distributed.from_first(lambda: self._finish(description, networks, training, split, tick))

    def _claim(self) -> None:
        """Record the plan and scans in the work folder, or compare them with those recorded there."""
        path, plan = self.work / "plan.json", plan_as_json(self.plan, self.start)
        # the user chose the modality of a scan whose name does not tell it, perhaps another one before
        plan["scans"] = [
            entry.name if guess_modality(entry.name) else f"{entry.name} ({entry.modality})" for entry in self.entries
        ]
        if not path.exists():
            if self.output.exists() and (not self.output.is_dir() or any(self.output.iterdir())):
                raise InputError(f"{self.output}: exists already; choose another -o")
            with self.progress.step("reading") as tick:
                check_scans(self.entries, self.plan, tick)
            prepare_folder(self.work)
            write_json(path, plan)
            return
        begun = read_object(path, f"delete {self.work} to train again from the start")
        if begun != plan:
            raise InputError(
                f"{self.work}: holds the training of another plan or other scans (not the same: "
                f"{', '.join(different_parts(begun, plan))}); discard it, or choose another name"
            )

    def _scan_cases(self) -> list[Case]:
        def prepare_all() -> list[Case]:
            cases, shelves, plan = [], self.work / "cases", self.plan
            for number, entry in enumerate(self.entries, 1):
                cases.append(case_of_scan(entry, shelves, plan.brain_extraction, plan.given_brain, self.voxel))
                tick(number / len(self.entries))
            return cases

        with self.progress.step("cases") as tick:
            return distributed.from_first(prepare_all)

    def _simulated_cases(self) -> list[Case]:
        plan, shelves = self.plan, self.work / "cases"
        if not plan.simulated_patches:
            return []
        modalities = tuple(sorted({entry.modality for entry in self.entries}))
        ordered = (plan.simulated_patches, modalities, plan.seed, plan.processes)
        with self.progress.step("simulation") as tick:
            return distributed.from_first(lambda: simulated_cases(shelves, *ordered, voxel=self.voxel, tick=tick))

    def _note(self, split: SplitCases, scans: Sequence[Case], training: NetworkTraining) -> None:
        """Say what was read and what is trained, before the first epoch, which may take long."""
        validating = [case for case in scans if case.subject in split.subjects]
        training.noted(f"Training: {_learnt_from(split, scans)}. Validation: {_numbers_of(validating)}")
        other = f", of the student {training.student_width}" if training.student_width != training.width else ""
        device = ", ".join(self.compute.describe().values())
        training.noted(f"Networks: {', '.join(self.plan.networks)}; width {training.width}{other}; on {device}")

    def _describe(self, split: SplitCases, scans: Sequence[Case], training: NetworkTraining) -> BundleDescription:
        text = _learnt_from(split, scans)
        if self.start:
            text += f"; fine-tuned from {self.start.description.name} {self.start.description.version}"
        return BundleDescription(
            name=self.plan.name,
            version="1",
            created=datetime.datetime.now(datetime.UTC).date().isoformat(),
            license="Apache-2.0",
            width=training.width,
            student_width=training.student_width,
            modality=tuple(sorted({case.modality for case in split.training})),
            trained_on=text,
            th_detection=self.plan.th_candidates,
            th_discrimination=0.0,
            cutoffs=CutOffs(),
            pixel_mm=self.voxel.pixel_mm,
            slice_mm=self.voxel.slice_mm,
        )

    def _finish(
        self,
        description: BundleDescription,
        networks: dict[str, nn.Module],
        training: NetworkTraining,
        split: SplitCases,
        tick: Callable[[float], None],
    ) -> TrainedBundle:
        """Choose thresholds and cut-offs, write the bundle with its report, and move it into place."""
        finished = self.work / "finished"
        weights = "-".join(fingerprint(networks[name]) for name in ("detector", "student"))
        validated = validate(
            write_bundle(self.work / "bundle", description, networks),
            [entry for entry in self.entries if entry.subject in split.subjects],
            self.compute,
            self.work / f"validation-{weights}",
            finished / "validation",
            self.plan.brain_extraction,
            self.plan.given_brain,
            tick,
            self._figures(training, networks["student"]),
        )
        bundle = write_bundle(finished, validated.description, networks)
        record = {
            "plan": plan_as_json(self.plan, self.start),
            "training_subjects": sorted({entry.subject for entry in self.entries} - set(split.subjects)),
            "validation_subjects": split.subjects,
            "scans": to_record(self.entries, self.plan.start),
            "curves": {name: [asdict(point) for point in curve] for name, curve in training.curves.items()},
        }
        write_json(finished / TRAINING_FILE, record)
        _put_in_place(finished, self.output, self.work / "replaced")
        return TrainedBundle(replace(bundle, folder=self.output), training.curves, validated, split.subjects)

    def _figures(self, training: NetworkTraining, student: nn.Module) -> list[ReportFigure]:
        if not training.curves:
            return []
        features = feature_figure(cast(Student, student), training.validation_candidates, self.plan.seed)
        return [loss_figure(training.curves), *([features] if features else [])]


def _learnt_from(split: SplitCases, scans: Sequence[Case]) -> str:
    """Say how many scans, microbleeds and simulated patches the networks learn from."""
    learnt = [case for case in scans if case.subject not in split.subjects]
    simulated = len(split.training) - len(learnt)
    return _numbers_of(learnt) + (f"; {simulated} simulated patches" if simulated else "")


def _numbers_of(cases: Sequence[Case]) -> str:
    """Say of how many subjects, and with how many microbleeds, the scans are."""
    # labels below 1 are background or microbleeds that are not visible
    lesions = sum(int((np.unique(case.labels) > 0).sum()) for case in cases)
    of_subjects = f"{counted(len(cases), 'scan')} of {counted(len({case.subject for case in cases}), 'subject')}"
    return f"{of_subjects} with {counted(lesions, 'microbleed')}"


def _put_in_place(finished: Path, output: Path, replaced: Path) -> None:
    """Move a complete bundle to its place; one from an earlier end of the same training is put aside."""
    try:
        if output.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            output.rename(replaced)
        finished.rename(output)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror}); the bundle is in {finished}") from None
