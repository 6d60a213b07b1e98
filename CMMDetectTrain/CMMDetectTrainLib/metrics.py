"""Lesion-level metrics (4.1): TPR, FPavg, precision, F1 and calibration, with bootstrap intervals.

Every metric here is a ratio of two sums over scans: pooled metrics sum lesions and candidates, macro metrics sum the
ratios of the scans. One function is therefore enough for all estimates and their intervals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.location import BrainFrame
from CMMDetectLib.matching import match_centers, match_overlap

FloatArray = NDArray[np.float64]
DRAWS = 2000
CONFIDENCE = 0.95
Z_95 = 1.959964
LARGE_MM, LARGE_VOX = 2.0, 2.0
"""Least apparent diameter, in either unit, of a microbleed that a reader can tell from noise."""


class Rule(StrEnum):
    """Rule by which a candidate counts as detecting a lesion; see `CMMDetectLib.matching`."""

    OVERLAP = "overlap"
    CENTER = "center"


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One true microbleed.

    Attributes
    ----------
    x, y, z : center, RAS mm
    diameter_mm : apparent diameter: of the circle with the area of the lesion in its largest slice
    region : anatomical region, None if not known
    diameter_vox : the same diameter in pixels of the slice, None if not known
    conspicuity : contrast to the ring around it, in standard deviations of the ring, None if not known
    counted : False if the scan does not show it: missing it is no false negative, detecting it no false positive
    """

    id: str
    x: float
    y: float
    z: float
    diameter_mm: float
    volume_mm3: float
    region: str | None = None
    diameter_vox: float | None = None
    conspicuity: float | None = None
    counted: bool = True

    @property
    def is_large(self) -> bool:
        """Whether its apparent diameter is at least 2 mm or 2 pixels."""
        return self.diameter_mm >= LARGE_MM or (self.diameter_vox or 0.0) >= LARGE_VOX


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One candidate, compared with the truth.

    Attributes
    ----------
    touches : ids of the lesions with which the candidate's cluster shares a voxel
    mimic : kind of the known mimic with which it shares most voxels, None for none
    """

    candidate: Candidate
    touches: tuple[str, ...] = ()
    mimic: str | None = None


@dataclass(frozen=True, kw_only=True)
class ScanRecord:
    """One evaluated scan: its true lesions and its candidates.

    Attributes
    ----------
    groups : attributes to group scans by, such as 'protocol' or 'modality', with their values
    problem : why the detection failed, None if it did not
    seconds : time that reading and detection took
    sha256 : checksum of each input file, by file name
    brain : center and size of the brain, None if the scan does not contain a whole one
    """

    name: str
    subject: str
    groups: Mapping[str, str] = field(default_factory=dict)
    lesions: tuple[Lesion, ...] = ()
    findings: tuple[Finding, ...] = ()
    problem: str | None = None
    seconds: float = 0.0
    sha256: Mapping[str, str] = field(default_factory=dict)
    brain: BrainFrame | None = None

    @property
    def counted_lesions(self) -> tuple[Lesion, ...]:
        """Lesions that a detector should find."""
        return tuple(lesion for lesion in self.lesions if lesion.counted)

    def truth_of(self, finding: Finding) -> bool | None:
        """Whether a candidate is a true positive by the overlap rule; None if it only touches lesions not counted."""
        if not {lesion.id for lesion in self.counted_lesions}.isdisjoint(finding.touches):
            return True
        return None if finding.touches else False


@dataclass(frozen=True)
class Scores:
    """Thresholds at which the lesions of one scan are found and at which its false positives appear.

    Attributes
    ----------
    found_at : (L,)
        Highest threshold at which each counted lesion is found; minus infinity for never.
    false_at : (F,)
        Score of each false positive.
    """

    found_at: FloatArray
    false_at: FloatArray


@dataclass(frozen=True)
class Counts:
    """Counts of S scans at one operating point, each (S,): lesions found, all lesions, false positives."""

    found: FloatArray
    lesions: FloatArray
    false: FloatArray


@dataclass(frozen=True)
class Estimate:
    """A metric with the limits of its 95 % confidence interval; None if undefined."""

    value: float | None
    low: float | None
    high: float | None


def counting_large(record: ScanRecord) -> ScanRecord:
    """Return the record with only its large lesions counted."""
    lesions = tuple(replace(lesion, counted=lesion.counted and lesion.is_large) for lesion in record.lesions)
    return replace(record, lesions=lesions)


def score_scan(record: ScanRecord, rule: Rule, score: Callable[[Candidate], float | None]) -> Scores:
    """Match a scan's candidates with its lesions.

    Parameters
    ----------
    score : returns the score of a candidate, or None to leave the candidate out
    """
    scored = [(item, value) for item in record.findings if (value := score(item.candidate)) is not None]
    values = np.array([value for _, value in scored], np.float64)
    counted = np.array([lesion.counted for lesion in record.lesions], bool)
    if rule is Rule.OVERLAP:
        ids = [lesion.id for lesion in record.lesions]
        touches = np.array([[name in item.touches for name in ids] for item, _ in scored], bool)
        match = match_overlap(touches.reshape(len(scored), len(ids)), values)
    else:
        points = [(item.candidate.x, item.candidate.y, item.candidate.z) for item, _ in scored]
        centers = [(lesion.x, lesion.y, lesion.z) for lesion in record.lesions]
        radii = [lesion.diameter_mm / 2 for lesion in record.lesions]
        match = match_centers(points, centers, radii, values, ~counted)
    found_at = np.where(match.candidate_of >= 0, np.append(values, -np.inf)[match.candidate_of], -np.inf)
    return Scores(found_at[counted], values[match.is_false])


def score_at(stage: Stage) -> Callable[[Candidate], float | None]:
    """Return a score function: 1 for candidates that passed the stage, None for the others."""
    return lambda candidate: 1.0 if stage.includes(candidate.stage) else None


def count(scores: Sequence[Scores], threshold: float = 1.0) -> Counts:
    """Count found lesions and false positives of each scan at one threshold."""
    return Counts(
        np.array([np.count_nonzero(item.found_at >= threshold) for item in scores], np.float64),
        np.array([len(item.found_at) for item in scores], np.float64),
        np.array([np.count_nonzero(item.false_at >= threshold) for item in scores], np.float64),
    )


def stage_counts(records: Iterable[ScanRecord], rule: Rule, stage: Stage) -> Counts:
    """Count found lesions and false positives of each scan after a stage."""
    return count([score_scan(record, rule, score_at(stage)) for record in records])


def ratios(counts: Counts) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return each metric as its numerators and denominators per scan, (S,) each.

    ``tpr``, ``fp_avg`` and ``precision`` are equations 5 to 7 of the paper; a lesion that several candidates find is
    one true positive. The macro metrics are means over scans: TPR over those with lesions, precision over those
    with detections, F1 over those with either.
    """
    found, lesions, false = counts.found, counts.lesions, counts.false
    detected = found + false
    pooled = {
        "tpr": (found, lesions),
        "fp_avg": (false, np.ones_like(false)),
        "precision": (found, detected),
        "f1": (2 * found, lesions + detected),
    }
    macro = {f"macro_{name}": _mean_of(*pooled[name]) for name in ("tpr", "precision", "f1")}
    return pooled | macro


