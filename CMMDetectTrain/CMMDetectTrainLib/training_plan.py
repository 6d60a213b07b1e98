"""The settings of a training: everything but the data that its result depends on."""

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
"""Augmentation of the 24^3 patches of teacher and student."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How a bundle is trained.

    Attributes
    ----------
    name : name of the bundle
    width : filters at full resolution; ignored if there is a ``start``, which has its own
    student_width : width of the student, which is initialized anew if that of ``start`` has another; None for the
        width in ``start``, or ``width``
    start : bundle to fine-tune, None to train from random weights
    networks : networks to train; the others are taken from ``start``
    schedule : schedule of all three networks
    epochs, decay_epochs, batch, warm_up, learning_rate : values of detector, teacher and student that replace those of
        the schedule
    pixel_mm, slice_mm : voxel size of the networks' grid; None for that of ``start``, or without it for that of each
        scan, as in the paper
    patch_size : edge length of stage 1's patches, voxels
    augmentation : augmentation of stage 1's patches
    patch_augmentation : augmentation of the smaller patches of teacher and student
    validation_share : share of the subjects for validation
    validation_subjects : given instead of a share; if empty, they are drawn
    simulated_patches : number of patches to simulate in addition to the scans of the data set
    patches_an_epoch : largest number of patches in an epoch, None for all
    th_candidates : threshold of the candidates that the student is trained on, and lowest Th_Cdet that can be chosen
    distill : whether the student learns from the teacher
    channels : the members of `channels.CHANNELS` that the networks use (table 1 measures what each contributes)
    brain_extraction, given_brain : as in `evaluation.evaluate_dataset`
    processes : number of processes that simulate patches
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
        """Seed of all random numbers."""
        return self.schedule.seed

    def schedule_of(self, network: str) -> Schedule:
        """Return the schedule of one network."""
        own = {name: getattr(self, name) for name in ("epochs", "decay_epochs", "batch", "warm_up", "learning_rate")}
        place = NETWORKS.index(network)
        return replace(self.schedule, **{name: values[place] for name, values in own.items() if values is not None})

    def voxel_after(self, start: ModelBundle | None) -> NetworkVoxel:
        """Return the voxel size of the networks' grid; where the plan has none, that of the bundle to start from."""
        known = start.description.voxel if start else SCANS_OWN
        return NetworkVoxel(self.pixel_mm or known.pixel_mm, self.slice_mm or known.slice_mm)

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher is trained, or the student learns from it."""
        return "teacher" in self.networks or (self.distill and "student" in self.networks)


def plan_as_json(plan: TrainingPlan, start: ModelBundle | None) -> dict[str, Any]:
    """Return what a training must have in common with an interrupted one to resume it; ``start`` is the plan's."""
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
