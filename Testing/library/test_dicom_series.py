"""Scans from DICOM series: geometry, echoes, values, and series that are refused."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

import phantoms
from CMMDetectLib.errors import InputError
from CMMDetectLib.scan import read_scan

ARRAY = np.random.default_rng(1).integers(0, 1000, (6, 8, 5)).astype(np.uint16)
AFFINE = phantoms.affine((0.8, 0.9, 3.0), rotation_deg=(10, -20, 30))


def write_series(
    folder: Path,
    series: str = "1",
    slices: Iterable[int] = range(5),
    echo_time: float = 20.0,
    array: np.ndarray = ARRAY,
    **others: object,
) -> Path:
    """Write slices of an (i, j, k) array, with other elements, as DICOM files with the positions of AFFINE."""
    folder.mkdir(exist_ok=True)
    lps = np.diag([-1, -1, 1, 1]) @ AFFINE
    direction = lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0)
    for k in slices:
        item = Dataset()
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = MRImageStorage
        item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        item.SeriesInstanceUID = f"1.2.3.{series}"
        item.StudyInstanceUID = "1.2.3"
        item.SeriesDescription = f"series {series}"
        item.Modality, item.EchoTime, item.InstanceNumber = "MR", echo_time, k + 1
        item.ImageOrientationPatient = [f"{value:.10g}" for value in (*direction[:, 0], *direction[:, 1])]
        item.ImagePositionPatient = [f"{value:.10g}" for value in (lps @ [0, 0, k, 1])[:3]]
        item.PixelSpacing, item.SliceThickness = [0.9, 0.8], 3.0
        item.Rows, item.Columns = array.shape[1], array.shape[0]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated = item.BitsStored = 16
        item.HighBit, item.PixelRepresentation = 15, 0
        item.PixelData = array[:, :, k].T.tobytes()
        for name, value in others.items():
            setattr(item, name, value)
        # names that sort in another order than the slices
        pydicom.dcmwrite(folder / f"{(7 * k) % 11}-{series}-{echo_time}.dcm", item, enforce_file_format=True)
    return folder


def test_a_series_comes_in_with_its_voxels_and_world_coordinates(tmp_path):
    scan = read_scan(write_series(tmp_path / "dicom"), "swi")
    assert np.array_equal(scan.array, ARRAY)
    assert np.abs(scan.affine - AFFINE).max() < 1e-3
    assert scan.name == "dicom"


def test_echo_picks_the_echo_time_in_rising_order(tmp_path):
    write_series(tmp_path / "dicom", echo_time=20.0)
    folder = write_series(tmp_path / "dicom", echo_time=9.4, array=ARRAY + 1)
    first = read_scan(folder, "swi", echo=1)
    assert np.array_equal(first.array, ARRAY + 1)
    assert (first.name, read_scan(folder, "swi", echo=2, series=1).name) == (
        "dicom_echo-1",
        "dicom_echo-2_series-1",
    )
    with pytest.raises(InputError, match=r"2 echo times.*--echo 1 \(9.4 ms\), --echo 2 \(20"):
        read_scan(folder, "swi")


@pytest.mark.parametrize("whole", [0, 4])
def test_values_after_the_point_are_kept_where_one_slice_has_whole_numbers(tmp_path, whole):
    write_series(tmp_path / "dicom", slices=[whole], RescaleSlope=1, RescaleIntercept=0)
    others = [k for k in range(5) if k != whole]
    scan = read_scan(write_series(tmp_path / "dicom", slices=others, RescaleSlope=0.37, RescaleIntercept=0.25), "swi")
    assert np.array_equal(scan.array[..., whole], ARRAY[..., whole])
    assert np.allclose(scan.array[..., others], 0.37 * ARRAY[..., others] + 0.25, rtol=1e-6)


def test_a_series_that_cannot_be_read_names_a_file(tmp_path):
    folder = write_series(tmp_path / "dicom", BitsAllocated=7)
    with pytest.raises(InputError, match=r"dicom: .*\.dcm is not a readable DICOM image"):
        read_scan(folder, "swi")


def test_a_series_in_color_is_refused(tmp_path):
    color = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    bytes_of = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": bytes(6 * 8 * 3)}
    with pytest.raises(InputError, match=r"dicom: .*\.dcm is in color"):
        read_scan(write_series(tmp_path / "dicom", **color, **bytes_of), "swi")


@pytest.mark.parametrize(
    "header",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]},
        {"ComplexImageComponent": "PHASE"},
    ],
)
def test_the_phase_of_a_scanner_is_not_taken_for_a_magnitude(tmp_path, header):
    folder = write_series(tmp_path / "dicom", **header)
    with pytest.raises(InputError, match="dicom: a phase image by its header; give the series of the magnitude"):
        read_scan(folder, "swi")
    assert np.array_equal(read_scan(folder, "qsm").array, ARRAY)


@pytest.mark.parametrize("kind", ["M", "SWI", "PROJECTION IMAGE"])
def test_what_is_no_phase_by_its_header_is_read(tmp_path, kind):
    folder = write_series(tmp_path / "dicom", ImageType=["ORIGINAL", "PRIMARY", kind])
    assert np.array_equal(read_scan(folder, "swi").array, ARRAY)


def test_a_missing_slice_is_named(tmp_path):
    with pytest.raises(InputError, match=r"slices 2 and 3 are 6.00 mm apart, the others 3.00 mm"):
        read_scan(write_series(tmp_path / "dicom", slices=(0, 1, 3, 4)), "swi")


def test_two_series_in_one_folder_are_listed(tmp_path):
    write_series(tmp_path / "dicom", "1")
    with pytest.raises(InputError, match=r"2 DICOM series are mixed.*series 1, 5 files.*series 2, 3 files"):
        read_scan(write_series(tmp_path / "dicom", "2", slices=range(3)), "swi")


def test_a_series_is_chosen_by_its_place_among_those_of_a_folder_as_the_scanner_counts_them(tmp_path):
    write_series(tmp_path / "dicom", "9", SeriesNumber=4)
    folder = write_series(tmp_path / "dicom", "8", SeriesNumber=11, array=ARRAY + 1)
    with pytest.raises(InputError, match=r"\(series 9, 5 .*; series 8, 5 .*\).* --series 1 to --series 2, in this"):
        read_scan(folder, "swi")
    first, second = (read_scan(folder, "swi", series=number) for number in (1, 2))
    assert np.array_equal(first.array, ARRAY)
    assert np.array_equal(second.array, ARRAY + 1)
    assert (first.name, second.name) == ("dicom_series-1", "dicom_series-2")


@pytest.mark.parametrize("number", [0, 3])
def test_a_series_that_is_not_there_is_refused(tmp_path, number):
    write_series(tmp_path / "dicom", "1")
    folder = write_series(tmp_path / "dicom", "2")
    with pytest.raises(InputError, match=rf"there is no series {number} \(series 1, 5 files; "):
        read_scan(folder, "swi", series=number)


def test_pictures_of_the_screen_beside_a_series_are_left_out(tmp_path):
    folder = write_series(tmp_path / "dicom", "1")
    write_series(folder, "2", slices=[0], SOPClassUID=SecondaryCaptureImageStorage)
    picture = pydicom.dcmread(folder / "0-2-20.0.dcm")
    del picture.ImagePositionPatient, picture.ImageOrientationPatient
    picture.save_as(folder / "0-2-20.0.dcm")
    assert np.array_equal(read_scan(folder, "swi").array, ARRAY)


def test_the_names_of_series_are_told_in_the_letters_that_scanners_write(tmp_path):
    folder = write_series(tmp_path / "dicom", "1", SpecificCharacterSet="ISO_IR 192", SeriesDescription="größer")
    write_series(folder, "2", SpecificCharacterSet="ISO_IR 100", SeriesDescription="Schädel")
    with pytest.raises(InputError, match=r"mixed \(größer, 5 files; Schädel, 5 files\)"):
        read_scan(folder, "swi")


def test_two_images_at_one_position_are_refused(tmp_path):
    folder = write_series(tmp_path / "dicom")
    content = next(folder.iterdir()).read_bytes()
    (folder / "again.dcm").write_bytes(content)
    with pytest.raises(InputError, match="several DICOM images lie at one position"):
        read_scan(folder, "swi")


def test_a_folder_without_a_series_is_refused(tmp_path, capfd):
    with pytest.raises(InputError, match="no DICOM files in this folder"):
        read_scan(tmp_path, "swi")
    assert not capfd.readouterr().err


def test_a_folder_of_folders_names_one_that_can_be_given(tmp_path):
    write_series(tmp_path / "dicom")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    for place in (tmp_path, tmp_path / "DICOMDIR"):
        with pytest.raises(InputError, match=r"series, as .*dicom$"):
            read_scan(place, "swi")


def test_a_single_slice_is_refused(tmp_path):
    folder = write_series(tmp_path / "dicom", slices=[2])
    with pytest.raises(InputError, match="one DICOM slice; a whole series is needed"):
        read_scan(folder, "swi")
    with pytest.raises(InputError, match="one DICOM slice; give the folder of the whole series"):
        read_scan(next(folder.iterdir()), "swi")


def test_a_slice_cut_off_in_its_header_counts_as_missing(tmp_path):
    folder = write_series(tmp_path / "dicom")
    victim = sorted(folder.iterdir())[2]
    victim.write_bytes(victim.read_bytes()[:300])
    with pytest.raises(InputError, match=r"a slice is missing|not a readable DICOM image|are mixed"):
        read_scan(folder, "swi")


def test_slices_whose_orientations_differ_in_the_last_digit_are_one_stack(tmp_path):
    folder = write_series(tmp_path / "dicom")
    for number, path in enumerate(folder.iterdir()):
        item = pydicom.dcmread(path)
        item.ImageOrientationPatient = [f"{float(value):.{5 + number}f}" for value in item.ImageOrientationPatient]
        item.save_as(path)
    scan = read_scan(folder, "swi")
    assert np.array_equal(scan.array, ARRAY)
    assert np.abs(scan.affine - AFFINE).max() < 1e-3


def test_slices_of_another_orientation_are_refused(tmp_path):
    folder = write_series(tmp_path / "dicom", slices=range(4))
    write_series(folder, slices=[4], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    with pytest.raises(InputError, match="different orientations"):
        read_scan(folder, "swi")


def test_one_echo_time_written_in_two_ways_is_one_echo(tmp_path):
    folder = write_series(tmp_path / "dicom", slices=range(3), EchoTime="20")
    assert np.array_equal(read_scan(write_series(folder, slices=(3, 4), EchoTime="20.0"), "swi").array, ARRAY)


def test_an_echo_time_that_is_no_number_is_refused_in_one_line(tmp_path):
    folder = write_series(tmp_path / "dicom")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"DS\x04\x0020.0", b"DS\x04\x00n/a "))
    with pytest.raises(InputError, match=r"dicom: .*\.dcm is not a readable DICOM image"):
        read_scan(folder, "swi")


def write_frames(folder: Path, frames: Iterable[int], syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write slices of ARRAY as the frames of one file, in that order."""
    item = pydicom.dcmread(next(write_series(folder, slices=[0]).iterdir()))
    path = folder / "frames.dcm"
    Path(item.filename).rename(path)
    measures, direction = Dataset(), Dataset()
    direction.ImageOrientationPatient = item.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = [0.9, 0.8], 3.0, 3.0
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "EchoTime"):
        delattr(item, name)
    shared, of_frames, positions = Dataset(), [], np.diag([-1, -1, 1, 1]) @ AFFINE
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [direction], [measures]
    for k in frames:
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [f"{value:.10g}" for value in (positions @ [0, 0, k, 1])[:3]]
        frame.PlanePositionSequence = [place]
        of_frames.append(frame)
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    item.file_meta.TransferSyntaxUID = syntax
    item.SharedFunctionalGroupsSequence, item.PerFrameFunctionalGroupsSequence = [shared], of_frames
    item.NumberOfFrames = len(of_frames)
    item.PixelData = b"".join(ARRAY[:, :, k].T.tobytes() for k in frames)
    item["PixelData"].VR = "OW"
    pydicom.dcmwrite(path, item, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("order", [1, -1])
def test_a_file_of_many_frames_comes_in_with_its_voxels_and_world_coordinates(tmp_path, syntax, order):
    path = write_frames(tmp_path / "dicom", range(5)[::order], syntax)
    for scan in (read_scan(path.parent, "swi"), read_scan(path, "swi")):
        assert np.array_equal(scan.array, ARRAY[:, :, ::order])
        assert np.abs(scan.affine[:, :3] - AFFINE[:, :3] * [1, 1, order]).max() < 1e-3


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ((0, 1, 2, 3, 4, 0, 1, 2, 3, 4), r"10 frames of frames\.dcm lie at 5 positions \(echoes"),
        ((0, 0, 1, 1, 2, 2), "6 frames of .* lie at 3 positions"),
        ((0, 1, 3, 4), "4 frames of .* are not evenly spaced"),
        ((0, 2, 4, 1, 3), "5 frames of .* are not evenly spaced"),
    ],
)
def test_frames_that_are_no_stack_are_refused_instead_of_stacked(tmp_path, frames, expected):
    path = write_frames(tmp_path / "dicom", frames)
    for place in (path.parent, path):
        with pytest.raises(InputError, match=expected):
            read_scan(place, "swi")


def test_frames_without_positions_are_refused(tmp_path):
    path = write_frames(tmp_path / "dicom", range(5))
    item = pydicom.dcmread(path)
    del item.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    item.save_as(path)
    with pytest.raises(InputError, match=r"5 frames of .* do not say where they lie"):
        read_scan(path.parent, "swi")


def test_frames_whose_orientation_is_none_are_refused_in_one_line(tmp_path):
    path = write_frames(tmp_path / "dicom", range(5))
    item = pydicom.dcmread(path)
    item.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
    item.save_as(path)
    for place in (path.parent, path):
        with pytest.raises(InputError, match="damaged DICOM"):
            read_scan(place, "swi")


def test_a_position_that_is_none_is_refused_in_one_line(tmp_path):
    folder = write_series(tmp_path / "dicom", slices=range(4))
    write_series(folder, slices=[4], ImagePositionPatient=[0, 0])
    with pytest.raises(InputError, match=r"dicom: .*\.dcm is not a readable DICOM image"):
        read_scan(folder, "swi")
