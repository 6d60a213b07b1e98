"""What a training needs of the machine, and whether the machine has it."""

from __future__ import annotations

import importlib
import math
import shutil
from pathlib import Path

from CMMDetectLib.channels import CHANNELS
from CMMDetectLib.errors import InputError
from CMMDetectLib.network_grid import NetworkVoxel

from .training_job import TrainingJob

BASE_BYTES = 600 * 2**20
"""Python with PyTorch and SimpleITK, before any patch."""
BYTES_A_VOXEL_AND_FILTER = 120
"""Of a batch, measured with networks of width 4 to 16: what the gradient needs of every layer."""
SCAN_BYTES_A_VOXEL = 60
"""While a scan is prepared: float arrays of its size, several at a time."""
SHELF_BYTES_A_VOXEL = 2 * len(CHANNELS) + 2 + 1
"""Of a prepared scan on disk: channels of 2 bytes, labels of 2, mask of 1."""
COPY_BYTES_A_VOXEL = 4
"""Of a scan with simulated microbleeds on disk, at most."""
WEIGHT_BYTES = 300 * 2**20
"""Checkpoints, bundle and reports."""
MEMORY_FILE = Path("/proc/meminfo")


def memory_needed(job: TrainingJob, width: int, voxel: NetworkVoxel, largest_scan_vox: int) -> int:
    """Estimate the working memory of a training, bytes.

    Parameters
    ----------
    width, voxel : of the networks and of their grid
    largest_scan_vox : voxels
    """
    batch_vox = job.batch * math.prod(voxel.patch_shape(job.patch_size))
    return BASE_BYTES + max(batch_vox * width * BYTES_A_VOXEL_AND_FILTER, largest_scan_vox * SCAN_BYTES_A_VOXEL)


def disk_needed(job: TrainingJob, all_scans_vox: int) -> int:
    """Estimate the room for working files and bundle, bytes."""
    a_voxel = SHELF_BYTES_A_VOXEL + (COPY_BYTES_A_VOXEL if job.inserted else 0)
    return WEIGHT_BYTES + a_voxel * all_scans_vox


def check_machine(job: TrainingJob, memory: int, disk: int) -> None:
    """Refuse a training that the machine has no room for.

    Raises
    ------
    InputError
        With what is needed and what there is.
    """
    free = free_memory()
    if free is not None and free < memory:
        raise InputError(
            f"the training needs {readable(memory)} of memory and {readable(free)} are free: close other programs, "
            "or take a smaller batch or narrower networks"
        )
    folder = existing_parent(job.work)
    room = shutil.disk_usage(folder).free
    if room < disk:
        raise InputError(
            f"{folder}: the training needs {readable(disk)} on this disk and {readable(room)} are free; "
            "make room, or choose a folder on another disk"
        )


def free_memory() -> int | None:
    """Give the memory that can be taken without swapping, bytes; None where the system does not tell."""
    try:
        return int(importlib.import_module("psutil").virtual_memory().available)
    except ImportError:
        pass
    try:
        lines = MEMORY_FILE.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(found) * 1024 if found else None


def existing_parent(path: Path) -> Path:
    """Give the nearest folder above a path that exists."""
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


def readable(size: int) -> str:
    """Give a number of bytes as a user reads it.

    >>> readable(5 * 2**30), readable(300 * 2**20)
    ('5.0 GB', '300 MB')
    """
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"


def readable_range(low_seconds: float, high_seconds: float) -> str:
    """Say a range of times as a person would.

    >>> readable_range(50, 100), readable_range(500, 4000), readable_range(7000, 400000)
    ('1 to 2 minutes', '8 to 67 minutes', '2 to 111 hours')
    """
    unit, seconds = ("minutes", 60) if high_seconds < 2 * 3600 else ("hours", 3600)
    low, high = (max(1, round(value / seconds)) for value in (low_seconds, high_seconds))
    if high == low:
        return f"about {low} {unit if low > 1 else unit[:-1]}"
    return f"{low} to {high} {unit}"
