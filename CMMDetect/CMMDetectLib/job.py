"""One detection from files to files: what the command line, the Slicer module and cohort runs all call."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from .bundle import SHIPPED_BUNDLE, read_bundle
from .classical_method import ClassicalMethod
from .detector import Detector
from .errors import InputError
from .methods import Method, Settings
from .progress import Listener, Progress
from .results import DetectionResult, prepare_results, write_results
from .scan import Modality, read_mask, read_scan

METHODS = ("paper", "classical")


@dataclass(frozen=True, kw_only=True)
class DetectionJob:
    """What to detect, how, and where to write it: the options of ``cmmdetect detect``.

    None means the default: the modality in the file name, the shipped bundle, the paper's method if there is a bundle
    and the classical one otherwise, the thresholds of the bundle or the method.
    """

    scan: str
    output: str
    modality: str | None = None
    echo: int | None = None
    series: int | None = None
    mask: str | None = None
    model: str | None = None
    method: str | None = None
    device: str = "auto"
    precision: str = "auto"
    brain_extraction: str = "bet"
    th_detection: float | None = None
    th_discrimination: float | None = None
    min_volume_mm3: float | None = None
    max_ellipticity: float | None = None
    min_skull_distance_mm: float | None = None


@dataclass(frozen=True)
class JobResult:
    """What was detected and the files it was written to."""

    detection: DetectionResult
    files: Mapping[str, Path]


def read_job(path: Path) -> DetectionJob:
    """Read a job from a JSON object with the fields of `DetectionJob`.

    Raises
    ------
    InputError
        If the file cannot be read or holds other fields.
    """
    try:
        return DetectionJob(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a detection job ({error})") from None


def run_job(job: DetectionJob, listener: Listener | None = None) -> JobResult:
    """Read the scan, detect, write the results.

    Raises
    ------
    InputError
        If an option or a file cannot be used.
    OutputError
        If the results cannot be written, which is checked before the work begins.
    CancelledError
        If the listener raised it.
    """
    progress = Progress(listener)
    with progress.step("reading"):
        scan = read_scan(job.scan, job.modality, job.echo, job.series)
        mask = read_mask(job.mask, scan) if job.mask else None
        method = choose_method(job, scan.modality)
        prepare_results(Path(job.output), scan.name)
    detection = Detector(method, job.brain_extraction).detect(scan, mask, progress)
    with progress.step("writing"):
        files = write_results(detection, Path(job.output))
    return JobResult(detection, files)


def choose_method(job: DetectionJob, modality: Modality) -> Method:
    """Create the method that a job asks for, for a scan of the given modality.

    Raises
    ------
    InputError
        If the method is unknown, its bundle is missing, damaged or made for another modality, or a setting is out of
        range.
    """
    if job.method not in (None, *METHODS):
        raise InputError(f"unknown method '{job.method}': choose {' or '.join(METHODS)}")
    model = job.model or (str(SHIPPED_BUNDLE) if SHIPPED_BUNDLE.is_dir() else None)
    if job.method == "classical" or (job.method is None and model is None):
        return ClassicalMethod(_changed(ClassicalMethod().settings, job))
    if model is None:
        raise InputError("the model that comes with CMMDetect is gone: give one with --model, or --method classical")
    _check_packages()
    bundle = read_bundle(model)
    if modality not in bundle.description.modality:
        known = ", ".join(bundle.description.modality)
        raise InputError(f"{model}: the model was made for {known}, the scan is {modality}; give another")
    from .devices import choose_compute
    from .paper_method import PaperMethod

    return PaperMethod(bundle, choose_compute(job.device, job.precision), _changed(bundle.settings, job))


def _check_packages() -> None:
    missing = [name for name in ("torch", "safetensors") if find_spec(name) is None]
    if missing:
        raise InputError(f"the networks need {' and '.join(missing)}: install what is missing, or --method classical")


def _changed(settings: Settings, job: DetectionJob) -> Settings:
    """Return the settings with the defaults replaced by what the job sets."""
    cutoffs = {
        name: value
        for name in ("min_volume_mm3", "max_ellipticity", "min_skull_distance_mm")
        if (value := getattr(job, name)) is not None
    }
    thresholds = {
        name: value for name in ("th_detection", "th_discrimination") if (value := getattr(job, name)) is not None
    }
    for name, value in thresholds.items():
        if not 0 < value <= 1:
            raise InputError(f"--{name.replace('_', '-')} {value:g}: must lie above 0 and not above 1")
    for name, value in cutoffs.items():
        # JSON, in which results and reviews are stored, has no infinity
        if not 0 <= value < math.inf:
            raise InputError(f"--{name.replace('_', '-')} {value:g}: must not be negative, nor infinite")
    return replace(settings, **thresholds, cutoffs=replace(settings.cutoffs, **cutoffs))
