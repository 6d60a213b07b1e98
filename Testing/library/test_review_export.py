"""Export of a review: table, points, label map and training case."""

import json

import numpy as np
import pytest

import phantoms
from CMMDetectLib.candidates import Candidate, Stage, read_table
from CMMDetectLib.errors import OutputError
from CMMDetectLib.review import ReviewSession
from CMMDetectLib.review_export import accepted_regions, export_review, export_training_case
from CMMDetectLib.review_file import identify
from CMMDetectLib.review_records import Certainty, Mimic, Verdict
from CMMDetectLib.review_state import ReviewState
from CMMDetectLib.scan import Modality, Scan, read_scan, to_voxel, to_world
from CMMDetectTrainLib.annotations import read_annotations
from CMMDetectTrainLib.case_list import read_cases
from CMMDetectTrainLib.evaluation_set import find_scans, read_lesions

SHAPE, SPACING_MM = (48, 48, 24), (0.8, 0.8, 2.0)
LESIONS_MM = ((10.0, 12.0, 20.0), (24.0, 25.0, 24.0), (30.0, 12.0, 30.0))
EMPTY_MM = (12.0, 30.0, 16.0)
COLUMNS = list(Candidate.__dataclass_fields__)


@pytest.fixture(scope="module")
def scan() -> Scan:
    tissue = 1000 + np.random.default_rng(2).normal(0, 12, SHAPE)
    for center in LESIONS_MM:
        tissue *= 1 - 0.8 * phantoms.sphere(SHAPE, SPACING_MM, center, 4.0)
    affine = phantoms.affine(SPACING_MM) @ np.diag([-1, 1, 1, 1])
    return Scan(tissue.astype(np.float32), affine, Modality.SWI, "sub-01_swi")


def world(scan: Scan, place_mm) -> tuple[float, float, float]:
    x, y, z = to_world(scan.affine, np.divide(place_mm, SPACING_MM)).tolist()
    return x, y, z


@pytest.fixture
def session(scan) -> ReviewSession:
    """Lesion 1 accepted, lesion 2 found 2.5 mm off and corrected, an empty place rejected, lesion 3 added."""
    places = [LESIONS_MM[0], np.add(LESIONS_MM[1], (2.5, 0, 0)), EMPTY_MM]
    candidates = [
        Candidate(id=f"cmb-{n:04d}", x=x, y=y, z=z, stage=Stage.FINAL)
        for n, (x, y, z) in enumerate((world(scan, place) for place in places), 1)
    ]
    session = ReviewSession(identify(scan), candidates, {"method": "classical"})
    session.set_certainty("cmb-0001", Certainty.DEFINITE)
    session.set_reader("Ada")
    session.judge("cmb-0002", Verdict.ACCEPTED)
    session.move("cmb-0002", world(scan, LESIONS_MM[1]))
    session.set_mimic("cmb-0003", Mimic.VESSEL)
    session.add(world(scan, LESIONS_MM[2]))
    return session


def test_the_table_has_all_candidates_with_their_verdicts_in_the_agreed_columns(session, scan, tmp_path):
    files = export_review(session, scan, tmp_path / "new")
    assert files["candidates"].name == "sub-01_swi_reviewed.tsv"
    assert files["candidates"].read_text(encoding="utf-8").splitlines()[0].split("\t") == COLUMNS
    rows = read_table(files["candidates"])
    assert [(row.id, row.verdict, row.reader) for row in rows] == [
        ("cmb-0001", "accepted", "Ada"),
        ("cmb-0002", "accepted", "Ada"),
        ("cmb-0003", "rejected", "Ada"),
        ("cmb-r001", "accepted", "Ada"),
    ]
    assert rows[1].x != rows[1].reader_x
    provenance = json.loads(files["provenance"].read_text(encoding="utf-8"))["provenance"]
    assert provenance["run"] == {"method": "classical"}
    assert provenance["review"]["labels"][1] == {"label": 2, "id": "cmb-0002", "region": "grown"}


def test_what_a_stage_found_too_wide_counts_when_the_reader_accepts_it(session, scan, tmp_path):
    x, y, z = world(scan, LESIONS_MM[2])
    wide = Candidate(
        id="cmb-0009",
        x=x,
        y=y,
        z=z,
        stage=Stage.DISCRIMINATION,
        rejected_by="volume",
        diameter_mm=12.0,
        volume_mm3=905.0,
    )
    rescued = ReviewSession(session.scan, [wide], session.run)
    rescued.judge("cmb-0009", Verdict.ACCEPTED)
    files = export_review(rescued, scan, tmp_path)
    points = json.loads(files["markups"].read_text(encoding="utf-8"))["markups"][0]["controlPoints"]
    assert [point["label"] for point in points] == ["cmb-0009"]
    assert read_table(files["candidates"])[0].verdict == "accepted"
    assert accepted_regions(rescued, scan).labels.max() == 1
    assert [point.name for point in read_annotations(files["candidates"], scan).points] == ["cmb-0009"]


