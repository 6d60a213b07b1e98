"""Annotated points are read from the file formats of sites and public data sets, and no point is lost silently."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

import phantoms
from CMMDetectLib.candidates import Candidate, Stage, write_markups, write_table
from CMMDetectLib.errors import InputError
from CMMDetectLib.scan import Modality, Scan, to_voxel, to_world, write_image
from CMMDetectLib.tables import read_tsv
from CMMDetectTrainLib.annotations import Annotations, read_annotations, read_points

SPACING = (0.8, 0.8, 2.0)
SHAPE = (60, 64, 24)
CENTERS_MM = np.array([(14.0, 16.0, 20.0), (30.0, 36.0, 26.0), (20.0, 30.0, 34.0)])
"""Of the lesions, in the grid's own millimetres."""
PLACE = phantoms.affine(SPACING, rotation_deg=(5, -10, 20), left_handed=True)


@pytest.fixture(scope="module")
def scan() -> Scan:
    """Three dark spheres of 4 mm in a tilted, left-handed scan."""
    tissue, _ = phantoms.brain(SHAPE, SPACING, noise=0.01, margin_mm=-60)
    for center in CENTERS_MM:
        tissue *= 1 - 0.9 * phantoms.sphere(SHAPE, SPACING, center, 4.0)
    return Scan((1000 * tissue).astype(np.float32), PLACE, Modality.SWI, "sub-01_swi")


