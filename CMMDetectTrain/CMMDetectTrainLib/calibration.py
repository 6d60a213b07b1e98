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
from CMMDetectLib.location import Location
from CMMDetectLib.methods import Settings
from CMMDetectLib.postprocessing import postprocess

from .metrics import Reliability, ScanRecord, reliability
from .report_figures import reliability_figure
from .report_page import ReportFigure
from .thresholds import LEAST_CANDIDATES, true_and_false

DECIMALS = 6
STEEPEST = 20.0
"""Largest slope: with candidates that a threshold separates perfectly it would grow without end."""
PRIOR_SPREAD = 3.0
"""Standard deviation of a weight of closeness before anything is known: few candidates are near, so it counts."""

KNOWN = np.dtype(
    [
        ("student", float),
        ("detection", float),
        ("modality", "U8"),
        ("calcium", float),
        ("edge", float),
        ("truth", bool),
    ]
)
"""Of a candidate: both networks' probabilities, its `Location`, and whether it is a microbleed."""


def fit_calibration(records: Sequence[ScanRecord]) -> Calibration:
    """Fit Platt scaling of both networks' log odds, and of the location, to candidates of stage 1 (J. Platt, 1999).

    The likelihood is largest of the smoothed classes that Platt gives: with T true candidates they stand for
    (T + 1) / (T + 2) and not for 1, so that few candidates make no certainty. No network's weight may be negative, and
    none of closeness to calcium or to the edge of the brain positive. Where no candidate is near, it is 0.

    Parameters
    ----------
    records : of validation scans, detected with the Th_Cdet in use and the student's own probability

    Returns
    -------
    Calibration
        One that changes nothing where there are fewer than `LEAST_CANDIDATES` true or false candidates, or where
        the student's probability does not rise with the truth.
    """
    known = _known(records)
    truth = known["truth"]
    true = int(truth.sum())
    false = len(truth) - true
    if min(true, false) < LEAST_CANDIDATES:
        return Calibration()
    seen = log_odds(known["detection"])
    modalities = sorted({str(modality) for modality in known["modality"] if modality})
    near = [known[what] * (known["modality"] == name) for what in ("calcium", "edge") for name in modalities]
    # about its mean, so that it stays 0 where all candidates have the same
    evidence = np.stack([log_odds(known["student"]), np.ones(len(truth)), seen - seen.mean(), *near])
    target = np.where(truth, (true + 1) / (true + 2), 1 / (false + 2))

    def loss(weights: NDArray[np.float64]) -> float:
        scaled = weights @ evidence
        prior = weights[3:] @ weights[3:] / (2 * PRIOR_SPREAD**2)
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled) + prior / len(truth))

    start = np.array([1.0, np.log(true / false), 0.0, *(0.0 for _ in near)])
    weight = (0.0, STEEPEST)
    bounds = [weight, (None, None), weight, *((-STEEPEST, 0.0) for _ in near)]
    fitted = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    fitted[1] -= fitted[2] * seen.mean()
    slope, offset, detection_slope, *slopes = (round(float(value), DECIMALS) for value in fitted)
    calcium, edge = (
        {name: value for name, value in zip(modalities, values, strict=True) if value < 0}
        for values in (slopes[: len(modalities)], slopes[len(modalities) :])
    )
    return Calibration(slope, offset, detection_slope, calcium, edge) if slope > 0 else Calibration()


def judged_anew(record: ScanRecord, settings: Settings, calibration: Calibration | None = None) -> ScanRecord:
    """Run stages 2 and 3 again over the candidates of a record, with other thresholds or another calibration.

    Parameters
    ----------
    calibration : applied to the probabilities that the record holds; None leaves them as they are
    """
    findings = []
    scaling = calibration or Calibration()
    for finding in record.findings:
        candidate = finding.candidate
        if candidate.p_discrimination is not None and candidate.p_detection is not None:
            given = [candidate.p_discrimination], [candidate.p_detection]
            p = scaling.apply(*given, _location(record, candidate)).item()
            candidate = _at_stage_one(candidate)
            candidate = postprocess(judged(candidate, p, settings.th_discrimination), settings.cutoffs)
        findings.append(replace(finding, candidate=candidate))
    return replace(record, findings=tuple(findings))


def measured_calibration(records: Sequence[ScanRecord]) -> Reliability | None:
    """Compare the probability of stage 2 with the truth; None without candidates."""
    known = _known(records)
    return reliability(known["student"], known["truth"])


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


def _known(records: Sequence[ScanRecord]) -> NDArray[np.void]:
    """What is known of the candidates that stage 2 has judged: (N,), with the fields of `KNOWN`."""
    rows = []
    for record in records:
        for items, truth in zip(true_and_false([record], Stage.DETECTION), (True, False), strict=True):
            for item in items:
                if item.p_discrimination is not None and item.p_detection is not None:
                    where = _location(record, item)
                    place = where.modality or "", where.calcium[0], where.edge[0]
                    rows.append((item.p_discrimination, item.p_detection, *place, truth))
    return np.array(rows, KNOWN)


def _location(record: ScanRecord, candidate: Candidate) -> Location:
    return Location.of([candidate], record.brain, record.groups.get("modality"))


def _at_stage_one(candidate: Candidate) -> Candidate:
    return replace(candidate, stage=Stage.DETECTION, rejected_by=None)
