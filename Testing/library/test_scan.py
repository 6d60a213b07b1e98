"""Scans are read and written: values, geometry, modality, and files that are refused."""

import gzip
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.cmdline.convert import main as nib_convert

import phantoms
from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.scan import (
    Modality,
    as_image,
    guess_modality,
    read_scan,
    replacing,
    stem_of,
    to_voxel,
    to_world,
    write_image,
)
from nifti_files import ARRAY, OBLIQUE, save, with_value
from small_disk import limited_files

affines = st.builds(
    phantoms.affine,
    spacing_mm=st.tuples(*[st.floats(0.3, 6.0)] * 3),
    rotation_deg=st.tuples(*[st.floats(-180, 180)] * 3),
    left_handed=st.booleans(),
    origin_mm=st.tuples(*[st.floats(-200, 200)] * 3),
)


@settings(max_examples=40, deadline=None)
@given(affine=affines)
def test_a_nifti_of_any_orientation_comes_in_with_its_voxels_and_world_coordinates(tmp_path_factory, affine):
    path = save(tmp_path_factory.mktemp("scan") / "a_swi.nii.gz", affine=affine)
    scan = read_scan(path)
    corners = np.array([[0, 0, 0], [6, 8, 4], [6, 0, 2]])
    assert np.array_equal(scan.array, ARRAY)
    assert np.abs(to_world(scan.affine, corners) - nib.affines.apply_affine(affine, corners)).max() < 0.01


