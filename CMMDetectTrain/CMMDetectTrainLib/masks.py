"""``cmmdetect masks``: turn annotated points into a label map, a table of measurements and a picture (paper, 3.1)."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib import __version__
from CMMDetectLib.candidates import sphere_diameter, write_json
from CMMDetectLib.cli import SCAN, OneLineParser, add_scan_options, explained, tell
from CMMDetectLib.errors import InputError
from CMMDetectLib.orientation import canonical_turn
from CMMDetectLib.region_growing import GrowthSettings
from CMMDetectLib.results import LABELS, all_or_none, is_detection
from CMMDetectLib.scan import Scan, read_scan, replacing, stem_of, write_image
from CMMDetectLib.tables import MISSING, write_tsv
from CMMDetectLib.wording import counted

from .annotations import Annotations, read_annotations
from .command_texts import POINTS
from .extras import training_packages
from .label_map import label_map

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "label": {"Description": "Value of the lesion in the label map"},
    "name": {"Description": "Name of the point in the file of annotations"},
    "x": {"Description": "Extremum that the point was moved to, toward the right (RAS)", "Units": "mm"},
    "y": {"Description": "The same toward anterior (RAS)", "Units": "mm"},
    "z": {"Description": "The same toward superior (RAS)", "Units": "mm"},
    "moved_mm": {"Description": "Distance of the annotated point to the extremum", "Units": "mm"},
    "voxels": {"Description": "Number of voxels of the lesion"},
    "volume_mm3": {"Description": "Volume of the lesion", "Units": "mm3"},
    "diameter_mm": {"Description": "Diameter of the sphere of that volume", "Units": "mm"},
    "contrast": {"Description": "Extremum against the surroundings, in units of the scan"},
    "contrast_to_noise": {"Description": "Contrast over the robust spread of the surroundings"},
    "flags": {
        "Description": "vessel: the region followed a vessel and was cut back to its core; "
        "capped: it reaches the largest extent that is allowed, the lesion may be larger"
    },
}

MASKS = """\
Move each point to the darkest voxel near it (QSM: the brightest), grow the
lesion there, and write a label map, with measurements and a picture beside it.
Points that cannot be used are named."""
TILE_MM, TILE_PIXELS = 24.0, 120
"""Side of the square that is drawn around a lesion, on the scan (mm) and in the picture (pixels)."""
GAP_PIXELS, TITLE_PIXELS = 6, 16
PAIRS_IN_A_ROW = (4, 8)
"""Pairs of tiles (without and with outline) in a row of the picture: for up to `FEW` lesions, and for more."""
FEW, MOST = 40, 400
"""Lesions beyond the first `MOST` are not drawn: the picture would be too large to open."""
LARGEST_RADIUS_VOX, LARGEST_TOLERANCE = 200, 100.0
"""Limits of the options: microbleeds are at most 10 mm wide, and none is so faint that 1 % of its contrast counts."""
OUTLINE = (1.0, 0.25, 0.2)


@dataclass(frozen=True)
class MaskFiles:
    """The files that were written."""

    labels: Path
    table: Path
    description: Path
    picture: Path


def add_masks(commands: argparse._SubParsersAction[OneLineParser]) -> None:
    """Add ``cmmdetect masks``."""
    usual = GrowthSettings()
    parser = commands.add_parser(
        "masks", help="grow the microbleeds at annotated points", **explained(MASKS, f"{SCAN}\n{POINTS}")
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="label map (.nii.gz) to write")
    add_scan_options(parser)
    parser.add_argument("coordinates", help="file with the points, in one of the formats below")
    parser.add_argument(
        "--in-plane-vox",
        type=int,
        default=usual.in_plane_vox,
        metavar="N",
        help="largest radius in plane, voxels (default: %(default)s)",
    )
    parser.add_argument(
        "--through-plane-vox",
        type=int,
        default=usual.through_plane_vox,
        metavar="N",
        help="largest radius across the slices, voxels (default: %(default)s)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=usual.tolerance,
        metavar="X",
        help="values above 1 give larger regions (default: %(default)s)",
    )
    parser.set_defaults(run=_masks)


def _masks(options: argparse.Namespace) -> None:
    _check_growth(options)
    settings = GrowthSettings(options.in_plane_vox, options.through_plane_vox, tolerance=options.tolerance)
    scan = read_scan(options.scan, options.modality, options.echo, options.series)
    with training_packages("masks"):
        annotations, files = make_masks(scan, Path(options.coordinates), Path(options.output), settings)
    flagged = sum(bool(lesion.flags) for lesion in annotations.lesions)
    tell(
        *(f"Left out: {problem}" for problem in annotations.problems),
        f"{scan.name}: {counted(len(annotations.lesions), 'microbleed')}, {flagged} to look at (column flags)",
        *([f"The picture shows the first {MOST}"] if len(annotations.lesions) > MOST else []),
        f"Written: {files.labels}, {files.table}, {files.picture}",
    )


def _check_growth(options: argparse.Namespace) -> None:
    for name in ("in_plane_vox", "through_plane_vox"):
        if not 0 <= getattr(options, name) <= LARGEST_RADIUS_VOX:
            raise InputError(f"--{name.replace('_', '-')} must lie between 0 and {LARGEST_RADIUS_VOX}")
    # written so that it also refuses NaN, for which every comparison is false
    if not 0 < options.tolerance <= LARGEST_TOLERANCE:
        raise InputError(f"--tolerance must be above 0 and at most {LARGEST_TOLERANCE:g}")


def make_masks(
    scan: Scan, coordinates: Path, output: Path, settings: GrowthSettings | None = None
) -> tuple[Annotations, MaskFiles]:
    """Grow the lesion at each annotated point, and write the label map, table, description and picture.

    Parameters
    ----------
    scan : scan that the points lie in
    coordinates : file of points, see `CMMDetectTrainLib.annotations`
    output : label map to write, .nii.gz; the other files are named after it

    Raises
    ------
    InputError
        If the points cannot be read, if an input or its description (.json) would be overwritten, or if the label map
        would be taken for the result of a detection in the same folder.
    OutputError
        If a file cannot be written; existing files are then unchanged.
    """
    files = _name_files(output, [coordinates, *([scan.path] if scan.path else [])])
    annotations = read_annotations(coordinates, scan, settings)
    labels = label_map(scan, annotations.lesions)
    provenance = {
        "scan": str(scan.path or scan.name),
        "coordinates": str(coordinates),
        "modality": str(scan.modality),
        "settings": asdict(settings or GrowthSettings()),
        "problems": list(annotations.problems),
        "software": f"CMMDetect {__version__}",
    }
    with all_or_none(output.parent) as beside:
        write_image(beside / files.labels.name, labels, scan.affine)
        _write_table(beside / files.table.name, _rows(scan, annotations, labels))
        write_json(beside / files.description.name, {**COLUMNS, "provenance": provenance})
        draw_lesions(beside / files.picture.name, scan, labels, annotations)
    return annotations, files


def _name_files(output: Path, inputs: Sequence[Path]) -> MaskFiles:
    if not output.name.lower().endswith(".nii.gz"):
        raise InputError(f"{output}: the label map is written as .nii.gz; give such a name with -o")
    stem = stem_of(output)
    files = MaskFiles(output, *(output.with_name(stem + suffix) for suffix in (".tsv", ".json", ".png")))
    # a .json file with the name of an image describes it (BIDS)
    read = {file.resolve() for path in inputs for file in (path, path.with_name(stem_of(path) + ".json"))}
    for file in asdict(files).values():
        if file.resolve() in read:
            raise InputError(f"{file}: would be overwritten by the results; choose another name with -o")
    if stem.endswith(LABELS) and is_detection(output.parent, stem.removesuffix(LABELS)):
        raise InputError(
            f"{output}: would be mistaken for the result of the detection whose table is beside it; "
            "choose another folder with -o"
        )
    return files


def _rows(scan: Scan, annotations: Annotations, labels: NDArray[np.int32]) -> list[dict[str, Any]]:
    voxels = np.bincount(labels.ravel(), minlength=len(annotations.lesions) + 1)
    rows = []
    for number, (point, lesion) in enumerate(zip(annotations.points, annotations.lesions, strict=True), 1):
        x, y, z = lesion.position_mm
        volume_mm3 = float(voxels[number] * np.prod(scan.spacing_mm))
        rows.append(
            {
                "label": number,
                "name": " ".join(point.name.split()),
                "x": x,
                "y": y,
                "z": z,
                "moved_mm": float(np.linalg.norm(np.subtract(point.position_mm, lesion.position_mm))),
                "voxels": int(voxels[number]),
                "volume_mm3": volume_mm3,
                "diameter_mm": sphere_diameter(volume_mm3),
                "contrast": lesion.contrast,
                "contrast_to_noise": lesion.contrast_to_noise,
                "flags": ",".join(lesion.flags) or MISSING,
            }
        )
    return rows


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_tsv(path, list(COLUMNS), ({name: _cell(row[name]) for name in COLUMNS} for row in rows))


def _cell(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value


def draw_lesions(path: Path, scan: Scan, labels: NDArray[np.int32], annotations: Annotations) -> None:
    """Draw each lesion in the slice where it is largest, without and with its outline, in radiological convention.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tiles = _tiles(scan, labels)
    columns = PAIRS_IN_A_ROW[0] if len(tiles) <= FEW else PAIRS_IN_A_ROW[1]
    rows = max(1, -(-len(tiles) // columns))
    height, width = TILE_PIXELS + TITLE_PIXELS, 2 * TILE_PIXELS + GAP_PIXELS
    sheet = np.zeros((rows * height + GAP_PIXELS, columns * width + GAP_PIXELS, 3), np.uint8)
    corners = [(at // columns * height + TITLE_PIXELS, at % columns * width + GAP_PIXELS) for at in range(len(tiles))]
    for tile, (top, left) in zip(tiles, corners, strict=True):
        sheet[top : top + TILE_PIXELS, left : left + 2 * TILE_PIXELS] = np.rint(255 * tile)
    figure = Figure(figsize=(sheet.shape[1] / 100, sheet.shape[0] / 100), dpi=100)
    FigureCanvasAgg(figure)
    figure.figimage(sheet)
    named = zip(annotations.points, annotations.lesions, corners, strict=False)
    for number, (point, lesion, (top, left)) in enumerate(named, 1):
        title = " ".join([f"{number}  {point.name[:18]}  {lesion.diameter_mm:.1f} mm", *lesion.flags])
        place = (left / sheet.shape[1], 1 - (top - 3) / sheet.shape[0])
        figure.text(*place, title, fontsize=6.5, color="white", parse_math=False)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=100)


def _tiles(scan: Scan, labels: NDArray[np.int32]) -> list[NDArray[np.float32]]:
    """Return an RGB image of each lesion, (H, W, 3) from 0 to 1: without and with outline, side by side."""
    turn = canonical_turn(scan.affine)
    turned, labels = scan.turned(turn), turn.apply(labels)
    tiles = []
    for number, box in enumerate(ndimage.find_objects(labels)[:MOST], 1):
        mask = labels[box] == number
        k = box[2].start + int(np.argmax(mask.sum(axis=(0, 1))))
        centers = [(part.start + part.stop - 1) / 2 for part in box[:2]]
        tiles.append(_tile(turned.array[..., k], labels[..., k] == number, centers, turned.spacing_mm))
    return tiles


def _tile(
    plane: NDArray[np.float32], mask: NDArray[np.bool_], center_vox: Sequence[float], spacing_mm: Sequence[float]
) -> NDArray[np.float32]:
    """Sample a square around a lesion (nearest neighbor); anterior is up, the patient's right on the left."""
    offsets_mm = ((np.arange(TILE_PIXELS) + 0.5) / TILE_PIXELS - 0.5) * TILE_MM
    wanted = [np.rint(at + offsets_mm / step).astype(int) for at, step in zip(center_vox, spacing_mm, strict=False)]
    i, j = (np.clip(index, 0, size - 1) for index, size in zip(wanted, plane.shape, strict=True))
    shown = np.ix_(i[::-1], j[::-1])
    gray, inside = plane[shown].T, mask[shown].T
    low, high = np.percentile(gray, (0.5, 99.5))
    gray = np.clip((gray - low) / max(float(high - low), 1e-9), 0, 1)
    plain = np.repeat(gray[..., None], 3, axis=-1)
    outlined = plain.copy()
    outlined[ndimage.binary_dilation(inside) & ~inside] = OUTLINE
    return np.concatenate([plain, outlined], axis=1)
