"""Volume nodes as scans, and their motion; positions and affines are RAS in the world, including transforms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray

from .errors import InputError
from .scan import Modality, Scan
from .scene_views import Later
from .volume_file import without_nan_outside


def affine_of(volume: Any) -> NDArray[np.float64]:
    """Return the (4, 4) affine from (i, j, k) of a volume node to RAS mm in the world, including its transforms.

    Raises
    ------
    InputError
        If the volume lies under a nonlinear transform.
    """
    ijk_to_ras, to_world = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(ijk_to_ras)
    transform = volume.GetParentTransformNode()
    # asked for the matrix of one that bends, VTK fills the error log
    if transform is not None and not transform.IsTransformToWorldLinear():
        raise InputError(f"{volume.GetName()}: is warped by a transform; harden the transform first")
    if transform is not None:
        transform.GetMatrixTransformToWorld(to_world)
    product = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Multiply4x4(to_world, ijk_to_ras, product)
    return np.array([[product.GetElement(row, column) for column in range(4)] for row in range(4)])


def scan_of(volume: Any, modality: Modality | str, name: str | None = None) -> Scan:
    """Return a volume node as a `Scan`; its path is that of the file it was loaded from.

    Raises
    ------
    InputError
        If it is not a finite 3D volume with one component.
    """
    array = slicer.util.arrayFromVolume(volume) if volume.GetImageData() else None
    if array is None or array.ndim != 3 or min(array.shape) < 2:
        raise InputError(f"{volume.GetName()}: not one 3D volume; choose a volume with one number per voxel")
    values = np.ascontiguousarray(without_nan_outside(array.T), np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{volume.GetName()}: some voxels are NaN or infinite; replace them by their neighbors")
    storage = volume.GetStorageNode()
    path = storage.GetFileName() if storage else None
    return Scan(values, affine_of(volume), Modality(modality), name or volume.GetName(), Path(path) if path else None)


class VolumeWatch:
    """Reports when a volume is moved, by a transform (hardened or not) or by a change of its own geometry.

    Parameters
    ----------
    later : calls a function after the current event of the scene
    moved : called with the (4, 4) motion in the world since the watch began
    failed : called with the reason why the markings of the volume cannot be moved with it
    """

    def __init__(
        self,
        volume: Any,
        later: Later,
        moved: Callable[[NDArray[np.float64]], None],
        failed: Callable[[InputError], None],
    ) -> None:
        self._volume = volume
        self._later, self._moved, self._failed = later, moved, failed
        self._began = self._seen = affine_of(volume)
        self._voxels = _voxels_of(volume)
        self._waiting = False
        self._problem = ""
        events = (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLTransformableNode.TransformModifiedEvent)
        self._tags = [volume.AddObserver(event, self._on_changed) for event in events]

    def stop(self) -> None:
        """Stop reporting."""
        for tag in self._tags:
            self._volume.RemoveObserver(tag)
        self._tags.clear()

    def _on_changed(self, _volume: Any, _event: str) -> None:
        # while a transform is hardened, it is for a moment both in the volume and above it
        if not self._waiting:
            self._waiting = True
            self._later(self._look)

    def _look(self) -> None:
        self._waiting = False
        if not self._tags:
            return
        before, self._problem = self._problem, ""
        try:
            place = affine_of(self._volume)
            if np.array_equal(place, self._seen):
                return
            self._check(place)
        except InputError as error:
            self._problem = str(error)
            if self._problem != before:
                self._failed(error)
            return
        self._seen = place
        self._moved(place @ np.linalg.inv(self._began))

    def _check(self, place: NDArray[np.float64]) -> None:
        """Refuse changes that are not motions, such as hardening a nonlinear transform, which resamples the volume."""
        if _voxels_of(self._volume) != self._voxels or np.linalg.det(place) == 0:
            name = self._volume.GetName()
            raise InputError(f"{name}: has other voxels than its marks were made on; choose the scan again")


def _voxels_of(volume: Any) -> int | None:
    """Return the modification time of the voxels, by which VTK distinguishes any two changes."""
    image = volume.GetImageData()
    return None if image is None else int(image.GetMTime())