def estimates(counts: Counts, weights: FloatArray) -> dict[str, Estimate]:
    """Estimate each metric of `ratios` with its confidence interval."""
    return {name: estimate(top, bottom, weights) for name, (top, bottom) in ratios(counts).items()}


def estimate(numerator: FloatArray, denominator: FloatArray, weights: FloatArray) -> Estimate:
    """Estimate a ratio of sums over scans.

    Parameters
    ----------
    numerator, denominator : (S,)
    weights : (B, S), from `bootstrap_weights`
        There is no interval if it has no rows, or if a single subject contributes to the denominator.
    """
    if not denominator.sum() > 0:
        return Estimate(None, None, None)
    value = float(numerator.sum() / denominator.sum())
    if not can_spread(weights, denominator > 0):
        return Estimate(value, None, None)
    top, bottom = weights @ numerator, weights @ denominator
    drawn = top[bottom > 0] / bottom[bottom > 0]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def can_spread(weights: FloatArray, counting: NDArray[np.bool_]) -> bool:
    """Whether the scans that count, (S,), belong to several subjects, judged by their bootstrap weights, (B, S)."""
    drawn = weights[:, counting]
    return not bool((drawn == drawn[:, :1]).all())


def bootstrap_weights(subjects: Sequence[str], seed: int = 0, draws: int = DRAWS) -> FloatArray:
    """Return how often each scan is drawn when subjects are drawn with replacement.

    All scans of a subject are drawn together, since they are not independent.

    Returns
    -------
    (B, S) float64
        No rows if there are fewer than two subjects, whose variation is then unknown.
    """
    names, of = np.unique(np.asarray(subjects, str), return_inverse=True)
    if len(names) < 2:
        return np.zeros((0, len(of)))
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return drawn[:, of].astype(np.float64)


