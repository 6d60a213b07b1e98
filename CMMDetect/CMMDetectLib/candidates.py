"""The candidate list: one record per lesion candidate, and its files.

One list travels through the whole method. A stage never deletes a candidate: it fills in its fields and either moves
the candidate on or records why not, so that a reader can see every stage and rescue anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from .errors import InputError
from .scan import replacing
from .tables import MISSING, broken_cell, read_cells, write_tsv

MARKUPS_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


class Stage(StrEnum):
    """The stages of the method, in order; a candidate carries the last one it passed."""

    DETECTION = "detection"
    DISCRIMINATION = "discrimination"
    FINAL = "final"

    def includes(self, other: Stage) -> bool:
        """Whether a candidate that passed ``other`` has passed this stage.

        >>> Stage.DETECTION.includes(Stage.FINAL), Stage.FINAL.includes(Stage.DETECTION)
        (True, False)
        """
        order = list(Stage)
        return order.index(other) >= order.index(self)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One candidate: where it is, what each stage found, what the reader said. None means not known.

    Positions are RAS millimetres. The fields are the columns of the table, in this order.
    """

    id: str
    x: float
    y: float
    z: float
    stage: Stage = Stage.DETECTION
    rejected_by: str | None = None
    p_detection: float | None = None
    p_discrimination: float | None = None
    volume_mm3: float | None = None
    diameter_mm: float | None = None
    ellipticity: float | None = None
    skull_distance_mm: float | None = None
    verdict: str = "undecided"
    certainty: str | None = None
    mimic: str | None = None
    note: str | None = None
    reader: str | None = None
    reviewed_at: str | None = None
    reader_x: float | None = None
    reader_y: float | None = None
    reader_z: float | None = None
    origin: str = "detector"


COLUMN_DESCRIPTIONS: dict[str, str | dict[str, Any]] = {
    "id": "Stable name of the candidate",
    "x": {"Description": "Center as the image shows it, toward the right (RAS)", "Units": "mm"},
    "y": {"Description": "Center as the image shows it, toward anterior (RAS)", "Units": "mm"},
    "z": {"Description": "Center as the image shows it, toward superior (RAS)", "Units": "mm"},
    "stage": {
        "Description": "Last stage that the candidate passed",
        "Levels": {
            "detection": "Stage 1, candidate detection",
            "discrimination": "Stage 2, candidate discrimination",
            "final": "Stage 3, post-processing",
        },
    },
    "rejected_by": {
        "Description": "Why the candidate went no further",
        "Levels": {
            "discrimination": "Probability of stage 2 below the threshold",
            "volume": "Smaller than the least volume of stage 3, or wider than 10 mm",
            "ellipticity": "More elongated than stage 3 allows",
            "skull_distance": "Closer to the edge of the brain mask than stage 3 allows",
        },
    },
    "p_detection": "Highest probability of stage 1 in the cluster, 0 to 1",
    "p_discrimination": "Probability of stage 2, 0 to 1",
    "volume_mm3": {"Description": "Volume of the cluster", "Units": "mm3"},
    "diameter_mm": {"Description": "Diameter of the sphere of that volume", "Units": "mm"},
    "ellipticity": "1 - middle axis / longest axis, corrected for the voxel size; 0 is round",
    "skull_distance_mm": {"Description": "Distance of the center to the edge of the brain mask", "Units": "mm"},
    "verdict": {
        "Description": "The reader's decision, which holds whatever the stages say",
        "Levels": {"accepted": "Microbleed", "rejected": "No microbleed", "undecided": "Not judged"},
    },
    "certainty": {
        "Description": "The reader's certainty",
        "Levels": {"definite": "Definite microbleed", "possible": "Possible microbleed"},
    },
    "mimic": "What a rejected candidate is instead",
    "note": "Free text of the reader",
    "reader": "Name of the reader",
    "reviewed_at": "Time of the decision, ISO 8601",
    "reader_x": {"Description": "Position corrected by the reader, toward the right (RAS)", "Units": "mm"},
    "reader_y": {"Description": "Position corrected by the reader, toward anterior (RAS)", "Units": "mm"},
    "reader_z": {"Description": "Position corrected by the reader, toward superior (RAS)", "Units": "mm"},
    "origin": {
        "Description": "Who marked the candidate first",
        "Levels": {"detector": "CMMDetect", "reader": "The reader"},
    },
}


