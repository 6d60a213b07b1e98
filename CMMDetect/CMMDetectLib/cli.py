"""The detector's part of the command line: ``cmmdetect detect``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from . import __version__
from .brain_extraction import METHODS as BRAIN_EXTRACTIONS
from .candidates import Candidate, Stage, at_stage
from .devices import DEVICES, PRECISIONS
from .errors import CMMDetectError, OutputError
from .file_names import check_name
from .job import METHODS, DetectionJob, JobResult, run_job
from .progress import Listener
from .scan import Modality

DETECT = """\
Find the microbleeds of one scan. Written into DIR, on the scan's own voxels:

  <scan>_candidates.tsv       all candidates, how far each came, measures
  <scan>_candidates.json      columns of that table, model, settings, times
  <scan>_microbleeds.nii.gz   label map of the final candidates
  <scan>_probability.nii.gz   probability map of stage 1
  <scan>_stage-*.mrk.json     candidates after each stage, for 3D Slicer"""
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130
SCAN = """\
scan:
  A modality is read from the end of the name: _swi, _T2starw or _Chimap (QSM).
  Of several echoes or DICOM series one is chosen, and named in the results:
  sub-01_echo-2_T2starw, study_series-3.
"""
MODEL = "folder of a model (default: the one that comes with CMMDetect)"
SHOWN_CANDIDATES = 20
SPEED_PERIOD_S = 300.0


class OneLineParser(argparse.ArgumentParser):
    """Reports wrong options in one line, without the usage text."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """End the program with status 2."""
        self.exit(EXIT_INPUT, f"cmmdetect: {message} (see {self.prog} --help)\n")


def make_parser() -> tuple[OneLineParser, argparse._SubParsersAction[OneLineParser]]:
    """Make the parser of ``cmmdetect`` and the subparsers to which further commands are added.

    Each command sets the default ``run`` to a function that takes the parsed options, and may set ``interrupted`` to
    what is said when the user ends it.
    """
    parser = OneLineParser(
        prog="cmmdetect",
        description="Find cerebral microbleeds on SWI, T2*-GRE and QSM. Not a medical device.",
        epilog="Each command has a help of its own: cmmdetect COMMAND --help",
    )
    parser.set_defaults(interrupted="interrupted")
    parser.add_argument("--version", action="version", version=f"CMMDetect {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    _add_detect(commands)
    return parser, commands


def explained(description: str, explanation: str = "") -> dict[str, Any]:
    """Return the arguments of a parser with a description, and an explanation whose line breaks are kept."""
    return {
        "description": description,
        "epilog": explanation,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def run_command(parser: OneLineParser, arguments: Sequence[str] | None = None) -> int:
    """Parse the options and run the command; return the exit status, 2 after one line about what to correct."""
    options = parser.parse_args(arguments)
    try:
        _check_names(options)
        options.run(options)
    except CMMDetectError as error:
        _complain(str(error).replace("\n", "\\n"))  # a file name may contain a line break
        return EXIT_INPUT
    except KeyboardInterrupt:
        _complain(options.interrupted)
        return EXIT_INTERRUPTED
    return 0


def _complain(line: str) -> None:
    """Write one line to standard error, if that is open and can be written."""
    with suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(f"cmmdetect: {line}\n")


def _check_names(options: argparse.Namespace) -> None:
    """Refuse names that are not UTF-8 before anything is written under them."""
    for value in vars(options).values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                check_name(text)


def tell(*lines: str | Table) -> None:
    """Print results to standard output verbatim: names may look like markup, and paths must not be wrapped.

    Does nothing in a program that was started without standard output.

    Raises
    ------
    OutputError
        If standard output cannot be written.
    """
    if sys.stdout is None:
        return
    # a name may contain characters that the terminal's encoding lacks
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    console = Console(highlight=False, markup=False, emoji=False)
    try:
        for line in lines:
            console.print(line, soft_wrap=isinstance(line, str))
        sys.stdout.flush()
    except OSError as error:
        _forget_standard_output()
        raise OutputError(f"the standard output cannot be written ({error.strerror})") from None


def _forget_standard_output() -> None:
    """Redirect Python's final flush to nowhere: it would fail again, with its own messages and exit status."""
    with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


