"""A scan: one 3D volume with its position in the world, read from and written to files.

Inside the library arrays are indexed (i, j, k) and a 4x4 affine maps voxel indices to RAS millimetres, as in nibabel.
ITK's (k, j, i) order and LPS axes are converted here and where a filter or transform of ITK is used; the only other
place with LPS is the point lists of 3D Slicer.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from .dicom_series import is_dicom, read_dicom_series
from .errors import InputError, OutputError
from .file_names import check_name, check_there
from .itk_messages import without_messages
from .nifti_file import is_whole
from .orientation import Turn, canonical_turn, is_right_angled, turn_along
from .volume_file import SHEARED, check_values, finite_range, last_line, read_volume, without_nan_outside

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img")
PLAUSIBLE_SPACING_MM = (0.05, 20.0)
SAME_GRID_TOLERANCE_VOX = 0.1
LEAST_FREE_BYTES = 1_000_000
"""A disk with less than this is full."""


class Modality(StrEnum):
    """The susceptibility contrasts that the detector knows."""

    SWI = "swi"
    T2STAR = "t2star"
    QSM = "qsm"

    @property
    def lesions_are_dark(self) -> bool:
        """Whether microbleeds are darker than tissue (SWI, T2*-GRE) or brighter (QSM)."""
        return self is not Modality.QSM


SUFFIXES = {
    "swi": Modality.SWI,
    "t2starw": Modality.T2STAR,
    "t2star": Modality.T2STAR,
    "t2s": Modality.T2STAR,
    "chimap": Modality.QSM,
    "qsm": Modality.QSM,
}
"""Of BIDS, as it is and as it was, and of public data sets of microbleeds (VALDO)."""
NO_MAGNITUDE = re.compile(r"(?:^|_)part-(?:phase|real|imag)(?=_)", re.IGNORECASE)
"""BIDS entity of images that have the suffix of a magnitude image but are not one."""


@dataclass(frozen=True)
class Scan:
    """One 3D volume.

    Attributes
    ----------
    array : (I, J, K) float32
        Intensities as the file gives them.
    affine : (4, 4) float64
        From voxel indices to RAS millimetres.
    modality : Modality
    name : str
        The stem of every output file.
    path : Path or None
        Where the scan came from.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    modality: Modality
    name: str = "scan"
    path: Path | None = None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighboring voxels along i, j and k."""
        return spacing_of(self.affine)

    @property
    def upright(self) -> Turn:
        """The turn after which a detector looks at it: toward right, anterior and superior, thick slices last.

        On SWI the axis toward superior is the last even of sagittal and coronal slices: phase draws a microbleed out
        along the main field, and to a network that has learnt this along its last axis, across that it is none.
        """
        if self.modality is Modality.SWI:
            return turn_along(self.affine[:3, :3])
        return canonical_turn(self.affine)

    def turned(self, turn: Turn) -> Scan:
        """Return the same scan with its axes turned."""
        affine = turn.affine(self.affine, self.array.shape)
        return replace(self, array=turn.apply(self.array), affine=affine)


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Voxel spacing along i, j and k in mm.

    >>> spacing_of(np.diag([-0.8, 0.8, 3.0, 1.0]))
    (0.8, 0.8, 3.0)
    """
    i, j, k = np.linalg.norm(affine[:3, :3], axis=0)
    return float(i), float(j), float(k)


def to_world(affine: NDArray[np.float64], ijk: ArrayLike) -> NDArray[np.float64]:
    """Convert voxel indices, shape (..., 3), to RAS millimetres.

    >>> to_world(np.diag([-0.8, 0.8, 3.0, 1.0]), [10, 10, 10])
    array([-8.,  8., 30.])
    """
    return np.asarray(ijk, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]


def to_voxel(affine: NDArray[np.float64], ras_mm: ArrayLike) -> NDArray[np.float64]:
    """Convert RAS millimetres, shape (..., 3), to continuous voxel indices.

    >>> to_voxel(np.diag([-0.8, 0.8, 3.0, 1.0]), [-8, 8, 30])
    array([10., 10., 10.])
    """
    return to_world(np.linalg.inv(affine).astype(np.float64), ras_mm)


def translated(affine: NDArray[np.float64], start_vox: Iterable[int]) -> NDArray[np.float64]:
    """Return the affine of a crop that starts at voxel ``start_vox`` of the grid of ``affine``.

    >>> translated(np.diag([2.0, 2.0, 3.0, 1.0]), (1, 0, 2))[:3, 3]
    array([2., 0., 6.])
    """
    crop = affine.copy()
    crop[:3, 3] = to_world(affine, list(start_vox))
    return crop