def at_stage(candidates: Iterable[Candidate], stage: Stage) -> list[Candidate]:
    """Return the candidates that passed a stage."""
    return [candidate for candidate in candidates if stage.includes(candidate.stage)]


def sphere_diameter(volume_mm3: float) -> float:
    """Diameter in mm of the sphere of a given volume.

    >>> round(sphere_diameter(4 / 3 * math.pi), 6)
    2.0
    """
    return float((6 * volume_mm3 / math.pi) ** (1 / 3))


def write_table(path: Path, candidates: Sequence[Candidate], provenance: Mapping[str, Any]) -> None:
    """Write the table as TSV and, beside it, a JSON file that describes the columns and the provenance of the run.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    names = [field.name for field in fields(Candidate)]
    write_tsv(path, names, ({name: _cell(getattr(item, name)) for name in names} for item in candidates))
    columns = {
        name: text if isinstance(text, dict) else {"Description": text} for name, text in COLUMN_DESCRIPTIONS.items()
    }
    write_json(path.with_suffix(".json"), {**columns, "provenance": provenance})


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file; a reader never sees half of it.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def read_table(path: Path) -> list[Candidate]:
    """Read a table that `write_table` wrote, also after a spreadsheet program saved it.

    Raises
    ------
    InputError
        If the file cannot be read or is no such table.
    """
    names = [field.name for field in fields(Candidate)]
    rows = read_cells(path)
    if not rows or rows[0] != names:
        raise InputError(f"{path}: not a table of candidates; its columns must be {', '.join(names)}")
    filled = ((line, row) for line, row in enumerate(rows[1:], 2) if any(cell.strip() for cell in row))
    return [_parse_row(dict(zip(names, row, strict=False)), path, line) for line, row in filled]


def write_markups(path: Path, candidates: Iterable[Candidate], stage: Stage, name: str) -> None:
    """Write the candidates that passed a stage as a point list of 3D Slicer (``.mrk.json``, LPS).

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    points = [_control_point(number, item) for number, item in enumerate(at_stage(candidates, stage), 1)]
    node = {
        "type": "Fiducial",
        "name": f"{name} {stage}",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(points),
        "controlPoints": points,
    }
    write_json(path, {"@schema": MARKUPS_SCHEMA, "markups": [node]})


def _control_point(number: int, item: Candidate) -> dict[str, Any]:
    known = {"p_detection": item.p_detection, "p_discrimination": item.p_discrimination}
    known |= {"diameter_mm": item.diameter_mm}
    return {
        "id": str(number),
        "label": item.id,
        "description": ", ".join(f"{key} {value:.3g}" for key, value in known.items() if value is not None),
        "associatedNodeID": "",
        "position": [-item.x, -item.y, item.z],
        "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": "defined",
    }


def _cell(value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        return f"{value:.4f}"
    # a tab or line break in a note would break the table
    return " ".join(str(value).split()) or MISSING


def _parse_row(row: Mapping[str, str], path: Path, line: int) -> Candidate:
    values: dict[str, Any] = {}
    if any("\n" in text for text in row.values()):
        raise InputError(broken_cell(path, line))
    try:
        for field in fields(Candidate):
            text, kind = row[field.name], str(field.type)
            # someone who adds a row in a spreadsheet leaves cells empty
            is_missing = text == MISSING or (kind.endswith("None") and not text.strip())
            values[field.name] = None if is_missing else float(text) if kind.startswith("float") else text
        return Candidate(**{**values, "stage": Stage(values["stage"])})
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: line {line} is not a candidate ({error})") from None
