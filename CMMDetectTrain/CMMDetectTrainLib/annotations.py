"""Points where a reader saw microbleeds, read from the file formats of sites and public data sets.

The name of the file determines the format:

* ``.mrk.json``, ``.fcsv``: point lists of 3D Slicer; the file says whether they are RAS or LPS.
* ``.mat``: voxel indices as in public data sets (Dou et al. 2016): the variable ``cen``, N x 3, counted from 1 along
  the axes of the file's voxel array.
* ``_reviewed.tsv``, ``_candidates.tsv``: a reviewed table; the accepted candidates at the reader's positions.
* any other ``.tsv``, ``.csv``: a header with ``x``, ``y``, ``z`` (RAS mm) or, without these, ``i``, ``j``, ``k``
  (voxel indices counted from 0); an optional column ``name``, ``label`` or ``id`` names the points. With one of
  `scan_rows.SCAN_COLUMNS`, only the rows of this scan count; a row without x, y, z says that it has no microbleeds.
* an image: a mask on the scan's grid; every 26-connected component is one point.

No point is moved, and none is left out silently: each point that cannot be used is a line in the list of problems.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.io import loadmat

from CMMDetectLib.candidates import Candidate, read_table
from CMMDetectLib.clusters import TOUCHING
from CMMDetectLib.errors import InputError
from CMMDetectLib.region_growing import GrownLesion, GrowthSettings, grow_lesion, lies_inside
from CMMDetectLib.review_records import Verdict, position_of, problem_of
from CMMDetectLib.scan import IMAGE_SUFFIXES, Scan, read_labels, to_voxel, to_world
from CMMDetectLib.tables import MISSING, broken_cell
from CMMDetectLib.wording import counted

from .scan_rows import is_of, scan_column, some_of

SAME_POINT_MM = 1.0
"""Points closer than this are the same."""
RAS, LPS = (1.0, 1.0, 1.0), (-1.0, -1.0, 1.0)
SYSTEMS = {"RAS": RAS, "0": RAS, "LPS": LPS, "1": LPS}
"""Signs that convert coordinates to RAS; early versions of Slicer wrote numbers instead of names."""
FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label"
REVIEWED = ("id", "x", "y", "z", "verdict", "reader_x", "reader_y", "reader_z")
"""Fields of a reviewed candidate that are used."""
NAME_COLUMNS = ("name", "label", "id")
NO_NUMBER = (None, "", MISSING, "NaN", "nan", "NA")
"""Cells where no number is, as tables of different programs have them."""


@dataclass(frozen=True)
class AnnotatedPoint:
    """Where a reader saw a microbleed (RAS mm), and its name in the file."""

    name: str
    position_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Annotations:
    """The usable points of a file, and what is wrong with the others.

    Attributes
    ----------
    points : in the order of the file
    lesions : the region grown at each point
    problems : one line for each point that is left out
    """

    points: tuple[AnnotatedPoint, ...]
    lesions: tuple[GrownLesion, ...]
    problems: tuple[str, ...]


def read_annotations(path: Path | str, scan: Scan, settings: GrowthSettings | None = None) -> Annotations:
    """Read annotated points and grow the lesion at each.

    Points outside the scan, points less than `SAME_POINT_MM` from an earlier one or in the same lesion, and points
    where nothing stands out are left out and reported.

    Parameters
    ----------
    path : the file; see the module docstring for the formats
    scan : the scan that the points lie in
    settings : settings of the region growing

    Raises
    ------
    InputError
        If the file cannot be read or is in none of the formats, or it has points and none of them can be used: the
        scan would be taken for one without microbleeds.
    """
    points, problems = read_points(path, scan)
    found = grow_annotations(points, scan, settings, problems)
    if points and not found.points:
        raise InputError(
            f"{path}: none of its {len(points)} points can be used ({found.problems[len(problems)]}); "
            "are they of this scan, in RAS mm or in voxel indices from 0?"
        )
    return found


def grow_annotations(
    points: Iterable[AnnotatedPoint],
    scan: Scan,
    settings: GrowthSettings | None = None,
    known_problems: Iterable[str] = (),
) -> Annotations:
    """Grow the lesion at each point; the same points are left out as by `read_annotations`."""
    problems = list(known_problems)
    kept: list[AnnotatedPoint] = []
    lesions: list[GrownLesion] = []
    for point in points:
        problem = _problem_of(point, kept, scan)
        if problem is None:
            lesion = grow_lesion(scan, point.position_mm, settings)
            problem = _problem_of_lesion(point, lesion, kept, lesions, scan)
        if problem is None:
            kept.append(point)
            lesions.append(lesion)
        else:
            problems.append(problem)
    return Annotations(tuple(kept), tuple(lesions), tuple(problems))


def read_points(path: Path | str, scan: Scan) -> tuple[list[AnnotatedPoint], list[str]]:
    """Read the points of a file unchanged, and a list of problems with them.

    Raises
    ------
    InputError
        If the file cannot be read or is in none of the formats.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file (annotated points)")
    name = path.name.lower()
    if name.endswith(("_reviewed.tsv", "_candidates.tsv")):
        return _read_candidates(path)
    if name.endswith(".mrk.json"):
        return _read_markups(path)
    if name.endswith(".fcsv"):
        return _read_fcsv(path), []
    if name.endswith((".tsv", ".csv")):
        return _read_delimited(path, scan)
    if name.endswith(".mat"):
        return _read_matlab(path, scan), []
    if name.endswith(IMAGE_SUFFIXES):
        return _read_mask_points(path, scan), []
    raise InputError(f"{path}: points are read from .mrk.json, .fcsv, .tsv, .csv, .mat or a mask (.nii.gz)")