@pytest.fixture
def points() -> np.ndarray:
    """RAS mm of the lesions."""
    return to_world(PLACE, CENTERS_MM / SPACING)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Give a function that writes a text file."""

    def write_text(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write_text


def positions(annotations: Annotations) -> np.ndarray:
    return np.array([point.position_mm for point in annotations.points])


def names(annotations: Annotations) -> list[str]:
    return [point.name for point in annotations.points]


def markups(points: np.ndarray, **extra: object) -> str:
    control = [{"label": f"F-{n}", "position": list(p), **extra} for n, p in enumerate(points, 1)]
    return json.dumps({"markups": [{"type": "Fiducial", "controlPoints": control}]})


@pytest.mark.parametrize(
    ("system", "signs"), [("LPS", (-1, -1, 1)), ("RAS", (1, 1, 1)), ("1", (-1, -1, 1)), ("0", (1, 1, 1))]
)
def test_slicer_markups_are_read_in_the_system_that_they_name(write, scan, points, system, signs):
    content = json.loads(markups(points * signs))
    content["markups"][0]["coordinateSystem"] = system
    found = read_annotations(write("a.mrk.json", json.dumps(content)), scan)
    assert np.allclose(positions(found), points)
    assert names(found) == ["F-1", "F-2", "F-3"]
    assert found.problems == ()


def test_slicer_markups_without_a_system_are_lps(write, scan, points):
    assert np.allclose(positions(read_annotations(write("a.mrk.json", markups(points * (-1, -1, 1))), scan)), points)


def test_points_never_placed_are_none_and_are_named(write, scan, points):
    content = json.loads(markups(points * (-1, -1, 1)))
    content["markups"][0]["controlPoints"][1] |= {"positionStatus": "undefined", "label": ""}
    found = read_annotations(write("a.mrk.json", json.dumps(content)), scan)
    assert names(found) == ["F-1", "F-3"]
    assert found.problems == ("point 2 has no place: it was never put into the scan",)


def test_markups_that_the_detector_wrote_come_back(tmp_path, scan, points):
    candidates = [
        Candidate(id=f"cmb-{n:04d}", x=x, y=y, z=z, stage=Stage.FINAL) for n, (x, y, z) in enumerate(points, 1)
    ]
    write_markups(tmp_path / "a.mrk.json", candidates, Stage.FINAL, "sub-01")
    found = read_annotations(tmp_path / "a.mrk.json", scan)
    assert np.allclose(positions(found), points)
    assert names(found) == ["cmb-0001", "cmb-0002", "cmb-0003"]


@pytest.mark.parametrize(
    ("system", "signs"),
    [("LPS", (-1, -1, 1)), ("RAS", (1, 1, 1)), ("1", (-1, -1, 1)), ("0", (1, 1, 1)), (None, (1, 1, 1))],
)
def test_fcsv_is_read_in_the_system_that_it_names_and_else_as_ras(write, scan, points, system, signs):
    lines = ["# Markups fiducial file version = 4.11"]
    lines += [f"# CoordinateSystem = {system}"] if system else []
    lines += ["# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"]
    lines += [f"vtk{n},{x},{y},{z},0,0,0,1,1,1,0,F-{n},,vtk" for n, (x, y, z) in enumerate(points * signs)]
    found = read_annotations(write("a.fcsv", "\n".join(lines)), scan)
    assert np.allclose(positions(found), points)
    assert names(found) == ["F-0", "F-1", "F-2"]


@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", "\t"), ("a.csv", ","), ("b.csv", ";")])
def test_tables_give_ras_mm_or_voxel_indices_by_their_columns(write, scan, points, name, delimiter):
    in_mm = [["name", "x", "y", "z"], *([f"p{n}", *map(str, p)] for n, p in enumerate(points))]
    in_voxels = [["I", "J", "K"], *(list(map(str, v)) for v in to_voxel(PLACE, points))]
    both = [["i", "j", "k", "x", "y", "z"], *(["0", "0", "0", *map(str, p)] for p in points)]
    for rows in (in_mm, in_voxels, both):
        text = "\ufeff" + "\n".join(delimiter.join(row) for row in rows) + "\n\n"
        assert np.allclose(positions(read_annotations(write(name, text), scan)), points)
    assert names(read_annotations(write(name, "\n".join(delimiter.join(row) for row in in_mm)), scan)) == [
        "p0",
        "p1",
        "p2",
    ]


def test_matlab_coordinates_count_from_one(tmp_path, scan, points):
    voxels = np.rint(to_voxel(PLACE, points))
    savemat(tmp_path / "01.mat", {"cen": voxels.astype(np.uint16) + 1, "gt_num": 3})
    found = read_annotations(tmp_path / "01.mat", scan)
    assert np.allclose(to_voxel(PLACE, positions(found)), voxels)
    assert names(found) == ["point 1", "point 2", "point 3"]


def test_a_matlab_file_without_microbleeds_has_no_points(tmp_path, scan):
    savemat(tmp_path / "02.mat", {"cen": np.zeros((0, 0))})
    assert read_annotations(tmp_path / "02.mat", scan) == Annotations((), (), ())


def test_reviewed_candidates_give_the_accepted_ones_where_the_reader_put_them(tmp_path, scan, points):
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = points
    candidates = [
        Candidate(id="cmb-0001", x=ax, y=ay, z=az, verdict="accepted"),
        Candidate(id="cmb-0002", x=0, y=0, z=0, verdict="accepted", reader_x=bx, reader_y=by, reader_z=bz),
        Candidate(id="cmb-0003", x=cx, y=cy, z=cz, verdict="rejected"),
        Candidate(id="cmb-0004", x=cx, y=cy, z=cz),
    ]
    path = tmp_path / "sub-01_candidates.tsv"
    write_table(path, candidates, {})
    found = read_annotations(path, scan)
    assert names(found) == ["cmb-0001", "cmb-0002"]
    assert np.allclose(positions(found), points[:2], atol=1e-3)
    assert found.problems == ("cmb-0004 is undecided and not taken for a microbleed",)
    write_table(path, [replace(item, verdict="undecided") for item in candidates], {})
    with pytest.raises(InputError, match="review the scan first"):
        read_annotations(path, scan)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("accepted", "Accepted", "cmb-0001: verdict is 'Accepted'; a candidate has a name"),
        ("1.0000", "n/a", "cmb-0001: x is None"),
        ("cmb-0001", "n/a", "None: id is None"),
    ],
)
def test_a_reviewed_candidate_that_cannot_be_read_is_not_left_out(tmp_path, scan, before, after, told):
    path = tmp_path / "sub-01_reviewed.tsv"
    both = [Candidate(id=f"cmb-000{n}", x=float(n), y=2.0, z=3.0, verdict="accepted") for n in (0, 1)]
    write_table(path, both, {})
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace(before, after)]) + "\n")
    with pytest.raises(InputError, match="line 3: ") as caught:
        read_points(path, scan)
    assert told in str(caught.value)


def test_a_mask_without_lesions_has_no_points(tmp_path, scan):
    write_image(tmp_path / "none.nii.gz", np.zeros(SHAPE, np.uint8), PLACE)
    assert read_points(tmp_path / "none.nii.gz", scan) == ([], [])


def test_every_piece_of_a_mask_is_a_point(tmp_path, scan, points):
    mask = sum(phantoms.sphere(SHAPE, SPACING, center, 3.0) for center in CENTERS_MM) > 0.5
    write_image(tmp_path / "lesions.nii.gz", 7 * mask.astype(np.uint8), PLACE)
    found = positions(read_annotations(tmp_path / "lesions.nii.gz", scan))
    distances = np.linalg.norm(found[:, None] - points, axis=2)
    assert len(found) == 3
    assert sorted(distances.argmin(axis=0)) == [0, 1, 2]
    assert distances.min(axis=0).max() < 0.6


def test_points_that_cannot_be_used_are_reported_by_name_and_the_rest_goes_on(write, scan, points):
    plain = to_world(PLACE, np.array((40.0, 12.0, 10.0)) / SPACING)
    rows = {
        "first": points[0],
        "outside": points[0] + 500,
        "again": points[0] + 0.3,
        "other side": points[0] + np.array((1.2, 0, 0)),
        "nothing": plain,
        "last": points[2],
    }
    text = "name,x,y,z\n" + "\n".join(",".join([name, *map(str, p)]) for name, p in rows.items())
    found = read_annotations(write("a.csv", text), scan)
    assert names(found) == ["first", "last"]
    assert len(found.lesions) == 2
    assert all(lesion.found for lesion in found.lesions)
    outside, again, other, nothing = found.problems
    assert outside.startswith("outside at (") and outside.endswith("lies outside the scan")
    assert again.endswith("is the same point as first")
    assert other.endswith("marks the same lesion as first")
    assert nothing.startswith("nothing at (") and "lies on no lesion" in nothing
    assert len(read_points(write("a.csv", text), scan)[0]) == 6


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "a,b\n1,2\n", "the header needs the columns x, y, z"),
        ("a.csv", "", "the header needs the columns x, y, z"),
        ("a.tsv", "x\ty\tz\n1\t2\tthree\n", "point 1 has no three numbers in x, y, z"),
        ("a.tsv", "x\ty\tz\n1\t2\n", "point 1 has no three numbers in x, y, z"),
        ("a.csv", "i,j,k\n1,2,nan\n", "point 1 has no three numbers in i, j, k"),
        ("a.csv", "x;y;z\n1,5;2,5;3,5\n", "but ['1,5', '2,5', '3,5']; write decimal points"),
        (
            "a.csv",
            "x,y,z\n12,20,7\n500,9,8\n",
            "none of its 2 points can be used (point 1 at (12.0, 20.0,",
        ),
        (
            "a.csv",
            "subject,x,y,z\nsub-02,1,2,3\nsub-03,4,5,6\n",
            "no row is of sub-01_swi (column subject: sub-02, sub-03",
        ),
        ("a.csv", "name,x,y,z\na,1,2,3\nb,12,5,-3,1,40,2\n", "point 2 has more cells than the header"),
        ("a.mrk.json", "{", "not a point list of 3D Slicer"),
        ("a.mrk.json", "[]", "not a point list of 3D Slicer"),
        ("a.mrk.json", "[" * 100_000, "not a point list of 3D Slicer"),
        ("a.mrk.json", '{"markups": [{"controlPoints": [{"position": [5]}]}]}', "not a point list of 3D Slicer"),
        (
            "a.mrk.json",
            '{"markups": [{"controlPoints": [{"position": [1' + "0" * 400 + ", 2, 3]}]}]}",
            "not a point list of 3D Slicer",
        ),
        ("a.csv", "x,y,z,x\n1,2,3,4\n", "the header has the column x more than once"),
        ("a.csv", "x,y,z,Name,name\n1,2,3,a,b\n", "the header has the column name more than once"),
        (
            "a.mrk.json",
            '{"markups": [{"coordinateSystem": "IJK", "controlPoints": []}]}',
            "unknown coordinate system 'IJK'",
        ),
        ("a.mrk.json", '{"markups": [{"controlPoints": [{"position": [1, 2]}]}]}', "not a point list of 3D Slicer"),
        ("a.fcsv", "# CoordinateSystem = 2\n", "unknown coordinate system '2'"),
        ("a.fcsv", "F-1,1,2\n", "point 1 has no three numbers"),
        ("a.mat", "not MATLAB", "not a MATLAB file that can be read"),
        ("a_candidates.tsv", "x\ty\n", "not a table of candidates"),
        ("a.nii.gz", "nothing", "a.nii.gz"),
        ("a.xlsx", "", "points are read from"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(write, scan, name, text, told):
    path = write(name, text)
    with pytest.raises(InputError) as caught:
        read_annotations(path, scan)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.csv", ["name,x,y,z,note", "a,1,2,3,plain", 'b,1,2,3,"not closed', "c,1,2,3,lost", 'd,1,2,3,"closed"']),
        ("a.tsv", ["x\ty\tz\tnote", "", '1\t2\t3\t"5 mm', '1\t2\t3\tx"']),
        ("a.fcsv", ["# CoordinateSystem = RAS", "", 'F,1,2,3,0,0,0,1,1,1,0,"name', "G,1,2,3,0,0,0,1,1,1,0,lost"]),
    ],
)
def test_a_quotation_mark_that_is_not_closed_swallows_no_point(write, scan, name, lines):
    with pytest.raises(InputError, match=r"line 3 has a quotation mark \(\"\) that is not closed"):
        read_points(write(name, "\n".join(lines)), scan)


def test_a_quotation_mark_that_is_not_closed_swallows_no_reviewed_candidate(tmp_path, scan):
    path = tmp_path / "sub-01_reviewed.tsv"
    write_table(path, [Candidate(id=f"cmb-{n}", x=1.0, y=2.0, z=3.0, note="n", verdict="accepted") for n in "123"], {})
    path.write_text(path.read_text().replace("\tn\t", '\t"n\t', 1))
    with pytest.raises(InputError, match="line 2 has a quotation mark"):
        read_points(path, scan)


@pytest.mark.parametrize("name", ["a_reviewed.tsv", "a.tsv", "cases.tsv"])
def test_a_cell_with_a_line_break_is_called_that_though_its_quotation_marks_are_closed(tmp_path, scan, name):
    path = tmp_path / name
    if name == "a_reviewed.tsv":
        write_table(path, [Candidate(id="cmb-1", x=1.0, y=2.0, z=3.0, note="n", verdict="accepted")], {})
        path.write_text(path.read_text().replace("\tn\t", '\t"n\nm"\t'))
    else:
        path.write_text('x\ty\tz\tnote\n1\t2\t3\t"n\nm"\n')
    expected = r"line 2 has a quotation mark \(\"\) that is not closed, or a cell with a line break; close the one"
    with pytest.raises(InputError, match=expected):
        read_tsv(path) if name == "cases.tsv" else read_points(path, scan)


def test_quoted_notes_as_spreadsheets_write_them_are_read(write, scan):
    text = 'name,x,y,z,note\r\n"left, deep",1,2,3,"the ""big"" one"\r\nb,4,5,6,5" off\r\n'
    points, problems = read_points(write("a.csv", text), scan)
    assert [(point.name, point.position_mm) for point in points] == [("left, deep", (1, 2, 3)), ("b", (4, 5, 6))]
    assert problems == []


@pytest.mark.parametrize(
    ("column", "own", "other"),
    [
        ("subject", "sub-01", "sub-02"),
        ("participant_id", "1", "10"),
        ("file", "C:\\x\\sub-01_swi.nii.gz", "a/sub-01_T2starw.nii"),
    ],
)
def test_of_a_table_of_many_scans_only_the_rows_of_this_one_are_points(write, scan, points, column, own, other):
    rows = [(own, *points[0]), (other, *points[1]), (own, *points[2])]
    text = f"rater,{column},x,y,z\n" + "\n".join(",".join(["A", *map(str, row)]) for row in rows)
    found = read_annotations(write("rater A.csv", text), scan)
    assert np.allclose(positions(found), points[[0, 2]])
    assert found.problems == (f"1 row of other scans (column {column})",)


@pytest.mark.parametrize("empty", [",,", "n/a,n/a,n/a", "nan,nan,nan"])
def test_a_row_without_a_place_says_that_its_scan_has_no_microbleeds(write, scan, empty):
    text = f"subject,x,y,z\nsub-02,1,2,3\nsub-01,{empty}\n"
    points, problems = read_points(write("a.csv", text), scan)
    assert points == [] and problems == ["1 row of other scans (column subject)"]


@pytest.mark.parametrize("emptied", ["", ",,,,", " , ,,"])
def test_rows_that_were_emptied_in_a_spreadsheet_are_no_points(write, scan, emptied):
    text = f"{emptied}\r\nname,x,y,z,\r\na,1,2,3,\r\n{emptied}\r\nb,4,5,6,,\r\n{emptied}\r\n"
    points, problems = read_points(write("a.csv", text), scan)
    assert [(point.name, point.position_mm) for point in points] == [("a", (1, 2, 3)), ("b", (4, 5, 6))]
    assert problems == []


def test_a_cell_as_long_as_a_book_is_refused_in_one_line(write, scan):
    with pytest.raises(InputError, match="line 2 is no row of a table"):
        read_points(write("a.csv", "x,y,z,note\n1,2,3," + 200_000 * "n"), scan)


def test_a_damaged_matlab_file_is_told_wherever_the_damage_is(tmp_path, scan):
    savemat(tmp_path / "whole.mat", {"cen": np.ones((4, 3))}, do_compression=True)
    content = (tmp_path / "whole.mat").read_bytes()
    path = tmp_path / "a.mat"
    for at in range(100, len(content), 3):
        for damaged in (content[:at], content[:at] + b"\xff" * 8 + content[at + 8 :]):
            path.write_bytes(damaged)
            try:
                read_points(path, scan)
            except InputError as error:
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


def test_markups_with_a_byte_order_mark_are_read(tmp_path, scan, points):
    (tmp_path / "a.mrk.json").write_text(markups(points), encoding="utf-8-sig")
    assert len(read_points(tmp_path / "a.mrk.json", scan)[0]) == 3


def test_a_matlab_file_with_other_variables_says_which_is_needed(tmp_path, scan):
    savemat(tmp_path / "a.mat", {"centers": np.ones((2, 3))})
    with pytest.raises(InputError, match=r"the variable cen .* is needed; it has centers"):
        read_annotations(tmp_path / "a.mat", scan)


def test_matlab_7_3_says_how_to_save_it_again(tmp_path, scan):
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    (tmp_path / "a.mat").write_bytes(header + b"\x89HDF\r\n\x1a\n".ljust(512))
    with pytest.raises(InputError, match=r"MATLAB 7\.3 format; save it with"):
        read_annotations(tmp_path / "a.mat", scan)


def test_a_missing_file_is_told(tmp_path, scan):
    with pytest.raises(InputError, match="no such file"):
        read_annotations(tmp_path / "none.csv", scan)
