"""Calibration of stage 2's probability on the validation candidates, and its effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from CMMDetectLib.calibration import Burden, Calibration, log_odds, others_expected
from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.discrimination import judged
from CMMDetectLib.location import Location
from CMMDetectLib.methods import Settings
from CMMDetectLib.postprocessing import postprocess

from .metrics import Reliability, ScanRecord, reliability
from .report_figures import reliability_figure
from .report_page import ReportFigure
from .thresholds import LEAST_CANDIDATES

DECIMALS = 6
STEEPEST = 20.0
"""Largest slope: it would grow without bound if a threshold separated the candidates perfectly."""
WEIGHT, AGAINST, FREE = (0.0, STEEPEST), (-STEEPEST, 0.0), (None, None)
"""Bounds of a weight that must not be negative, of one that must not be positive, and of an offset."""
PRIOR_SPREAD = 3.0
"""Prior standard deviation of the weights of location and burden, on which few candidates bear."""
LEAST_SCANS = 10
"""With fewer scans with, or without, microbleeds, the weights of a scan's other candidates are not fitted."""

KNOWN = np.dtype(
    [
        ("scan", int),
        ("student", float),
        ("detection", float),
        ("modality", "U8"),
        ("calcium", float),
        ("edge", float),
        ("truth", bool),
        ("counts", bool),
    ]
)
"""Record of a candidate: number of its scan, both networks' probabilities, its `Location`, whether it is a microbleed,
and ``counts``, which is False if it lies on a microbleed that is not visible."""


def fit_calibration(records: Sequence[ScanRecord]) -> Calibration:
    """Fit Platt scaling of both networks' log odds, and of the location, to candidates of stage 1 (J. Platt, 1999).

    The targets are smoothed as Platt proposes: with T true candidates the target is (T + 1) / (T + 2) instead of 1, so
    that few candidates do not imply certainty. The weights of the networks must not be negative, those of closeness to
    calcium and to the edge of the brain not positive; a weight without candidates nearby is 0. The weights of a scan's
    other candidates are fitted afterwards, if there are `LEAST_SCANS` scans with and without microbleeds.

    Parameters
    ----------
    records : of validation scans, detected with the Th_Cdet in use and the student's uncalibrated probability

    Returns
    -------
    Calibration
        The identity if there are fewer than `LEAST_CANDIDATES` true or false candidates, or if the student's
        probability is not higher for true ones.
    """
    known = _known(records)
    truth = known["truth"][known["counts"]]
    if min(truth.sum(), (~truth).sum()) < LEAST_CANDIDATES:
        return Calibration()
    alone = _fit_alone(known[known["counts"]])
    if alone.slope <= 0:
        return Calibration()
    return replace(alone, burden=_fit_burden(known, alone))


def reclassified(record: ScanRecord, settings: Settings, calibration: Calibration | None = None) -> ScanRecord:
    """Run stages 2 and 3 again over the candidates of a record, with other thresholds or another calibration.

    Parameters
    ----------
    calibration : applied to the probabilities that the record holds; None leaves them as they are
    """
    findings = list(record.findings)
    judgeable = [number for number, item in enumerate(findings) if _is_judged(item.candidate)]
    candidates = [findings[number].candidate for number in judgeable]
    student, detection = (
        np.array([getattr(item, name) for item in candidates], np.float64)
        for name in ("p_discrimination", "p_detection")
    )
    probability = (calibration or Calibration()).apply(student, detection, _location(record, candidates))
    for number, candidate, p in zip(judgeable, candidates, probability.tolist(), strict=True):
        passed = judged(_at_stage_one(candidate), p, settings.th_discrimination)
        findings[number] = replace(findings[number], candidate=postprocess(passed, settings.cutoffs))
    return replace(record, findings=tuple(findings))


def measured_calibration(records: Sequence[ScanRecord]) -> Reliability | None:
    """Measure the calibration of stage 2's probability; None without candidates."""
    known = _known(records)
    known = known[known["counts"]]
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
        f"intervals. {errors[0].upper()}{errors[1:]}."
    )
    return ReportFigure("Calibration before and after", caption, reliability_figure(drawn))


