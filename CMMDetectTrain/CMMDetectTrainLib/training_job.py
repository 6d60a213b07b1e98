"""What the training worker is asked to do: the content of a job file, and the files beside it by which it is told."""

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
"""Added to the name of the bundle: see `work_folder`."""
JOB_FILE, COMPARISON_FILE, TRAINING_FILE = "job.json", "comparison.json", "training.json"
PAUSE, STOP, EPOCHS = ".cancel", ".stop", ".epochs"
"""Added to the name of the job file: files that pause it, end it with the best so far, keep its losses."""
TRAIN, ESTIMATE = "train", "estimate"
TASKS = (TRAIN, ESTIMATE)
FROM_BEGINNING_RATE, FINE_TUNING_RATE = 1e-3, 1e-4
"""First learning rates: the paper's, and that of a network which already knows its task."""


def work_folder(output: Path) -> Path:
    """Give the folder of a bundle's training: beside the bundle, since it is a thousand times as large."""
    output = output.resolve()
    return output.with_name(output.name + WORK_SUFFIX)


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What to train with which data, and where to write it.

    Attributes
    ----------
    dataset : folder; cases that are still to be checked are left out
    output : folder of the new bundle
    task : 'train', or 'estimate' to be told only how long it would take
    name : of the bundle; None for the folder's
    start : bundle to begin with, None begins with untrained networks
    old : bundle to compare with; None for the method that needs none
    modality : only these scans
    networks : which to train; None for all
    width, epochs, patience, batch, seed, patches_an_epoch, patch_size : as of `TrainingPlan` and `Schedule`
    factor : how often stage 1 sees each patch with a microbleed in an epoch
    validation_share, test_share : of the subjects: by which thresholds are chosen, and on which old and new bundle
        are compared
    inserted : simulated microbleeds to put into each training scan
    field_t : field strength that they are simulated for
    device, precision, brain_extraction, brain_masks : as on the command line
    keep_work : leave the working files of a finished training
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
        """Whether there is nothing left to do: the working files go when all is done."""
        return not (self.work / JOB_FILE).exists()

    def plan(self, validation_subjects: tuple[str, ...]) -> TrainingPlan:
        """Give the plan of the training."""
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
    """Write a job where the worker looks for it, in the folder of its working files, and take back earlier wishes.

    Parameters
    ----------
    path : another place for the file

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
        If the file cannot be read, holds other fields or impossible values.
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
    """Give the file by which a running worker is told to pause or to stop.

    >>> beside(Path("job.json"), PAUSE).name
    'job.json.cancel'
    """
    return path.with_name(path.name + wish)


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """Give the epochs that the worker has told of a job; of one that was trained twice the later telling."""
    try:
        lines = beside(path, EPOCHS).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    told: dict[tuple[str, int], dict[str, Any]] = {}
    for line in lines:
        try:
            epoch = json.loads(line)
            told[epoch["network"], epoch["epoch"]] = epoch
        except (ValueError, KeyError, TypeError):
            # the last line of a process that was killed
            continue
    return list(told.values())


def unfinished_jobs(models: Path) -> list[TrainingJob]:
    """List the trainings in a folder of bundles that were paused or interrupted; damaged ones are left out."""
    jobs = []
    for path in sorted(models.glob(f"*{WORK_SUFFIX}/{JOB_FILE}")):
        try:
            jobs.append(read_job(path))
        except InputError:
            continue
    return jobs


def read_comparison(bundle: Path) -> dict[str, Any] | None:
    """Read what a bundle's comparison with an older one showed; None if it never was compared."""
    return _read_record(bundle / COMPARISON_FILE)


def read_training(bundle: Path) -> dict[str, Any] | None:
    """Read how a bundle was trained, and from whom; None if it does not tell."""
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
    # networks that begin with those of a bundle have its width
    if job.start is None and job.width % 2:
        return "width must be even: the last layer of the student has half as many nodes"
    if job.inserted < 0:
        return "inserted must not be negative"
    if not (0 < job.validation_share < 1 and 0 <= job.test_share < 1):
        return "validation_share and test_share must lie between 0 and 1"
    return None
