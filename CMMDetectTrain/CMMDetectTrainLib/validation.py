"""Choice of thresholds (5.1), calibration and the cut-offs of stage 3 (2.4) on the validation subjects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from CMMDetectLib.bundle import BundleDescription, ModelBundle
from CMMDetectLib.calibration import Calibration
from CMMDetectLib.candidates import Stage
from CMMDetectLib.devices import Compute
from CMMDetectLib.methods import Settings
from CMMDetectLib.paper_method import PaperMethod
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectLib.progress import Tick
from CMMDetectLib.results import prepare_folder

from .calibration import calibration_figure, fit_calibration, measured_calibration, reclassified
from .evaluation import evaluate_dataset, write_evaluation
from .evaluation_set import ScanEntry
from .metrics import Rule, ScanRecord
from .report_page import ReportFigure
from .thresholds import (
    choose_cutoffs,
    choose_detection_threshold,
    choose_discrimination_threshold,
    true_and_false,
)

PAPER_THRESHOLD = 0.3
"""Th_Cdet and Th_Cdisc of the paper's transfer tests, used if there is no lesion to choose by, and upper limit of
Th_Cdet: on other scanners probabilities are lower than on the validation subjects, and no later stage recovers what
stage 1 rejects."""


@dataclass(frozen=True)
class Validated:
    """A bundle and its performance on the validation subjects.

    Attributes
    ----------
    bundle : the bundle as given, with provisional thresholds and without calibration
    description : its description with the chosen thresholds, calibration, cut-offs and metrics
    records : records of the validation scans, with the chosen thresholds and cut-offs
    """

    bundle: ModelBundle
    description: BundleDescription
    records: list[ScanRecord]


def validate(
    bundle: ModelBundle,
    entries: Sequence[ScanEntry],
    compute: Compute,
    work: Path,
    output: Path,
    brain_extraction: str,
    given_brain: bool,
    tick: Tick,
    figures: Sequence[ReportFigure] = (),
) -> Validated:
    """Choose thresholds, calibration and cut-offs on the validation scans, and measure the performance with them.

    The detector is run twice: with the lowest Th_Cdet, for the FROC curve of stage 1, and with the chosen one, since
    another threshold gives other clusters. The student's probability is calibrated on the candidates of the second
    run, and Th_Cdisc is chosen on the calibrated probability.

    Parameters
    ----------
    bundle : has the lowest thresholds that can be chosen, and no calibration
    work : folder for the records of the scans
    output : folder for metrics and report
    figures : shown after the report's own figures
    """

    def detected(th_detection: float, half: int) -> list[ScanRecord]:
        return evaluate_dataset(
            entries,
            PaperMethod(bundle, compute, replace(bundle.settings, th_detection=th_detection)),
            work / f"detected-{th_detection:g}",
            brain_extraction,
            given_brain,
            lambda _step, fraction, _message: tick((half + fraction) / 2),
        )

    knee = _or_paper_threshold(choose_detection_threshold, detected(bundle.settings.th_detection, 0))
    th_detection = min(knee, PAPER_THRESHOLD)
    found = detected(th_detection, 1)
    calibration = fit_calibration(found)
    settings, calibrated = _choose(found, th_detection, calibration)
    records = [reclassified(record, settings) for record in calibrated]
    prepare_folder(output)
    shown = calibration_figure(found, calibrated)
    about = {"validation of": bundle.description.name}
    summary = write_evaluation(output, records, settings, about, [*([shown] if shown else []), *figures])
    description = replace(
        bundle.description,
        **{item.name: getattr(settings, item.name) for item in fields(Settings)},
        calibration=calibration,
        metrics={
            "measured_on": "the validation subjects, by which the thresholds were chosen",
            **stage_metrics(summary),
            "calibration": calibration_errors(found, calibrated),
        },
    )
    return Validated(bundle, description, records)


def _choose(
    found: Sequence[ScanRecord], th_detection: float, calibration: Calibration
) -> tuple[Settings, list[ScanRecord]]:
    """Choose Th_Cdisc, then the cut-offs; return the settings and the records with calibrated probabilities."""
    every = Settings(th_detection, 0.0, CutOffs())
    calibrated = [reclassified(record, every, calibration) for record in found]
    settings = replace(every, th_discrimination=_or_paper_threshold(choose_discrimination_threshold, calibrated))
    kept = [reclassified(record, settings) for record in calibrated]
    cutoffs = choose_cutoffs(*true_and_false(kept, Stage.DISCRIMINATION))
    return replace(settings, cutoffs=cutoffs), calibrated


def _or_paper_threshold(choose: Callable[[Sequence[ScanRecord]], float], records: Sequence[ScanRecord]) -> float:
    """Choose a threshold, or take the paper's if there is no lesion or no candidate to choose by."""
    try:
        return choose(records)
    except ValueError:
        return PAPER_THRESHOLD


def calibration_errors(before: Sequence[ScanRecord], after: Sequence[ScanRecord]) -> dict[str, Any]:
    """Return the calibration errors of stage 2's probability, before and after its calibration."""
    measured = {"before": measured_calibration(before), "after": measured_calibration(after)}
    return {
        name: item and {"candidates": int(item.count.sum()), "brier": item.brier, "error": item.error}
        for name, item in measured.items()
    }


def stage_metrics(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return TPR, FPavg, precision and F1 after each stage, with intervals, by both matching rules."""
    return {str(rule): {str(stage): dict(summary["stages"][rule][stage]) for stage in Stage} for rule in Rule}
