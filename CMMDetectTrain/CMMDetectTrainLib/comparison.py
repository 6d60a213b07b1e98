"""Comparison of two methods on the same subjects: is the new one better, or are there too few data to tell?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CMMDetectLib.candidates import Stage
from CMMDetectLib.errors import InputError
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectLib.wording import counted

from .metrics import (
    CONFIDENCE,
    Counts,
    Estimate,
    Rule,
    ScanRecord,
    bootstrap_weights,
    can_spread,
    count,
    estimate,
    ratios,
    score_at,
    score_scan,
)
from .thresholds import froc, score_swept

FloatArray = NDArray[np.float64]
Ratio = tuple[FloatArray, FloatArray]
"""Numerator and denominator of each scan, (S,) each."""
COMPARED = ("tpr", "fp_avg", "precision", "f1")
HIGHER_IS_BETTER: Mapping[str, bool] = {"tpr": True, "fp_avg": False}
"""Metrics that decide the verdict: how many microbleeds are found, and with how many false positives."""
LEAST_SUBJECTS = 5
"""Fewer subjects with microbleeds are not representative: a bootstrap of three subjects is always certain."""


class Verdict(StrEnum):
    """Outcome of a comparison."""

    BETTER = "better"
    WORSE = "worse"
    MIXED = "mixed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Compared:
    """One metric of both methods and the difference, new minus old, with 95 % intervals."""

    old: Estimate
    new: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same scans.

    Attributes
    ----------
    old_name, new_name : names of the methods
    subjects, subjects_with_microbleeds, scans, microbleeds : size of the data that they were compared on
    metrics : after all three stages, by the overlap rule; names as in `metrics.ratios`
    froc : FROC curve of each method, rising: false positives per scan and TPR
    verdict, sentence : outcome, and its description for the user
    """

    old_name: str
    new_name: str
    subjects: int
    subjects_with_microbleeds: int
    scans: int
    microbleeds: int
    metrics: dict[str, Compared]
    froc: dict[str, dict[str, list[float]]]
    verdict: Verdict
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """Return the content of ``comparison.json``."""
        return asdict(self)


def compare_records(
    old: Sequence[ScanRecord],
    new: Sequence[ScanRecord],
    names: tuple[str, str],
    cutoffs: tuple[CutOffs, CutOffs],
    seed: int = 0,
) -> Comparison:
    """Compare two methods by their records of the same scans.

    The interval of a difference uses the same bootstrap samples of subjects for both methods (paired bootstrap), so
    that subjects that are difficult for both do not widen it.

    Parameters
    ----------
    names : names of the old and the new method
    cutoffs : cut-offs of stage 3 of the old and the new method, for the FROC curves

    Raises
    ------
    InputError
        If the records are not of the same scans.
    """
    if [record.name for record in old] != [record.name for record in new] or not old:
        raise InputError("only evaluations of the same scans can be compared")
    weights = bootstrap_weights([record.subject for record in old], seed)
    old_counts, new_counts = _final_counts(old), _final_counts(new)
    metrics = {name: _compared(ratios(old_counts)[name], ratios(new_counts)[name], weights) for name in COMPARED}
    with_microbleeds = len({record.subject for record in new if record.counted_lesions})
    verdict = _verdict(metrics, with_microbleeds)
    return Comparison(
        old_name=names[0],
        new_name=names[1],
        subjects=len({record.subject for record in new}),
        subjects_with_microbleeds=with_microbleeds,
        scans=len(new),
        microbleeds=int(new_counts.lesions.sum()),
        metrics=metrics,
        froc={which: _curve(some, cut) for which, some, cut in zip(("old", "new"), (old, new), cutoffs, strict=True)},
        verdict=verdict,
        sentence=_sentence(verdict, metrics, names, int(new_counts.lesions.sum()), with_microbleeds),
    )


