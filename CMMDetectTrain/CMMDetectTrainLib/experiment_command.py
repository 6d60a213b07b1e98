"""``cmmdetect experiment``: the paper's ablation, cross-validation and generalization as one command each."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CMMDetectLib.cli import MODEL, OneLineParser, add_compute_options, explained, progress_bar, tell
from CMMDetectLib.devices import choose_compute
from CMMDetectLib.errors import InputError

from .command_options import add_brain_options, add_modality_option, add_subjects_option, tell_epoch, tell_note
from .command_texts import DATASET, STARTED_AGAIN
from .extras import training_packages
from .train_command import add_training_options, plan_of

if TYPE_CHECKING:
    from CMMDetectLib.methods import Method

    from .evaluation_set import ScanEntry
    from .experiments import Bench, Row

METHODS = ("paper", "classical", "blob")
ROW_METRICS = {"tpr": "TPR", "fp_avg": "FPavg", "precision": "precision", "f1": "F1"}


def add_experiment(commands: argparse._SubParsersAction[OneLineParser]) -> None:
    """Add ``cmmdetect experiment`` to the command line."""
    about = "repeat an experiment of the paper"
    parser = commands.add_parser("experiment", help=about, description=_sentence(about))
    kinds = parser.add_subparsers(title="experiments", dest="experiment", required=True, metavar="EXPERIMENT")
    _add_ablation(kinds)
    _add_cross_validation(kinds)
    _add_generalization(kinds)


def _add_ablation(kinds: argparse._SubParsersAction[OneLineParser]) -> None:
    about = "effect of FRST, teacher, distillation and post-processing (table 1)"
    parser = kinds.add_parser("ablation", help=about, **explained(_sentence(about), DATASET))
    parser.add_argument("dataset", metavar="TRAIN_DATASET", help="folder with scans and <scan>_microbleeds.nii.gz")
    parser.add_argument("test", metavar="TEST_DATASET", help="the same for other subjects")
    _add_training(parser)
    parser.set_defaults(run=_ablation, interrupted=STARTED_AGAIN)


def _add_cross_validation(kinds: argparse._SubParsersAction[OneLineParser]) -> None:
    about = "train and test in turn on parts of a data set (table 2)"
    parser = kinds.add_parser("cross-validation", help=about, **explained(_sentence(about), DATASET))
    parser.add_argument("dataset", help="folder with scans and <scan>_microbleeds.nii.gz")
    parser.add_argument(
        "--folds", type=int, default=5, metavar="K", help="number of parts, split by subject (default: 5)"
    )
    _add_training(parser)
    parser.set_defaults(run=_cross_validation, interrupted=STARTED_AGAIN)


def _add_generalization(kinds: argparse._SubParsersAction[OneLineParser]) -> None:
    about = "one model on several data sets and modalities (table 3)"
    parser = kinds.add_parser("generalization", help=about, **explained(_sentence(about), DATASET))
    parser.add_argument("datasets", nargs="+", metavar="DATASET", help="folder with scans and their label maps")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for rows and report")
    parser.add_argument("--model", metavar="DIR", help=MODEL)
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=["paper"], help="compared on the same scans (default: paper)"
    )
    add_modality_option(parser)
    add_subjects_option(parser)
    add_compute_options(parser)
    add_brain_options(parser)
    parser.set_defaults(run=_generalization, interrupted=STARTED_AGAIN)


def _sentence(about: str) -> str:
    return f"{about[0].upper()}{about[1:]}. Run it again to resume."


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for models, rows and report")
    add_modality_option(parser)
    add_training_options(parser)
    parser.set_defaults(start=None, name=None, networks=None, no_distillation=False)


def _ablation(options: argparse.Namespace) -> None:
    with training_packages("experiment"):
        from .ablation import PARTS, STEPS, run_ablation
        from .case_list import checked_scans
        from .evaluation_set import check_brains
    plan = plan_of(options)
    training = checked_scans(Path(options.dataset), options.modality)
    test = checked_scans(Path(options.test), options.modality)
    check_brains([*training, *test], plan.given_brain)
    notes = _left_out({options.dataset: training, options.test: test}, options.modality)
    _run(options, partial(run_ablation, training, test, plan), list(STEPS), PARTS, notes)


def _cross_validation(options: argparse.Namespace) -> None:
    with training_packages("experiment"):
        from .case_list import checked_scans
        from .cross_validation import MEAN, POOLED, fold_name, run_cross_validation
        from .evaluation_set import check_brains
    plan = plan_of(options)
    entries = checked_scans(Path(options.dataset), options.modality)
    check_brains(entries, plan.given_brain)
    names = [*(fold_name(number) for number in range(1, options.folds + 1)), POOLED, MEAN]
    notes = _left_out({options.dataset: entries}, options.modality)
    _run(options, partial(run_cross_validation, entries, options.folds, plan), names, 2 * options.folds, notes)


def _generalization(options: argparse.Namespace) -> None:
    with training_packages("experiment"):
        from .case_list import checked_scans
        from .evaluation_set import check_brains, check_named
        from .generalization import folder_name, make_trials, run_generalization
    folders = [Path(folder).resolve() for folder in options.datasets]
    names = [folder_name(folder.name).lower() for folder in folders]
    if twice := [folder.name for folder, name in zip(folders, names, strict=True) if names.count(name) > 1]:
        raise InputError(
            f"{twice[0]}: two data sets have this name, or names that differ only in punctuation or case; "
            "rename one, since rows and folders are named after them"
        )
    methods = {name: _method(name, options) for name in dict.fromkeys(options.methods)}
    chosen = options.modality, options.subjects
    scans = {folder: checked_scans(folder, *chosen, all_here=False) for folder in folders}
    entries = list(chain(*scans.values()))
    check_named(options.subjects, entries, ", ".join(options.datasets))
    check_brains(entries, options.brain_masks)
    trials = make_trials({folder.name: some for folder, some in scans.items()}, methods)
    notes = _left_out(scans, *chosen)
    _run(options, partial(run_generalization, trials), [trial.name for trial in trials], len(trials), notes)


def _left_out(
    taken: Mapping[Any, Sequence[ScanEntry]], modality: str | None, subjects: Sequence[str] = ()
) -> list[str]:
    """Return notes on the scans of each folder that are left out."""
    from .left_out import left_out

    return [line for folder, scans in taken.items() for line in left_out(Path(folder), scans, modality, subjects)]


def _method(name: str, options: argparse.Namespace) -> Method:
    from CMMDetectLib.bundle import SHIPPED_BUNDLE, read_bundle
    from CMMDetectLib.classical_method import ClassicalMethod
    from CMMDetectLib.paper_method import PaperMethod

    from .blob_method import BlobMethod

    if name != "paper":
        return ClassicalMethod() if name == "classical" else BlobMethod()
    if options.model is None and not SHIPPED_BUNDLE.is_dir():
        raise InputError("the model that comes with CMMDetect is gone: give one with --model")
    bundle = read_bundle(options.model or SHIPPED_BUNDLE)
    return PaperMethod(bundle, choose_compute(options.device, options.precision))


def _run(
    options: argparse.Namespace,
    experiment: Callable[[Bench], None],
    names: Sequence[str],
    parts: int,
    notes: Sequence[str],
) -> None:
    """Run an experiment in one process or several, with one line of output per row, after the notes."""
    from . import distributed
    from .experiments import REPORT, ROWS, Bench, RowTable

    output = Path(options.output)
    with distributed.joined(), progress_bar(steady=False) if distributed.is_first() else nullcontext() as listener:
        if distributed.is_first():
            tell(*notes)
        bench = Bench(
            output=output,
            table=RowTable(output / ROWS, names, lambda row: tell(row_text(row))),
            compute=choose_compute(options.device, options.precision),
            brain_extraction=options.brain_extraction,
            given_brain=options.brain_masks,
            listener=listener,
            reported=tell_epoch,
            noted=tell_note,
            parts=parts,
        )
        experiment(bench)
        if distributed.is_first():
            tell(f"Written: {output / REPORT}, {output / ROWS}")


def row_text(row: Row) -> str:
    """Format a row as one line, with the paper's numbers."""
    from .metrics import Rule

    found = row.metrics[Rule.OVERLAP]
    values = []
    for name, label in ROW_METRICS.items():
        value, low, high = (found[name][end] for end in ("value", "low", "high"))
        interval = "" if low is None else f" ({low:.2f} to {high:.2f})"
        values.append(f"{label} -" if value is None else f"{label} {value:.2f}{interval}")
    paper = row.paper
    beside = f"; paper: {paper.tpr:g}, {paper.fp_avg:g}, {paper.precision:g}" if paper else ""
    return f"{row.name}, {row.stage}: {', '.join(values)}{beside}"
