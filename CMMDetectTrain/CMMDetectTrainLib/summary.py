"""All metrics of an evaluation, computed from the records of its scans: the content of ``metrics.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CMMDetectLib.candidates import Stage
from CMMDetectLib.methods import Settings

from . import metrics, thresholds
from .metrics import Estimate, Lesion, Rule, ScanRecord, Scores

FROC_FP_AVG = np.round(np.geomspace(0.01, 1000, 120), 4)
NO_MIMIC = "no known mimic"
FP_RATES = (0.125, 0.25, 0.5, 1, 2, 4, 8)
SIZE_EDGES_MM = (2.0, 3.0, 5.0, 10.0)
CONSPICUITY_EDGES = (3.0, 4.0, 6.0)


def summarize(records: Sequence[ScanRecord], settings: Settings, seed: int = 0) -> dict[str, Any]:
    """Compute all metrics of an evaluation: the content of ``metrics.json``.

    Metrics of the stages and FROC curves are given for both matching rules; those of groups, scans without microbleeds
    and calibration for the overlap rule only. Large lesions (see `metrics.Lesion.is_large`) are also evaluated on
    their own. Intervals are bootstrap intervals by subject.
    """
    weights = metrics.bootstrap_weights([record.subject for record in records], seed)
    final = metrics.stage_counts(records, Rule.OVERLAP, Stage.FINAL)
    large = [metrics.counting_large(record) for record in records]
    false = [item for record in records for item in record.findings if not item.touches]
    return {
        "scans": len(records),
        "subjects": len({record.subject for record in records}),
        "lesions": int(final.lesions.sum()),
        "lesions_not_counted": sum(not lesion.counted for record in records for lesion in record.lesions),
        "scans_without_microbleeds": int(np.count_nonzero(final.lesions == 0)),
        "problems": {record.name: record.problem for record in records if record.problem},
        "settings": asdict(settings),
        "stages": _stages(records, weights),
        "large_lesions": {
            "lesions": sum(len(record.counted_lesions) for record in large),
            "stages": _stages(large, weights),
        },
        "froc": {rule: {stage: _froc(records, rule, stage, settings, weights) for stage in Stage} for rule in Rule},
        "tpr_of_lesions": _lesion_groups(records, weights),
        "groups_of_scans": _scan_groups(records, seed),
        "clean_scans": {stage: _clean_scans(records, stage, seed) for stage in Stage},
        "calibration": _calibration(records),
        "false_positives_on": {
            stage: Counter(item.mimic or NO_MIMIC for item in false if stage.includes(item.candidate.stage))
            for stage in Stage
        },
    }


def _stages(records: Sequence[ScanRecord], weights: NDArray[np.float64]) -> dict[str, Any]:
    return {
        rule: {
            stage: _as_json(metrics.estimates(metrics.stage_counts(records, rule, stage), weights)) for stage in Stage
        }
        for rule in Rule
    }


def _froc(
    records: Sequence[ScanRecord], rule: Rule, stage: Stage, settings: Settings, weights: NDArray[np.float64]
) -> dict[str, Any] | None:
    scores = [metrics.score_scan(item, rule, thresholds.score_swept(stage, settings.cutoffs)) for item in records]
    curve = thresholds.froc(scores)
    if curve is None:
        return None
    grid = FROC_FP_AVG[: np.searchsorted(FROC_FP_AVG, curve.fp_avg[-1], side="right")]
    low, high = thresholds.froc_band(scores, weights, grid) if len(weights) and len(grid) else (grid[:0],) * 2
    used = settings.th_detection if stage is Stage.DETECTION else settings.th_discrimination
    at = {
        "used": used,
        "knee": float(curve.threshold[thresholds.knee_point(curve)]),
        "best_f1": float(curve.threshold[thresholds.best_f1_point(curve)]),
    }
    return {
        **{name: np.round(getattr(curve, name), 6).tolist() for name in ("threshold", "tpr", "fp_avg")},
        "band": {"fp_avg": grid[: len(low)].tolist(), "low": low.tolist(), "high": high.tolist()},
        "points": {name: _point(scores, threshold) for name, threshold in at.items()},
        "tpr_at_fp_avg": {f"{rate:g}": thresholds.tpr_at(curve, rate) for rate in FP_RATES},
        "fp_avg_at_tpr_0.95": thresholds.fp_at(curve, 0.95),
    }


def _point(scores: Sequence[Scores], threshold: float) -> dict[str, float | None]:
    values = metrics.estimates(metrics.count(scores, threshold), np.zeros((0, len(scores))))
    return {"threshold": threshold, **{name: values[name].value for name in ("tpr", "fp_avg", "precision", "f1")}}


def _lesion_groups(records: Sequence[ScanRecord], weights: NDArray[np.float64]) -> dict[str, Any]:
    scores = [metrics.score_scan(record, Rule.OVERLAP, metrics.score_at(Stage.FINAL)) for record in records]
    labels = {
        "size": lambda lesion: metrics.binned(lesion.diameter_mm, SIZE_EDGES_MM, "mm"),
        "region": lambda lesion: lesion.region,
        "conspicuity": conspicuity_label,
    }
    return {
        group: {
            name: {"lesions": number, "tpr": asdict(tpr)}
            for name, (number, tpr) in metrics.lesion_strata(records, scores, label, weights).items()
        }
        for group, label in labels.items()
    }


def conspicuity_label(lesion: Lesion) -> str | None:
    """Name the bin of a lesion's conspicuity, None if it is not known."""
    return None if lesion.conspicuity is None else metrics.binned(lesion.conspicuity, CONSPICUITY_EDGES, "SD")


def _scan_groups(records: Sequence[ScanRecord], seed: int) -> dict[str, Any]:
    groups: dict[str, Any] = {}
    for group in sorted({name for record in records for name in record.groups}):
        groups[group] = {}
        for label in metrics.natural_order({record.groups[group] for record in records if group in record.groups}):
            some = [record for record in records if record.groups.get(group) == label]
            counts = metrics.stage_counts(some, Rule.OVERLAP, Stage.FINAL)
            weights = metrics.bootstrap_weights([record.subject for record in some], seed)
            size = {"scans": len(some), "lesions": int(counts.lesions.sum())}
            groups[group][label] = {**size, **_as_json(metrics.estimates(counts, weights))}
    return groups


def _clean_scans(records: Sequence[ScanRecord], stage: Stage, seed: int) -> dict[str, Any]:
    """False positives per scan without microbleeds, and the share of these scans without false positives."""
    clean = [record for record in records if not record.counted_lesions]
    false = metrics.stage_counts(clean, Rule.OVERLAP, stage).false
    weights = metrics.bootstrap_weights([record.subject for record in clean], seed)
    ones = np.ones_like(false)
    measured = {"fp_avg": (false, ones), "without_any": ((false == 0).astype(np.float64), ones)}
    return _as_json({name: metrics.estimate(*pair, weights) for name, pair in measured.items()})


def _calibration(records: Sequence[ScanRecord]) -> dict[str, Any] | None:
    """Calibration of stage 2's probability over all candidates of stage 1."""
    true, false = (
        [item.p_discrimination for item in items if item.p_discrimination is not None]
        for items in thresholds.true_and_false(records, Stage.DETECTION)
    )
    measured = metrics.reliability(true + false, [True] * len(true) + [False] * len(false))
    if measured is None:
        return None
    curve = {name: getattr(measured, name).tolist() for name in ("mean", "share", "low", "high", "count")}
    return {**curve, "brier": measured.brier, "error": measured.error}


def _as_json(values: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: asdict(value) for name, value in values.items()}
