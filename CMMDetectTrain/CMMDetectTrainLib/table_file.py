"""Tab-separated tables with a header, as a user or a spreadsheet program may have changed them."""

from __future__ import annotations

import csv
from itertools import zip_longest
from pathlib import Path

from CMMDetectLib.errors import InputError
from CMMDetectLib.tables import broken_cell


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a table; a cell that a short row lacks is empty.

    Raises
    ------
    InputError
        If the file cannot be read, is not in UTF-8, or a cell has a line break, as all rows behind a quotation mark
        that is not closed.
    """
    try:
        # spreadsheet programs put a byte order mark before the header
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream, delimiter="\t"))
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except csv.Error as error:
        raise InputError(f"{path}: not a table ({error})") from None
    for line, row in enumerate(rows, 1):
        if any("\n" in cell for cell in row):
            raise InputError(broken_cell(path, line))
    names = rows[0] if rows else []
    return [dict(zip_longest(names, row[: len(names)], fillvalue="")) for row in rows[1:] if row]