@settings(max_examples=30, deadline=None)
@given(affine=affines, ijk=st.tuples(*[st.floats(-500, 500)] * 3))
def test_voxel_to_world_and_back_is_the_same_voxel(affine, ijk):
    assert np.allclose(to_voxel(affine, to_world(affine, ijk)), ijk, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(affine=affines)
def test_a_written_image_lies_where_the_scan_lies(tmp_path_factory, affine):
    path = tmp_path_factory.mktemp("out") / "map.nii.gz"
    write_image(path, ARRAY, affine)
    image = nib.load(path)
    assert np.array_equal(np.asarray(image.dataobj), ARRAY)
    assert np.abs(image.affine - affine).max() < 1e-3


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_integer_and_float_files_give_the_same_numbers(tmp_path, kind):
    scan = read_scan(save(tmp_path / "a.nii", ARRAY.astype(kind)), "t2star")
    assert scan.array.dtype == np.float32
    assert np.allclose(scan.array, ARRAY.astype(kind))
    assert scan.modality is Modality.T2STAR


def test_slope_and_intercept_of_the_header_are_applied(tmp_path):
    image = nib.Nifti1Image(ARRAY.astype(np.int16), OBLIQUE)
    image.header.set_slope_inter(0.5, 3)
    nib.save(image, tmp_path / "a_swi.nii.gz")
    stored = nib.load(tmp_path / "a_swi.nii.gz").get_fdata()
    assert np.allclose(read_scan(tmp_path / "a_swi.nii.gz").array, stored)


def test_nrrd_and_nifti_of_one_volume_are_the_same_scan(tmp_path):
    nifti = save(tmp_path / "a_swi.nii.gz")
    sitk.WriteImage(sitk.ReadImage(str(nifti)), str(tmp_path / "a_swi.nrrd"))
    first, second = read_scan(nifti), read_scan(tmp_path / "a_swi.nrrd")
    assert np.array_equal(first.array, second.array)
    assert np.allclose(first.affine, second.affine, atol=1e-4)
    assert second.name == "a_swi"


def test_echo_picks_one_volume_of_a_4d_file(tmp_path):
    path = save(tmp_path / "a_T2starw.nii.gz", np.stack([ARRAY, 2 * ARRAY, 3 * ARRAY], axis=-1))
    assert np.allclose(read_scan(path, echo=2).array, 2 * ARRAY)


def test_echoes_of_one_file_have_names_of_their_own_that_still_tell_the_modality(tmp_path):
    path = save(tmp_path / "sub-01_T2starw.nii.gz", np.stack([ARRAY, 2 * ARRAY], axis=-1))
    scans = [read_scan(path, echo=number) for number in (1, 2)]
    assert [scan.name for scan in scans] == ["sub-01_echo-1_T2starw", "sub-01_echo-2_T2starw"]
    assert {guess_modality(scan.name) for scan in scans} == {Modality.T2STAR}
    one = save(tmp_path / "sub-02_swi.nii.gz", ARRAY[..., None])
    assert read_scan(one, echo=1).name == "sub-02_swi"


def test_a_4d_file_with_one_volume_needs_no_echo(tmp_path):
    assert read_scan(save(tmp_path / "a_swi.nii", ARRAY[..., None])).array.shape == ARRAY.shape


@pytest.mark.parametrize(
    ("name", "modality"),
    [("s_swi", "swi"), ("s_part-mag_T2starw", "t2star"), ("x_Chimap", "qsm"), ("ünï cödé & co_SWI", "swi")],
)
def test_the_modality_is_read_from_a_bids_name(tmp_path, name, modality):
    assert read_scan(save(tmp_path / f"{name}.nii.gz")).modality == modality


@pytest.mark.parametrize("part", ["phase", "real", "imag"])
def test_what_belongs_to_a_magnitude_is_not_taken_for_it_by_its_name(tmp_path, part):
    path = save(tmp_path / f"sub-01_part-{part}_T2starw.nii.gz")
    with pytest.raises(
        InputError, match=r"not a magnitude by its name; give the file with part-mag, or say --modality t2star"
    ):
        read_scan(path)
    assert read_scan(path, "t2star").modality == "t2star"


def test_a_linked_scan_has_the_name_that_the_user_gave(tmp_path, monkeypatch):
    (tmp_path / "annex").mkdir()
    for key in ("MD5E-s1234--0cc175b9", "sub-02_T2starw"):
        link = tmp_path / "sub-01_swi.nii.gz"
        link.unlink(missing_ok=True)
        link.symlink_to(save(tmp_path / "annex" / f"{key}.nii.gz"))
        scan = read_scan(link)
        assert (scan.name, scan.modality) == ("sub-01_swi", "swi")
    monkeypatch.chdir(tmp_path / "annex")
    assert stem_of(Path()) == "annex"


def test_without_a_telling_name_the_choices_are_listed(tmp_path):
    with pytest.raises(InputError, match=r"a\.nii\.gz.*--modality swi.*t2star.*qsm"):
        read_scan(save(tmp_path / "a.nii.gz"))


def truncated(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def with_rows(path: Path, rows: list[list[float]]) -> Path:
    """Overwrite the sform of a NIfTI file."""
    content = bytearray(gzip.decompress(save(path).read_bytes()))
    content[252:256] = np.array([0, 1], "<i2").tobytes()
    content[280:328] = np.array(rows, "<f4").tobytes()
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def with_field(path: Path, offset: int, kind: str, *values: float) -> Path:
    """Overwrite a field in the header of a NIfTI file."""
    content = bytearray(gzip.decompress(save(path).read_bytes()))
    field = np.array(values, kind).tobytes()
    content[offset : offset + len(field)] = field
    path.write_bytes(gzip.compress(bytes(content)))
    return path


RGB = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])