def _fit_alone(known: NDArray[np.void]) -> Calibration:
    """Fit the weights of a candidate's own evidence: both networks' log odds and its location."""
    truth, seen = known["truth"], log_odds(known["detection"])
    modalities = sorted({str(modality) for modality in known["modality"] if modality})
    near = [known[what] * (known["modality"] == name) for what in ("calcium", "edge") for name in modalities]
    # centered, so that its weight stays 0 if all candidates have the same value
    evidence = np.stack([log_odds(known["student"]), np.ones(len(truth)), seen - seen.mean(), *near])
    weights = _fitted(evidence, truth, [WEIGHT, FREE, WEIGHT, *([AGAINST] * len(near))], weighed=3)
    weights[1] -= weights[2] * float(seen.mean())
    slope, offset, detection_slope, *slopes = (round(weight, DECIMALS) for weight in weights)
    calcium, edge = (
        {name: value for name, value in zip(modalities, values, strict=True) if value < 0}
        for values in (slopes[: len(modalities)], slopes[len(modalities) :])
    )
    return Calibration(slope, offset, detection_slope, calcium, edge)


def _fit_burden(known: NDArray[np.void], alone: Calibration) -> Burden | None:
    """Fit the weights of a scan's other candidates; None if there are too few scans or no effect."""
    number = known["scan"]
    with_some = np.unique(number[known["truth"]])
    if min(len(with_some), len(np.unique(number)) - len(with_some)) < LEAST_SCANS:
        return None
    odds, others = np.zeros(len(known)), np.zeros((2, len(known)))
    for scan in np.unique(number):
        of = number == scan
        location = Location(known["modality"][of][0], known["calcium"][of], known["edge"][of])
        odds[of] = log_odds(alone.apply(known["student"][of], known["detection"][of], location))
        others[:, of] = others_expected(odds[of])
    counts = known["counts"]
    evidence = np.stack([odds, np.ones(len(odds)), *np.log1p(others)])[:, counts]
    weights = _fitted(evidence, known["truth"][counts], [WEIGHT, FREE, WEIGHT, AGAINST], weighed=2)
    scale, offset, microbleed_slope, mimic_slope = (round(weight, DECIMALS) for weight in weights)
    return Burden(microbleed_slope, mimic_slope, scale, offset) if min(scale, microbleed_slope) > 0 else None


def _fitted(
    evidence: NDArray[np.float64],
    truth: NDArray[np.bool_],
    bounds: Sequence[tuple[float | None, float | None]],
    weighed: int,
) -> list[float]:
    """Fit a weight for each of K rows of evidence, (K, N), the first near 1 and the second an offset.

    Parameters
    ----------
    weighed : index of the first row whose weight has a prior centered at 0
    """
    true = int(truth.sum())
    false = len(truth) - true
    target = np.where(truth, (true + 1) / (true + 2), 1 / (false + 2))

    def loss(weights: NDArray[np.float64]) -> float:
        scaled = weights @ evidence
        prior = weights[weighed:] @ weights[weighed:] / (2 * PRIOR_SPREAD**2)
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled) + prior / len(truth))

    start = [1.0, np.log(true / false), *(0.0 for _ in evidence[2:])]
    return minimize(loss, start, method="L-BFGS-B", bounds=bounds).x.tolist()


def _known(records: Sequence[ScanRecord]) -> NDArray[np.void]:
    """Collect the candidates that stage 2 has judged, (N,), with the fields of `KNOWN`."""
    rows = []
    for number, record in enumerate(records):
        items = [item for item in record.findings if _is_judged(item.candidate)]
        where = _location(record, [item.candidate for item in items])
        for item, calcium, edge in zip(items, where.calcium, where.edge, strict=True):
            candidate, truth = item.candidate, record.truth_of(item)
            given = number, candidate.p_discrimination, candidate.p_detection, where.modality or "", calcium, edge
            rows.append((*given, bool(truth), truth is not None))
    return np.array(rows, KNOWN)


def _is_judged(candidate: Candidate) -> bool:
    return candidate.p_discrimination is not None and candidate.p_detection is not None


def _location(record: ScanRecord, candidates: Sequence[Candidate]) -> Location:
    return Location.of(candidates, record.brain, record.groups.get("modality"))


def _at_stage_one(candidate: Candidate) -> Candidate:
    return replace(candidate, stage=Stage.DETECTION, rejected_by=None)
