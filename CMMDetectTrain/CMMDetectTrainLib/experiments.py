"""What the experiments of the paper share (4.2 to 4.4): rows that are written as soon as they are known, one report.

An experiment that is started again with the same options goes on: its trainings go on from their checkpoints, scans
that were evaluated are not detected again, and prepared scans are shared by all of its trainings.
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
    """What the paper's table says."""

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
    size : scans, subjects and lesions
    metrics : matching rule to metric to estimate with interval, as in ``metrics.json``
    thresholds : in use, by name
    paper : the same in the paper, if it is there
    """

    name: str
    stage: Stage
    size: Mapping[str, int]
    metrics: Mapping[str, Mapping[str, Mapping[str, float | None]]]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    paper: PaperRow | None = None

    def cells(self) -> dict[str, Any]:
        """Give the row of the TSV table: metrics of the overlap rule, then those of the center rule."""
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
    """Take a row out of the metrics of an evaluation."""
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
    """Rows as they become known, in a TSV file that is always whole.

    Parameters
    ----------
    path : rows that are there from an earlier start stay until they come again
    order : names of the rows, as they shall stand; others follow
    told : told each row
    """

    def __init__(self, path: Path, order: Sequence[str], told: Callable[[Row], None]) -> None:
        self._path, self._order, self._told = path, list(order), told
        self._cells = {(cells["row"], cells["stage"]): cells for cells in _read_rows(path)}
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Write a row and tell it."""
        cells = row.cells()
        self._cells[row.name, row.stage.value] = cells
        self.rows = [*self.rows, row]
        if distributed.is_first():
            write_tsv(self._path, list(cells), (self._cells[key] for key in sorted(self._cells, key=self._place)))
            self._told(row)

    def ordered(self) -> list[Row]:
        """Give the rows of this start as they shall stand."""
        return sorted(self.rows, key=lambda row: self._place((row.name, row.stage.value)))

    def _place(self, key: tuple[str, str]) -> tuple[int, int]:
        name, stage = key
        known = self._order.index(name) if name in self._order else len(self._order)
        return known, list(Stage).index(Stage(stage))


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where and how an experiment trains and measures.

    Attributes
    ----------
    output : folder of the experiment
    table : takes the rows
    brain_extraction, given_brain : as of `evaluation.evaluate_dataset`
    listener : told the progress
    reported : told the epochs of each training
    parts : trainings and evaluations that there will be
    """

    output: Path
    table: RowTable
    compute: Compute
    brain_extraction: str = "bet"
    given_brain: bool = False
    listener: Listener | None = None
    reported: Callable[[str, EpochRecord], None] = lambda *_: None
    parts: int = 1
    begun: list[str] = field(default_factory=list)

    def claim(self, run: Mapping[str, Any]) -> None:
        """Write what the experiment is, or hold it against what the folder's earlier start wrote.

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
        )

    def reuse(self, source: str, target: str, networks: Sequence[str]) -> None:
        """Let a training begin with finished networks of another one, whose plan agrees in them."""
        folders = [work_folder(self.output / "bundles" / name) for name in (source, target)]

        def copy_all() -> None:
            for network in networks:
                copy_files(folders[0] / network, folders[1] / network)

        distributed.from_first(copy_all)

    def measure(self, entries: Sequence[ScanEntry], method: Method, name: str) -> tuple[list[ScanRecord], Any]:
        """Evaluate in ``evaluations/``; give records and metrics."""
        folder, listener = self.output / "evaluations" / name, self.part(f"Measuring {name}")

        def evaluate() -> tuple[list[ScanRecord], Any]:
            records = evaluate_dataset(entries, method, folder, self.brain_extraction, self.given_brain, listener)
            return records, write_evaluation(folder, records, method.settings, {"evaluation": name})

        return distributed.from_first(evaluate)

    def part(self, title: str) -> Listener | None:
        """Begin the next training or evaluation; give the listener of its progress."""
        before = len(self.begun)
        self.begun.append(title)
        listener, parts = self.listener, max(self.parts, before + 1)
        if listener is None:
            return None
        return lambda step, fraction, message: listener(step, (before + fraction) / parts, f"{title}: {message}")


def describe_entries(entries: Sequence[ScanEntry]) -> dict[str, Any]:
    """Give the checksums of scans and truth, by which a changed data set is noticed."""
    return {entry.name: entry.checksums(False) for entry in entries}


def describe_plan(plan: TrainingPlan) -> dict[str, Any]:
    """Give what two starts of an experiment must agree in; its rows are compared, so none may train longer."""
    content = plan_as_json(plan, None)
    del content["name"]
    epochs = [plan.schedule_of(name).epochs for name in NETWORKS]
    return {**content, "epochs": epochs, "patience": plan.schedule.patience}


def share_folder(shared: Path, place: Path) -> None:
    """Let a folder be another one's content; where the system has no links it stays one of its own."""
    if place.exists():
        return
    prepare_folder(shared)
    prepare_folder(place.parent)
    try:
        place.symlink_to(shared.resolve(), target_is_directory=True)
    except OSError:
        prepare_folder(place)


def copy_files(source: Path, target: Path) -> None:
    """Copy the files of a folder that are not there yet; each appears when it is whole."""
    prepare_folder(target)
    for path in sorted(source.iterdir()):
        if path.is_file() and not (target / path.name).exists():
            with replacing(target / path.name) as beside:
                shutil.copyfile(path, beside)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    rows = read_tsv(path) if path.exists() else []
    if any(not row.get("row") or row.get("stage") not in set(Stage) for row in rows):
        raise InputError(f"{path}: not the rows of an experiment; delete it, they are measured again")
    return rows
