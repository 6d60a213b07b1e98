"""A folder with one DICOM series, or one multi-frame file, read as one volume after checking that it is one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from .errors import InputError
from .file_names import check_name
from .itk_messages import without_messages
from .wording import counted

IMAGE_TYPE, COMPLEX_COMPONENT = "0008|0008", "0008|9208"
ECHO_TIME = "0018|0081"
SERIES_DESCRIPTION = "0008|103e"
IMAGE_POSITION = "0020|0032"
IMAGE_ORIENTATION = "0020|0037"
GAP_TOLERANCE = 0.1
"""Largest deviation of a slice distance from the median, as a fraction; more means a missing slice."""
ORIENTATION_TOLERANCE = 1e-4
"""Tolerance of direction cosines: within one stack, scanners and converters write different last digits."""
MAGIC_START, MAGIC = 128, b"DICM"
FRAME_POSITION = re.compile(
    rb"\x20\x00\x13\x91(?:SQ\0\0)?.{4}\xfe\xff\x00\xe0.{4}\x20\x00\x32\x00.{4}([-+.\\\dEe ]+)", re.DOTALL
)
"""Position in the Plane Position Sequence of a frame, which ITK does not expose; explicit and implicit VR."""


@dataclass(frozen=True)
class SliceFile:
    """What the header of one DICOM file says about its slice."""

    path: str
    echo_time_ms: float
    """0 where the header does not say."""
    orientation: NDArray[np.float64]
    position_mm: float
    """Along the normal of the slice."""
    is_phase: bool


def is_dicom(path: Path) -> bool:
    """Whether a path is a DICOM file, or a folder (which then must hold DICOM files)."""
    if path.is_dir():
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(MAGIC_START + len(MAGIC))[MAGIC_START:] == MAGIC
    except OSError:
        return False


def read_dicom_series(folder: Path, echo: int | None = None, may_be_phase: bool = True) -> sitk.Image:
    """Read the only DICOM series in a folder.

    Parameters
    ----------
    folder : folder of the series, or a multi-frame file
    echo : which of several echoes, from 1, ordered by echo time
    may_be_phase : whether phase images are accepted; scanners store them with values like those of a magnitude

    Raises
    ------
    InputError
        If the folder holds no DICOM files, damaged files, several series, or several echoes of which ``echo`` chooses
        none; if slices are missing or duplicated or in color, or are phase images where these are not accepted.
    """
    try:
        with without_messages():
            return _read(folder, echo, may_be_phase)
    except RuntimeError:
        raise InputError(f"{folder}: damaged DICOM, or of a kind that cannot be decoded; export it again") from None


def _read(folder: Path, echo: int | None, may_be_phase: bool) -> sitk.Image:
    slices = _pick_echo([_read_header(name, folder) for name in _files(folder)], echo, folder)
    if not may_be_phase and all(item.is_phase for item in slices):
        raise InputError(f"{folder}: a phase image by its header; give the series of the magnitude or SWI")
    if len(slices) == 1:
        return _read_multiframe(slices[0].path, folder)
    ordered = sorted(slices, key=lambda item: item.position_mm)
    _check_regular(ordered, folder)
    try:
        # ITK would take the pixel type of the first slice for all, and round slices that are rescaled to fractions
        return sitk.ReadImage([item.path for item in ordered], sitk.sitkFloat32)
    except RuntimeError:
        raise InputError(f"{folder}: the DICOM slices differ in size or cannot be decoded") from None


def _files(folder: Path) -> list[str]:
    if not folder.is_dir():
        return [str(folder)]
    for path in folder.iterdir():
        check_name(path)
    return list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), _only_series(folder)))


def _only_series(folder: Path) -> str:
    found = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not found:
        raise InputError(f"{folder}: no DICOM files in this folder; give a NIfTI or NRRD file or a DICOM series")
    if len(found) > 1:
        names = [_describe(str(folder), series) for series in found]
        raise InputError(f"{folder}: {len(found)} DICOM series are mixed ({'; '.join(names)}); give one per folder")
    return str(found[0])


def _describe(folder: str, series: str) -> str:
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder, series)
    name = _header(_information(files[0])).get(SERIES_DESCRIPTION, "unnamed")
    try:
        name.encode()
    except UnicodeEncodeError:  # ITK gives the bytes of other character sets as they are
        name = name.encode(errors="surrogateescape").decode("latin-1")
    return f"{name}, {counted(len(files), 'file')}"


def _information(path: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    reader.ReadImageInformation()
    return reader


def _header(reader: sitk.ImageFileReader) -> dict[str, str]:
    return {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}


def _read_header(path: str, folder: Path) -> SliceFile:
    try:
        reader = _information(path)
        header = _header(reader)
        row, column = orientation = _numbers(header.get(IMAGE_ORIENTATION, "1\\0\\0\\0\\1\\0")).reshape(2, 3)
        position = _numbers(header.get(IMAGE_POSITION, "0\\0\\0")).reshape(3)
        echo_time_ms = float(header.get(ECHO_TIME) or 0)
    except (RuntimeError, ValueError):
        raise InputError(f"{folder}: {Path(path).name} is not a readable DICOM image") from None
    if reader.GetNumberOfComponents() != 1:
        raise InputError(f"{folder}: {Path(path).name} is in color; give the original grayscale series")
    is_phase = "P" in header.get(IMAGE_TYPE, "").split("\\") or header.get(COMPLEX_COMPONENT) == "PHASE"
    return SliceFile(path, echo_time_ms, orientation, float(np.cross(row, column) @ position), is_phase)


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array([float(part) for part in text.split("\\")])


def _pick_echo(slices: list[SliceFile], echo: int | None, folder: Path) -> list[SliceFile]:
    times = sorted({item.echo_time_ms for item in slices})
    if len(times) == 1 and echo in (None, 1):
        return slices
    if echo is None or not 1 <= echo <= len(times):
        listed = ", ".join(f"--echo {number} ({time:g} ms)" for number, time in enumerate(times, 1))
        raise InputError(f"{folder}: the series has {len(times)} echo times; choose {listed}")
    return [item for item in slices if item.echo_time_ms == times[echo - 1]]


def _check_regular(ordered: Sequence[SliceFile], folder: Path) -> None:
    if np.ptp([item.orientation for item in ordered], axis=0).max() > ORIENTATION_TOLERANCE:
        raise InputError(f"{folder}: the DICOM slices have different orientations; give one stack per folder")
    position = np.array([item.position_mm for item in ordered])
    if max(Counter(position.round(3)).values()) > 1:
        raise InputError(f"{folder}: several DICOM images lie at one position (magnitude and phase?); keep one kind")
    gaps = np.diff(position)
    step = float(np.median(gaps))
    wide = int(np.argmax(np.abs(gaps - step)))
    if abs(gaps[wide] - step) > GAP_TOLERANCE * step:
        raise InputError(
            f"{folder}: slices {wide + 1} and {wide + 2} are {gaps[wide]:.2f} mm apart, the others {step:.2f} mm; "
            "a slice is missing, export the series again"
        )


def _read_multiframe(path: str, folder: Path) -> sitk.Image:
    image = sitk.ReadImage(path)
    if image.GetDimension() != 3 or min(image.GetSize()) == 1:
        raise InputError(f"{folder}: one DICOM slice; a whole series is needed")
    _check_frames(path, image.GetSize()[2], folder)
    return image


def _check_frames(path: str, count: int, folder: Path) -> None:
    """Refuse frames that are not an ordered stack: ITK would read them as one, with a spacing of its own."""
    wrong = f"{folder}: the {count} frames of {Path(path).name}"
    try:
        found = [_numbers(text.decode()) for text in FRAME_POSITION.findall(Path(path).read_bytes())]
        positions = np.array(found).reshape(count, 3)
    except ValueError:
        raise InputError(f"{wrong} do not say where they lie; convert it to NIfTI") from None
    places = len(np.unique(positions.round(3), axis=0))
    if places < count:
        raise InputError(f"{wrong} lie at {places} positions (echoes, magnitude and phase?); convert one to NIfTI")
    steps = np.diff(positions, axis=0)
    step = np.median(steps, axis=0)
    if np.linalg.norm(steps - step, axis=1).max() > GAP_TOLERANCE * np.linalg.norm(step):
        raise InputError(f"{wrong} are not evenly spaced one behind the other; convert it to NIfTI")
