"""What a run found, and the files it is written to."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidate, Stage, at_stage, write_markups, write_table
from .errors import OutputError
from .file_names import check_name
from .location import BrainFrame
from .scan import IMAGE_SUFFIXES, Scan, write_image

LABELS = "_microbleeds"
"""Suffix of a scan's label map of microbleeds, whether detected or true."""
BESIDE = ".cmmdetect-"
"""Prefix of the temporary folder that holds results until all are written."""


@dataclass(frozen=True)
class DetectionResult:
    """Everything that a run found, on the scan's own grid.

    Attributes
    ----------
    scan : Scan
    candidates : list of Candidate
        All candidates of stage 1, the most suspicious first.
    clusters : (I, J, K) int32
        Clusters of all candidates, labeled by their order from 1: ``cmb-0007`` has the label 7.
    probability : (I, J, K) float32
        Probability map of stage 1.
    brain : BrainFrame or None
        Center and size of the brain; None if the scan does not hold a whole brain.
    provenance : mapping
    """

    scan: Scan
    candidates: list[Candidate]
    clusters: NDArray[np.int32]
    probability: NDArray[np.float32]
    brain: BrainFrame | None
    provenance: Mapping[str, Any]

    @property
    def microbleeds(self) -> NDArray[np.int32]:
        """Clusters of the final candidates only, which come first in the order."""
        return np.where(self.clusters <= len(at_stage(self.candidates, Stage.FINAL)), self.clusters, np.int32(0))


def prepare_folder(folder: Path) -> None:
    """Make the output folder, and fail before any work is done if it cannot be written.

    Raises
    ------
    OutputError
        If the folder cannot be made or written.
    """
    check_name(folder, OutputError)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder}: cannot write here ({error.strerror}); choose another folder") from None


def is_detection(folder: Path, stem: str) -> bool:
    """Whether the label map of a scan was detected, and is not ground truth: a table of candidates lies beside it."""
    return (folder / _file_names(stem)["candidates"]).exists()


def prepare_results(folder: Path, stem: str) -> None:
    """Make the output folder, and fail before any work is done if results of that stem cannot be written.

    Raises
    ------
    OutputError
        If the folder cannot be made or written, the file names would be too long, or the folder holds a label map of
        the scan that was not written by a detection.
    """
    prepare_folder(folder)
    _check_truth(folder, stem)
    longest = max(_file_names(stem).values(), key=lambda name: len(name.encode()))
    try:
        # with the longest path that `all_or_none` and `replacing` write to
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=BESIDE) as beside,
            tempfile.NamedTemporaryFile(dir=beside, prefix=".", suffix="-" + longest),
        ):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder / longest}: cannot be written ({error.strerror}); give the scan a shorter name"
        ) from None


def _check_truth(folder: Path, stem: str) -> None:
    """Refuse to replace microbleeds that somebody has marked: the label map of a detection has the same name."""
    drawn = (folder / f"{stem}{LABELS}{suffix}" for suffix in IMAGE_SUFFIXES)
    if not is_detection(folder, stem) and (truth := next((path for path in drawn if path.exists()), None)):
        raise OutputError(f"{truth}: exists already and is not the result of a detection; choose another folder")


def labels_of(folder: Path, stem: str, run: Mapping[str, Any]) -> Path | None:
    """Return the label map that a run left in a folder; None if there is none, or if a later run has replaced it.

    Parameters
    ----------
    run : its provenance
    """
    names = _file_names(stem)
    try:
        described = json.loads((folder / names["provenance"]).read_text(encoding="utf-8"))
        same = bool(run) and described["provenance"] == run
    except (OSError, ValueError, KeyError, TypeError):
        return None
    path = folder / names["microbleeds"]
    return path if same and path.is_file() else None


def _file_names(stem: str) -> dict[str, str]:
    """Return the names of the result files by their content."""
    return {
        "candidates": f"{stem}_candidates.tsv",
        "provenance": f"{stem}_candidates.json",
        "microbleeds": f"{stem}{LABELS}.nii.gz",
        "probability": f"{stem}_probability.nii.gz",
        **{f"markups_{stage}": f"{stem}_stage-{stage}.mrk.json" for stage in Stage},
    }


@contextmanager
def all_or_none(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write files to; move them all into ``folder`` if no exception is raised.

    Raises
    ------
    OutputError
        If the files cannot be written; existing files in the folder are then untouched.
    """
    prepare_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=BESIDE) as name:
        try:
            yield Path(name)
        except OutputError as error:  # the user knows the files by the folder that was asked for
            raise OutputError(str(error).replace(name, str(folder))) from None
        files = sorted(Path(name).iterdir())
        # checked before the first file is replaced
        if blocked := next((folder / file.name for file in files if (folder / file.name).is_dir()), None):
            raise OutputError(f"{blocked}: is a folder where a result is to be written; move or choose another")
        try:
            for file in files:
                file.replace(folder / file.name)
        except OSError as error:
            raise OutputError(f"{folder}: cannot write the results ({error.strerror})") from None


def write_results(result: DetectionResult, folder: Path) -> dict[str, Path]:
    """Write table, label map, probability map and one point list per stage; all files or none.

    Returns
    -------
    dict
        Paths of 'candidates', 'provenance', 'microbleeds', 'probability' and of the point list of each stage,
        'markups_detection', 'markups_discrimination' and 'markups_final'.

    Raises
    ------
    OutputError
        If the files cannot be written; existing results in the folder are then untouched.
    """
    stem, names = result.scan.name, _file_names(result.scan.name)
    with all_or_none(folder) as beside:
        write_table(beside / names["candidates"], result.candidates, result.provenance)
        write_image(beside / names["microbleeds"], result.microbleeds, result.scan.affine)
        write_image(beside / names["probability"], result.probability, result.scan.affine)
        for stage in Stage:
            write_markups(beside / names[f"markups_{stage}"], result.candidates, stage, stem)
    return {kind: folder / file for kind, file in names.items()}