@contextmanager
def progress_bar(steady: bool = True) -> Iterator[Listener]:
    """Show a progress bar with the elapsed time on standard error while a run lasts.

    Parameters
    ----------
    steady : whether the steps take their usual shares of the time, so that the percentage and the time left are true
    """
    console = Console(stderr=True)
    if not console.is_interactive:  # in a file the bar would leave an empty line
        yield lambda _step, _fraction, _message: None
        return
    message, bar_column, elapsed = TextColumn("{task.description}", markup=False), BarColumn(None), TimeElapsedColumn()
    shown: list[ProgressColumn] = [message, bar_column, elapsed]
    if steady:
        percentage = TextColumn("{task.percentage:>3.0f} %")
        shown = [message, bar_column, percentage, elapsed, TimeRemainingColumn(), TextColumn("left")]
    # the steps of a run differ in speed, so the remaining time is estimated over minutes, not over the last moments
    with ProgressBar(*shown, console=console, transient=True, speed_estimate_period=SPEED_PERIOD_S) as bar:
        task = bar.add_task("Starting", total=1.0)

        def listen(step: str, fraction: float, message: str) -> None:  # noqa: ARG001 - the bar shows the message
            bar.update(task, completed=fraction, description=message)

        yield listen


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a method and its model; named like the fields of `DetectionJob`."""
    parser.add_argument("--model", metavar="DIR", help=MODEL)
    methods = "paper: networks (default); classical: radial symmetry and rules, which need neither torch nor a model"
    parser.add_argument("--method", choices=METHODS, help=methods)


def add_compute_options(parser: argparse._ActionsContainer, device_help: str = "where the networks run") -> None:
    """Add the options of `choose_compute`."""
    parser.add_argument("--device", choices=DEVICES, default="auto", help=f"{device_help} (default: auto)")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="numeric precision of the networks (default: auto)"
    )


def add_scan_options(parser: argparse._ActionsContainer) -> None:
    """Add the scan and the options of `read_scan`."""
    parser.add_argument("scan", help="NIfTI or NRRD file, or a folder with a DICOM series")
    parser.add_argument("--modality", help=f"{', '.join(Modality)} (default: as the name ends, see below)")
    parser.add_argument("--echo", type=int, metavar="N", help="which echo of a 4D file or DICOM series, from 1")
    parser.add_argument("--series", type=int, metavar="N", help="which of several DICOM series in a folder, from 1")


def add_method_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a method and its thresholds; named like the fields of `DetectionJob`."""
    add_model_options(parser)
    add_compute_options(parser)
    parser.add_argument(
        "--th-detection", type=float, metavar="X", help="threshold of stage 1, 0 to 1 (default: the method's own)"
    )
    parser.add_argument(
        "--th-discrimination", type=float, metavar="X", help="threshold of stage 2, 0 to 1 (default: the method's own)"
    )


def method_job(options: argparse.Namespace) -> DetectionJob:
    """Return a job without a scan that holds the options of `add_method_options`."""
    chosen = ("model", "method", "device", "precision", "th_detection", "th_discrimination")
    return DetectionJob(scan="", output="", **{name: getattr(options, name) for name in chosen})


def _add_detect(commands: argparse._SubParsersAction[OneLineParser]) -> None:
    parser = commands.add_parser("detect", help="find the microbleeds of one scan", **explained(DETECT, SCAN))
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for the results")
    add_scan_options(parser)
    parser.add_argument(
        "--mask", metavar="FILE", help="brain mask on the scan's grid (default: from --brain-extraction)"
    )
    parser.add_argument("--brain-extraction", choices=BRAIN_EXTRACTIONS, default="bet", help="(default: bet)")
    add_method_options(parser)
    kept = {
        "min-volume-mm3": "smallest volume that stage 3 keeps",
        "max-ellipticity": "largest ellipticity that stage 3 keeps, 0 is round",
        "min-skull-distance-mm": "smallest distance to the edge of the brain mask that stage 3 keeps",
    }
    for name, described in kept.items():
        parser.add_argument(f"--{name}", type=float, metavar="X", help=f"{described} (default: the method's own)")
    parser.set_defaults(run=_detect)


def _detect(options: argparse.Namespace) -> None:
    job = DetectionJob(**{field.name: getattr(options, field.name) for field in fields(DetectionJob)})
    with progress_bar() as listener:
        result = run_job(job, listener)
    _tell_summary(result)


def _tell_summary(result: JobResult) -> None:
    candidates = result.detection.candidates
    counts = " -> ".join(str(len(at_stage(candidates, stage))) for stage in Stage)
    lines: list[str | Table] = [f"{result.detection.scan.name}: candidates after stage 1 -> 2 -> 3: {counts}"]
    reasons = Counter(item.rejected_by for item in candidates if item.rejected_by)
    if reasons:
        lines.append(f"Rejected by {', '.join(f'{reason} {count}' for reason, count in reasons.most_common())}")
    final = at_stage(candidates, Stage.FINAL)
    if final:
        lines.append(candidate_table(final[:SHOWN_CANDIDATES]))
    if len(final) > SHOWN_CANDIDATES:
        lines.append(f"... and {len(final) - SHOWN_CANDIDATES} more")
    tell(*lines, f"Written: {result.files['candidates']}")


def candidate_table(candidates: Sequence[Candidate]) -> Table:
    """Format candidates for the terminal: position in RAS mm, diameter, both probabilities."""
    table = Table(box=None, pad_edge=False)
    table.add_column("final")
    for name in ("x", "y", "z (RAS mm)", "diameter mm", "p detection", "p discrimination"):
        table.add_column(name, justify="right")
    for item in candidates:
        position = [f"{value:.1f}" for value in (item.x, item.y, item.z)]
        measures = [
            "-" if value is None else f"{value:.{digits}f}"
            for value, digits in ((item.diameter_mm, 1), (item.p_detection, 2), (item.p_discrimination, 2))
        ]
        table.add_row(item.id, *position, *measures)
    return table
