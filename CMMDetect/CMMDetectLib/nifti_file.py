"""Faults of NIfTI files that ITK does not report: truncated data, NaN, two voxel sizes, files written in part."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path

import numpy as np

from .errors import InputError
from .orientation import is_right_angled

HEADER_SIZE = 348
NIFTI_2_HEADER_SIZE = 540
CONVERT = "nib-convert --image-type Nifti1Image OLD.nii NEW.nii"
WRITTEN_START = 352
"""Offset of the voxels in the files that ITK writes."""
GZIP_MARK = b"\x1f\x8b"
"""First bytes of a gzip file."""
GZIP_TRAILER = 4
"""Number of last bytes of a gzip file that hold the length of its content, modulo 2^32."""
SAME_SIZE = 0.01
"""Largest relative difference between the voxel sizes of a header's pixdim and of its matrix."""
FLOAT_TYPES = {16: "f4", 64: "f8"}
PAIR = (".hdr", ".img")
"""Header and voxels in separate files."""


def is_nifti(path: Path) -> bool:
    """Whether the name is that of a NIfTI file, or of either file of a pair.

    >>> is_nifti(Path("scan.nii.gz")), is_nifti(Path("scan.img")), is_nifti(Path("scan.nrrd"))
    (True, True, False)
    """
    return path.name.lower().endswith((".nii", ".nii.gz", *PAIR))


def float_voxels(path: Path) -> np.ndarray | None:
    """Read a NIfTI-1 file, or both files of a pair, to the end and return its voxels if they may be NaN or infinite.

    Returns
    -------
    array of float or None
        In the order of the file, without slope and intercept; None for whole numbers, and for a file without a NIfTI-1
        header (which Analyze files have too), which is left to ITK.

    Raises
    ------
    EOFError
        If the file ends before the data that its header announces, or the header is impossible.
    OSError
        If the file cannot be read or decompressed.
    InputError
        If the file is NIfTI-2, which ITK does not read, or its header states two voxel sizes.
    """
    is_pair = path.name.lower().endswith(PAIR)
    header_file, voxel_file = (_of_pair(path, suffix) for suffix in PAIR) if is_pair else (path, path)
    if not header_file.exists():
        return None
    content = _content(header_file)
    header = np.frombuffer(content[:HEADER_SIZE], np.uint8)
    size_of = {mark: int(_field(header, mark + "i4", 0)) for mark in "<>"}
    if NIFTI_2_HEADER_SIZE in size_of.values():
        raise InputError(f"{path}: NIfTI-2, which cannot be read here; save it as NIfTI-1, with nibabel's {CONVERT}")
    order = next((mark for mark, size in size_of.items() if size == HEADER_SIZE), None)
    if order is None:
        return None
    if len(header) < HEADER_SIZE:
        raise EOFError
    _check_voxel_size(header, order, path)
    shape, start = _shape_and_start(header, order)
    start = start if is_pair else max(start, HEADER_SIZE)  # as ITK does with an offset inside the header
    content = _content(voxel_file) if is_pair else content
    kind = FLOAT_TYPES.get(int(_field(header, order + "i2", 70)))
    bytes_a_voxel = np.dtype(kind).itemsize if kind else int(_field(header, order + "i2", 72)) // 8
    if len(content) < start + math.prod(shape) * bytes_a_voxel:
        raise EOFError
    if kind is None:
        return None
    return np.frombuffer(content, order + kind, math.prod(shape), start).reshape(shape, order="F")


def misnamed(path: Path) -> str | None:
    """Return the name that a file should have whose ``.gz`` is wrong or missing; None if the name is right."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError:
        return None
    if not path.name.lower().endswith(".gz"):
        return f"{path.name}.gz" if start.startswith(GZIP_MARK) else None
    is_header = any(int.from_bytes(start, order) == HEADER_SIZE for order in ("little", "big"))
    return path.name[: -len(".gz")] if is_header else None


def is_whole(path: Path, voxel_bytes: int) -> bool:
    """Whether a ``.nii`` or ``.nii.gz`` file that ITK has written holds all bytes of the voxels.

    gzip stores the uncompressed length at the very end, so nothing has to be decompressed.
    """
    written = WRITTEN_START + voxel_bytes
    size = path.stat().st_size
    if not path.name.lower().endswith(".gz"):
        return size == written
    if size < GZIP_TRAILER:
        return False
    with path.open("rb") as stream:
        stream.seek(-GZIP_TRAILER, os.SEEK_END)
        return int.from_bytes(stream.read(), "little") == written % 2 ** (8 * GZIP_TRAILER)


def _of_pair(path: Path, suffix: str) -> Path:
    """Return the file of a pair with this suffix, which may be in capitals or compressed."""
    names = [path.with_suffix(suffix), path.with_suffix(suffix.upper()), path.with_suffix(suffix + ".gz")]
    return next((name for name in names if name.exists()), names[0])


def _content(path: Path) -> bytes:
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
        return stream.read()


def _shape_and_start(header: np.ndarray, order: str) -> tuple[tuple[int, ...], int]:
    """Return the numbers of voxels along the axes and the offset of the first voxel."""
    dimensions, *sizes = _field(header, order + "i2", 40, 8).tolist()
    sizes, start = sizes[: max(dimensions, 0)], float(_field(header, order + "f4", 108))
    if min(sizes, default=0) < 0 or not 0 <= start < math.inf:
        raise EOFError
    return tuple(max(size, 1) for size in sizes), int(start)


def _check_voxel_size(header: np.ndarray, order: str, path: Path) -> None:
    """Refuse two voxel sizes: ITK takes pixdim with the directions of the matrix, other programs the matrix alone."""
    stated = np.abs(_field(header, order + "f4", 80, 3))
    axes = _field(header, order + "f4", 280, 12).reshape(3, 4)[:, :3]
    of_matrix = np.linalg.norm(axes, axis=0)
    if _field(header, order + "i2", 254) <= 0 or not (stated.all() and of_matrix.all()):
        return
    # a sheared matrix is reported by ITK
    if is_right_angled(axes, SAME_SIZE) and np.abs(of_matrix / stated - 1).max() > SAME_SIZE:
        both = (" x ".join(f"{size:g}" for size in sizes) for sizes in (stated, of_matrix))
        raise InputError(f"{path}: the header has voxels of {' and of '.join(both)} mm; correct it")


def _field(header: np.ndarray, kind: str, offset: int, count: int = 1) -> np.ndarray:
    """Return one number, or an array of ``count``, from the header; 0 where the header is too short."""
    found = header[offset : offset + np.dtype(kind).itemsize * count]
    values = found.view(kind) if found.size == np.dtype(kind).itemsize * count else np.zeros(count, kind)
    return values if count > 1 else values[0]
