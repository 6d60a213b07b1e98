"""Files with the truth of a simulated scan: a table of its microbleeds and mimics, and their label maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CMMDetectLib.errors import InputError
from CMMDetectLib.scan import write_image
from CMMDetectLib.tables import MISSING, read_tsv, write_tsv

TRUTH = "_truth.tsv"
"""Added to the name of a simulated scan: the table that lists its labels."""


@dataclass(frozen=True)
class TruthRecord:
    """One row of the truth table.

    Attributes
    ----------
    id : 'cmb-0001' or 'mimic-0001'; the number is the label in the label map of microbleeds or mimics
    kind : 'microbleed' or the mimic's name
    region : name of a region, see `template.REGIONS`
    x, y, z : center, RAS mm
    moment_ppm_mm3 : susceptibility times volume; None for mimics of the normal anatomy
    true_diameter_mm : diameter of the sphere with the true volume, or caliber of a vessel
    apparent_diameter_mm : diameter of the circle with the area of the mask in its largest slice
    volume_mm3 : volume of the mask
    visible : whether this modality shows it, distinct from noise and surroundings
    """

    id: str
    kind: str
    region: str
    x: float
    y: float
    z: float
    moment_ppm_mm3: float | None
    true_diameter_mm: float
    apparent_diameter_mm: float
    volume_mm3: float
    visible: bool


@dataclass(frozen=True)
class Truth:
    """Truth of a scan of one modality.

    Attributes
    ----------
    records : microbleeds, then mimics
    microbleeds, mimics : (I, J, K) label maps with the number in the id of each record
    """

    records: tuple[TruthRecord, ...]
    microbleeds: NDArray[np.uint16]
    mimics: NDArray[np.uint16]


def write_truth(folder: Path, stem: str, truth: Truth, affine: np.ndarray) -> None:
    """Write a truth table and the label maps of microbleeds and mimics.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    write_truth_table(folder / f"{stem}{TRUTH}", truth.records)
    write_image(folder / f"{stem}_microbleeds.nii.gz", truth.microbleeds, affine)
    write_image(folder / f"{stem}_mimics.nii.gz", truth.mimics, affine)


def write_truth_table(path: Path, records: Iterable[TruthRecord]) -> None:
    """Write a truth table, microbleeds first.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    write_tsv(path, [field.name for field in fields(TruthRecord)], map(_row, records))


def _row(record: TruthRecord) -> dict[str, Any]:
    return {**asdict(record), "visible": int(record.visible)}


def read_truth(path: Path) -> tuple[TruthRecord, ...]:
    """Read a truth table.

    Raises
    ------
    InputError
        If the file cannot be read or is not a truth table.
    """
    names = [field.name for field in fields(TruthRecord)]
    rows = read_tsv(path)
    try:
        return tuple(TruthRecord(**{name: _parsed(name, row[name]) for name in names}) for row in rows)
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{path}: not a truth table; its columns must be {', '.join(names)}") from None


def _parsed(name: str, text: str) -> Any:
    if name in ("id", "kind", "region"):
        return text
    if name == "visible":
        return text == "1"
    return None if text == MISSING else float(text)
