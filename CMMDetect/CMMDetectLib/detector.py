"""The detector: the stages in order, from a scan to the candidate list."""

from __future__ import annotations

import datetime
import platform
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .bundle import checksum
from .candidates import Candidate, Stage
from .channels import input_channels
from .detection import StageOne, detect
from .discrimination import discriminate
from .methods import Method
from .orientation import Turn
from .postprocessing import postprocess
from .preprocessing import PreparedScan, prepare
from .progress import Progress
from .results import DetectionResult
from .scan import Scan


class Detector:
    """Runs a method on scans.

    Parameters
    ----------
    method : the paper's networks or the classical features, with their thresholds
    brain_extraction : 'bet' or 'hd-bet'
    """

    def __init__(self, method: Method, brain_extraction: str = "bet") -> None:
        self._method = method
        self._brain_extraction = brain_extraction

    def detect(
        self, scan: Scan, mask: NDArray[np.bool_] | None = None, progress: Progress | None = None
    ) -> DetectionResult:
        """Find the microbleeds of a scan.

        Parameters
        ----------
        scan : in any orientation
        mask : brain mask on the scan's grid; None extracts the brain
        progress : its listener is called with the progress of the run, and may end it by raising `CancelledError`

        Raises
        ------
        InputError
            If the mask is empty or no brain is found.
        CancelledError
            If the listener raised it.
        """
        progress = progress or Progress()
        turn = scan.upright
        with progress.step("preprocessing"):
            turned_mask = None if mask is None else turn.apply(mask)
            prepared = prepare(scan.turned(turn), turned_mask, self._brain_extraction)
        channels = input_channels(prepared, progress)
        found = detect(self._method, prepared, channels, progress)
        judged = discriminate(self._method, prepared, channels, found, progress)
        with progress.step("postprocessing"):
            candidates, numbers = _ranked([postprocess(item, self._method.settings.cutoffs) for item in judged])
            clusters = _onto_scan(numbers[found.labels], prepared, turn)
            probability = _onto_scan(found.probability, prepared, turn)
        provenance = self._provenance(scan, prepared, found, progress)
        return DetectionResult(scan, candidates, clusters, probability, found.brain, provenance)

    def _provenance(self, scan: Scan, prepared: PreparedScan, found: StageOne, progress: Progress) -> dict[str, Any]:
        is_file = scan.path is not None and scan.path.is_file()
        return {
            "software": {"name": "CMMDetect", "version": __version__, "python": platform.python_version()},
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "input": {
                "name": scan.path.name if scan.path else scan.name,
                "sha256": checksum(scan.path) if scan.path and is_file else None,
                "modality": scan.modality,
                "shape": list(scan.array.shape),
                "spacing_mm": [round(step, 4) for step in scan.spacing_mm],
            },
            "brain_mask": {"source": prepared.mask_source, "volume_ml": round(prepared.brain_volume_ml, 1)},
            **self._method.describe(),
            "settings": asdict(self._method.settings),
            "candidates_of_stage_1": len(found.candidates),
            "seconds": progress.seconds,
        }


def _ranked(candidates: list[Candidate]) -> tuple[list[Candidate], NDArray[np.int32]]:
    """Sort candidates by stage and probability, name them by rank, and map cluster labels to ranks."""
    stages = list(Stage)

    def suspicion(index: int) -> tuple[float, ...]:
        item = candidates[index]
        p = (item.p_discrimination or 0.0, item.p_detection or 0.0)
        return (-stages.index(item.stage), -p[0], -p[1], item.x, item.y, item.z)

    order = sorted(range(len(candidates)), key=suspicion)
    named = [replace(candidates[index], id=f"cmb-{rank:04d}") for rank, index in enumerate(order, 1)]
    numbers = np.zeros(len(candidates) + 1, np.int32)
    numbers[np.array(order, int) + 1] = np.arange(1, len(order) + 1)
    return named, numbers


def _onto_scan(array: NDArray[Any], prepared: PreparedScan, turn: Turn) -> NDArray[Any]:
    """Bring an array of the prepared scan's crop back to the grid of the given scan."""
    whole = np.zeros(prepared.scan.array.shape, array.dtype)
    whole[prepared.crop] = array
    return turn.undo(whole)
