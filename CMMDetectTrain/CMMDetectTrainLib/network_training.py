"""Training of the three networks of a bundle in turn: stage 1, teacher, student (2.2, 2.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import manual_seed, nn

from CMMDetectLib.bundle import ModelBundle, weights_name
from CMMDetectLib.channels import CHANNELS
from CMMDetectLib.devices import Compute
from CMMDetectLib.errors import InputError
from CMMDetectLib.networks import CandidateDetector, Student, Teacher
from CMMDetectLib.progress import Progress

from . import distributed
from .distillation import candidate_places, student_task
from .patches import CLASSIFIER_PATCH_VOX, Place, Sampling, SplitPlaces
from .splits import SplitCases, split_grid
from .tasks import detector_task, restrict_channels, start_from_detector, teacher_task
from .training import EpochRecord, Task, Watch, fit
from .training_estimate import TimeLeft
from .training_plan import NETWORKS, TrainingPlan

Network = TypeVar("Network", CandidateDetector, Teacher, Student)
Reported = Callable[[str, EpochRecord], None]
Noted = Callable[[str], None]
"""Called with a line about what is going to be trained."""


class NetworkTraining:
    """Train the networks that a plan names, and take the others from the bundle to start from.

    Attributes
    ----------
    curves : loss curve of each network that has been trained
    validation_candidates : candidates of stage 1 in the validation subjects, if the student is trained

    Raises
    ------
    InputError
        If a network is neither to be trained nor in that bundle.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        start: ModelBundle | None,
        compute: Compute,
        work: Path,
        progress: Progress,
        reported: Reported,
        should_stop: Callable[[], bool],
        noted: Noted = lambda _: None,
    ) -> None:
        self.plan, self.start, self.compute, self.work = plan, start, compute, work
        self.progress, self.reported, self.should_stop, self.noted = progress, reported, should_stop, noted
        self.width, self.student_width = _widths(plan, start)
        self.voxel = plan.voxel_after(start)
        self.small_shape = self.voxel.patch_shape(CLASSIFIER_PATCH_VOX)
        self.curves: dict[str, list[EpochRecord]] = {}
        self.validation_candidates: Sequence[Place] = []
        self._check_sources()

    def _check_sources(self) -> None:
        needed = [name for name in NETWORKS if name != "teacher" or self.plan.needs_teacher]
        missing = [name for name in needed if name not in self.plan.networks and not self._has(name)]
        if missing:
            raise InputError(
                f"the {missing[0]} is not to be trained, so it must come from a bundle that has one: give --from"
            )

    def run(self, split: SplitCases) -> dict[str, nn.Module]:
        """Train, and return all networks of the bundle by name."""
        plan = self.plan
        large = Sampling(plan.augmentation, plan.seed, plan.patches_an_epoch)
        small = Sampling(plan.patch_augmentation, plan.seed, plan.patches_an_epoch)
        detector = self._network("detector", CandidateDetector)
        if "detector" in plan.networks:
            self._fit(detector_task(detector, split_grid(split, self.voxel.patch_shape(plan.patch_size)), large))
        teacher = self._network("teacher", Teacher, detector) if plan.needs_teacher or self._has("teacher") else None
        if teacher is not None and "teacher" in plan.networks:
            self._fit(teacher_task(teacher, split_grid(split, self.small_shape), small))
        student = self._network("student", Student, detector)
        if "student" in plan.networks:
            places = self._candidates(detector, split)
            self.validation_candidates = places.validation
            self._fit(student_task(student, teacher if plan.distill else None, places, small, self.compute))
        return {"detector": detector, "student": student, **({"teacher": teacher} if teacher else {})}

    def _has(self, name: str) -> bool:
        """Whether a network comes from the bundle to start from; a student of another width is initialized anew."""
        if self.start is None or weights_name(name) not in self.start.sha256:
            return False
        return name != "student" or self.student_width == self.start.description.width_of_student

    def _network(
        self, name: str, kind: Callable[[int], Network], detector: CandidateDetector | None = None
    ) -> Network:
        """Take a network from the bundle to start from, or initialize it, partly with the weights of stage 1."""
        if self._has(name):
            network = getattr(self.start, name)()
        else:
            manual_seed(int(np.random.SeedSequence([self.plan.seed, NETWORKS.index(name)]).generate_state(1)[0]))
            network = kind(self.student_width if name == "student" else self.width)
            if detector is not None and not isinstance(network, CandidateDetector):
                start_from_detector(network, detector)
        if set(self.plan.channels) != set(CHANNELS):
            restrict_channels(network, self.plan.channels)
        return network

    def _candidates(self, detector: CandidateDetector, split: SplitCases) -> SplitPlaces:
        cases, folder = [*split.training, *split.validation], self.work / "candidates"
        threshold = self.plan.th_candidates
        with self.progress.step("candidates") as tick:
            found = distributed.from_first(
                lambda: candidate_places(detector, cases, self.small_shape, threshold, self.compute, folder, tick)
            )
        validating = {case.subject for case in split.validation}
        places = SplitPlaces(
            [place for place in found if place.case.subject not in validating],
            [place for place in found if place.case.subject in validating],
        )
        for kind, part in (("training", places.training), ("validation", places.validation)):
            if not any(place.positive for place in part):
                raise InputError(
                    f"stage 1 finds no microbleed of the {kind} subjects, so the student cannot be trained: "
                    "train stage 1 longer or with more scans"
                )
        return places

    def _fit(self, task: Task) -> None:
        schedule = self.plan.schedule_of(task.name)
        left = TimeLeft({}, schedule.epochs)

        def progressed(fraction: float, epoch: str) -> None:
            minutes = math.ceil(left.seconds() / 60)
            tick(fraction, f"{epoch}, at most {minutes} min more" if minutes else epoch)

        def finished(record: EpochRecord) -> None:
            left.finished(task.name, record)
            self.reported(task.name, record)

        drawn, validating = len(task.draw(0)), len(task.validation)  # type: ignore[arg-type]
        self.noted(f"{task.name}: {drawn} patches an epoch, {validating} to validate with")
        with self.progress.step(task.name) as tick:
            watch = Watch(progressed, finished, self.should_stop)
            self.curves[task.name] = fit(task, schedule, self.compute, self.work / task.name, watch)


def _widths(plan: TrainingPlan, start: ModelBundle | None) -> tuple[int, int]:
    """Return the number of filters at full resolution: of detector and teacher, and of the student."""
    described = start.description if start else plan
    return described.width, plan.student_width or described.student_width or described.width
