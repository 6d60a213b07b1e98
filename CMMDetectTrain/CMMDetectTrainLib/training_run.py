"""A whole training: from a data set to a new bundle and its comparison with the old one."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CMMDetectLib.bundle import read_bundle
from CMMDetectLib.candidates import write_json
from CMMDetectLib.classical_method import ClassicalMethod
from CMMDetectLib.devices import choose_compute
from CMMDetectLib.methods import Method
from CMMDetectLib.paper_method import PaperMethod
from CMMDetectLib.progress import Listener, Progress, Tick
from CMMDetectLib.results import prepare_folder
from CMMDetectLib.scan import read_scan

from .case_list import checked_scans
from .comparison import Comparison, compare_records
from .evaluation_set import ScanEntry, read_lesions
from .inserted_scans import insert_into_scans
from .machine import check_machine, disk_needed, memory_needed
from .metrics import ScanRecord
from .roles import Roles, assign_roles
from .training_job import COMPARISON_FILE, TrainingJob, read_comparison, read_training

if TYPE_CHECKING:
    from CMMDetectLib.devices import Compute

    from .training import EpochRecord
    from .training_estimate import Estimate

STEPS = {
    "reading": ("Reading the cases", 2.0),
    "timing": ("Timing a few steps", 1.0),
    "insertion": ("Putting simulated microbleeds into the training scans", 5.0),
    "training": ("Training", 82.0),
    "comparison": ("Comparing with the old model on subjects that were held back", 10.0),
}
CLASSICAL = "the classical method"
Noted = Callable[[str], None]
Reported = Callable[[str, "EpochRecord", float], None]
"""Called with (network, its epoch, upper limit of the seconds left)."""


@dataclass(frozen=True)
class Prepared:
    """The scans by role, and their numbers and sizes."""

    entries: dict[str, list[ScanEntry]]
    roles: Roles
    voxels: dict[str, int]
    largest_vox: int
    training_microbleeds: int
    without_microbleeds: int


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training.

    Attributes
    ----------
    bundle : folder of the new bundle
    comparison : None if there were too few subjects to hold any back
    """

    bundle: Path
    comparison: Comparison | None


def estimate_job(job: TrainingJob, listener: Listener | None = None) -> tuple[Estimate, Prepared]:
    """Estimate how long a training would take, after checking its data and the memory and disk space of the machine.

    Raises
    ------
    InputError
        If the data cannot be used or are too few, or memory or disk are.
    OutputError
        If the folder of the bundle cannot be written.
    """
    return _estimate(job, Progress(listener, STEPS))


def run_training(
    job: TrainingJob,
    listener: Listener | None = None,
    reported: Reported = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
    noted: Noted = lambda _: None,
) -> TrainingResult:
    """Train a bundle and compare it with the old one; an interrupted run of the same job is resumed.

    Parameters
    ----------
    listener : called with the progress; if it raises `CancelledError`, the training can be resumed later
    reported : called with each finished epoch
    should_stop : returns True to end the training with the best weights so far
    noted : called with lines about what is going to be trained

    Raises
    ------
    InputError
        If the data cannot be used or are too few, or memory or disk are.
    OutputError
        If something cannot be written.
    """
    from .bundle_training import train_bundle
    from .training_estimate import TimeLeft

    progress = Progress(listener, STEPS)
    estimate, prepared = _estimate(job, progress)
    left = TimeLeft(estimate.epoch_seconds, job.epochs)
    compute, output = choose_compute(job.device, job.precision), Path(job.output)
    entries = [*_with_inserted(job, prepared, progress), *prepared.entries["validation"]]

    def tell(network: str, record: EpochRecord) -> None:
        left.finished(network, record)
        reported(network, record, left.seconds())

    with progress.step("training"):
        plan = job.plan(prepared.roles.validation)
        train_bundle(entries, plan, output, compute, _part(listener, "training"), tell, noted, should_stop)
    comparison = None
    if prepared.entries["test"]:
        with progress.step("comparison") as tick:
            comparison = _compare(job, prepared.entries["test"], compute, tick)
            held_back = {**comparison.as_json(), "test_subjects": prepared.roles.test}
            write_json(output / COMPARISON_FILE, held_back)
    if not job.keep_work:
        shutil.rmtree(job.work, ignore_errors=True)
    return TrainingResult(output, comparison)


