"""The commands of ``cmmdetect``: those of the detector, and those that create and evaluate models."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from CMMDetectLib.candidates import Candidate
from CMMDetectLib.cli import OneLineParser, add_model_options, explained, make_parser, progress_bar, run_command, tell
from CMMDetectLib.job import DetectionJob, choose_method
from CMMDetectLib.progress import Listener, Report
from CMMDetectLib.scan import Modality, Scan
from CMMDetectLib.wording import counted

from .command_texts import STARTED_AGAIN
from .evaluate_command import add_evaluate
from .experiment_command import add_experiment
from .extras import training_packages
from .masks import add_masks
from .simulation.protocols import PRESETS
from .train_command import add_train

DEMO = """\
Simulate a scan with known microbleeds, detect them, and draw both in a
picture. Scan, truth, table of candidates and picture are kept in DIR."""
SIMULATE = """\
Simulate heads with microbleeds and what is mistaken for them, and write for
each its scans, their label maps (<scan>_microbleeds.nii.gz) and truth tables:
a data set for train and evaluate. Run it again to resume after an
interruption, or with a larger -n to add subjects."""
Commands = argparse._SubParsersAction


def run(arguments: Sequence[str] | None = None) -> int:
    """Parse the options and run the command; return the exit status as `run_command` does."""
    parser, commands = make_parser()
    _add_demo(commands)
    _add_simulate(commands)
    add_masks(commands)
    add_train(commands)
    add_evaluate(commands)
    add_experiment(commands)
    return run_command(parser, arguments)


def _add_demo(commands: Commands[OneLineParser]) -> None:
    parser = commands.add_parser(
        "demo", help="simulate a scan, detect, compare with the truth, draw a picture", **explained(DEMO)
    )
    default = "cmmdetect-demo"
    parser.add_argument("-o", "--output", default=default, metavar="DIR", help=f"for the files (default: {default})")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the simulated scan (default: 1)")
    parser.add_argument("--modality", choices=[*Modality], default=Modality.SWI, help="(default: swi)")
    add_model_options(parser)
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    with training_packages("demo"):
        from .demo import run_demo
    from CMMDetectLib.detector import Detector

    modality = Modality(options.modality)
    job = DetectionJob(scan="", output="", method=options.method, model=options.model)
    # created first, to fail before a minute of simulation
    detector = Detector(choose_method(job, modality))

    def detect(scan: Scan) -> list[Candidate]:
        return detector.detect(scan).candidates

    with progress_bar() as listener:
        result = run_demo(Path(options.output), detect, options.seed, modality, _without_steps(listener))
    microbleeds, positives = counted(result.lesions, "microbleed"), counted(result.false_positives, "false positive")
    found = f"Found {result.found} of {microbleeds}, {positives}"
    tell(found, f"Written: {result.picture}, {result.table}")


def _add_simulate(commands: Commands[OneLineParser]) -> None:
    parser = commands.add_parser(
        "simulate", help="make scans with known microbleeds: SWI, T2*, QSM of each subject", **explained(SIMULATE)
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument("-n", "--count", type=int, default=1, metavar="N", help="number of subjects (default: 1)")
    parser.add_argument(
        "--protocol",
        nargs="+",
        default=["random"],
        metavar="NAME",
        help=f"{', '.join(PRESETS)} or random; several are taken in turn (default: random)",
    )
    parser.add_argument(
        "--microbleeds",
        nargs="+",
        type=_number_or_random,
        default=[None],
        metavar="N",
        help="number in each head, or random; several are taken in turn (default: random)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the data set (default: 0)")
    parser.set_defaults(run=_simulate, interrupted=STARTED_AGAIN)


def _number_or_random(text: str) -> int | None:
    if text.lower() == "random":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: neither a number nor random") from None


def _simulate(options: argparse.Namespace) -> None:
    with training_packages("simulate"):
        from .simulation.dataset import simulate_dataset

        with progress_bar() as listener:
            simulate_dataset(
                Path(options.output),
                options.count,
                options.protocol,
                options.seed,
                _without_steps(listener),
                options.microbleeds,
            )
    tell(f"{counted(options.count, 'subject')} in {options.output}")


def _without_steps(listener: Listener) -> Report:
    """Adapt a listener to a run without named steps."""
    return lambda fraction, message: listener("", fraction, message)
