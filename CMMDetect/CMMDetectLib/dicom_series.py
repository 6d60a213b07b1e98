"""A DICOM series in a folder, or one multi-frame file, read as one volume after checking that it is one."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
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
SERIES_DESCRIPTION, SERIES_NUMBER = "0008|103e", "0020|0011"
IMAGE_POSITION = "0020|0032"
IMAGE_ORIENTATION = "0020|0037"
GAP_TOLERANCE = 0.1
"""Largest deviation of a slice distance from the median, as a fraction; more means a missing slice."""
ORIENTATION_TOLERANCE = 1e-4
"""Tolerance of direction cosines: within one stack, scanners and converters write different last digits."""
MAGIC_START, MAGIC = 128, b"DICM"
INDEX = "DICOMDIR"
MOST_LOOKED_AT = 2000
"""Files below a folder that are examined to name a folder with DICOM files."""
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


@dataclass(frozen=True)
class Series:
    """One of the series in a folder.

    Attributes
    ----------
    number : series number in the header, 0 if there is none
    has_place : whether its images state their position; screenshots do not
    """

    description: str
    number: int
    files: tuple[str, ...]
    has_place: bool


def is_dicom(path: Path) -> bool:
    """Whether a path is a DICOM file, or a folder (which then must hold DICOM files)."""
    if path.is_dir():
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(MAGIC_START + len(MAGIC))[MAGIC_START:] == MAGIC
    except OSError:
        return False


def read_dicom_series(
    folder: Path, echo: int | None = None, may_be_phase: bool = True, series: int | None = None
) -> tuple[sitk.Image, bool]:
    """Read a DICOM series; also tell whether it has several echoes.

    Parameters
    ----------
    folder : folder of the series, or a multi-frame file
    echo : which of several echoes, from 1, ordered by echo time
    may_be_phase : whether phase images are accepted; scanners store them with values like those of a magnitude
    series : which of several series in the folder, from 1, ordered by series number

    Raises
    ------
    InputError
        If the folder holds no DICOM files, damaged files, or several series or echoes of which ``series`` or ``echo``
        chooses none; if slices are missing, duplicated or in color, or are phase images where these are not accepted.
    """
    try:
        with without_messages():
            return _read(folder, echo, may_be_phase, series)
    except RuntimeError:
        raise InputError(f"{folder}: damaged DICOM, or of a kind that cannot be decoded; export it again") from None


def _read(folder: Path, echo: int | None, may_be_phase: bool, series: int | None) -> tuple[sitk.Image, bool]:
    every = [_read_header(name, folder) for name in _files(folder, series)]
    slices = _pick_echo(every, echo, folder)
    return _stacked(slices, folder, may_be_phase), len(slices) < len(every)


def _stacked(slices: list[SliceFile], folder: Path, may_be_phase: bool) -> sitk.Image:
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


def _files(folder: Path, series: int | None) -> tuple[str, ...]:
    if folder.name.upper() == INDEX:
        below = _example_below(folder.parent)
        raise InputError(f"{folder}: an index of DICOM files; give the folder of one series{below}")
    if not folder.is_dir():
        return (str(folder),)
    for path in folder.iterdir():
        check_name(path)
    found = _series_in(folder)
    if series is None and len(found) == 1:
        return found[0].files
    if series is None or not 1 <= series <= len(found):
        names = "; ".join(f"{item.description}, {counted(len(item.files), 'file')}" for item in found)
        choice = f"give one per folder, or choose --series 1 to --series {len(found)}, in this order"
        if series is not None:
            raise InputError(f"{folder}: there is no series {series} ({names}); {choice}")
        raise InputError(f"{folder}: {len(found)} DICOM series are mixed ({names}); {choice}")
    return found[series - 1].files


def _series_in(folder: Path) -> list[Series]:
    """Return the series in a folder, ordered by series number, without screenshots if there are other images."""
    names = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not names:
        wanted = f"give a NIfTI or NRRD file or a DICOM series{_example_below(folder)}"
        raise InputError(f"{folder}: no DICOM files in this folder; {wanted}")
    found = sorted((_describe(str(folder), name) for name in names), key=lambda item: item.number)
    return [item for item in found if item.has_place] or found


def _example_below(folder: Path) -> str:
    """Name a folder below that holds DICOM files, if one is found soon."""
    below = (Path(place) / name for place, _, names in os.walk(folder) for name in names if name.upper() != INDEX)
    files = (path for path in islice(below, MOST_LOOKED_AT) if path.is_file())  # a pipe would be waited for
    found = next((path.parent for path in files if is_dicom(path)), folder)
    return "" if found == folder else f", as {found}"


def _describe(folder: str, series: str) -> Series:
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder, series)
    try:
        reader = _information(files[0])
    except RuntimeError:  # which is said when the series is read
        return Series("damaged", 0, tuple(files), has_place=True)
    header = _header(reader)
    name = header.get(SERIES_DESCRIPTION, "unnamed")
    try:
        name.encode()
    except UnicodeEncodeError:  # ITK gives the bytes of other character sets as they are
        name = name.encode(errors="surrogateescape").decode("latin-1")
    number = header.get(SERIES_NUMBER, "")
    has_place = IMAGE_POSITION in header or reader.GetSize()[-1] > 1
    return Series(name, int(number) if number.isdecimal() else 0, tuple(files), has_place)


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
        wanted = "a whole series is needed" if folder.is_dir() else "give the folder of the whole series"
        raise InputError(f"{folder}: one DICOM slice; {wanted}")
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
