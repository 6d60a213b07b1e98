"""A data set that is extended case by case."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import phantoms
from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.scan import Modality, Scan, read_labels, read_scan, write_image
from CMMDetectTrainLib.case_list import (
    CaseStatus,
    NewCase,
    add_case,
    case_name,
    checked_scans,
    read_cases,
    remove_case,
    set_status,
)
from CMMDetectTrainLib.evaluation_set import find_scans, read_lesions

SHAPE, SPACING_MM = (20, 24, 10), (1.0, 1.0, 2.0)


def scan_of(name: str, seed: int = 0, modality: Modality = Modality.SWI, left_handed: bool = False) -> Scan:
    array = np.random.default_rng(seed).random(SHAPE, np.float32)
    return Scan(array, phantoms.affine(SPACING_MM, left_handed=left_handed), modality, name)


def new_case(name: str = "sub-01_swi", seed: int = 0, **others: object) -> NewCase:
    labels = np.zeros(SHAPE, np.int32)
    labels[4:6, 4:6, 4:6] = 1
    labels[12:14, 12:14, 4:6] = 2
    return NewCase(scan=scan_of(name, seed), labels=labels, points_mm=[[1, 2, seed], [4, 5, 6]], **others)


def test_a_saved_case_is_a_data_set_that_training_reads_as_it_is(tmp_path):
    case = add_case(tmp_path, new_case(reader="Ada", points="reader A.mrk.json", note="1 follows a\tvessel"))
    (entry,) = find_scans(tmp_path)
    assert (entry.name, entry.subject, entry.modality) == ("sub-01_swi", "sub-01", Modality.SWI)
    scan = read_scan(entry.scan)
    assert np.array_equal(read_labels(entry.labels, scan), new_case().labels)
    assert np.array_equal(scan.array, new_case().scan.array)
    assert read_cases(tmp_path) == [replace(case, note="1 follows a vessel")]
    assert (case.microbleeds, case.reader, case.status) == (2, "Ada", CaseStatus.OK)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cases.tsv",
        "sub-01_swi.nii.gz",
        "sub-01_swi_microbleeds.nii.gz",
    ]


def test_a_scan_without_microbleeds_gets_a_map_of_zeros_and_counts_as_a_case(tmp_path):
    new = new_case()
    case = add_case(tmp_path, replace(new, labels=np.zeros(SHAPE, np.int32), points_mm=()))
    assert case.microbleeds == 0 and case.points_checksum is None
    (entry,) = checked_scans(tmp_path)
    assert not read_labels(entry.labels, read_scan(entry.scan)).any()


def test_parts_of_a_mask_without_numbers_are_counted_as_they_are_listed_and_evaluated(tmp_path):
    new = new_case()
    case = add_case(tmp_path, replace(new, labels=np.minimum(new.labels, 1)))
    (entry,) = checked_scans(tmp_path)
    lesions, _ = read_lesions(entry, read_scan(entry.scan))
    assert case.microbleeds == len(lesions) == 2


def test_the_same_scan_again_is_noticed_and_replaces_its_labels_only_when_that_is_wanted(tmp_path):
    add_case(tmp_path, new_case())
    with pytest.raises(InputError, match="sub-01_swi: is in the data set already; save it again"):
        add_case(tmp_path, new_case())
    changed = replace(new_case(), labels=np.where(new_case().labels == 2, 0, new_case().labels))
    assert add_case(tmp_path, changed, again=True).microbleeds == 1
    (case,) = read_cases(tmp_path)
    assert case.microbleeds == 1 and case.copied


def test_the_same_scan_under_another_name_is_refused_by_the_name_it_has(tmp_path):
    add_case(tmp_path, new_case("sub-01_swi"))
    with pytest.raises(InputError, match="sub-02_swi: the same scan is in the data set already, as sub-01_swi"):
        add_case(tmp_path, new_case("sub-02_swi"), again=True)
    assert len(find_scans(tmp_path)) == 1


def test_another_scan_does_not_take_the_place_of_one_with_its_name(tmp_path):
    add_case(tmp_path, new_case(seed=0))
    with pytest.raises(InputError, match="another scan of that name"):
        add_case(tmp_path, new_case(seed=1), again=True)


def test_the_same_coordinates_for_another_subject_are_refused_by_name(tmp_path):
    add_case(tmp_path, new_case("sub-01_swi", seed=0))
    twin = replace(new_case("sub-02_swi", seed=1), points_mm=[[4, 5, 6], [1.01, 2, 0]])
    with pytest.raises(InputError, match="sub-02_swi: has the same coordinates as sub-01_swi"):
        add_case(tmp_path, twin)
    qsm = replace(twin, scan=scan_of("chi", 2, Modality.QSM), subject="01")
    assert add_case(tmp_path, qsm).name == "sub-01_acq-chi_Chimap"


def test_a_scan_that_the_user_put_there_is_labeled_in_place_and_stays_when_the_case_goes(tmp_path):
    own = tmp_path / "raw" / "sub-01_swi.nii.gz"
    own.parent.mkdir()
    write_image(own, scan_of("sub-01_swi", left_handed=True).array, phantoms.affine(SPACING_MM, left_handed=True))
    before = own.read_bytes()
    # Slicer turns the axes of a left-handed file
    flipped = Scan(
        read_scan(own).array[::-1].copy(), read_scan(own).affine @ flip(SHAPE[0]), Modality.SWI, "sub-01_swi"
    )
    add_case(tmp_path, NewCase(scan=flipped, labels=new_case().labels))
    assert own.read_bytes() == before
    (entry,) = find_scans(tmp_path)
    assert np.array_equal(read_labels(entry.labels, read_scan(entry.scan)), new_case().labels[::-1])
    remove_case(tmp_path, "sub-01_swi")
    assert own.exists() and read_cases(tmp_path) == []


def test_scans_whose_names_do_not_tell_the_modality_are_learnt_from_when_the_user_tells_it(tmp_path):
    for name in ("patient1", "patient2"):
        write_image(tmp_path / f"{name}.nii.gz", scan_of(name).array, phantoms.affine(SPACING_MM))
        write_image(tmp_path / f"{name}_microbleeds.nii.gz", new_case().labels, phantoms.affine(SPACING_MM))
    assert [(entry.name, entry.modality) for entry in checked_scans(tmp_path, "swi")] == [
        ("patient1", Modality.SWI),
        ("patient2", Modality.SWI),
    ]
    with pytest.raises(InputError, match=r"the name does not tell the modality; say --modality swi.* end in _swi"):
        checked_scans(tmp_path)


def test_scans_that_are_named_as_in_public_data_sets_tell_their_modality(tmp_path):
    for name in ("sub-101_space-T2S_desc-masked_T2S", "sub-01_T2star", "sub-02_QSM"):
        write_image(tmp_path / f"{name}.nii.gz", scan_of(name).array, phantoms.affine(SPACING_MM))
        write_image(tmp_path / f"{name}_microbleeds.nii.gz", new_case().labels, phantoms.affine(SPACING_MM))
    told = {case.subject: case.modality for case in read_cases(tmp_path)}
    assert told == {"sub-01": Modality.T2STAR, "sub-02": Modality.QSM, "sub-101": Modality.T2STAR}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_scan_in_a_hidden_folder_does_not_stand_in_the_way_of_one_with_its_name(tmp_path, seed):
    (tmp_path / ".trash").mkdir()
    write_image(
        tmp_path / ".trash" / "sub-01_swi.nii.gz", scan_of("sub-01_swi", seed).array, phantoms.affine(SPACING_MM)
    )
    assert add_case(tmp_path, new_case("sub-01_swi", 0)).volume == "sub-01_swi.nii.gz"
    assert [case.name for case in read_cases(tmp_path)] == ["sub-01_swi"]


def flip(length: int) -> np.ndarray:
    matrix = np.diag([-1.0, 1.0, 1.0, 1.0])
    matrix[0, 3] = length - 1
    return matrix


def test_no_case_is_saved_where_it_would_be_taken_for_a_detection_and_be_gone(tmp_path):
    (tmp_path / "sub-01_swi_candidates.tsv").touch()
    (tmp_path / "sub-01_swi_microbleeds.nii.gz").write_text("detected")
    with pytest.raises(InputError, match=r"holds what was detected in sub-01_swi, .* choose another folder"):
        add_case(tmp_path, new_case())
    assert (tmp_path / "sub-01_swi_microbleeds.nii.gz").read_text() == "detected"
    assert add_case(tmp_path, new_case("sub-02_swi", 1)).name == "sub-02_swi"


def test_cases_to_check_are_listed_but_not_learnt_from(tmp_path):
    add_case(tmp_path, new_case("sub-01_swi", 0))
    add_case(tmp_path, new_case("sub-02_swi", 1, status=CaseStatus.TO_CHECK))
    assert [entry.subject for entry in checked_scans(tmp_path)] == ["sub-01"]
    with pytest.raises(InputError, match="the cases of sub-02 are still to be checked"):
        checked_scans(tmp_path, subjects=["sub-01", "sub-02"])
    with pytest.raises(InputError, match="no scan with truth of sub-03"):
        checked_scans(tmp_path, subjects=["sub-01", "sub-03"])
    set_status(tmp_path, "sub-01_swi", CaseStatus.TO_CHECK)
    with pytest.raises(InputError, match="2 cases, all still to be checked"):
        checked_scans(tmp_path)
    set_status(tmp_path, "sub-02_swi", CaseStatus.OK)
    assert [entry.subject for entry in checked_scans(tmp_path)] == ["sub-02"]


def test_scans_that_were_labeled_elsewhere_are_listed_too(tmp_path):
    scan = scan_of("sub-09_swi")
    write_image(tmp_path / "sub-09_swi.nii.gz", scan.array, scan.affine)
    write_image(tmp_path / "sub-09_swi_microbleeds.nii.gz", new_case().labels, scan.affine)
    (case,) = read_cases(tmp_path)
    assert (case.name, case.reader, case.status) == ("sub-09_swi", None, CaseStatus.OK)
    assert add_case(tmp_path, new_case("sub-09_swi", reader="Ada"), again=True).reader == "Ada"
    assert not read_cases(tmp_path)[0].copied


def test_results_of_a_detection_are_no_cases(tmp_path):
    write_image(tmp_path / "sub-01_swi_microbleeds.nii.gz", new_case().labels, np.eye(4))
    (tmp_path / "sub-01_swi_candidates.tsv").touch()
    assert read_cases(tmp_path) == []
    assert add_case(tmp_path, new_case("sub-02_swi")).name == "sub-02_swi"


def test_a_removed_case_takes_its_copy_of_the_scan_with_it(tmp_path):
    add_case(tmp_path, new_case("sub-01_swi", 0))
    add_case(tmp_path, new_case("sub-02_swi", 1))
    remove_case(tmp_path, "sub-01_swi")
    assert [case.name for case in read_cases(tmp_path)] == ["sub-02_swi"]
    assert not list(tmp_path.glob("sub-01*"))
    with pytest.raises(InputError, match="sub-01_swi: is not in the data set any more"):
        remove_case(tmp_path, "sub-01_swi")


def test_labels_of_another_grid_a_damaged_list_and_a_folder_that_is_a_file_are_named(tmp_path):
    with pytest.raises(InputError, match="labels have 2 x 2 x 2 voxels, the scan 20 x 24 x 10"):
        add_case(tmp_path, replace(new_case(), labels=np.zeros((2, 2, 2), np.int32)))
    add_case(tmp_path, new_case())
    (tmp_path / "cases.tsv").write_text("volume\tmask\nx\ty\n")
    with pytest.raises(InputError, match=r"cases\.tsv: not a list of cases"):
        read_cases(tmp_path)
    (tmp_path / "cases.tsv").write_text('volume\tmask\n"x\ty\nz\t"\n')
    with pytest.raises(InputError, match=r"cases\.tsv: line 2 has a quotation mark"):
        read_cases(tmp_path)
    Path(tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write here"):
        add_case(tmp_path / "file", new_case())


@pytest.mark.parametrize(
    ("name", "subject", "expected"),
    [
        ("sub-01_ses-2_part-mag_swi", "", "sub-01_ses-2_part-mag_swi"),
        ("sub-01_T2starw", "", "sub-01_swi"),
        ("sub-01_swi_1", "", "sub-01_swi"),
        ("SWI_1", "", "sub-SWI1_swi"),
        ("sub-01_acq-a_swi", "sub-07", "sub-07_acq-a_swi"),
        ("Müller & Söhne", "", "sub-MllerShne_swi"),
        ("漢字", "", "sub-scan_swi"),
        ("漢字", "12", "sub-12_swi"),
        ("x" * 200, "", "sub-" + "x" * 56 + "_swi"),
    ],
)
def test_a_case_gets_a_name_that_every_disk_takes(name, subject, expected):
    assert case_name(name, Modality.SWI, subject) == expected


def test_a_case_that_was_corrected_keeps_the_name_that_others_gave_it_and_where_its_points_came_from(tmp_path):
    new = new_case()
    write_image(tmp_path / "P01_ses-2_swi.nii.gz", new.scan.array, new.scan.affine)
    write_image(tmp_path / "P01_ses-2_swi_microbleeds.nii.gz", new.labels.astype(np.int16), new.scan.affine)
    first = add_case(
        tmp_path, replace(new, case="P01_ses-2_swi", points="reader A.csv", note="looked odd"), again=True
    )
    assert (first.name, first.subject) == ("P01_ses-2_swi", "P01")
    labels = new.labels.copy()
    labels[5, 5, 7] = 1
    corrected = replace(new, case="P01_ses-2_swi", labels=labels, points_mm=(), reader="Bea")
    case = add_case(tmp_path, corrected, again=True)
    assert case == replace(first, reader="Bea") and read_cases(tmp_path) == [case]
    assert read_labels(tmp_path / case.mask, new.scan)[5, 5, 7] == 1
    empty = add_case(tmp_path, replace(corrected, labels=np.zeros(SHAPE, np.int32)), again=True)
    assert (empty.microbleeds, empty.points, empty.points_checksum, empty.note) == (0, None, None, None)


def test_the_labels_of_a_simulated_scan_are_not_replaced_by_others_than_its_truth_table_lists(tmp_path):
    new = new_case()
    add_case(tmp_path, new)
    (tmp_path / "sub-01_swi_truth.tsv").write_text("id\tkind\n")
    before = (tmp_path / "sub-01_swi_microbleeds.nii.gz").read_bytes()
    with pytest.raises(InputError, match="sub-01_swi: the labels of a simulated scan"):
        add_case(tmp_path, replace(new, labels=new.labels * (new.labels == 2)), again=True)
    assert (tmp_path / "sub-01_swi_microbleeds.nii.gz").read_bytes() == before
