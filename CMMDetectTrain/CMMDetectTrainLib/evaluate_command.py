"""``cmmdetect evaluate``: its options and its output."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from CMMDetectLib.candidates import Stage
from CMMDetectLib.cli import OneLineParser, add_method_options, explained, method_job, progress_bar, tell
from CMMDetectLib.file_names import check_there
from CMMDetectLib.job import choose_method
from CMMDetectLib.progress import Listener
from CMMDetectLib.scan import name_of
from CMMDetectLib.wording import counted

from .command_options import add_brain_options, add_modality_option, add_subjects_option
from .command_texts import DATASET, STARTED_AGAIN
from .extras import training_packages
from .metrics import Rule

if TYPE_CHECKING:
    from .evaluation_set import ScanEntry

EVALUATE = """\
Detect in every scan, hold what was found against the label maps after each
stage, and write metrics, tables of lesions and candidates, and a report.
Run it again to resume after an interruption."""


def add_evaluate(commands: argparse._SubParsersAction[OneLineParser]) -> None:
    """Add ``cmmdetect evaluate`` to the command line."""
    parser = commands.add_parser(
        "evaluate", help="measure a detector on a data set with known microbleeds", **explained(EVALUATE, DATASET)
    )
    parser.add_argument("dataset", help="folder with scans and <scan>_microbleeds.nii.gz")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for metrics and report")
    add_modality_option(parser)
    add_subjects_option(parser)
    add_brain_options(parser)
    add_method_options(parser)
    parser.set_defaults(run=_evaluate, interrupted=STARTED_AGAIN)


def _evaluate(options: argparse.Namespace) -> None:
    with training_packages("evaluate"):
        from .case_list import checked_scans
        from .evaluation import evaluate_dataset, write_evaluation
        from .evaluation_set import check_brains
        from .left_out import left_out
    dataset, chosen = Path(options.dataset), (options.modality, options.subjects)
    check_there(dataset, "no such folder")
    entries = checked_scans(dataset, *chosen)
    masks = check_brains(entries, options.brain_masks)
    job, output = method_job(options), Path(options.output)
    # checked before the long run: whether the model was made for each modality
    for modality in sorted({entry.modality for entry in entries}):
        method = choose_method(job, modality)
    tell(*left_out(dataset, entries, *chosen))
    with progress_bar() as listener:
        notes = _notes(options, entries, listener)
        records = evaluate_dataset(entries, method, output, options.brain_extraction, options.brain_masks, listener)
    described = method.describe()
    bundle = described.get("bundle") or {}
    about = {
        "data set": name_of(dataset),
        "method": described["method"],
        **({"model": f"{bundle['name']} {bundle['version']}"} if bundle else {}),
        "brain": _brain_text(options, masks, len(entries)),
    }
    summary = write_evaluation(output, records, method.settings, about, notes=notes)
    large = summary["large_lesions"]["stages"][Rule.CENTER]
    tell(
        _stage_table(summary["stages"][Rule.OVERLAP], "all, by overlap, after stage"),
        _stage_table(large, "from 2 mm or 2 pixels, one to one, after stage"),
        *notes,
        f"Written: {output / 'report.html'}",
    )


def _notes(options: argparse.Namespace, entries: Sequence[ScanEntry], listener: Listener) -> list[str]:
    """Return a note if the given model was trained with some of the scans."""
    from .seen_scans import seen_note

    if options.model is None or options.method == "classical":
        return []
    note = seen_note(Path(options.model), entries, lambda done: listener("", 0.0, f"Reading the scans: {done:.0%}"))
    return [note] if note else []


def _brain_text(options: argparse.Namespace, masks: int, scans: int) -> str:
    extracted = "extracted" if options.brain_extraction == "bet" else f"extracted by {options.brain_extraction}"
    return f"masks of the data set in {masks} of {counted(scans, 'scan')}" if options.brain_masks else extracted


def _stage_table(stages: Mapping[str, Any], title: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(title)
    for name in ("TPR", "FPavg", "precision", "F1"):
        table.add_column(name, justify="right")
    for number, stage in enumerate(Stage, 1):
        values = [stages[stage][name]["value"] for name in ("tpr", "fp_avg", "precision", "f1")]
        table.add_row(f"{number} {stage}", *["-" if value is None else f"{value:.2f}" for value in values])
    return table
