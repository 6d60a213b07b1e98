"""What belongs to a data set with known microbleeds: its scans, subjects and label maps."""

import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from CMMDetectLib.errors import InputError
from CMMDetectLib.scan import read_scan
from CMMDetectTrainLib.evaluation_set import find_scans, read_lesions
from masked_scans import AFFINE, lesion_labels, save, write_masked_set
from small_scans import LESIONS_MM, SHAPE, stripped_brain


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_masked_set(tmp_path_factory.mktemp("set"))


def test_subjects_and_modality_choose_the_scans(dataset):
    assert [entry.name for entry in find_scans(dataset, subjects=["sub-02"])] == ["sub-02_swi"]
    with pytest.raises(InputError, match="no scan with truth"):
        find_scans(dataset, modality="qsm")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"participant_id\tprotocol\nsub-01\tM\xfcnchen\n", "not a text file in UTF-8"),
        (b'participant_id\tprotocol\nsub-01\t"3 T\nsub-02\t"\n', "line 2 has a quotation mark"),
        (b"participant_id\tprotocol\nsub-01\t" + 200_000 * b"n" + b"\n", "not a table"),
    ],
)
def test_a_damaged_table_of_participants_is_named_in_one_line(tmp_path, content, told):
    save(tmp_path / "sub-01_swi.nii.gz", stripped_brain())
    save(tmp_path / "sub-01_swi_microbleeds.nii.gz", lesion_labels())
    (tmp_path / "participants.tsv").write_bytes(content)
    with pytest.raises(InputError, match=rf"participants\.tsv: {told}"):
        find_scans(tmp_path)


def test_a_table_of_participants_out_of_a_spreadsheet_program_is_read(tmp_path):
    save(tmp_path / "sub-01_swi.nii.gz", stripped_brain())
    save(tmp_path / "sub-01_swi_microbleeds.nii.gz", lesion_labels())
    table = "participant_id\tprotocol\tfield_t\r\n\r\nsub-02\tx\r\nsub-01\tMünchen\t3\r\n"
    (tmp_path / "participants.tsv").write_text(table, encoding="utf-8-sig", newline="")
    groups = {"modality": "swi", "protocol": "München", "field strength": "3 T"}
    assert find_scans(tmp_path)[0].groups == groups


def test_a_folder_that_cannot_be_read_leaves_no_scan_out_in_silence(tmp_path, monkeypatch):
    save(tmp_path / "sub-01_swi.nii.gz", stripped_brain())
    save(tmp_path / "sub-01_swi_microbleeds.nii.gz", lesion_labels())
    (tmp_path / "sub-02").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "sub-02")
    with pytest.raises(InputError, match="sub-02: its files cannot be read"):
        find_scans(tmp_path)
    with pytest.raises(InputError, match=r"nowhere: cannot be read \(No such file or directory\)"):
        find_scans(tmp_path / "nowhere")


def test_a_header_and_its_voxels_are_one_image(tmp_path):
    for stem, array in (("b_swi", stripped_brain()), ("b_swi_microbleeds", lesion_labels())):
        nib.save(nib.Nifti1Pair(array, AFFINE), tmp_path / f"{stem}.img")
    [entry] = find_scans(tmp_path)
    assert entry.scan.name == "b_swi.img"
    assert len(read_lesions(entry, read_scan(entry.scan))[0]) == len(LESIONS_MM)
    before = entry.checksums(False)
    nib.save(nib.Nifti1Pair(stripped_brain() + 1, AFFINE), tmp_path / "b_swi.img")
    assert entry.checksums(False) != before
    save(tmp_path / "b_swi.nii.gz", stripped_brain())
    with pytest.raises(InputError, match="is there 2 times"):
        find_scans(tmp_path)


def test_a_data_set_of_links_is_found_by_the_names_of_the_links(dataset, tmp_path):
    for number, file in enumerate(sorted(path for path in dataset.rglob("*.nii.gz"))):
        key = tmp_path / ".git" / "annex" / f"MD5E-{number}.nii.gz"
        key.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, key)
        (tmp_path / file.name).symlink_to(key)
    assert [entry.name for entry in find_scans(tmp_path)] == [entry.name for entry in find_scans(dataset)]


def test_subjects_whose_folders_are_links_are_not_left_out_and_links_in_circles_end(dataset, tmp_path):
    shutil.copytree(dataset / "derivatives", tmp_path / "set" / "derivatives")
    shutil.copytree(dataset / "sub-01", tmp_path / "set" / "sub-01")
    (tmp_path / "set" / "sub-02").symlink_to(dataset / "sub-02", target_is_directory=True)
    (tmp_path / "set" / "derivatives" / "raw").symlink_to(tmp_path / "set", target_is_directory=True)
    assert [entry.name for entry in find_scans(tmp_path / "set")] == ["sub-01_swi", "sub-02_swi"]