def stem_of(path: Path) -> str:
    """Return the file name without the image suffix; for a DICOM series the name of the folder.

    >>> stem_of(Path("data/sub-01_swi.nii.gz"))
    'sub-01_swi'
    """
    name = name_of(path)
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix) and not path.is_dir():
            return name[: -len(suffix)]
    return name


def name_of(path: Path) -> str:
    """Return the name that the user gave, not that of a link's target, which in git-annex data sets is a key.

    >>> name_of(Path("data/links/sub-01_swi.nii.gz")), name_of(Path()) == Path.cwd().name
    ('sub-01_swi.nii.gz', True)
    """
    return path.resolve().name if path.name in ("", "..") else path.name


def guess_modality(name: str) -> Modality | None:
    """Return the modality of the suffix of a name (``_swi``, ``_T2starw``, ``_Chimap``), None if there is none.

    >>> guess_modality("sub-01_part-mag_T2starw"), guess_modality("sub-101_space-T2S_desc-masked_T2S")
    (<Modality.T2STAR: 't2star'>, <Modality.T2STAR: 't2star'>)
    """
    return SUFFIXES.get(name.rsplit("_", 1)[-1].lower())


def read_scan(
    path: Path | str, modality: str | None = None, echo: int | None = None, series: int | None = None
) -> Scan:
    """Read a NIfTI or NRRD file, or a folder with a DICOM series.

    Parameters
    ----------
    path : path of the file or folder
    modality : 'swi', 't2star' or 'qsm'; None reads it from the BIDS suffix of the name
    echo : number of the echo, from 1, if there are several; it is then added to the name of the scan
    series : number of the DICOM series, from 1, if the folder holds several; it is added to the name of the scan

    Raises
    ------
    InputError
        If the file cannot be read or is not one finite, varying 3D volume on a regular grid; if neither the option nor
        the name gives the modality; or if the name says that it is a phase image.
    """
    path = Path(path)
    check_there(path)
    name = stem_of(path)
    kind = parse_modality(modality) if modality else guess_modality(name)
    if kind is None:
        raise InputError(
            f"{path}: the name does not end in _swi, _T2starw or _Chimap; "
            "say --modality swi, --modality t2star or --modality qsm"
        )
    if not modality and NO_MAGNITUDE.search(name):
        raise InputError(f"{path}: not a magnitude by its name; give the file with part-mag, or say --modality {kind}")
    if is_dicom(path):
        image, is_one_echo = read_dicom_series(path, echo, not kind.lesions_are_dark, series)
    elif series is not None:
        raise InputError(f"{path}: --series is for a folder of DICOM files; leave it out")
    else:
        image, is_one_echo = read_volume(path, echo)
    # otherwise the results of one would replace those of another
    name = _name_of_echo(name, echo) if is_one_echo else name
    name = name if series is None else f"{name}_series-{series}"
    array, affine = _array_and_affine(image)
    array = without_nan_outside(array)
    check_values(array, path)
    _check_grid(affine, path)
    return Scan(array.astype(np.float32, copy=False), affine, kind, name, path)


def _name_of_echo(name: str, echo: int | None) -> str:
    """Add the number of an echo to a name: before its suffix, as in BIDS, so that this still tells the modality.

    >>> _name_of_echo("sub-01_run-1_T2starw", 2), _name_of_echo("patient 7", 2)
    ('sub-01_run-1_echo-2_T2starw', 'patient 7_echo-2')
    """
    start, _, suffix = name.rpartition("_")
    return f"{start}_echo-{echo}_{suffix}" if start and guess_modality(name) else f"{name}_echo-{echo}"


def parse_modality(text: str) -> Modality:
    """Convert the text of an option to a `Modality`.

    Raises
    ------
    InputError
        If there is no such modality.
    """
    try:
        return Modality(text.lower())
    except ValueError:
        raise InputError(f"unknown modality '{text}': choose swi, t2star or qsm") from None


def read_mask(path: Path | str, scan: Scan) -> NDArray[np.bool_]:
    """Read a brain mask (nonzero is brain) onto the scan's grid; see `read_labels`.

    Raises
    ------
    InputError
        If the file cannot be read, lies on another grid or is empty.
    """
    mask = _read_onto(Path(path), scan, "brain mask") != 0
    if not mask.any():
        raise InputError(f"{path}: the brain mask is empty")
    return mask