def _problem_of(point: AnnotatedPoint, earlier: Sequence[AnnotatedPoint], scan: Scan) -> str | None:
    if not lies_inside(scan, to_voxel(scan.affine, point.position_mm)):
        return f"{_described(point)} lies outside the scan"
    for other in earlier:
        if np.linalg.norm(np.subtract(point.position_mm, other.position_mm)) < SAME_POINT_MM:
            return f"{_described(point)} is the same point as {other.name}"
    return None


def _problem_of_lesion(
    point: AnnotatedPoint,
    lesion: GrownLesion,
    earlier: Sequence[AnnotatedPoint],
    lesions: Sequence[GrownLesion],
    scan: Scan,
) -> str | None:
    if not lesion.found:
        return f"{_described(point)} lies on no lesion: nothing there stands out from its surroundings"
    seed = np.rint(to_voxel(scan.affine, lesion.position_mm)).astype(int)
    for other, found in zip(earlier, lesions, strict=True):
        i, j, k = (int(at) - part.start for at, part in zip(seed, found.box, strict=True))
        if min(i, j, k) >= 0 and found.mask[i : i + 1, j : j + 1, k : k + 1].any():
            return f"{_described(point)} marks the same lesion as {other.name}"
    return None


def _described(point: AnnotatedPoint) -> str:
    x, y, z = point.position_mm
    return f"{point.name} at ({x:.1f}, {y:.1f}, {z:.1f}) mm RAS"


def _read_markups(path: Path) -> tuple[list[AnnotatedPoint], list[str]]:
    """Read a point list of 3D Slicer (.mrk.json); LPS if the file does not say, as in Slicer."""
    points: list[AnnotatedPoint] = []
    problems: list[str] = []
    try:
        for markup in json.loads(_text_of(path))["markups"]:
            signs = _signs(str(markup.get("coordinateSystem", "LPS")), path)
            for item in markup["controlPoints"]:
                label = str(item.get("label") or f"point {len(points) + len(problems) + 1}")
                # a point that was never placed has a position, too
                if item.get("positionStatus", "defined") == "defined":
                    x, y, z = item["position"]
                    points.append(_point(label, np.multiply((x, y, z), signs)))
                else:
                    problems.append(f"{label} has no place: it was never put into the scan")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise InputError(f"{path}: not a point list of 3D Slicer; save the points there as .mrk.json") from None
    return points, problems