def test_the_points_are_the_accepted_ones_where_the_reader_put_them_in_lps(session, scan, tmp_path):
    files = export_review(session, scan, tmp_path)
    assert files["markups"].name == "sub-01_swi_accepted.mrk.json"
    node = json.loads(files["markups"].read_text(encoding="utf-8"))["markups"][0]
    assert [point["label"] for point in node["controlPoints"]] == ["cmb-0001", "cmb-0002", "cmb-r001"]
    x, y, z = world(scan, LESIONS_MM[1])
    assert node["controlPoints"][1]["position"] == [-x, -y, z]


def test_each_label_is_the_lesion_at_the_corrected_point_on_the_scans_grid(session, scan, tmp_path):
    files = export_review(session, scan, tmp_path)
    labels = read_scan(files["labels"], "swi")
    np.testing.assert_allclose(labels.affine, scan.affine, atol=1e-5)
    for number, place in enumerate(LESIONS_MM, 1):
        voxels = np.argwhere(labels.array == number)
        assert np.linalg.norm(voxels.mean(axis=0) * SPACING_MM - place) < 1.0
        assert 10 < len(voxels) * np.prod(SPACING_MM) < 80
    assert labels.array.max() == 3


def test_where_nothing_stands_out_a_small_sphere_stands_for_it_and_says_so(session, scan):
    session.judge("cmb-0003", Verdict.ACCEPTED)
    regions = accepted_regions(session, scan)
    assert regions.flags == ("grown", "grown", "sphere", "grown")
    sphere = np.argwhere(regions.labels == 3)
    assert 1 <= len(sphere) <= 7
    assert np.abs(sphere * SPACING_MM - EMPTY_MM).max() < 2.5


def test_a_point_at_the_very_edge_gets_a_voxel_and_one_outside_none(session, scan):
    session.add(to_world(scan.affine, (-0.4, -0.4, -0.4)))
    session.add(to_world(scan.affine, (47.4, 47.4, 23.4)))
    session.add((1e4, 0, 0))
    regions = accepted_regions(session, scan)
    assert regions.labels[0, 0, 0] == 4
    assert regions.labels[47, 47, 23] == 5
    assert regions.flags[-1] == "outside"
    assert regions.labels.max() == 5


def test_two_points_in_one_lesion_share_no_voxel(session, scan):
    session.add(world(scan, LESIONS_MM[0]))
    regions = accepted_regions(session, scan)
    assert regions.flags[-1] == "same_voxels"
    assert regions.labels.max() == 3


def test_nothing_accepted_gives_an_empty_map_and_an_empty_list(scan, tmp_path):
    files = export_review(ReviewSession(identify(scan), []), scan, tmp_path)
    assert read_table(files["candidates"]) == []
    assert files["labels"].is_file()
    assert json.loads(files["markups"].read_text())["markups"][0]["controlPoints"] == []


def test_a_blind_read_gives_away_nothing_of_the_detector(scan, tmp_path):
    blind = ReviewSession(identify(scan), [Candidate(id="cmb-0001", x=0.0, y=0.0, z=0.0)])
    blind.start_blind()
    assert read_table(export_review(blind, scan, tmp_path)["candidates"]) == []


@pytest.mark.parametrize("kind", ["candidates", "markups", "labels"])
def test_every_export_trains_as_it_is(session, scan, tmp_path, kind):
    files = export_review(session, scan, tmp_path)
    found = read_annotations(files[kind], scan)
    assert found.problems == ()
    places = sorted(to_voxel(scan.affine, point.position_mm).tolist() for point in found.points)
    np.testing.assert_allclose(np.multiply(places, SPACING_MM), LESIONS_MM, atol=1.0)
    assert all(lesion.found for lesion in found.lesions)


def test_a_reviewed_scan_joins_a_training_set_with_its_accepted_lesions(session, scan, tmp_path):
    files = export_training_case(session, scan, tmp_path / "dataset")
    assert sorted(path.name for path in files.values()) == ["sub-01_swi.nii.gz", "sub-01_swi_microbleeds.nii.gz"]
    (entry,) = find_scans(tmp_path / "dataset")
    lesions, labels = read_lesions(entry, read_scan(entry.scan))
    assert len(lesions) == 3
    assert set(np.unique(labels)) == {0, 1, 2, 3}


