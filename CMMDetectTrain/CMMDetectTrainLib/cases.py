"""Training cases on disk: scans and simulated patches as the networks see them, with their truth.

A shelf is a folder with one or more cases of the same shape, as plain NumPy arrays. The arrays are memory-mapped and
only the needed patches are read, so that memory does not grow with the number of scans.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CMMDetectLib.candidates import write_json
from CMMDetectLib.channels import CHANNELS, input_channels
from CMMDetectLib.errors import InputError, OutputError
from CMMDetectLib.network_grid import SCANS_OWN, NetworkGrid, NetworkVoxel, Shape
from CMMDetectLib.preprocessing import PreparedScan, prepare
from CMMDetectLib.progress import Progress
from CMMDetectLib.scan import Modality, read_mask, read_scan, replacing

from .evaluation_set import ScanEntry, read_lesions

CATALOG = "cases.json"
NOT_JUDGED = -1
"""Label of a lesion that is present but not visible: its voxels are excluded from all losses."""


@dataclass(frozen=True)
class Case:
    """One scan or simulated patch.

    Attributes
    ----------
    shelf : folder that holds its arrays
    index : position on the shelf
    name, subject, modality : those of the scan
    shape : (I, J, K)
    spacing_mm : voxel size of its grid
    origin : digest of the data that it was made from
    """

    shelf: Path
    index: int
    name: str
    subject: str
    modality: Modality
    shape: Shape
    spacing_mm: tuple[float, float, float]
    origin: str = ""

    @property
    def channels(self) -> NDArray[np.float16]:
        """Memory-map the (C, I, J, K) channels of `channels.CHANNELS`."""
        return self._map("channels")

    @property
    def labels(self) -> NDArray[np.int16]:
        """Memory-map the (I, J, K) truth: 0, the number of a microbleed, or `NOT_JUDGED`."""
        return self._map("labels")

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Memory-map the (I, J, K) brain mask."""
        return self._map("mask")

    def _map(self, name: str) -> Any:
        return np.load(self.shelf / f"{name}.npy", mmap_mode="r")[self.index]


@dataclass(frozen=True)
class CaseArrays:
    """The content of a case before it is written; see `Case`."""

    name: str
    subject: str
    modality: Modality
    spacing_mm: tuple[float, float, float]
    channels: NDArray[np.float32]
    labels: NDArray[np.int16]
    mask: NDArray[np.bool_]


def write_shelf(folder: Path, cases: Sequence[CaseArrays], source: dict[str, Any]) -> None:
    """Write cases of one shape; the catalog is written last, so that a shelf with a catalog is complete.

    Parameters
    ----------
    source : what the cases were made from; `read_shelf` ignores shelves with another source

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write here ({error.strerror})") from None
    # a shelf without a catalog is ignored, in case writing is interrupted
    (folder / CATALOG).unlink(missing_ok=True)
    arrays = {
        "channels": np.stack([case.channels for case in cases]).astype(np.float16),
        "labels": np.stack([case.labels for case in cases]).astype(np.int16),
        "mask": np.stack([case.mask for case in cases]).astype(bool),
    }
    for name, array in arrays.items():
        with replacing(folder / f"{name}.npy") as beside, beside.open("wb") as stream:
            np.save(stream, array)
    rows = [
        {"name": case.name, "subject": case.subject, "modality": case.modality, "spacing_mm": case.spacing_mm}
        for case in cases
    ]
    write_json(folder / CATALOG, {"source": source, "shape": cases[0].labels.shape, "cases": rows})


def read_shelf(folder: Path, source: dict[str, Any]) -> list[Case]:
    """Return the cases of a shelf; none if it is incomplete or was made from another source."""
    try:
        content = json.loads((folder / CATALOG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    key = json.dumps(source)
    if content["source"] != json.loads(key):
        return []
    i, j, k = content["shape"]
    return [
        Case(
            shelf=folder,
            index=index,
            name=row["name"],
            subject=row["subject"],
            modality=Modality(row["modality"]),
            shape=(i, j, k),
            spacing_mm=tuple(row["spacing_mm"]),
            origin=hashlib.sha256(key.encode()).hexdigest()[:16],
        )
        for index, row in enumerate(content["cases"])
    ]


def case_of_scan(
    entry: ScanEntry,
    shelves: Path,
    brain_extraction: str = "bet",
    given_brain: bool = False,
    voxel: NetworkVoxel = SCANS_OWN,
) -> Case:
    """Prepare a scan as the detector does (2.1, 2.2) and store it on a shelf, unless it is there already.

    Parameters
    ----------
    shelves : folder of the shelves
    brain_extraction, given_brain : as in `evaluation.evaluate_dataset`
    voxel : voxel size of the networks' grid

    Raises
    ------
    InputError
        If a file cannot be used.
    OutputError
        If the shelf cannot be written.
    """
    brain = entry.brain if given_brain else None
    source = {
        # by content: a data set that was moved to another disk is still the same
        "files": entry.checksums(with_brain=given_brain),
        "brain": "given" if brain else brain_extraction,
        **channels_key(voxel),
    }
    shelf = shelves / entry.name
    if not (found := read_shelf(shelf, source)):
        write_shelf(shelf, [_arrays_of_scan(entry, brain_extraction, given_brain, voxel)], source)
        found = read_shelf(shelf, source)
    return replace(found[0], subject=entry.subject)


def channels_key(voxel: NetworkVoxel) -> dict[str, Any]:
    """Part of a shelf's source: the channels, and the voxel size of the networks' grid where it is not the scan's."""
    known = {name: length_mm for name, length_mm in asdict(voxel).items() if length_mm is not None}
    return {"channels": CHANNELS, **known}


def _arrays_of_scan(entry: ScanEntry, brain_extraction: str, given_brain: bool, voxel: NetworkVoxel) -> CaseArrays:
    scan = read_scan(entry.scan, entry.modality)
    mask = read_mask(entry.brain, scan) if given_brain and entry.brain else None
    lesions, labels = read_lesions(entry, scan)
    unseen = [number for number, lesion in enumerate(lesions, 1) if not lesion.counted]
    labels[np.isin(labels, unseen)] = NOT_JUDGED
    turn = scan.upright
    try:
        prepared = prepare(scan.turned(turn), None if mask is None else turn.apply(mask), brain_extraction)
    except InputError as error:
        raise InputError(f"{entry.scan}: {error}") from None
    return arrays_of(prepared, turn.apply(labels)[prepared.crop], entry.name, entry.subject, voxel)


def arrays_of(
    prepared: PreparedScan, labels: NDArray[Any], name: str, subject: str, voxel: NetworkVoxel = SCANS_OWN
) -> CaseArrays:
    """Return the channels of a prepared scan and its truth, (I, J, K) on its crop, resampled to the networks' grid.

    The part of a microbleed outside the brain mask, where the image is 0, is not visible either.
    """
    grid = NetworkGrid.of(prepared.mask.shape, prepared.spacing_mm, voxel)
    mask, truth = grid.mask(prepared.mask), grid.labels(labels.astype(np.int16))
    return CaseArrays(
        name=name,
        subject=subject,
        modality=prepared.scan.modality,
        spacing_mm=grid.spacing_mm(prepared.spacing_mm),
        channels=grid.channels(input_channels(prepared, Progress()), mask),
        labels=np.where((truth > 0) & ~mask, NOT_JUDGED, truth).astype(np.int16),
        mask=mask,
    )