def _read_fcsv(path: Path) -> list[AnnotatedPoint]:
    """Read an older point list of 3D Slicer (.fcsv); RAS if the file does not say, as in Slicer 4."""
    text = _text_of(path)
    comments = [line.lstrip("# ").partition("=") for line in text.split("\n") if line.startswith("#")]
    header = {key.strip().lower(): value.strip() for key, _, value in comments}
    signs = _signs(header.get("coordinatesystem", "0"), path)
    columns = header.get("columns", FCSV_COLUMNS).replace(" ", "").split(",")
    points = []
    for number, cells in enumerate(_rows_of(text, ",", path, comment="#"), 1):
        row = dict(zip(columns, cells, strict=False))
        position = np.multiply(_numbers(row, "xyz", path, number), signs)
        points.append(_point(row.get("label") or f"point {number}", position))
    return points


def _read_delimited(path: Path, scan: Scan) -> tuple[list[AnnotatedPoint], list[str]]:
    """Read a table with a header; see the module docstring for its columns."""
    text = _text_of(path)
    header = next((line for line in text.split("\n") if line.strip()), "")
    lines = _rows_of(text, max("\t;,", key=header.count), path)
    names = [name.strip().lower() for name in next(lines, [])]
    axes = next((axes for axes in ("xyz", "ijk") if set(axes) <= set(names)), None)
    if axes is None:
        raise InputError(f"{path}: the header needs the columns x, y, z (RAS mm) or i, j, k (voxel indices from 0)")
    if twice := next((name for name in (*axes, *NAME_COLUMNS) if names.count(name) > 1), None):
        raise InputError(f"{path}: the header has the column {twice} more than once; leave one of them")
    rows = {number: _named(cells, names, path, number) for number, cells in enumerate(lines, 1)}
    own, problems = _rows_of_scan(rows, scan_column(names), axes, path, scan)
    points = []
    for number, row in own.items():
        position = _numbers(row, axes, path, number)
        label = next((row[column] for column in NAME_COLUMNS if row.get(column)), f"point {number}")
        points.append(_point(label, position if axes == "xyz" else to_world(scan.affine, position)))
    return points, problems


def _named(cells: Sequence[str], names: Sequence[str], path: Path, number: int) -> dict[str, str]:
    """Return the cells of a row by the names of their columns."""
    if any(cell.strip() for cell in cells[len(names) :]):
        raise InputError(
            f"{path}: point {number} has more cells than the header: {cells}; "
            "write decimal points, and commas of a text in quotation marks"
        )
    return dict(zip(names, (cell.strip() for cell in cells), strict=False))


def _rows_of_scan(
    rows: Mapping[int, dict[str, str]], column: str | None, axes: str, path: Path, scan: Scan
) -> tuple[Mapping[int, dict[str, str]], list[str]]:
    """Return the rows that are points of this scan, and notes on the others."""
    if column is None or not rows:
        return rows, []
    own = {number: row for number, row in rows.items() if is_of(row, column, scan.name)}
    if not own:
        there = some_of([row.get(column, "") for row in rows.values()])
        raise InputError(
            f"{path}: no row is of {scan.name} (column {column}: {there}); if it has no microbleeds, give it a row "
            f"without {', '.join(axes)}"
        )
    others = len(rows) - len(own)
    placed = {number: row for number, row in own.items() if any(row.get(axis) not in NO_NUMBER for axis in axes)}
    return placed, [f"{counted(others, 'row')} of other scans (column {column})"] if others else []