def prepare_cases(job: TrainingJob, tick: Tick) -> Prepared:
    """Read every case once, so that a file that cannot be used is reported before the long work begins."""
    entries = checked_scans(Path(job.dataset), job.modality)
    microbleeds: dict[str, int] = defaultdict(int)
    voxels: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        scan = read_scan(entry.scan, entry.modality)
        lesions, _ = read_lesions(entry, scan)
        microbleeds[entry.subject] += sum(lesion.counted for lesion in lesions)
        voxels[entry.name] = scan.array.size
        tick(number / len(entries))
    roles = assign_roles(microbleeds, job.validation_share, job.test_share, *_known_before(job))
    by_role = {role: roles.of(role, entries) for role in ("training", "validation", "test")}
    return Prepared(
        entries=by_role,
        roles=roles,
        voxels={role: sum(voxels[entry.name] for entry in some) for role, some in by_role.items()},
        largest_vox=max(voxels.values()),
        training_microbleeds=sum(microbleeds[subject] for subject in roles.training),
        without_microbleeds=sum(not many for many in microbleeds.values()),
    )


def _estimate(job: TrainingJob, progress: Progress) -> tuple[Estimate, Prepared]:
    from .training_estimate import DataSize, estimate_training

    with progress.step("reading") as tick:
        prepare_folder(Path(job.output).parent)
        start = read_bundle(job.start) if job.start else None
        width = start.description.width if start else job.width
        prepared = prepare_cases(job, tick)
        plan = job.plan(prepared.roles.validation)
        voxel = plan.voxel_after(start)
        memory = memory_needed(job, width, voxel, prepared.largest_vox)
        check_machine(job, memory, disk_needed(job, sum(prepared.voxels.values())))
    with progress.step("timing"):
        many = prepared.training_microbleeds + job.inserted * len(prepared.entries["training"])
        voxels = prepared.voxels
        size = DataSize(many, voxels["training"], voxels["validation"], voxels["test"])
        compute = choose_compute(job.device, job.precision)
        return estimate_training(plan, width, voxel, size, compute), prepared


def _with_inserted(job: TrainingJob, prepared: Prepared, progress: Progress) -> list[ScanEntry]:
    entries = prepared.entries["training"]
    if not job.inserted:
        return entries
    # hidden: if the models lie within the data set, the copies would otherwise be taken for scans of it
    folder = job.work / f".inserted-{job.inserted}-{job.field_t:g}T-{job.seed}"
    with progress.step("insertion") as tick:
        return insert_into_scans(
            entries, folder, job.inserted, job.field_t, job.seed, tick, job.brain_extraction, job.brain_masks
        )


def _compare(job: TrainingJob, entries: Sequence[ScanEntry], compute: Compute, tick: Tick) -> Comparison:
    """Compare both methods on the held-back scans."""
    from .evaluation import evaluate_dataset

    bundle = read_bundle(job.output)
    old, old_name = _old_method(job, entries, compute)
    new: Method = PaperMethod(bundle, compute)
    methods = (old, new)

    def records_of(which: int) -> list[ScanRecord]:
        folder = job.work / "comparison" / ("old", "new")[which]

        def listen(_step: str, fraction: float, _message: str) -> None:
            tick((which + fraction) / 2)

        return evaluate_dataset(entries, methods[which], folder, job.brain_extraction, job.brain_masks, listen)

    cutoffs = old.settings.cutoffs, new.settings.cutoffs
    return compare_records(records_of(0), records_of(1), (old_name, bundle.description.name), cutoffs)


def _old_method(job: TrainingJob, entries: Sequence[ScanEntry], compute: Compute) -> tuple[Method, str]:
    """Return the method that the new bundle would replace, and its name."""
    if job.old is None:
        return ClassicalMethod(), CLASSICAL
    bundle = read_bundle(job.old)
    if any(entry.modality not in bundle.description.modality for entry in entries):
        return ClassicalMethod(), CLASSICAL
    return PaperMethod(bundle, compute), bundle.description.name


def _known_before(job: TrainingJob) -> tuple[set[str], set[str]]:
    """Return the subjects that the start and old bundles were compared on, and those that they were trained on."""
    bundles = [Path(folder) for folder in (job.start, job.old) if folder]
    compared = [read_comparison(folder) for folder in bundles]
    learnt = [read_training(folder) for folder in bundles]
    tested = _subjects(compared, "test_subjects")
    return tested, _subjects(learnt, "training_subjects") | _subjects(learnt, "validation_subjects")


def _subjects(records: Iterable[Mapping[str, Any] | None], name: str) -> set[str]:
    found = [record.get(name) for record in records if record]
    return {str(subject) for some in found if isinstance(some, list) for subject in some}


def _part(listener: Listener | None, name: str) -> Listener | None:
    """Return the listener of a run that is one step of this one but names its own steps."""
    if listener is None:
        return None
    names = list(STEPS)
    before = sum(STEPS[other][1] for other in names[: names.index(name)])
    whole = sum(share for _, share in STEPS.values())
    return lambda step, fraction, message: listener(step, (before + STEPS[name][1] * fraction) / whole, message)