def test_scans_of_one_person_are_of_one_subject_whatever_modality_or_session_their_names_tell(tmp_path):
    names = ["P01_swi", "P01_T2starw", "P02_ses-1_swi", "P02_ses-2_run-1_swi", "sub-P02_ses-1_swi"]
    for name in names:
        save(tmp_path / f"{name}.nii.gz", stripped_brain())
        save(tmp_path / f"{name}_microbleeds.nii.gz", lesion_labels())
    subjects = {entry.name: entry.subject for entry in find_scans(tmp_path)}
    assert subjects == dict(zip(names, ["P01", "P01", "P02", "P02", "sub-P02"], strict=True))


def test_what_was_detected_is_not_taken_for_truth(tmp_path):
    save(tmp_path / "scan.nii.gz", stripped_brain())
    save(tmp_path / "out" / "scan_microbleeds.nii.gz", lesion_labels())
    assert [entry.name for entry in find_scans(tmp_path, "swi")] == ["scan"]
    (tmp_path / "out" / "scan_candidates.tsv").touch()
    with pytest.raises(InputError, match="no scan with truth"):
        find_scans(tmp_path, "swi")


def test_a_label_map_without_its_scan_or_on_another_grid_is_named(tmp_path):
    labels = save(tmp_path / "masks" / "a_swi_microbleeds.nii.gz", lesion_labels(), AFFINE + np.eye(4, k=3))
    with pytest.raises(InputError, match=r"a_swi\.nii\.gz is missing"):
        find_scans(tmp_path)
    scan = save(tmp_path / "a_swi.nii.gz", stripped_brain())
    with pytest.raises(InputError, match=f"{labels.name}: the label map lies on another grid"):
        read_lesions(find_scans(tmp_path)[0], read_scan(scan))


def test_labels_that_touch_stay_two_lesions_and_one_label_is_split_into_clusters(tmp_path):
    scan = read_scan(save(tmp_path / "a_swi.nii.gz", stripped_brain()))
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:12, 10, 10], labels[12:14, 10, 10], labels[40, 40, 20] = 3, 7, 7
    save(tmp_path / "a_swi_microbleeds.nii.gz", labels)
    entry = find_scans(tmp_path)[0]
    several, numbered = read_lesions(entry, scan)
    assert [(item.diameter_vox, item.is_large) for item in several] == [(1.596, False)] * 2
    assert [(item.id, item.volume_mm3) for item in several] == [("cmb-0003", 4.0), ("cmb-0007", 6.0)]
    assert np.array_equal(numbered, np.select([labels == 3, labels == 7], [1, 2]))
    save(tmp_path / "a_swi_microbleeds.nii.gz", (labels > 0).astype(np.uint8))
    split, numbered = read_lesions(entry, scan)
    assert [item.volume_mm3 for item in split] == [8.0, 2.0]
    assert numbered.max() == 2


@pytest.mark.parametrize("value", [1, 2, 255, 2_000_000_000])
def test_the_lesions_of_a_mask_are_told_apart_whichever_number_marks_them(tmp_path, value):
    scan = read_scan(save(tmp_path / "a_swi.nii.gz", stripped_brain()))
    save(tmp_path / "a_swi_microbleeds.nii.gz", ((lesion_labels() > 0) * value).astype(np.int32))
    lesions, numbered = read_lesions(find_scans(tmp_path)[0], scan)
    assert [item.id for item in lesions] == ["cmb-0001", "cmb-0002", "cmb-0003"]
    assert sorted(np.unique(numbered)) == [0, 1, 2, 3]


def test_a_huge_label_takes_no_memory_and_keeps_its_name(tmp_path):
    scan = read_scan(save(tmp_path / "a_swi.nii.gz", stripped_brain()))
    labels = lesion_labels().astype(np.int32)
    labels[labels == 2] = 2_000_000_000
    save(tmp_path / "a_swi_microbleeds.nii.gz", labels)
    lesions, numbered = read_lesions(find_scans(tmp_path)[0], scan)
    assert [item.id for item in lesions] == ["cmb-0001", "cmb-0003", "cmb-2000000000"]
    assert sorted(np.unique(numbered)) == [0, 1, 2, 3]


def test_numbers_of_classes_are_not_taken_for_two_scattered_microbleeds(tmp_path):
    scan = read_scan(save(tmp_path / "a_swi.nii.gz", stripped_brain()))
    labels = np.zeros(SHAPE, np.uint8)
    labels[4, 10, 10] = labels[60, 10, 10] = 1
    labels[30, 30, 20] = 2
    save(tmp_path / "a_swi_microbleeds.nii.gz", labels)
    with pytest.raises(InputError, match=r"a_swi_microbleeds\.nii\.gz: lesion 1 is \d+ mm wide; number every"):
        read_lesions(find_scans(tmp_path)[0], scan)
    save(tmp_path / "a_swi_microbleeds.nii.gz", (labels > 0).astype(np.uint8))
    assert len(read_lesions(find_scans(tmp_path)[0], scan)[0]) == 3


def test_a_negative_label_is_refused_by_the_name_of_its_file(tmp_path):
    scan = read_scan(save(tmp_path / "a_swi.nii.gz", stripped_brain()))
    save(tmp_path / "a_swi_microbleeds.nii.gz", -lesion_labels())
    with pytest.raises(InputError, match=r"a_swi_microbleeds\.nii\.gz: has the label -3"):
        read_lesions(find_scans(tmp_path)[0], scan)
