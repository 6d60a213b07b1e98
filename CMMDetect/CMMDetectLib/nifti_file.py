"""What ITK keeps quiet about a NIfTI file: it reads cut-off data and NaN as 0, and is content to write a part."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

HEADER_SIZE = 348
WRITTEN_START = 352
"""Where ITK begins the voxels of the files that it writes."""
GZIP_TRAILER = 4
"""Last bytes of a gzip file: how long its content is, without what exceeds 32 bits."""
FLOAT_TYPES = {16: "f4", 64: "f8"}


def is_nifti(path: Path) -> bool:
    """Whether the name is that of a single-file NIfTI.

    >>> is_nifti(Path("scan.nii.gz")), is_nifti(Path("scan.nrrd"))
    (True, False)
    """
    return path.name.lower().endswith((".nii", ".nii.gz"))


def count_nonfinite(path: Path) -> int:
    """Read a NIfTI-1 file to its end and count NaN and infinite voxels.

    A file that is no NIfTI-1 (among them NIfTI-2) counts 0: ITK judges it.

    Raises
    ------
    EOFError
        If the file ends before the data that its header announces.
    OSError
        If the file cannot be read or decompressed.
    """
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
        content = stream.read()
    header = np.frombuffer(content[:HEADER_SIZE], np.uint8)
    order = next((mark for mark in "<>" if _field(header, mark + "i4", 0) == HEADER_SIZE), None)
    if order is None:
        return 0
    dims = _field(header, order + "i2", 40, 8)
    bytes_a_voxel = int(_field(header, order + "i2", 72)) // 8
    start = int(_field(header, order + "f4", 108))
    count = int(np.prod(dims[1 : dims[0] + 1].astype(np.int64)))
    if len(content) < start + count * bytes_a_voxel:
        raise EOFError
    kind = FLOAT_TYPES.get(int(_field(header, order + "i2", 70)))
    if kind is None:
        return 0
    return count - int(np.count_nonzero(np.isfinite(np.frombuffer(content, order + kind, count, start))))


def is_whole(path: Path, voxel_bytes: int) -> bool:
    """Whether a ``.nii.gz`` file that ITK has written holds all bytes of the voxels.

    zlib writes the length of what it has compressed after everything else, so there is nothing to decompress.
    """
    with path.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) < GZIP_TRAILER:
            return False
        stream.seek(-GZIP_TRAILER, os.SEEK_END)
        return int.from_bytes(stream.read(), "little") == (WRITTEN_START + voxel_bytes) % 2 ** (8 * GZIP_TRAILER)


def _field(header: np.ndarray, kind: str, offset: int, count: int = 1) -> np.ndarray:
    """Give one number, or an array of ``count``, from the header; 0 where the header is too short."""
    found = header[offset : offset + np.dtype(kind).itemsize * count]
    values = found.view(kind) if found.size == np.dtype(kind).itemsize * count else np.zeros(count, kind)
    return values if count > 1 else values[0]