BAD_FILES = {
    "missing": (lambda path: path, "no such file"),
    "not an image": (lambda path: path.write_text("hello") and path, "not an image"),
    "truncated gzip": (lambda path: truncated(save(path)), "cut off or damaged"),
    "not compressed": (
        lambda path: path.write_bytes(gzip.decompress(save(path).read_bytes())) and path,
        r"not compressed, .*; rename it to bad_swi\.nii$",
    ),
    "compressed": (
        lambda path: save(path).rename(path.with_suffix("")),
        r"is compressed, .*; rename it to bad_swi\.nii\.gz$",
    ),
    "2D": (lambda path: save(path, ARRAY[:, :, 0]), "2D slice"),
    "one slice": (lambda path: save(path, ARRAY[:, :, :1]), "2D slice"),
    "4D without echo": (lambda path: save(path, np.stack([ARRAY] * 3, -1)), "--echo 1 to --echo 3"),
    "5D": (lambda path: save(path, np.stack([ARRAY] * 3, -1)[:, :, :, None]), "5 dimensions"),
    "constant": (lambda path: save(path, np.full((5, 5, 5), 7, np.float32)), "every voxel has the value 7"),
    "NaN": (lambda path: save(path, with_value(np.nan)), "NaN or infinite values in 1 voxel;"),
    "infinite": (lambda path: save(path, with_value(np.inf)), "NaN or infinite values in 1 voxel;"),
    "colors": (lambda path: save(path, RGB), "colors"),
    "complex": (lambda path: save(path, ARRAY.astype(np.complex64)), "complex"),
    "singular affine": (
        lambda path: with_rows(path, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]),
        "singular or sheared",
    ),
    "sheared affine": (
        lambda path: with_rows(path, [[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]),
        "singular or sheared",
    ),
    "start that is no number": (lambda path: with_field(path, 108, "<f4", np.nan), "cut off or damaged"),
    "infinite start": (lambda path: with_field(path, 108, "<f4", np.inf), "cut off or damaged"),
    "start before the file": (lambda path: with_field(path, 108, "<f4", -100), "cut off or damaged"),
    "negative size": (lambda path: with_field(path, 40, "<i2", 3, 7, 9, -5), "cut off or damaged"),
    "unknown type": (lambda path: with_field(path, 70, "<i2", 999), "not an image"),
    "affine that is no number": (lambda path: with_rows(path, np.full((3, 4), np.nan)), "cannot be right"),
    "beyond float32": (lambda path: save(path, ARRAY.astype(np.float64) * 1e40), "too large; divide them"),
    "beyond float32 in sum": (lambda path: save(path, 1e306 * ARRAY.astype(np.float64)), "too large; divide them"),
    "0 in float32": (lambda path: save(path, ARRAY.astype(np.float64) * 1e-60), "every voxel has the value 0"),
    "NIfTI-2": (lambda path: nib.save(nib.Nifti2Image(ARRAY, OBLIQUE), path) or path, r"NIfTI-2.*as NIfTI-1"),
    "two voxel sizes": (
        lambda path: with_field(path, 80, "<f4", 1, 1, 1),
        r"voxels of 1 x 1 x 1 and of 0.* mm; correct it",
    ),
    "micrometer voxels": (lambda path: save(path, affine=np.diag([800, 800, 3000, 1.0])), "cannot be right"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_scan_is_refused_in_one_line_that_names_the_file(tmp_path, capfd, case):
    make, expected = BAD_FILES[case]
    path = make(tmp_path / "bad_swi.nii.gz")
    with pytest.raises(InputError, match=expected) as caught:
        read_scan(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not capfd.readouterr().err


def test_a_nifti_2_file_can_be_read_after_the_command_that_its_refusal_names(tmp_path):
    nib.save(nib.Nifti2Image(ARRAY, OBLIQUE), tmp_path / "OLD.nii")
    with pytest.raises(InputError) as caught:
        read_scan(tmp_path / "OLD.nii", "swi")
    _, command, arguments = str(caught.value).partition("nib-convert ")
    assert command
    nib_convert([str(tmp_path / part) if part.endswith(".nii") else part for part in arguments.split()])
    assert np.array_equal(read_scan(tmp_path / "NEW.nii", "swi").array, ARRAY)


def save_pair(folder: Path, array: np.ndarray = ARRAY) -> Path:
    """Write a header and voxels in a file of their own; give the header."""
    nib.save(nib.Nifti1Pair(array, OBLIQUE), folder / "a_swi.hdr")
    return folder / "a_swi.hdr"


@pytest.mark.parametrize("suffix", [".hdr", ".img"])
def test_a_pair_of_files_is_read_by_either_name_and_checked_as_one_file_is(tmp_path, suffix):
    named = save_pair(tmp_path).with_suffix(suffix)
    assert np.array_equal(read_scan(named).array, ARRAY)
    truncated(tmp_path / "a_swi.img")
    with pytest.raises(InputError, match="cut off or damaged"):
        read_scan(named)
    save_pair(tmp_path, with_value(np.nan))
    with pytest.raises(InputError, match="NaN or infinite values in 1 voxel;"):
        read_scan(named)


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_an_uncompressed_file_that_is_cut_off_is_refused(tmp_path, suffix):
    path = tmp_path / f"a_swi{suffix}"
    sitk.WriteImage(sitk.ReadImage(str(save(tmp_path / "whole.nii"))), str(path))
    with pytest.raises(InputError, match="cut off or damaged"):
        read_scan(truncated(path))


def test_a_header_that_announces_no_voxels_is_refused(tmp_path):
    path = tmp_path / "a_swi.mha"
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY), str(path))
    path.write_bytes(path.read_bytes().replace(b"DimSize = 5 9 7", b"DimSize = 5 0 7"))
    with pytest.raises(InputError, match=r"a_swi\.mha: the file is cut off or damaged"):
        read_scan(path)


def test_an_nrrd_with_nan_is_refused(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(with_value(np.nan)), str(tmp_path / "a_swi.nrrd"))
    with pytest.raises(InputError, match="NaN or infinite values in 1 voxel;"):
        read_scan(tmp_path / "a_swi.nrrd")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_nan_around_a_brain_is_background(tmp_path, suffix):
    brain = np.zeros(ARRAY.shape, bool)
    brain[1:4, 2:7, 1:6] = True
    masked = np.where(brain, ARRAY, np.nan).astype(np.float32)
    sitk.WriteImage(as_image(masked, OBLIQUE), str(tmp_path / f"a_swi{suffix}"))
    assert np.array_equal(read_scan(tmp_path / f"a_swi{suffix}").array, np.where(brain, ARRAY, 0))
    masked[2, 4, 3] = np.nan
    sitk.WriteImage(as_image(masked, OBLIQUE), str(tmp_path / f"b_swi{suffix}"))
    with pytest.raises(InputError, match=r"b_swi.*: NaN or infinite values in 1 voxel;"):
        read_scan(tmp_path / f"b_swi{suffix}")


def test_nan_around_the_brain_of_one_echo_is_background_and_nan_in_the_brain_of_another_is_not(tmp_path):
    echoes = np.stack([ARRAY] * 2, -1)
    echoes[0, :, :, 1] = np.nan
    assert np.array_equal(read_scan(save(tmp_path / "a_swi.nii.gz", echoes), echo=2).array[1:], ARRAY[1:])
    echoes[3, 4, 2, 0] = np.nan
    with pytest.raises(InputError, match=r"a_swi.*: NaN or infinite values in 1 voxel;"):
        read_scan(save(tmp_path / "a_swi.nii.gz", echoes), echo=2)
    with pytest.raises(InputError, match=r"b_swi.*: NaN or infinite values in 1 voxel;"):
        read_scan(save(tmp_path / "b_swi.nii.gz", with_value(np.nan)[..., None]))


@pytest.mark.parametrize("echo", [0, 4])
def test_an_echo_that_is_not_there_is_refused(tmp_path, echo):
    path = save(tmp_path / "a_swi.nii.gz", np.stack([ARRAY] * 3, -1))
    with pytest.raises(InputError, match=f"no echo {echo}"):
        read_scan(path, echo=echo)


def test_a_series_is_not_chosen_in_a_file_of_another_kind(tmp_path):
    with pytest.raises(InputError, match=r"a_swi\.nii\.gz: --series is for a folder of DICOM files; leave it out"):
        read_scan(save(tmp_path / "a_swi.nii.gz"), series=1)


def test_an_unknown_modality_is_refused(tmp_path):
    with pytest.raises(InputError, match="unknown modality 'flair': choose swi, t2star or qsm"):
        read_scan(save(tmp_path / "a_swi.nii.gz"), "flair")


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_a_sheared_grid_is_neither_read_nor_written_as_another_one(tmp_path, suffix):
    image = as_image(ARRAY, OBLIQUE @ (np.eye(4) + 0.05 * np.eye(4, k=1)))
    sitk.WriteImage(image, str(tmp_path / "a_swi.nrrd"))
    with pytest.raises(InputError, match=r"a_swi\.nrrd: the orientation matrix is singular or sheared"):
        read_scan(tmp_path / "a_swi.nrrd")
    with pytest.raises(OutputError, match=rf"b{suffix}: cannot be written; the orientation matrix .* sheared"):
        write_image(tmp_path / f"b{suffix}", ARRAY, OBLIQUE @ (np.eye(4) + 0.05 * np.eye(4, k=1)))
    assert [path.name for path in tmp_path.iterdir()] == ["a_swi.nrrd"]


def test_an_earlier_file_stays_when_writing_fails(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("earlier")
    with pytest.raises(OutputError, match=r"result\.txt.*disk is full"), replacing(path) as beside:
        beside.write_text("half")
        raise OSError("disk is full")
    assert path.read_text() == "earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["result.txt"]


def test_a_folder_that_is_gone_is_told_in_one_line(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    with pytest.raises(OutputError, match=r"a\.npy: cannot be written"), replacing(folder / "a.npy"):
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "error",
    [OSError("5409600 requested and 4014016 written"), RuntimeError("[enforce fail] . unexpected pos 704 vs 598")],
)
def test_a_full_disk_is_called_that_whatever_a_library_says_of_it(tmp_path, monkeypatch, error):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4096))
    expected = r"a\.npy: cannot be written \(no space left on the disk\)"
    with pytest.raises(OutputError, match=expected), replacing(tmp_path / "a.npy"):
        raise error


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9999])
def test_an_image_that_the_disk_has_no_room_for_is_an_error_and_leaves_no_file(tmp_path, capfd, share, suffix):
    noise = np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
    write_image(tmp_path / f"whole{suffix}", noise, OBLIQUE)
    room = int(share * (tmp_path / f"whole{suffix}").stat().st_size)
    with limited_files(room), pytest.raises(OutputError, match=r"a\.nii.*: cannot be written.*only a part"):
        write_image(tmp_path / f"a{suffix}", noise, OBLIQUE)
    assert [file.name for file in tmp_path.iterdir()] == [f"whole{suffix}"]
    assert not capfd.readouterr().err


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_label_map_of_another_format_can_be_written_too(tmp_path, suffix):
    path = tmp_path / f"a_swi{suffix}"
    write_image(path, ARRAY, OBLIQUE)
    np.testing.assert_array_equal(read_scan(path).array, ARRAY)


def test_a_name_that_is_not_utf_8_never_reaches_itk(tmp_path):
    name = tmp_path / os.fsdecode(b"b\xff_swi.nii.gz")
    save(tmp_path / "a.nii.gz").rename(name)
    with pytest.raises(InputError, match="not valid UTF-8"):
        read_scan(name)
    with pytest.raises(OutputError, match="not valid UTF-8"):
        write_image(name, ARRAY, OBLIQUE)
    (tmp_path / "dicom").mkdir()
    name.rename(tmp_path / "dicom" / name.name)
    with pytest.raises(InputError, match="not valid UTF-8"):
        read_scan(tmp_path / "dicom", "swi")


def test_writing_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write here"):
        write_image(tmp_path / "file" / "a.nii.gz", ARRAY, OBLIQUE)
