"""Memory and disk space that a training needs, and whether the computer has them."""

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
"""Memory of Python with PyTorch and SimpleITK, before any patch."""
BYTES_A_VOXEL_AND_FILTER = 120
"""Memory of a batch, measured with networks of width 4 to 16: the activations of all layers for the gradient."""
SCAN_BYTES_A_VOXEL = 60
"""Memory while a scan is prepared: several float arrays of its size."""
SHELF_BYTES_A_VOXEL = 2 * len(CHANNELS) + 2 + 1
"""Size of a prepared scan on disk: 2 bytes per channel, 2 for labels, 1 for the mask."""
COPY_BYTES_A_VOXEL = 4
"""Largest size of a scan with simulated microbleeds on disk."""
WEIGHT_BYTES = 300 * 2**20
"""Size of checkpoints, bundle and reports on disk."""
MEMORY_FILE = Path("/proc/meminfo")


def memory_needed(job: TrainingJob, width: int, voxel: NetworkVoxel, largest_scan_vox: int) -> int:
    """Estimate the working memory of a training in bytes.

    Parameters
    ----------
    width, voxel : width of the networks and voxel size of their grid
    largest_scan_vox : number of voxels of the largest scan
    """
    batch_vox = job.batch * math.prod(voxel.patch_shape(job.patch_size))
    return BASE_BYTES + max(batch_vox * width * BYTES_A_VOXEL_AND_FILTER, largest_scan_vox * SCAN_BYTES_A_VOXEL)


def disk_needed(job: TrainingJob, all_scans_vox: int) -> int:
    """Estimate the disk space of working files and bundle in bytes."""
    a_voxel = SHELF_BYTES_A_VOXEL + (COPY_BYTES_A_VOXEL if job.inserted else 0)
    return WEIGHT_BYTES + a_voxel * all_scans_vox


def check_machine(job: TrainingJob, memory: int, disk: int) -> None:
    """Refuse a training for which there is not enough memory or disk space.

    Raises
    ------
    InputError
        With what is needed and what is available.
    """
    free = free_memory()
    if free is not None and free < memory:
        raise InputError(
            f"the training needs {readable(memory)} of memory and {readable(free)} are free: close other programs, "
            "or use a smaller batch or narrower networks"
        )
    folder = existing_parent(job.work)
    room = shutil.disk_usage(folder).free
    if room < disk:
        raise InputError(
            f"{folder}: the training needs {readable(disk)} on this disk and {readable(room)} are free; "
            "make room, or choose a folder on another disk"
        )


def free_memory() -> int | None:
    """Return the memory in bytes that is available without swapping; None if the system does not report it."""
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
    """Return the nearest existing parent folder of a path, or the path itself."""
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


def readable(size: int) -> str:
    """Format a number of bytes.

    >>> readable(5 * 2**30), readable(300 * 2**20)
    ('5.0 GB', '300 MB')
    """
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"


def readable_range(low_seconds: float, high_seconds: float) -> str:
    """Format a range of times for the user.

    >>> readable_range(50, 100), readable_range(500, 4000), readable_range(7000, 400000)
    ('1 to 2 minutes', '8 to 67 minutes', '2 to 111 hours')
    """
    unit, seconds = ("minutes", 60) if high_seconds < 2 * 3600 else ("hours", 3600)
    low, high = (max(1, round(value / seconds)) for value in (low_seconds, high_seconds))
    if high == low:
        return f"about {low} {unit if low > 1 else unit[:-1]}"
    return f"{low} to {high} {unit}"
