"""Everything, beside the data, that decides what a trained bundle becomes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from CMMDetectLib.bundle import ModelBundle
from CMMDetectLib.channels import CHANNELS
from CMMDetectLib.network_grid import SCANS_OWN, NetworkVoxel

from .augmentation import Augmentation
from .patches import DETECTOR_PATCH_VOX
from .training import MAY_CHANGE, Schedule

NETWORKS = ("detector", "teacher", "student")
SMALL_PATCHES = Augmentation(factor=5, translation_vox=3)
"""Of the 24^3 patches of teacher and student."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How a bundle is trained.

    Attributes
    ----------
    name : of the bundle
    width : filters at full resolution; of ``start`` if there is one
    student_width : of the student, which begins anew if that of ``start`` has another; None for that one's, or
        ``width``
    start : bundle to fine-tune, None trains from the beginning
    networks : which to train; the others are taken from ``start``
    schedule : of all three networks
    epochs, decay_epochs, batch, warm_up, learning_rate : of detector, teacher and student, instead of the schedule's
    pixel_mm, slice_mm : voxel size of the networks' grid; None for that of ``start``, if there is one, and else for
        each scan's own, as in the paper
    patch_size : pixels across stage 1's patches
    augmentation : of stage 1's patches
    patch_augmentation : of the smaller patches of teacher and student
    validation_share : of the subjects
    validation_subjects : instead of a share; () draws them
    simulated_patches : simulated besides the data set's scans
    patches_an_epoch : at most; None for all
    th_candidates : threshold of the candidates that the student learns from, and lowest Th_Cdet that can be chosen
    distill : whether the student learns from the teacher
    channels : those of `channels.CHANNELS` that the networks look at (table 1 asks what each brings)
    brain_extraction, given_brain : as of `evaluation.evaluate_dataset`
    processes : simulate patches
    """

    name: str
    width: int = 16
    student_width: int | None = None
    start: Path | None = None
    networks: tuple[str, ...] = NETWORKS
    schedule: Schedule = field(default_factory=Schedule)
    epochs: tuple[int, int, int] | None = None
    decay_epochs: tuple[int, int, int] | None = None
    batch: tuple[int, int, int] | None = None
    warm_up: tuple[int, int, int] | None = None
    learning_rate: tuple[float, float, float] | None = None
    pixel_mm: float | None = None
    slice_mm: float | None = None
    patch_size: int = DETECTOR_PATCH_VOX
    augmentation: Augmentation = field(default_factory=Augmentation)
    patch_augmentation: Augmentation = SMALL_PATCHES
    validation_share: float = 0.2
    validation_subjects: tuple[str, ...] = ()
    simulated_patches: int = 0
    patches_an_epoch: int | None = None
    th_candidates: float = 0.1
    distill: bool = True
    channels: tuple[str, ...] = CHANNELS
    brain_extraction: str = "bet"
    given_brain: bool = False
    processes: int = 1

    @property
    def seed(self) -> int:
        """Seed of everything that is random."""
        return self.schedule.seed

    def schedule_of(self, network: str) -> Schedule:
        """Give the schedule of one network."""
        own = {name: getattr(self, name) for name in ("epochs", "decay_epochs", "batch", "warm_up", "learning_rate")}
        place = NETWORKS.index(network)
        return replace(self.schedule, **{name: values[place] for name, values in own.items() if values is not None})

    def voxel_after(self, start: ModelBundle | None) -> NetworkVoxel:
        """Give the voxel size of the networks' grid, which is that of the bundle to start from unless it is said."""
        known = start.description.voxel if start else SCANS_OWN
        return NetworkVoxel(self.pixel_mm or known.pixel_mm, self.slice_mm or known.slice_mm)

    @property
    def needs_teacher(self) -> bool:
        """Whether something is learnt by or from the teacher."""
        return "teacher" in self.networks or (self.distill and "student" in self.networks)


def plan_as_json(plan: TrainingPlan, start: ModelBundle | None) -> dict[str, Any]:
    """Give what two trainings must agree in for one to go on from the other; ``start`` is the plan's."""
    content = asdict(plan)
    content["start"] = None if start is None else dict(start.sha256)
    del content["processes"], content["epochs"]
    for name in MAY_CHANGE:
        del content["schedule"][name]
    return json.loads(json.dumps(content))


def different_parts(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Name the parts in which two plans differ, as `plan_as_json` gives them.

    >>> different_parts({"width": 8, "schedule": {"seed": 0, "decay": 1}}, {"width": 8, "schedule": {"seed": 1}})
    ['seed', 'decay']
    """
    names = []
    for name in dict.fromkeys([*one, *other]):
        first, second = one.get(name), other.get(name)
        if isinstance(first, dict) and isinstance(second, dict):
            names += different_parts(first, second)
        elif first != second:
            names.append(name)
    return names