def paired_difference(old: Ratio, new: Ratio, weights: FloatArray) -> Estimate:
    """Estimate the difference, new minus old, of a ratio of sums over scans.

    Parameters
    ----------
    old, new : numerators and denominators of the same scans
    weights : (B, S), from `bootstrap_weights`
        There is no interval without rows, or if all scans that count are of one subject.
    """
    if not (old[1].sum() > 0 and new[1].sum() > 0):
        return Estimate(None, None, None)
    value = float(new[0].sum() / new[1].sum() - old[0].sum() / old[1].sum())
    bottoms = [weights @ bottom for _, bottom in (old, new)]
    defined = (bottoms[0] > 0) & (bottoms[1] > 0)
    if not defined.any() or not can_spread(weights, (old[1] > 0) | (new[1] > 0)):
        return Estimate(value, None, None)
    ratio_of_old, ratio_of_new = (
        (weights @ top)[defined] / bottom[defined] for (top, _), bottom in zip((old, new), bottoms, strict=True)
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratio_of_new - ratio_of_old, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def _final_counts(records: Sequence[ScanRecord]) -> Counts:
    return count([score_scan(record, Rule.OVERLAP, score_at(Stage.FINAL)) for record in records])


def _compared(old: Ratio, new: Ratio, weights: FloatArray) -> Compared:
    return Compared(estimate(*old, weights), estimate(*new, weights), paired_difference(old, new, weights))


def _curve(records: Sequence[ScanRecord], cutoffs: CutOffs) -> dict[str, list[float]]:
    swept = froc([score_scan(record, Rule.OVERLAP, score_swept(Stage.FINAL, cutoffs)) for record in records])
    if swept is None:
        return {"fp_avg": [], "tpr": []}
    return {"fp_avg": swept.fp_avg.tolist(), "tpr": swept.tpr.tolist()}


def _verdict(metrics: Mapping[str, Compared], subjects: int) -> Verdict:
    if subjects < LEAST_SUBJECTS:
        return Verdict.UNKNOWN
    gains, losses, looks_worse = 0, 0, False
    for name, higher in HIGHER_IS_BETTER.items():
        change = metrics[name].difference
        if change.value is None or change.low is None or change.high is None:
            return Verdict.UNKNOWN
        up, down = change.low > 0, change.high < 0
        gains += up if higher else down
        losses += down if higher else up
        looks_worse |= change.value < 0 if higher else change.value > 0
    if not gains and not losses:
        return Verdict.UNKNOWN
    if not gains:
        return Verdict.WORSE
    # a significant gain in one metric does not outweigh a possible loss in the other
    return Verdict.MIXED if losses or looks_worse else Verdict.BETTER


def _sentence(
    verdict: Verdict, metrics: Mapping[str, Compared], names: tuple[str, str], microbleeds: int, subjects: int
) -> str:
    """Describe the outcome without statistical terms."""
    old, new = names
    tpr, fp_avg = metrics["tpr"], metrics["fp_avg"]
    all_of_them = counted(microbleeds, "microbleed")
    found = f"{_times(tpr.new, microbleeds)} of {all_of_them} instead of {_times(tpr.old, microbleeds)}"
    shown = (
        f"it finds {found}, with {_one_digit(fp_avg.new)} false positives per scan instead of {_one_digit(fp_avg.old)}"
    )
    if verdict is Verdict.BETTER:
        return f"{new} is better than {old}: {shown}."
    if verdict is Verdict.WORSE:
        return f"{new} is worse than {old}: {shown}. Keep {old}."
    if verdict is Verdict.MIXED:
        return f"{new} differs from {old}, for better and for worse: {shown}."
    if subjects < LEAST_SUBJECTS:
        return (
            f"Too few data to tell whether {new} is better than {old}: of the subjects that were held back, "
            f"{subjects} had microbleeds, and fewer than {LEAST_SUBJECTS} cannot stand for others. On these, {shown}."
        )
    return (
        f"Too few data to tell whether {new} is better than {old}: {shown}, but other subjects could as well have "
        "shown the opposite."
    )


def _times(share: Estimate, many: int) -> str:
    return "0" if share.value is None else f"{round(share.value * many)}"


def _one_digit(number: Estimate) -> str:
    return "-" if number.value is None else f"{number.value:.1f}"