def _read_matlab(path: Path, scan: Scan) -> list[AnnotatedPoint]:
    """Read voxel indices that count from 1, as MATLAB does."""
    try:
        content = loadmat(path)
    except NotImplementedError:
        raise InputError(f"{path}: MATLAB 7.3 format; save it with save(name, 'cen', '-v7')") from None
    except Exception:
        # damaged files make SciPy fail in many ways: in zlib or struct, by an index, or by the memory for a length
        raise InputError(
            f"{path}: not a MATLAB file that can be read; save it with save(name, 'cen', '-v7')"
        ) from None
    tables = {name: np.asarray(value) for name, value in content.items() if not name.startswith("__")}
    centers = tables.get("cen", np.zeros(0, "U1"))
    if centers.dtype.kind not in "iuf" or (centers.size and centers.shape[1:] != (3,)):
        raise InputError(f"{path}: the variable cen (N x 3 voxel indices from 1) is needed; it has {_listed(tables)}")
    positions = to_world(scan.affine, centers.reshape(-1, 3).astype(np.float64) - 1)
    return [_point(f"point {number}", position) for number, position in enumerate(positions, 1)]


def _read_mask_points(path: Path, scan: Scan) -> list[AnnotatedPoint]:
    """Return the center of every component of a mask."""
    labels, count = ndimage.label(read_labels(path, scan) > 0, TOUCHING)
    centers = ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))
    return [_point(f"point {number}", to_world(scan.affine, center)) for number, center in enumerate(centers, 1)]


def _read_candidates(path: Path) -> tuple[list[AnnotatedPoint], list[str]]:
    """Return the accepted candidates of a reviewed table."""
    candidates = read_table(path)
    for line, item in enumerate(candidates, 2):
        # a misspelled verdict would leave out a microbleed
        if problem := problem_of(Candidate(**{name: getattr(item, name) for name in REVIEWED})):
            raise InputError(
                f"{path}: line {line}: {problem}; a candidate has a name, three numbers for its position "
                f"and a verdict: {', '.join(Verdict)}"
            )
    undecided = [item for item in candidates if item.verdict == "undecided"]
    if candidates and len(undecided) == len(candidates):
        raise InputError(f"{path}: no candidate was accepted or rejected; review the scan first")
    points = [AnnotatedPoint(item.id, position_of(item)) for item in candidates if item.verdict == "accepted"]
    problems = [f"{item.id} is undecided and not taken for a microbleed" for item in undecided]
    return points, problems


def _point(name: str, position_mm: Iterable[Any]) -> AnnotatedPoint:
    x, y, z = (float(value) for value in position_mm)
    return AnnotatedPoint(name, (x, y, z))


def _signs(system: str, path: Path) -> tuple[float, float, float]:
    """Signs that convert coordinates of a named system to RAS."""
    try:
        return SYSTEMS[system.strip().upper()]
    except KeyError:
        raise InputError(f"{path}: unknown coordinate system '{system}'; save the points in RAS or LPS") from None


def _rows_of(text: str, delimiter: str, path: Path, comment: str | None = None) -> Iterator[list[str]]:
    """Yield the cells of each line that is neither empty nor a comment.

    Every line is parsed by itself: otherwise a stray quotation mark would merge all lines after it into one cell.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or (comment and line.startswith(comment)):
            continue
        try:
            cells = next(csv.reader([line + "\n"], delimiter=delimiter))
        except csv.Error as error:
            raise InputError(f"{path}: line {number} is no row of a table ({error})") from None
        if cells[-1].endswith("\n"):
            raise InputError(broken_cell(path, number))
        # spreadsheet programs also write rows whose cells were cleared
        if any(cell.strip() for cell in cells):
            yield cells


def _numbers(row: Mapping[str, str], columns: str, path: Path, number: int) -> list[float]:
    """Return three finite numbers of a row."""
    found = [row.get(column, "") for column in columns]
    try:
        values = [float(text) for text in found]
    except ValueError:
        values = []
    if not values or not np.isfinite(values).all():
        hint = "; write decimal points" if any("," in text for text in found) else ""
        raise InputError(f"{path}: point {number} has no three numbers in {', '.join(columns)}, but {found}{hint}")
    return values


def _text_of(path: Path) -> str:
    try:
        # spreadsheet programs put a byte order mark before the header
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: not a text file in UTF-8") from None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"
