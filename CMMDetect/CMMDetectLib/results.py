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
"""Added to the name of a scan: the label map of its microbleeds, be they detected or true."""
BESIDE = ".cmmdetect-"
"""How the folder begins in which results wait until all are written."""


@dataclass(frozen=True)
class DetectionResult:
    """Everything that a run found, on the scan's own grid.

    Attributes
    ----------
    scan : Scan
    candidates : list of Candidate
        All candidates of stage 1, the most suspicious first.
    clusters : (I, J, K) int32
        Of all candidates, in their order from 1: ``cmb-0007`` has the label 7.
    probability : (I, J, K) float32
        Of stage 1.
    brain : BrainFrame or None
        Center and size of the brain, where the scan holds a whole one.
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
        """Clusters of the final candidates alone, which are the first of all."""
        return np.where(self.clusters <= len(at_stage(self.candidates, Stage.FINAL)), self.clusters, np.int32(0))


def prepare_folder(folder: Path) -> None:
    """Make the output folder, and fail before any work is done if nothing can be written there.

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
    """Whether the label map of a scan in a folder was detected and is no truth: a table of candidates is beside it."""
    return (folder / _file_names(stem)["candidates"]).exists()


def prepare_results(folder: Path, stem: str) -> None:
    """Make the output folder, and fail before any work is done if no results of that stem can be written there.

    Raises
    ------
    OutputError
        If the folder cannot be made or written, the names of the files would be too long, or the folder holds a label
        map of the scan that no detection has written.
    """
    prepare_folder(folder)
    _check_truth(folder, stem)
    longest = max(_file_names(stem).values(), key=lambda name: len(name.encode()))
    try:
        # in a folder like that of `all_or_none`, and named like the file that `replacing` writes to first
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
    """Keep the microbleeds that somebody has marked: a detection has the same name, and hides those beside it."""
    drawn = (folder / f"{stem}{LABELS}{suffix}" for suffix in IMAGE_SUFFIXES)
    if not is_detection(folder, stem) and (truth := next((path for path in drawn if path.exists()), None)):
        raise OutputError(f"{truth}: is there already and was not detected; choose another folder")


def labels_of(folder: Path, stem: str, run: Mapping[str, Any]) -> Path | None:
    """Give the label map that a run has left in a folder; None without one, or where a later run has replaced it.

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
    """Give the names of the result files by what they hold."""
    return {
        "candidates": f"{stem}_candidates.tsv",
        "provenance": f"{stem}_candidates.json",
        "microbleeds": f"{stem}{LABELS}.nii.gz",
        "probability": f"{stem}_probability.nii.gz",
        **{f"markups_{stage}": f"{stem}_stage-{stage}.mrk.json" for stage in Stage},
    }


@contextmanager
def all_or_none(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write files to, and bring them into ``folder`` when all went well.

    Raises
    ------
    OutputError
        If they cannot be written; earlier files in the folder are then untouched.
    """
    prepare_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=BESIDE) as name:
        try:
            yield Path(name)
        except OutputError as error:  # the user knows the files by the folder that was asked for
            raise OutputError(str(error).replace(name, str(folder))) from None
        files = sorted(Path(name).iterdir())
        # found out before the first file is replaced
        if blocked := next((folder / file.name for file in files if (folder / file.name).is_dir()), None):
            raise OutputError(f"{blocked}: is a folder where a result is to be written; move or choose another")
        try:
            for file in files:
                file.replace(folder / file.name)
        except OSError as error:
            raise OutputError(f"{folder}: cannot write the results ({error.strerror})") from None


def write_results(result: DetectionResult, folder: Path) -> dict[str, Path]:
    """Write table, label map, probability map and one point list a stage; all of them or none.

    Returns
    -------
    dict
        What was written: 'candidates', 'provenance', 'microbleeds', 'probability', and of each stage
        'markups_detection', 'markups_discrimination' and 'markups_final'.

    Raises
    ------
    OutputError
        If the files cannot be written; earlier results in the folder are then untouched.
    """
    stem, names = result.scan.name, _file_names(result.scan.name)
    with all_or_none(folder) as beside:
        write_table(beside / names["candidates"], result.candidates, result.provenance)
        write_image(beside / names["microbleeds"], result.microbleeds, result.scan.affine)
        write_image(beside / names["probability"], result.probability, result.scan.affine)
        for stage in Stage:
            write_markups(beside / names[f"markups_{stage}"], result.candidates, stage, stem)
    return {kind: folder / file for kind, file in names.items()}
