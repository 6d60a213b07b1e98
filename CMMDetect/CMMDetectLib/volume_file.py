"""A NIfTI or NRRD file, read as one volume after checking that it is complete."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from .errors import InputError
from .itk_messages import without_messages
from .nifti_file import float_voxels, is_nifti, misnamed
from .wording import counted

SHEARED = "the orientation matrix is singular or sheared; resample it to a right-angled grid"
DAMAGED = "the file is cut off or damaged; copy or convert it again"
LARGEST_VALUE = float(np.finfo(np.float32).max)


def read_volume(path: Path, echo: int | None = None, is_scan: bool = True) -> tuple[sitk.Image, bool]:
    """Read a file as one 3D image of real numbers; also tell whether the file holds several.

    Parameters
    ----------
    path : path of the file
    echo : which of several volumes, from 1
    is_scan : whether the file may hold several volumes, and NaN from the border inward; a mask may not

    Raises
    ------
    InputError
        If the file is damaged, holds other NaN or no real numbers, is not 3D, or holds several volumes and `echo` does
        not say which.
    """
    try:
        if is_nifti(path) and (voxels := float_voxels(path)) is not None:
            _check_finite(voxels, path, is_scan)
        with without_messages():
            image = sitk.ReadImage(str(path))
    except (RuntimeError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: {_reading_problem(error, path)}") from None
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path}: the voxels are colors, vectors or complex numbers; one real number is needed")
    if not is_scan and image.GetDimension() == 4 and image.GetSize()[3] > 1:
        raise InputError(f"{path}: 4D with {image.GetSize()[3]} volumes; a 3D volume is needed")
    return _pick_echo(_without_single_axes(image), echo, path)


def _check_finite(voxels: NDArray[Any], path: Path, is_scan: bool) -> None:
    """Refuse NaN, which ITK reads as 0: in a brain that would be a microbleed."""
    bad = np.count_nonzero(~np.isfinite(voxels))
    if bad and is_scan:
        bad = np.count_nonzero(~np.isfinite(without_nan_outside(voxels)))
    if bad:
        raise InputError(_nonfinite_problem(path, int(bad)))


def without_nan_outside(array: NDArray[Any]) -> NDArray[Any]:
    """Give 0 to what is NaN from the border of a volume inward, as programs leave it around what they mask or move.

    >>> [float(value) for value in without_nan_outside(np.array([np.nan, 7, np.nan, 8]))]
    [0.0, 7.0, nan, 8.0]
    """
    if array.dtype.kind != "f" or not (nan := np.isnan(array)).any() or nan.all():
        return array
    axes = range(array.ndim)[:3]
    touching = np.zeros((3,) * array.ndim)
    in_one_volume = touching.reshape(3 ** len(axes), -1)
    in_one_volume[:, in_one_volume.shape[1] // 2] = 1
    parts, _ = ndimage.label(nan, touching)
    at_border = np.unique(np.concatenate([np.take(parts, (0, -1), axis).ravel() for axis in axes]))
    return np.where(np.isin(parts, at_border[at_border > 0]), array.dtype.type(0), array)


def check_values(array: NDArray[Any], path: Path) -> None:
    """Refuse values that are no image.

    Raises
    ------
    InputError
        If a value is not finite or too large, or all are equal.
    """
    low, high = finite_range(array, path)
    if max(-low, high) > LARGEST_VALUE:
        raise InputError(f"{path}: values up to {max(-low, high):.3g} are too large; divide them by a constant first")
    if np.float32(low) == np.float32(high):
        raise InputError(f"{path}: every voxel has the value {np.float32(low):g}; there is no image in it")


def finite_range(array: NDArray[Any], path: Path) -> tuple[float, float]:
    """Return the lowest and the highest value; a value that is not finite would be one of them.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(_nonfinite_problem(path, array.size - int(np.count_nonzero(np.isfinite(array)))))
    return low, high


def _nonfinite_problem(path: Path, count: int) -> str:
    """Say what is wrong with a file that has voxels without a finite value."""
    return f"{path}: NaN or infinite values in {counted(count, 'voxel')}; replace them by their neighbors"


def last_line(error: Exception) -> str:
    """Return the last line of an error's text, where ITK states the cause; the type if there is no text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _without_single_axes(image: sitk.Image) -> sitk.Image:
    """Drop axes of length 1 after the third."""
    while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
        image = sitk.Extract(image, [*image.GetSize()[:-1], 0])
    return image


def _pick_echo(image: sitk.Image, echo: int | None, path: Path) -> tuple[sitk.Image, bool]:
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
        return image, False
    if echo is None:
        raise InputError(
            f"{path}: 4D with {size[3]} volumes; say which one with --echo 1 to --echo {size[3]}, or save it alone"
        )
    if not 1 <= echo <= size[3]:
        raise InputError(f"{path}: there is no echo {echo}; choose --echo 1 to --echo {size[3]}")
    return sitk.Extract(image, [*size[:3], 0], [0, 0, 0, echo - 1]), True


def _reading_problem(error: Exception, path: Path) -> str:
    """Describe an error of ITK or gzip."""
    if is_nifti(path) and (name := misnamed(path)) is not None:
        found = "compressed" if name.endswith(".gz") else "not compressed"
        return f"the file is {found}, which its name denies; rename it to {name}"
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