def read_labels(path: Path | str, scan: Scan) -> NDArray[np.int32]:
    """Read a label map or a mask of lesions, which may be empty, onto the scan's grid.

    If the voxels coincide with the scan's but are stored with another order or direction of axes, the array is
    reoriented without interpolation. Nothing is ever resampled.

    Raises
    ------
    InputError
        If the file cannot be read, lies on another grid or has labels beyond 32 bits.
    """
    labels = np.round(_read_onto(Path(path), scan, "label map"))
    farthest = max(float(labels.max()), -float(labels.min()))
    if farthest > np.iinfo(np.int32).max:
        raise InputError(f"{path}: labels up to {farthest:g} are too large; number the lesions from 1")
    return labels.astype(np.int32)


def write_image(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write an (I, J, K) array in the format of the file's suffix; the file is never seen half-written.

    Raises
    ------
    OutputError
        If the file cannot be written, or the grid is sheared, which ITK would write as another grid.
    """
    check_name(path, OutputError)
    if not is_right_angled(affine):
        raise OutputError(f"{path}: cannot be written; {SHEARED}")
    with replacing(path) as beside:
        with without_messages():
            sitk.WriteImage(as_image(array, affine), str(beside), useCompression=True, compressionLevel=1)
        # ITK reports no error when the disk is full; the length of other formats is not known
        if path.name.lower().endswith((".nii", ".nii.gz")) and not is_whole(beside, array.nbytes):
            raise OSError("only a part of it could be written; is the disk full?")


def as_image(array: NDArray[Any], affine: NDArray[np.float64]) -> sitk.Image:
    """Convert an (I, J, K) array and its RAS affine to an ITK image, which is in LPS."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    lps = LPS_FROM_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new file beside ``path`` to write to; it replaces ``path`` if no exception is raised.

    Raises
    ------
    OutputError
        If the folder cannot be written or the disk is full.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix="-" + path.name)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot write here ({error.strerror})") from None
    beside = Path(name)
    try:
        yield beside
        # mkstemp makes files that only the owner can read; results get the user's usual permissions
        umask = os.umask(0)
        os.umask(umask)
        beside.chmod(0o666 & ~umask)
        beside.replace(path)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{path}: cannot be written ({_writing_problem(error, path.parent)})") from None
    finally:
        beside.unlink(missing_ok=True)


def _writing_problem(error: Exception, folder: Path) -> str:
    """Return why a file could not be written: of a full disk, NumPy and PyTorch report only numbers of bytes."""
    with suppress(OSError):  # the folder may be gone
        if shutil.disk_usage(folder).free < LEAST_FREE_BYTES:
            return "no space left on the disk"
    return last_line(error)


def _read_onto(path: Path, scan: Scan, what: str) -> NDArray[Any]:
    """Read a file whose voxels coincide with the scan's, in the scan's order of axes."""
    check_there(path, f"no such file ({what})")
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give the file of the {what}")
    array, affine = _array_and_affine(read_volume(path, is_scan=False)[0])
    finite_range(array, path)
    turned = _onto_grid(array, affine, scan)
    if turned is None:
        raise InputError(
            f"{path}: the {what} lies on another grid than the scan ({_describe_grid(array.shape, affine)} instead "
            f"of {_describe_grid(scan.array.shape, scan.affine)}, or another origin); resample it to the scan"
        )
    return turned


def _array_and_affine(image: sitk.Image) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the (I, J, K) array and RAS affine of a 3D ITK image."""
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return np.ascontiguousarray(sitk.GetArrayViewFromImage(image).T), LPS_FROM_RAS @ lps


def _check_grid(affine: NDArray[np.float64], path: Path) -> None:
    low, high = PLAUSIBLE_SPACING_MM
    if not all(low <= step <= high for step in spacing_of(affine)):
        spacing = " x ".join(f"{step:g}" for step in spacing_of(affine))
        raise InputError(f"{path}: a voxel of {spacing} mm cannot be right; correct the voxel size in the header")
    if not is_right_angled(affine):
        raise InputError(f"{path}: {SHEARED}")


def _onto_grid(array: NDArray[Any], affine: NDArray[np.float64], scan: Scan) -> NDArray[Any] | None:
    """Reorient an array to the scan's grid; None if the voxels do not coincide."""
    step = np.linalg.inv(scan.affine) @ affine
    turn = turn_along(step[:3, :3])
    turned = turn.apply(array)
    if turned.shape != scan.array.shape:
        return None
    corners = np.array(list(product(*[(0, size - 1) for size in turned.shape])))
    shift_vox = to_world(step @ turn.matrix(array.shape), corners) - corners
    return turned if np.abs(shift_vox).max() < SAME_GRID_TOLERANCE_VOX else None


def _describe_grid(shape: tuple[int, ...], affine: NDArray[np.float64]) -> str:
    size = " x ".join(str(count) for count in shape)
    return f"{size} voxels of " + " x ".join(f"{step:.3g}" for step in spacing_of(affine)) + " mm"
