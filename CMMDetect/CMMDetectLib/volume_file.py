"""A NIfTI or NRRD file, read as one volume after checking that it is complete."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import SimpleITK as sitk

from .errors import InputError
from .itk_messages import without_messages
from .nifti_file import count_nonfinite, is_nifti
from .wording import counted

SHEARED = "the orientation matrix is singular or sheared; resample it to a right-angled grid"
DAMAGED = "the file is cut off or damaged; copy or convert it again"


def read_volume(path: Path, echo: int | None = None, may_choose: bool = True) -> sitk.Image:
    """Read a file as one 3D image of real numbers.

    Parameters
    ----------
    path : path of the file
    echo : which of several volumes, from 1
    may_choose : whether the user can choose one; a mask must have only one volume

    Raises
    ------
    InputError
        If the file is damaged, holds NaN or values that are not real numbers, is not 3D, or holds several volumes of
        which `echo` chooses none.
    """
    try:
        if is_nifti(path) and (bad := count_nonfinite(path)):
            raise InputError(nonfinite_problem(path, bad))
        with without_messages():
            image = sitk.ReadImage(str(path))
    except (RuntimeError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: {_reading_problem(error)}") from None
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path}: the voxels are colors, vectors or complex numbers; one real number is needed")
    if not may_choose and image.GetDimension() == 4 and image.GetSize()[3] > 1:
        raise InputError(f"{path}: 4D with {image.GetSize()[3]} volumes; a 3D volume is needed")
    return _pick_echo(_without_single_axes(image), echo, path)


def nonfinite_problem(path: Path, count: int) -> str:
    """Message for a file with voxels that are not finite."""
    return f"{path}: NaN or infinite values in {counted(count, 'voxel')}; set them to 0 (outside the brain) first"


def last_line(error: Exception) -> str:
    """Return the last line of an error's text, where ITK states the cause; the type if there is no text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _without_single_axes(image: sitk.Image) -> sitk.Image:
    """Drop axes of length 1 after the third."""
    while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
        image = sitk.Extract(image, [*image.GetSize()[:-1], 0])
    return image


def _pick_echo(image: sitk.Image, echo: int | None, path: Path) -> sitk.Image:
    size = image.GetSize()
    if 0 in size:
        raise InputError(f"{path}: {DAMAGED}")
    if len(size) == 2 or min(size[:3]) == 1:
        raise InputError(f"{path}: this is one 2D slice; a 3D volume is needed")
    if len(size) > 4:
        raise InputError(f"{path}: {len(size)} dimensions of size {size}; a 3D volume is needed")
    if len(size) == 3:
        if echo not in (None, 1):
            raise InputError(f"{path}: there is no echo {echo}, this is one 3D volume")
        return image
    if echo is None:
        raise InputError(f"{path}: 4D with {size[3]} volumes; say which one with --echo 1 to --echo {size[3]}")
    if not 1 <= echo <= size[3]:
        raise InputError(f"{path}: there is no echo {echo}; choose --echo 1 to --echo {size[3]}")
    return sitk.Extract(image, [*size[:3], 0], [0, 0, 0, echo - 1])


def _reading_problem(error: Exception) -> str:
    """Describe an error of ITK or gzip."""
    text = str(error)
    if any(part in text for part in ("determine ImageIO", "Not a gzipped file", "not recognized as a NIFTI")):
        return "not an image that can be read; NIfTI, NRRD or a folder with a DICOM series is needed"
    if "orthonormal" in text or "singular" in text.lower() or "determinant" in text:
        return SHEARED
    if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile) or any(
        part in text for part in ("trouble reading", "MetaImageIO")
    ):
        return DAMAGED
    return f"cannot be read ({last_line(error)})"
