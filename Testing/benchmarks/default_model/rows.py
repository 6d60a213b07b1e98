"""Write the measured results into the table that README and model card have in common.

    python Testing/benchmarks/default_model/rows.py EVALUATION ... [--into FILE ...]

EVALUATION as for ``targets.py``. Prints the rows; ``--into`` replaces those of the same name in the files, and leaves
rows of methods that were not measured as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from targets import FINAL_TPR, lines_of, read_evaluations

from CMMDetectLib.scan import Modality
from CMMDetectTrainLib.metrics import Estimate, ScanRecord

COLUMNS = tuple(FINAL_TPR)
SHOWN = {
    "paper": {
        "paper: TPR after stage 1": ("stage 1 TPR", 2),
        "paper: final TPR": ("final TPR", 2),
        "paper: final false positives per scan": ("final FPavg", 1),
        "paper: the same in scans without microbleeds": ("final FPavg, no microbleeds", 1),
    },
    "classical": {
        "classical: final TPR": ("final TPR", 2),
        "classical: final false positives per scan": ("final FPavg", 1),
    },
}
"""Rows by method: the name in the table, and the line of ``targets.py`` with its decimals."""


def rows_of(method: str, by_modality: Sequence[tuple[Modality, Sequence[ScanRecord]]]) -> Iterator[str]:
    """Give the rows of one method as Markdown."""
    reached = [{line.what: line.reached for line in lines_of(records, modality)} for modality, records in by_modality]
    for name, (what, decimals) in SHOWN[method].items():
        yield f"| {name} | {' | '.join(cell(lines[what], decimals) for lines in reached)} |"


def put_into(path: Path, rows: Sequence[str]) -> None:
    """Replace the rows of a file that have the same names."""
    named = {row.split(" | ")[0]: row for row in rows}
    lines = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join(named.get(line.split(" | ")[0], line) for line in lines), encoding="utf-8")


def cell(reached: Estimate, decimals: int) -> str:
    """Give a table's cell: the value with its interval, as far as they are known."""
    if reached.value is None:
        return "-"
    if reached.low is None or reached.high is None:
        return f"{reached.value:.{decimals}f}"
    return f"{reached.value:.{decimals}f} ({reached.low:.{decimals}f}-{reached.high:.{decimals}f})"


def main() -> None:
    """Read, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluations", nargs="+", type=Path, metavar="EVALUATION")
    parser.add_argument("--into", nargs="+", type=Path, default=[], metavar="FILE")
    options = parser.parse_args()
    measured = read_evaluations(options.evaluations)
    methods = [method for method in SHOWN if all((method, modality) in measured for modality in COLUMNS)]
    rows = [
        row
        for method in methods
        for row in rows_of(method, [(modality, measured[method, modality]) for modality in COLUMNS])
    ]
    print("\n".join(rows))
    for path in options.into:
        put_into(path, rows)


if __name__ == "__main__":
    main()
