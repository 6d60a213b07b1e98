"""Tab-separated tables as BIDS has them: a header, and ``n/a`` for what is missing."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .scan import replacing

MISSING = "n/a"


def write_tsv(path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under the named columns; a reader never sees half of the table.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with replacing(path) as beside, beside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            cells = (row.get(name) for name in names)
            writer.writerow([MISSING if cell is None else cell for cell in cells])


def broken_cell(path: Path, line: int) -> str:
    """Say that a cell goes on beyond its line.

    No table of ours has such cells: as a rule it is a quotation mark too many, which makes one cell of many rows.
    """
    return (
        f'{path}: line {line} has a quotation mark (") that is not closed, or a cell with a line break; '
        "close the one, and take the other out of the cell"
    )
