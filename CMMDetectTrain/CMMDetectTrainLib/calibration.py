"""Fitting the probability of stage 2 to what validation candidates turned out to be, and showing what that brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from CMMDetectLib.calibration import Calibration, log_odds
from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.discrimination import judged
from CMMDetectLib.methods import Settings
from CMMDetectLib.postprocessing import postprocess

from .metrics import Reliability, ScanRecord, reliability
from .report_figures import reliability_figure
from .report_page import ReportFigure
from .thresholds import LEAST_CANDIDATES, true_and_false

DECIMALS = 6
STEEPEST = 20.0
"""Largest slope: with candidates that a threshold separates perfectly it would grow without end."""


def fit_calibration(records: Sequence[ScanRecord]) -> Calibration:
    """Fit Platt scaling of both networks' log odds to the candidates of stage 1 (J. Platt, 1999).

    The likelihood is largest of the smoothed classes that Platt gives: with T true candidates they stand for
    (T + 1) / (T + 2) and not for 1, so that few candidates make no certainty. Neither weight may be negative.

    Parameters
    ----------
    records : of validation scans, detected with the Th_Cdet in use and the student's own probability

    Returns
    -------
    Calibration
        One that changes nothing where there are fewer than `LEAST_CANDIDATES` true or false candidates, or where
        the student's probability does not rise with the truth.
    """
    student, detection, truth = _judgements(records)
    true = int(truth.sum())
    false = len(truth) - true
    if min(true, false) < LEAST_CANDIDATES:
        return Calibration()
    seen = log_odds(detection)
    # about its mean, so that it stays 0 where all candidates have the same
    evidence = np.stack([log_odds(student), np.ones(len(truth)), seen - seen.mean()])
    target = np.where(truth, (true + 1) / (true + 2), 1 / (false + 2))

    def loss(weights: NDArray[np.float64]) -> float:
        scaled = weights @ evidence
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled))

    start = np.array([1.0, np.log(true / false), 0.0])
    weight = (0.0, STEEPEST)
    fitted = minimize(loss, start, method="L-BFGS-B", bounds=[weight, (None, None), weight])
    weights = fitted.x - [0, fitted.x[2] * seen.mean(), 0]
    slope, offset, detection_slope = (round(float(value), DECIMALS) for value in weights)
    return Calibration(slope, offset, detection_slope) if slope > 0 else Calibration()


def judged_anew(record: ScanRecord, settings: Settings, calibration: Calibration | None = None) -> ScanRecord:
    """Run stages 2 and 3 again over the candidates of a record, with other thresholds or another calibration.

    Parameters
    ----------
    calibration : applied to the probabilities that the record holds; None leaves them as they are
    """
    findings = []
    for finding in record.findings:
        candidate = finding.candidate
        if candidate.p_discrimination is not None and candidate.p_detection is not None:
            p = float((calibration or Calibration()).apply(candidate.p_discrimination, candidate.p_detection))
            candidate = _at_stage_one(candidate)
            candidate = postprocess(judged(candidate, p, settings.th_discrimination), settings.cutoffs)
        findings.append(replace(finding, candidate=candidate))
    return replace(record, findings=tuple(findings))


def measured_calibration(records: Sequence[ScanRecord]) -> Reliability | None:
    """Compare the probability of stage 2 with the truth; None without candidates."""
    probability, _, truth = _judgements(records)
    return reliability(probability, truth)


def calibration_figure(before: Sequence[ScanRecord], after: Sequence[ScanRecord]) -> ReportFigure | None:
    """Draw the reliability of the same candidates before and after calibration; None without candidates."""
    measured = {"as the network gives it": measured_calibration(before), "calibrated": measured_calibration(after)}
    drawn = {name: item for name, item in measured.items() if item is not None}
    if not drawn:
        return None
    errors = "; ".join(f"{name} Brier {item.brier:.3f}, error {item.error:.3f}" for name, item in drawn.items())
    caption = (
        "Candidates of stage 1 in the validation subjects, in ten bins of stage 2's probability; bars are Wilson 95 % "
        f"intervals. {errors}."
    )
    return ReportFigure("Calibration before and after", caption, reliability_figure(drawn))


def _judgements(
    records: Sequence[ScanRecord],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Probability of stage 2, that of stage 1 and truth, (N,) each, of the candidates that stage 2 has judged."""
    true, false = (
        [
            (item.p_discrimination, item.p_detection)
            for item in items
            if None not in (item.p_discrimination, item.p_detection)
        ]
        for items in true_and_false(records, Stage.DETECTION)
    )
    probability, detection = np.array(true + false, np.float64).reshape(-1, 2).T
    return probability, detection, np.arange(len(true) + len(false)) < len(true)


def _at_stage_one(candidate: Candidate) -> Candidate:
    return replace(candidate, stage=Stage.DETECTION, rejected_by=None)
