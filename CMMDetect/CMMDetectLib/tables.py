"""Tab-separated tables as in BIDS: a header row, and ``n/a`` for missing values."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from .errors import InputError
from .scan import replacing

MISSING = "n/a"


def write_tsv(path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under the named columns; the file is never seen half-written.

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


def read_cells(path: Path) -> list[list[str]]:
    """Read the cells of all rows, including the header, of a table that a spreadsheet program may have saved.

    Raises
    ------
    InputError
        If the file cannot be read or is not in UTF-8.
    """
    try:
        # spreadsheet programs put a byte order mark before the header
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.reader(stream, delimiter="\t"))
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except csv.Error as error:
        raise InputError(f"{path}: not a table ({error})") from None


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a table; cells that a short row lacks are empty.

    Raises
    ------
    InputError
        If the file cannot be read, is not in UTF-8, or a cell has a line break, as after a quotation mark that is not
        closed.
    """
    rows = read_cells(path)
    for line, row in enumerate(rows, 1):
        if any("\n" in cell for cell in row):
            raise InputError(broken_cell(path, line))
    names = rows[0] if rows else []
    return [dict(zip_longest(names, row[: len(names)], fillvalue="")) for row in rows[1:] if row]


def broken_cell(path: Path, line: int) -> str:
    """Message for a cell that continues beyond its line.

    Tables of CMMDetect have no such cells: usually the cause is a stray quotation mark, which merges many rows.
    """
    return (
        f'{path}: line {line} has a quotation mark (") that is not closed, or a cell with a line break; '
        "close the one, and take the other out of the cell"
    )
