"""Common parts of the paper's experiments (4.2 to 4.4): rows that are written as soon as they are known, one report.

An experiment that is started again with the same options is resumed: its trainings continue from their checkpoints,
evaluated scans are not detected again, and prepared scans are shared by all of its trainings.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from CMMDetectLib.candidates import Stage
from CMMDetectLib.devices import Compute
from CMMDetectLib.errors import InputError
from CMMDetectLib.methods import Method
from CMMDetectLib.progress import Listener
from CMMDetectLib.results import prepare_folder
from CMMDetectLib.scan import replacing
from CMMDetectLib.tables import read_tsv, write_tsv

from . import distributed
from .bundle_training import TrainedBundle, TrainingPlan, train_bundle
from .evaluation import claim, evaluate_dataset, write_evaluation
from .evaluation_set import ScanEntry
from .metrics import Rule, ScanRecord
from .training import EpochRecord
from .training_job import work_folder
from .training_plan import NETWORKS, plan_as_json

ROWS = "rows.tsv"
REPORT = "report.html"
METRICS = ("tpr", "fp_avg", "precision", "f1", "macro_tpr", "macro_precision", "macro_f1")
NO_INTERVAL = {"low": None, "high": None}


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper's table."""

    tpr: float
    fp_avg: float
    precision: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of an experiment's table.

    Attributes
    ----------
    name : what was measured
    stage : after which stage
    size : numbers of scans, subjects and lesions
    metrics : estimates with intervals, by matching rule and metric, as in ``metrics.json``
    thresholds : thresholds in use, by name
    paper : the same row in the paper, if there is one
    """

    name: str
    stage: Stage
    size: Mapping[str, int]
    metrics: Mapping[str, Mapping[str, Mapping[str, float | None]]]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    paper: PaperRow | None = None

    def cells(self) -> dict[str, Any]:
        """Return the row of the TSV table: metrics of the overlap rule, then those of the center rule."""
        cells: dict[str, Any] = {"row": self.name, "stage": self.stage, **self.size, **self.thresholds}
        for rule in Rule:
            prefix = "" if rule is Rule.OVERLAP else f"{rule}_"
            for name in METRICS:
                for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                    value = self.metrics[rule][name][end]
                    cells[f"{prefix}{name}{suffix}"] = None if value is None else round(value, 5)
        for name in ("tpr", "fp_avg", "precision"):
            cells[f"paper_{name}"] = getattr(self.paper, name) if self.paper else None
        return cells


def row_of(name: str, stage: Stage, summary: Mapping[str, Any], paper: PaperRow | None = None) -> Row:
    """Extract a row from the metrics of an evaluation."""
    settings = summary["settings"]
    return Row(
        name=name,
        stage=stage,
        size={name: summary[name] for name in ("scans", "subjects", "lesions")},
        metrics={rule: summary["stages"][rule][stage] for rule in Rule},
        thresholds={name: settings[name] for name in ("th_detection", "th_discrimination")},
        paper=paper,
    )


class RowTable:
    """Rows as they become known, in a TSV file that is always complete.

    Parameters
    ----------
    path : the file; its rows from an earlier run are kept until they are replaced
    order : names of the rows in the order of the file; others follow
    added : called with each new row
    """

    def __init__(self, path: Path, order: Sequence[str], added: Callable[[Row], None]) -> None:
        self._path, self._order, self._added = path, list(order), added
        self._cells = {(cells["row"], cells["stage"]): cells for cells in _read_rows(path)}
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Write a row and report it."""
        cells = row.cells()
        self._cells[row.name, row.stage.value] = cells
        self.rows = [*self.rows, row]
        if distributed.is_first():
            write_tsv(self._path, list(cells), (self._cells[key] for key in sorted(self._cells, key=self._place)))
            self._added(row)

    def ordered(self) -> list[Row]:
        """Return the rows of this run in the order of the file."""
        return sorted(self.rows, key=lambda row: self._place((row.name, row.stage.value)))

    def _place(self, key: tuple[str, str]) -> tuple[int, int]:
        name, stage = key
        known = self._order.index(name) if name in self._order else len(self._order)
        return known, list(Stage).index(Stage(stage))


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where and how an experiment trains and evaluates.

    Attributes
    ----------
    output : folder of the experiment
    table : table of its rows
    compute : device and precision
    brain_extraction, given_brain : as in `evaluation.evaluate_dataset`
    listener : called with the progress
    reported : called after each epoch of each training
    noted : called with lines about what is going to be trained
    parts : total number of trainings and evaluations
    begun : titles of those begun so far
    """

    output: Path
    table: RowTable
    compute: Compute
    brain_extraction: str = "bet"
    given_brain: bool = False
    listener: Listener | None = None
    reported: Callable[[str, EpochRecord], None] = lambda *_: None
    noted: Callable[[str], None] = lambda _: None
    parts: int = 1
    begun: list[str] = field(default_factory=list)

    def claim(self, run: Mapping[str, Any]) -> None:
        """Record the experiment in its folder, or compare it with the one recorded there.

        Raises
        ------
        InputError
            If the folder holds another experiment.
        """

        def write() -> None:
            prepare_folder(self.output)
            brain = "given" if self.given_brain else self.brain_extraction
            claim(self.output / "experiment.json", {**run, "brain": brain}, "another experiment")

        distributed.from_first(write)

    def train(self, entries: Sequence[ScanEntry], plan: TrainingPlan, name: str) -> TrainedBundle:
        """Train a bundle in ``bundles/``, with the prepared scans of the other trainings."""
        output = self.output / "bundles" / name
        distributed.from_first(lambda: share_folder(self.output / "cases", work_folder(output) / "cases"))
        plan = replace(plan, name=f"{plan.name}-{name}")
        return train_bundle(
            entries,
            plan,
            output,
            self.compute,
            self.part(f"Training {name}"),
            lambda network, record: self.reported(f"{name} {network}", record),
            lambda line: self.noted(f"{name} {line}"),
        )

    def reuse(self, source: str, target: str, networks: Sequence[str]) -> None:
        """Copy finished networks of a training to another one whose plan for them is the same."""
        folders = [work_folder(self.output / "bundles" / name) for name in (source, target)]

        def copy_all() -> None:
            for network in networks:
                copy_files(folders[0] / network, folders[1] / network)

        distributed.from_first(copy_all)

    def measure(self, entries: Sequence[ScanEntry], method: Method, name: str) -> tuple[list[ScanRecord], Any]:
        """Evaluate in ``evaluations/``; return records and metrics."""
        folder, listener = self.output / "evaluations" / name, self.part(f"Measuring {name}")

        def evaluate() -> tuple[list[ScanRecord], Any]:
            records = evaluate_dataset(entries, method, folder, self.brain_extraction, self.given_brain, listener)
            return records, write_evaluation(folder, records, method.settings, {"evaluation": name})

        return distributed.from_first(evaluate)

    def part(self, title: str) -> Listener | None:
        """Begin the next training or evaluation; return the listener of its progress."""
        before = len(self.begun)
        self.begun.append(title)
        listener, parts = self.listener, max(self.parts, before + 1)
        if listener is None:
            return None
        return lambda step, fraction, message: listener(step, (before + fraction) / parts, f"{title}: {message}")


def describe_entries(entries: Sequence[ScanEntry]) -> dict[str, Any]:
    """Return the checksums of scans and truth, by which a change of the data set is noticed."""
    return {entry.name: entry.checksums(False) for entry in entries}


def describe_plan(plan: TrainingPlan) -> dict[str, Any]:
    """Return what must be the same when an experiment is resumed, including epochs, since its rows are compared."""
    content = plan_as_json(plan, None)
    del content["name"]
    epochs = [plan.schedule_of(name).epochs for name in NETWORKS]
    return {**content, "epochs": epochs, "patience": plan.schedule.patience}


def share_folder(shared: Path, place: Path) -> None:
    """Make ``place`` a link to a shared folder, or a separate folder if the system has no links."""
    if place.exists():
        return
    prepare_folder(shared)
    prepare_folder(place.parent)
    try:
        place.symlink_to(shared.resolve(), target_is_directory=True)
    except OSError:
        prepare_folder(place)


def copy_files(source: Path, target: Path) -> None:
    """Copy the files of a folder that are missing in the target; none is ever seen half-written."""
    prepare_folder(target)
    for path in sorted(source.iterdir()):
        if path.is_file() and not (target / path.name).exists():
            with replacing(target / path.name) as beside:
                shutil.copyfile(path, beside)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    rows = read_tsv(path) if path.exists() else []
    if any(not row.get("row") or row.get("stage") not in set(Stage) for row in rows):
        raise InputError(f"{path}: not the rows of an experiment; delete it, and they are measured again")
    return rows
