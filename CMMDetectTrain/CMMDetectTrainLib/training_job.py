"""Job file of the training worker, and the files beside it that pause or stop the training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CMMDetectLib.candidates import write_json
from CMMDetectLib.errors import InputError
from CMMDetectLib.results import prepare_folder

if TYPE_CHECKING:
    from .training_plan import TrainingPlan

WORK_SUFFIX = ".training"
"""Suffix of the folder of working files, see `work_folder`."""
JOB_FILE, COMPARISON_FILE, TRAINING_FILE = "job.json", "comparison.json", "training.json"
PAUSE, STOP, EPOCHS = ".cancel", ".stop", ".epochs"
"""Suffixes of the files beside the job file: to pause it, to end it with the best weights so far, and its losses."""
TRAIN, ESTIMATE = "train", "estimate"
TASKS = (TRAIN, ESTIMATE)
FROM_BEGINNING_RATE, FINE_TUNING_RATE = 1e-3, 1e-4
"""Initial learning rates: as in the paper, and for networks that are already trained."""


def work_folder(output: Path) -> Path:
    """Return the folder of working files: beside the bundle, since it is a thousand times as large."""
    output = output.resolve()
    return output.with_name(output.name + WORK_SUFFIX)


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What to train with which data, and where to write it.

    Attributes
    ----------
    dataset : folder of the data set; cases that are still to be checked are left out
    output : folder of the new bundle
    task : 'train', or 'estimate' to only estimate the duration
    name : name of the bundle, None for that of its folder
    start : bundle to fine-tune, None to train from random weights
    old : bundle to compare with, None for the classical method
    modality : use only scans of this modality, None for all
    networks : networks to train, None for all
    width, epochs, patience, batch, seed, patches_an_epoch, patch_size : as in `TrainingPlan` and `Schedule`
    factor : how often stage 1 sees each patch with a microbleed in an epoch
    validation_share : share of the subjects on which thresholds are chosen
    test_share : share of the subjects on which old and new bundle are compared
    inserted : number of simulated microbleeds to insert into each training scan
    field_t : field strength for which they are simulated, in tesla
    device, precision, brain_extraction, brain_masks : as on the command line
    keep_work : keep the working files of a finished training
    """

    dataset: str
    output: str
    task: str = TRAIN
    name: str | None = None
    start: str | None = None
    old: str | None = None
    modality: str | None = None
    networks: tuple[str, ...] | None = None
    width: int = 16
    epochs: int = 100
    patience: int = 20
    batch: int = 8
    seed: int = 0
    patches_an_epoch: int | None = None
    patch_size: int = 48
    factor: int = 10
    validation_share: float = 0.2
    test_share: float = 0.2
    inserted: int = 0
    field_t: float = 3.0
    device: str = "auto"
    precision: str = "auto"
    brain_extraction: str = "bet"
    brain_masks: bool = False
    keep_work: bool = False

    @property
    def work(self) -> Path:
        """Folder of checkpoints and prepared scans."""
        return work_folder(Path(self.output))

    @property
    def finished(self) -> bool:
        """Whether the training is complete: its working files are then deleted."""
        return not (self.work / JOB_FILE).exists()

    def plan(self, validation_subjects: tuple[str, ...]) -> TrainingPlan:
        """Return the plan of the training."""
        from .augmentation import Augmentation
        from .training import Schedule
        from .training_plan import NETWORKS, TrainingPlan

        rate = FINE_TUNING_RATE if self.start else FROM_BEGINNING_RATE
        return TrainingPlan(
            name=self.name or Path(self.output).name,
            width=self.width,
            start=Path(self.start) if self.start else None,
            networks=self.networks or NETWORKS,
            schedule=Schedule(
                epochs=self.epochs, patience=self.patience, batch=self.batch, learning_rate=rate, seed=self.seed
            ),
            patch_size=self.patch_size,
            augmentation=Augmentation(factor=self.factor),
            validation_subjects=validation_subjects,
            patches_an_epoch=self.patches_an_epoch,
            brain_extraction=self.brain_extraction,
            given_brain=self.brain_masks,
        )


def write_job(job: TrainingJob, path: Path | None = None) -> Path:
    """Write the job file, and remove earlier requests to pause or stop.

    Parameters
    ----------
    path : where to write it; None for the folder of working files

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    path = path or job.work / JOB_FILE
    prepare_folder(path.parent)
    for wish in (PAUSE, STOP):
        beside(path, wish).unlink(missing_ok=True)
    write_json(path, asdict(job))
    return path


def read_job(path: Path) -> TrainingJob:
    """Read a job from a JSON object with the fields of `TrainingJob`.

    Raises
    ------
    InputError
        If the file cannot be read, or has other fields or invalid values.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("networks") is not None:
            content["networks"] = tuple(content["networks"])
        job = TrainingJob(**content)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a training job ({error})") from None
    if problem := _problem_of(job):
        raise InputError(f"{path}: {problem}")
    return job


def beside(path: Path, wish: str) -> Path:
    """Return the file with a suffix beside a job file, such as the one that pauses a running worker.

    >>> beside(Path("job.json"), PAUSE).name
    'job.json.cancel'
    """
    return path.with_name(path.name + wish)


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """Return the epochs that the worker has written; of an epoch that was trained twice, the later one."""
    try:
        lines = beside(path, EPOCHS).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    epochs: dict[tuple[str, int], dict[str, Any]] = {}
    for line in lines:
        try:
            epoch = json.loads(line)
            epochs[epoch["network"], epoch["epoch"]] = epoch
        except (ValueError, KeyError, TypeError):
            # the incomplete last line of a process that was killed
            continue
    return list(epochs.values())


def unfinished_jobs(models: Path) -> list[TrainingJob]:
    """List the paused or interrupted trainings in a folder of bundles; damaged job files are left out."""
    jobs = []
    for path in sorted(models.glob(f"*{WORK_SUFFIX}/{JOB_FILE}")):
        try:
            jobs.append(read_job(path))
        except InputError:
            continue
    return jobs


def read_comparison(bundle: Path) -> dict[str, Any] | None:
    """Read the comparison of a bundle with an older one; None if there is none."""
    return _read_record(bundle / COMPARISON_FILE)


def read_training(bundle: Path) -> dict[str, Any] | None:
    """Read how and on which subjects a bundle was trained; None if it has no such record."""
    return _read_record(bundle / TRAINING_FILE)


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _problem_of(job: TrainingJob) -> str | None:
    if job.task not in TASKS:
        return f"unknown task '{job.task}': choose {' or '.join(TASKS)}"
    for name in ("width", "epochs", "patience", "batch", "factor", "patch_size"):
        if not getattr(job, name) >= 1:
            return f"{name} must be at least 1"
    # fine-tuned networks have the width of their bundle
    if job.start is None and job.width % 2:
        return "width must be even: the last layer of the student has half as many nodes"
    if job.inserted < 0:
        return "inserted must not be negative"
    if not (0 < job.validation_share < 1 and 0 <= job.test_share < 1):
        return "validation_share and test_share must lie between 0 and 1"
    return None
