"""Candidates and their table."""

import json
from dataclasses import fields

import pytest

from CMMDetectLib.candidates import (
    Candidate,
    Stage,
    at_stage,
    read_table,
    sphere_diameter,
    write_markups,
    write_table,
)
from CMMDetectLib.errors import InputError

COLUMNS = [
    *("id", "x", "y", "z", "stage", "rejected_by"),
    *("p_detection", "p_discrimination", "volume_mm3", "diameter_mm", "ellipticity", "skull_distance_mm"),
    *("verdict", "certainty", "mimic", "note", "reader", "reviewed_at", "reader_x", "reader_y", "reader_z", "origin"),
]

CANDIDATES = [
    Candidate(id="cmb-0001", x=1.5, y=-2.25, z=30.0, stage=Stage.FINAL, p_detection=0.9, p_discrimination=0.8),
    Candidate(
        id="cmb-0002",
        x=-10.0,
        y=0.0,
        z=-0.125,
        stage=Stage.DISCRIMINATION,
        rejected_by="volume",
        volume_mm3=1.92,
        verdict="rejected",
        mimic="vessel",
        note="end-on\tvein\nbeside a sulcus, größer",
        reader="Reader One",
        reader_x=-10.5,
    ),
    Candidate(id="cmb-0003", x=0.0, y=0.0, z=0.0, rejected_by="discrimination"),
]


def test_the_table_has_exactly_the_agreed_columns_in_their_order(tmp_path):
    write_table(tmp_path / "t.tsv", CANDIDATES, {})
    lines = (tmp_path / "t.tsv").read_text(encoding="utf-8").split("\n")
    assert lines[0].split("\t") == COLUMNS
    assert all(len(line.split("\t")) == len(COLUMNS) for line in lines[:-1])
    assert lines[1].split("\t")[5] == "n/a"


def test_a_table_comes_back_as_it_was_written(tmp_path):
    write_table(tmp_path / "t.tsv", CANDIDATES, {})
    back = read_table(tmp_path / "t.tsv")
    assert back[0] == CANDIDATES[0]
    assert back[2] == CANDIDATES[2]
    assert back[1].note == "end-on vein beside a sulcus, größer"


def test_a_table_that_a_spreadsheet_program_saved_with_its_mark_and_empty_lines_is_read(tmp_path):
    write_table(tmp_path / "t.tsv", CANDIDATES, {})
    header, *lines = (tmp_path / "t.tsv").read_text(encoding="utf-8").splitlines()
    saved = "\r\n".join([header, lines[0], "", *lines[1:], "\t" * (len(COLUMNS) - 1), "", ""])
    expected = read_table(tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_bytes(saved.encode("utf-8-sig"))
    assert read_table(tmp_path / "t.tsv") == expected


def test_cells_that_were_left_empty_in_a_spreadsheet_are_missing_values(tmp_path):
    write_table(tmp_path / "t.tsv", CANDIDATES, {})
    expected = read_table(tmp_path / "t.tsv")
    text = (tmp_path / "t.tsv").read_text(encoding="utf-8")
    (tmp_path / "t.tsv").write_text(text.replace("n/a", ""), encoding="utf-8")
    assert read_table(tmp_path / "t.tsv") == expected


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_a_table_saved_in_another_encoding_says_what_to_save_it_as(tmp_path, encoding):
    write_table(tmp_path / "t.tsv", CANDIDATES, {})
    (tmp_path / "t.tsv").write_text((tmp_path / "t.tsv").read_text(encoding="utf-8"), encoding=encoding)
    with pytest.raises(InputError, match=r"t\.tsv: not a text file in UTF-8; save it as UTF-8"):
        read_table(tmp_path / "t.tsv")


def test_an_empty_list_makes_a_table_with_its_header_alone(tmp_path):
    write_table(tmp_path / "t.tsv", [], {})
    assert read_table(tmp_path / "t.tsv") == []


def test_the_sidecar_describes_every_column_and_holds_the_provenance(tmp_path):
    write_table(tmp_path / "t.tsv", CANDIDATES, {"method": "classical"})
    sidecar = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert list(sidecar) == [*COLUMNS, "provenance"]
    assert all(sidecar[name]["Description"] for name in COLUMNS)
    assert sidecar["provenance"] == {"method": "classical"}


@pytest.mark.parametrize(
    ("stage", "labels"),
    [
        (Stage.DETECTION, ["cmb-0001", "cmb-0002", "cmb-0003"]),
        (Stage.DISCRIMINATION, ["cmb-0001", "cmb-0002"]),
        (Stage.FINAL, ["cmb-0001"]),
    ],
)
def test_a_stage_shows_what_passed_it(tmp_path, stage, labels):
    write_markups(tmp_path / "m.mrk.json", CANDIDATES, stage, "sub-01")
    node = json.loads((tmp_path / "m.mrk.json").read_text(encoding="utf-8"))["markups"][0]
    assert [point["label"] for point in node["controlPoints"]] == labels
    assert [item.id for item in at_stage(CANDIDATES, stage)] == labels


def test_markups_are_written_in_lps(tmp_path):
    write_markups(tmp_path / "m.mrk.json", CANDIDATES, Stage.FINAL, "sub-01")
    node = json.loads((tmp_path / "m.mrk.json").read_text(encoding="utf-8"))["markups"][0]
    assert node["coordinateSystem"] == "LPS"
    assert node["controlPoints"][0]["position"] == [-1.5, 2.25, 30.0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "not a table of candidates"),
        ("id\tx\n1\t2\n", "its columns must be id, x, y"),
        ("\t".join(COLUMNS) + "\n" + "\t".join(["cmb-0001", "left"] + ["n/a"] * 20), "line 2 is not a candidate"),
        ("\t".join(COLUMNS) + "\ncmb-0001\t1\n", "line 2 is not a candidate"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path, content, expected):
    (tmp_path / "t.tsv").write_text(content)
    with pytest.raises(InputError, match=expected) as caught:
        read_table(tmp_path / "t.tsv")
    assert "\n" not in str(caught.value)


def test_the_records_fields_are_the_columns():
    assert [field.name for field in fields(Candidate)] == COLUMNS


def test_the_diameter_is_that_of_the_sphere_of_the_volume():
    assert sphere_diameter(33.510322) == pytest.approx(4.0, abs=1e-6)
