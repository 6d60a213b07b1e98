"""``cmmdetect masks``: label map, table and picture from annotated points; all files are written or none."""

import csv
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

import phantoms
from CMMDetectLib.cli import EXIT_INPUT, make_parser, run_command
from CMMDetectLib.errors import InputError
from CMMDetectLib.region_growing import GrowthSettings, grow_at_voxel
from CMMDetectLib.scan import Modality, Scan, read_scan, to_voxel
from CMMDetectTrainLib.masks import OUTLINE, add_masks, label_map, make_masks
from small_disk import run_limited
from small_scans import LESIONS_MM, SPACING_MM, lesion_positions


def masks(*arguments: object) -> int:
    parser, commands = make_parser()
    add_masks(commands)
    return run_command(parser, ["masks", *map(str, arguments)])


def write_points(path: Path, rows: dict[str, np.ndarray]) -> Path:
    lines = [",".join([name, *(f"{value:.3f}" for value in position)]) for name, position in rows.items()]
    path.write_text("\n".join(["name,x,y,z", *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def points(stripped_scan, tmp_path) -> Path:
    """The three microbleeds of the scan, and one point outside it."""
    positions = lesion_positions(nib.load(stripped_scan).affine)
    rows = {f"bleed {n}": position for n, position in enumerate(positions, 1)}
    return write_points(tmp_path / "points.csv", rows | {"astray": positions[0] + 900})


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_the_command_writes_labels_measurements_and_a_picture(stripped_scan, points, tmp_path, capsys):
    output = tmp_path / "new" / "sub-01_masks.nii.gz"
    assert masks(stripped_scan, points, "-o", output) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Left out: astray at (" in told
    assert "3 microbleeds" in told
    assert sorted(path.name for path in output.parent.iterdir()) == [
        f"sub-01_masks{suffix}" for suffix in (".json", ".nii.gz", ".png", ".tsv")
    ]
    image = nib.load(output)
    labels = np.asarray(image.dataobj)
    assert np.allclose(image.affine, nib.load(stripped_scan).affine, atol=1e-3)
    assert sorted(np.unique(labels)) == [0, 1, 2, 3]
    for number, (row, (*center, diameter)) in enumerate(
        zip(table_of(output.with_name("sub-01_masks.tsv")), LESIONS_MM, strict=True), 1
    ):
        voxels = np.argwhere(labels == number) * SPACING_MM
        assert np.linalg.norm(voxels.mean(axis=0) - center) < 1.0
        assert row["label"] == str(number)
        assert row["name"] == f"bleed {number}"
        assert int(row["voxels"]) == len(voxels)
        assert float(row["volume_mm3"]) == pytest.approx(len(voxels) * np.prod(SPACING_MM))
        assert float(row["diameter_mm"]) == pytest.approx(diameter, rel=0.3)


def test_the_description_says_what_the_columns_are_and_what_was_left_out(stripped_scan, points, tmp_path):
    masks(stripped_scan, points, "-o", tmp_path / "m.nii.gz", "--in-plane-vox", 4)
    described = json.loads((tmp_path / "m.json").read_text())
    provenance = described.pop("provenance")
    assert set(described) == set(table_of(tmp_path / "m.tsv")[0])
    assert provenance["settings"]["in_plane_vox"] == 4
    assert provenance["modality"] == "swi"
    assert [problem.split(" at ")[0] for problem in provenance["problems"]] == ["astray"]


def test_the_picture_shows_every_lesion_with_its_outline(stripped_scan, points, tmp_path):
    _, files = make_masks(read_scan(stripped_scan), points, tmp_path / "m.nii.gz")
    picture = imread(files.picture)[..., :3]
    drawn = np.linalg.norm(picture - OUTLINE, axis=-1) < 0.05
    assert drawn.sum() > 100
    tiles = np.array_split(drawn[:, : 3 * 246], 3, axis=1)
    assert all(tile.any() for tile in tiles)
    assert not drawn[:, 3 * 246 + 20 :].any()


def test_a_scan_without_points_gives_an_empty_map(stripped_scan, tmp_path):
    empty = write_points(tmp_path / "none.csv", {})
    assert masks(stripped_scan, empty, "-o", tmp_path / "m.nii.gz") == 0
    assert not np.asarray(nib.load(tmp_path / "m.nii.gz").dataobj).any()
    assert table_of(tmp_path / "m.tsv") == []
    assert (tmp_path / "m.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--tolerance nan", "--tolerance must be above 0"),
        ("--tolerance inf", "--tolerance must be above 0"),
        ("--in-plane-vox -1", "--in-plane-vox must lie between 0 and 200"),
        (f"--in-plane-vox {10**30}", "--in-plane-vox must lie between 0 and 200"),
        ("--through-plane-vox 1000000", "--through-plane-vox must lie between 0 and 200"),
    ],
)
def test_a_growth_that_cannot_be_is_refused_in_one_line(stripped_scan, points, tmp_path, capsys, options, told):
    assert masks(stripped_scan, points, "-o", tmp_path / "m.nii.gz", *options.split()) == EXIT_INPUT
    assert told in capsys.readouterr().err
    assert not (tmp_path / "m.nii.gz").exists()


def test_a_folder_in_the_place_of_a_result_leaves_all_earlier_results_whole(stripped_scan, points, tmp_path, capsys):
    (tmp_path / "m.tsv").mkdir()
    (tmp_path / "m.nii.gz").write_text("earlier")
    assert masks(stripped_scan, points, "-o", tmp_path / "m.nii.gz") == EXIT_INPUT
    assert f"{tmp_path / 'm.tsv'}: is a folder where a result is to be written" in capsys.readouterr().err
    assert (tmp_path / "m.nii.gz").read_text() == "earlier"


def test_masks_are_not_written_where_they_would_be_taken_for_a_detection(stripped_scan, points, tmp_path, capsys):
    (tmp_path / "sub-01_swi_candidates.tsv").touch()
    output = tmp_path / "sub-01_swi_microbleeds.nii.gz"
    assert masks(stripped_scan, points, "-o", output) == EXIT_INPUT
    assert "would be mistaken for the result of the detection" in capsys.readouterr().err
    assert not output.exists()
    (tmp_path / "labels").mkdir()
    assert masks(stripped_scan, points, "-o", tmp_path / "labels" / output.name) == 0


def test_the_description_of_a_scan_is_not_overwritten(stripped_scan, points, tmp_path, capsys):
    scan, sidecar = tmp_path / "sub-02_swi.nii", tmp_path / "sub-02_swi.json"
    nib.save(nib.load(stripped_scan), scan)
    sidecar.write_text('{"EchoTime": 0.02}')
    assert masks(scan, points, "-o", tmp_path / "sub-02_swi.nii.gz") == EXIT_INPUT
    assert f"{sidecar}: would be overwritten by the results" in capsys.readouterr().err
    assert sidecar.read_text() == '{"EchoTime": 0.02}'


@pytest.mark.parametrize("limit", [200, 8000], ids=["label map", "picture"])
def test_a_full_disk_ends_in_one_line_and_leaves_earlier_results_whole(stripped_scan, points, tmp_path, limit):
    output = tmp_path / "m.nii.gz"
    output.write_text("earlier")
    command = [sys.executable, "-m", "CMMDetectTrainLib.cli", "masks", stripped_scan, points, "-o", output]
    ended = run_limited(command, limit)
    assert ended.returncode == EXIT_INPUT
    assert "cannot be written" in ended.stderr and len(ended.stderr.strip().splitlines()) == 1
    assert output.read_text() == "earlier"


def test_many_lesions_make_a_picture_that_can_be_opened(tmp_path, monkeypatch):
    monkeypatch.setattr("CMMDetectTrainLib.masks.MOST", 60)
    tissue = np.random.default_rng(0).normal(1, 0.02, (90, 90, 40)).astype(np.float32)
    centers = [(x, y, z) for x in range(8, 85, 10) for y in range(8, 85, 10) for z in (12, 27)]
    for x, y, z in centers:
        tissue[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2] = 0.1
    scan = Scan(tissue, np.eye(4), Modality.SWI)
    path = write_points(tmp_path / "points.csv", {f"p{n}": np.array(c) for n, c in enumerate(centers[:70])})
    annotations, files = make_masks(scan, path, tmp_path / "m.nii.gz")
    assert len(annotations.lesions) == 70
    height, width, _ = imread(files.picture).shape
    assert width == pytest.approx(8 * 246, abs=8)
    assert height == pytest.approx(8 * 136, abs=8)


def test_a_voxel_of_two_lesions_belongs_to_the_nearer_one():
    spacing = (0.8, 0.8, 0.8)
    shape = (45, 45, 45)
    middle = phantoms.center_of(shape, spacing)
    seeds = [np.add(middle, (side, 0, 0)) for side in (-1.6, 1.6)]
    occupancy = np.maximum(*(phantoms.sphere(shape, spacing, seed, 4.4) for seed in seeds))
    scan = Scan((1 - 0.9 * occupancy).astype(np.float32), np.diag([*spacing, 1]), Modality.SWI)
    lesions = [grow_at_voxel(scan, seed / spacing, GrowthSettings(snap_mm=0.5)) for seed in seeds]
    voxels = [lesion.mask.sum() for lesion in lesions]
    labels = label_map(scan, lesions)
    assert (labels > 0).sum() < sum(voxels)
    for number, lesion in enumerate(lesions, 1):
        own = np.argwhere(labels == number)
        here, other = (
            np.linalg.norm(own - to_voxel(scan.affine, item.position_mm), axis=1)
            for item in (lesion, lesions[2 - number])
        )
        assert len(own) > 10
        assert (here <= other + 1e-6).mean() > 0.9


@pytest.mark.parametrize(
    ("output", "told"),
    [("m.nrrd", "is written as .nii.gz"), ("points.nii.gz", "would be overwritten")],
)
def test_a_name_that_cannot_be_written_is_told_before_any_work(stripped_scan, points, tmp_path, capsys, output, told):
    same_stem = points.rename(tmp_path / "points.tsv")
    same_stem.write_text(same_stem.read_text().replace(",", "\t"))
    before = sorted(tmp_path.iterdir())
    assert masks(stripped_scan, same_stem, "-o", tmp_path / output) == 2
    line = capsys.readouterr().err
    assert told in line
    assert line.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_failure_on_the_way_leaves_no_file(stripped_scan, points, tmp_path, monkeypatch):
    def fail(*arguments: object) -> None:
        raise InputError("no picture")

    monkeypatch.setattr("CMMDetectTrainLib.masks.draw_lesions", fail)
    folder = tmp_path / "out"
    assert masks(stripped_scan, points, "-o", folder / "m.nii.gz") == 2
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("options", [("--tolerance", 0), ("--in-plane-vox", -1), ("--echo", 3)])
def test_options_that_make_no_sense_end_with_status_2(stripped_scan, points, tmp_path, options):
    assert masks(stripped_scan, points, "-o", tmp_path / "m.nii.gz", *options) == 2
    assert not (tmp_path / "m.nii.gz").exists()
