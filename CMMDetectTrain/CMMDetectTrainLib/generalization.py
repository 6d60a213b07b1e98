"""Generalization (4.4, table 3): one bundle on several data sets and modalities, optionally with baseline methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from CMMDetectLib.candidates import Stage
from CMMDetectLib.methods import Method

from .evaluation_set import ScanEntry
from .experiment_report import curves_of, write_experiment
from .experiments import REPORT, Bench, PaperRow, describe_entries, row_of

PAPER = {
    "UKBB (QSM)": (PaperRow(0.99, 138.0, 0.02), PaperRow(0.91, 40.3, 0.04), PaperRow(0.90, 1.8, 0.44)),
    "TICH2 (SWI)": (PaperRow(0.88, 289.3, 0.02), PaperRow(0.83, 42.8, 0.10), PaperRow(0.82, 3.1, 0.62)),
    "SHK (SWI)": (PaperRow(0.98, 254.7, 0.01), PaperRow(0.94, 43.6, 0.09), PaperRow(0.87, 0.5, 0.89)),
    "OXVASC (T2*-GRE)": (PaperRow(0.88, 147.1, 0.03), PaperRow(0.85, 53.7, 0.07), PaperRow(0.81, 2.0, 0.71)),
}
"""The paper's table 3, after stages 1, 2 and 3: trained on the SWI of UK Biobank, thresholds 0.3."""


@dataclass(frozen=True)
class Trial:
    """A data set's scans of one modality, and one method on them."""

    data: str
    method_name: str
    method: Method
    entries: Sequence[ScanEntry]

    @property
    def name(self) -> str:
        """Name of its rows."""
        return f"{self.data}, {self.method_name}"


def make_trials(datasets: Mapping[str, Sequence[ScanEntry]], methods: Mapping[str, Method]) -> list[Trial]:
    """Combine every method with every modality of every data set, also those that the model was not made for."""
    return [
        Trial(f"{data} ({modality})", name, method, some)
        for data, entries in datasets.items()
        for modality, some in _by_modality(entries)
        for name, method in methods.items()
    ]


def folder_name(name: str) -> str:
    """Turn the name of a trial or data set into a folder name that is valid on any system.

    >>> folder_name("site_A (swi), paper")
    'site-A-swi-paper'
    """
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())


def run_generalization(trials: Sequence[Trial], bench: Bench) -> None:
    """Evaluate every trial.

    Raises
    ------
    InputError
        If a file cannot be used or the folder holds another experiment.
    OutputError
        If something cannot be written.
    """
    summaries: dict[str, Any] = {}
    bench.claim(
        {
            "experiment": "generalization",
            "trials": {
                trial.name: {**trial.method.describe(), "scans": describe_entries(trial.entries)} for trial in trials
            },
        }
    )
    for trial in trials:
        _, summaries[trial.name] = bench.measure(trial.entries, trial.method, folder_name(trial.name))
        for stage in Stage:
            bench.table.add(row_of(trial.name, stage, summaries[trial.name]))
    panels = {
        title: curves_of(summaries, stage)
        for title, stage in (("Candidate detection", Stage.DETECTION), ("After post-processing", Stage.FINAL))
    }
    title = "Generalization (the paper's table 3)"
    write_experiment(bench.output / REPORT, title, bench.table.ordered(), panels, NOTES, PAPER)


def _by_modality(entries: Sequence[ScanEntry]) -> Iterator[tuple[str, list[ScanEntry]]]:
    for modality in sorted({entry.modality for entry in entries}):
        yield modality.value, [entry for entry in entries if entry.modality is modality]


NOTES = (
    "One bundle with its own thresholds on all data sets. Nothing is learned from their scans here; whether something "
    "was when the bundle was trained is not known.",
    "Methods without networks use one set of thresholds for all; their FROC curves do not depend on that of stage 2.",
)