def lesion_strata(
    records: Sequence[ScanRecord], scores: Sequence[Scores], label: Callable[[Lesion], str | None], weights: FloatArray
) -> dict[str, tuple[int, Estimate]]:
    """Return the number of lesions and the TPR of each group of lesions, for scores of one operating point."""
    labels = [np.array([label(lesion) for lesion in record.counted_lesions], object) for record in records]
    strata = {}
    for name in natural_order({str(each) for some in labels for each in some if each is not None}):
        found = [np.count_nonzero(item.found_at[some == name] >= 1) for some, item in zip(labels, scores, strict=True)]
        there = [np.count_nonzero(some == name) for some in labels]
        tpr = estimate(np.array(found, np.float64), np.array(there, np.float64), weights)
        strata[name] = (int(sum(there)), tpr)
    return strata


@dataclass(frozen=True)
class Reliability:
    """Calibration in the N non-empty bins of the score.

    Attributes
    ----------
    mean : (N,) mean score
    share : (N,) share of candidates that lie on a lesion
    low, high : (N,) limits of the Wilson 95 % interval of `share`
    count : (N,) number of candidates
    brier : mean squared difference between score and truth
    error : expected calibration error, mean of |mean - share| weighted by count
    """

    mean: FloatArray
    share: FloatArray
    low: FloatArray
    high: FloatArray
    count: NDArray[np.intp]
    brier: float
    error: float


def reliability(score: ArrayLike, is_true: ArrayLike, bins: int = 10) -> Reliability | None:
    """Compare scores with the share of true candidates; None without candidates."""
    values, truth = np.asarray(score, np.float64), np.asarray(is_true, np.float64)
    if not len(values):
        return None
    of = np.minimum((values * bins).astype(int), bins - 1)
    number = np.bincount(of, minlength=bins)
    used = number > 0
    number = number[used]
    mean = np.bincount(of, values, bins)[used] / number
    share = np.bincount(of, truth, bins)[used] / number
    low, high = wilson(share, number)
    error = float(np.sum(number * np.abs(mean - share)) / len(values))
    return Reliability(mean, share, low, high, number, float(np.mean((values - truth) ** 2)), error)


def wilson(share: FloatArray, number: NDArray[np.integer]) -> tuple[FloatArray, FloatArray]:
    """Return the Wilson 95 % interval of a share among a number of independent trials.

    >>> [round(float(end), 3) for end in wilson(np.array(0.5), np.array(10))]
    [0.237, 0.763]
    >>> float(wilson(np.array(0.0), np.array(2))[0])
    0.0
    """
    middle = (share + Z_95**2 / (2 * number)) / (1 + Z_95**2 / number)
    half = Z_95 / (1 + Z_95**2 / number) * np.sqrt(share * (1 - share) / number + Z_95**2 / (4 * number**2))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def natural_order(labels: Iterable[str]) -> list[str]:
    """Sort labels by the number they begin with, then alphabetically.

    >>> natural_order(["10 mm and more", "cortex", "3-5 mm", "0-3 mm"])
    ['0-3 mm', '3-5 mm', '10 mm and more', 'cortex']
    """

    def key(label: str) -> tuple[float, str]:
        number = re.match(r"[\d.]+", label)
        return (float(number.group()) if number else np.inf, label)

    return sorted(labels, key=key)


def binned(value: float, edges: Sequence[float], unit: str) -> str:
    """Name the bin of a value; bins include their lower edge.

    >>> binned(3.0, (3, 5), "mm"), binned(2.9, (3, 5), "mm"), binned(7, (3, 5), "mm")
    ('3-5 mm', '0-3 mm', '5 mm and more')
    """
    number = int(np.searchsorted(edges, value, side="right"))
    if number == len(edges):
        return f"{edges[-1]:g} {unit} and more"
    return f"{edges[number - 1] if number else 0:g}-{edges[number]:g} {unit}"


def _mean_of(numerator: FloatArray, denominator: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return numerator and denominator of the mean of a ratio over the scans where it is defined."""
    defined = denominator > 0
    return np.where(defined, numerator / np.maximum(denominator, 1), 0.0), defined.astype(np.float64)