def test_a_training_scan_without_a_bids_name_gets_its_modality(session, scan, tmp_path):
    qsm = Scan(-scan.array, scan.affine, Modality.QSM, "head")
    session = ReviewSession(identify(qsm), [])
    session.add(world(scan, LESIONS_MM[0]))
    export_training_case(session, qsm, tmp_path)
    (entry,) = find_scans(tmp_path)
    assert (entry.name, entry.modality) == ("head_Chimap", Modality.QSM)
    assert len(read_lesions(entry, read_scan(entry.scan))[0]) == 1


def test_a_training_scan_whose_name_tells_another_modality_than_the_reader_has_the_readers(session, scan, tmp_path):
    magnitude = Scan(scan.array, scan.affine, Modality.T2STAR, scan.name)
    export_training_case(session, magnitude, tmp_path)
    (entry,) = find_scans(tmp_path)
    assert (entry.name, entry.modality) == ("sub-01_swi_T2starw", Modality.T2STAR)


def read_by(reader, scan, *places_mm):
    session = ReviewSession(identify(scan), [], state=ReviewState(reader=reader))
    for place in places_mm:
        session.add(world(scan, place))
    return session


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("first", "second"), [("Ada", "Bea"), ("Ada", ""), ("", "Ada"), ("A. B.", "A B"), ("?", "")])
def test_a_second_readers_export_leaves_that_of_the_first(scan, tmp_path, first, second):
    one, other = read_by(first, scan, LESIONS_MM[0]), read_by(second, scan, *LESIONS_MM[1:])
    files = export_review(one, scan, tmp_path)
    assert files["candidates"].name == "sub-01_swi_reviewed.tsv"
    before = contents(tmp_path)
    others = export_review(other, scan, tmp_path)
    assert before.items() <= contents(tmp_path).items() and len(contents(tmp_path)) == 8
    for kind in ("candidates", "markups", "labels"):
        assert len(read_annotations(files[kind], scan).points) == 1
        assert len(read_annotations(others[kind], scan).points) == 2
    # each replaces their own
    assert export_review(other, scan, tmp_path) == others
    one.add(world(scan, LESIONS_MM[2]))
    assert export_review(one, scan, tmp_path) == files
    assert len(contents(tmp_path)) == 8 and len(read_annotations(files["candidates"], scan).points) == 2


def test_the_export_of_a_second_reader_has_their_name_and_they_keep_it(scan, tmp_path):
    export_review(read_by("Ada", scan), scan, tmp_path)
    bea = read_by("Bea", scan)
    names = sorted(path.name for path in export_review(bea, scan, tmp_path).values())
    assert names == [
        "sub-01_swi_reader-Bea_accepted.mrk.json",
        *(f"sub-01_swi_reader-Bea_reviewed.{ending}" for ending in ("json", "nii.gz", "tsv")),
    ]
    (tmp_path / "sub-01_swi_reviewed.json").write_text("damaged")
    before = contents(tmp_path)
    ada = export_review(read_by("Ada", scan), scan, tmp_path)
    assert ada["labels"].name == "sub-01_swi_reader-Ada_reviewed.nii.gz"
    assert before.items() <= contents(tmp_path).items()
    for name in before.keys() - set(names):
        (tmp_path / name).unlink()
    assert sorted(path.name for path in export_review(bea, scan, tmp_path).values()) == names


@pytest.mark.parametrize("damaged", [False, True])
def test_other_labels_of_a_training_scan_are_kept_where_training_does_not_read_them(scan, tmp_path, damaged):
    files = export_training_case(read_by("Ada", scan, LESIONS_MM[0]), scan, tmp_path)
    assert "kept" not in export_training_case(read_by("Bea", scan, LESIONS_MM[0]), scan, tmp_path)
    if damaged:
        files["labels"].write_bytes(b"damaged")
    before = files["labels"].read_bytes()
    again = export_training_case(read_by("Bea", scan, LESIONS_MM[1]), scan, tmp_path)
    assert again["kept"].name == "sub-01_swi_microbleeds-older.nii.gz" and again["kept"].read_bytes() == before
    third = export_training_case(read_by("Cleo", scan), scan, tmp_path)
    assert third["kept"].name == "sub-01_swi_microbleeds-older-2.nii.gz"
    (entry,) = find_scans(tmp_path)
    assert entry.labels == files["labels"] and not read_lesions(entry, read_scan(entry.scan))[0]
    assert [case.name for case in read_cases(tmp_path)] == ["sub-01_swi"]


def test_a_folder_that_cannot_be_written_gives_one_line(session, scan, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        export_review(session, scan, tmp_path / "file")
    assert "\n" not in str(caught.value)
