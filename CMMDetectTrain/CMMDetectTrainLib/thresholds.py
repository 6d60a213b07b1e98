"""FROC curves (4.1), the thresholds at their knee points, and the cut-offs of stage 3 (2.4, 5.1).

The paper picks thresholds and cut-offs by eye. Here each is defined by a rule, so that training needs no user input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.postprocessing import CutOffs, postprocess

from .metrics import CONFIDENCE, Rule, ScanRecord, Scores, score_scan

FloatArray = NDArray[np.float64]
DETECTION_SHARE = 0.98
"""Least share of the lesions found at any threshold that stage 1 must keep: no later stage recovers a lesion."""
MOST_FALSE = 20.0
"""Most false positives per scan that a reader would review: the knee of stage 2 is sought up to this number."""
MOST_LOST = 0.02
"""Largest share of the true candidates that a cut-off of stage 3 may reject."""
LEAST_GAIN = 0.05
"""Least difference between the shares of false and of true candidates that a cut-off must reject."""
LEAST_CANDIDATES = 20
"""Least number of true and of false candidates from which their probability can be calibrated."""
LEAST_FOR_CUTOFF = 50
"""Least number of true and of false candidates that show the tails of a distribution, where a cut-off lies."""
DECIMALS = 3
BALL_OF_2_MM_MM3 = 4.189


@dataclass(frozen=True)
class Froc:
    """A free-response ROC curve: TPR against false positives per scan at T falling thresholds, (T,) each.

    Only thresholds at which another lesion is found are kept, and the last one; the curve is level between them.
    """

    threshold: FloatArray
    tpr: FloatArray
    fp_avg: FloatArray
    lesions: int
    scans: int

    @property
    def f1(self) -> FloatArray:
        """F1 at each point."""
        found = self.tpr * self.lesions
        return 2 * found / (self.lesions + found + self.fp_avg * self.scans)


def froc(scores: Sequence[Scores]) -> Froc | None:
    """Sweep the threshold over all candidates; None if there are no lesions or no candidates."""
    threshold = _corners(scores)
    lesions = sum(len(item.found_at) for item in scores)
    if not lesions or not len(threshold):
        return None
    found, false = (table.sum(axis=0) for table in _tables(scores, threshold))
    return Froc(threshold, found / lesions, false / len(scores), lesions, len(scores))


def tpr_at(curve: Froc, fp_avg: float) -> float:
    """Return the highest TPR of a curve with at most `fp_avg` false positives per scan.

    >>> curve = Froc(np.array([0.9, 0.5]), np.array([0.5, 1.0]), np.array([0.0, 2.0]), 2, 1)
    >>> [tpr_at(curve, fp) for fp in (0, 1, 2)]
    [0.5, 0.5, 1.0]
    """
    return float(np.append(0.0, curve.tpr)[np.searchsorted(curve.fp_avg, fp_avg, side="right")])


def fp_at(curve: Froc, tpr: float) -> float | None:
    """Return the false positives per scan at which a curve reaches a TPR; None if it does not."""
    reached = np.flatnonzero(curve.tpr >= tpr)
    return float(curve.fp_avg[reached[0]]) if len(reached) else None


def froc_band(scores: Sequence[Scores], weights: FloatArray, fp_avg: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the lower and upper limit of the TPR, (G,) each, at G numbers of false positives per scan."""
    found, false = _tables(scores, _corners(scores))
    lesions = weights @ np.array([len(item.found_at) for item in scores], np.float64)
    scans = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    tpr = (weights @ found) / np.maximum(lesions, 1)[:, None]
    fp = (weights @ false) / scans
    drawn = [
        np.append(0.0, row_tpr)[np.searchsorted(row_fp, fp_avg, side="right")]
        for row_tpr, row_fp, some in zip(tpr, fp, lesions > 0, strict=True)
        if some
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return low, high


@dataclass(frozen=True)
class Attribute:
    """An attribute of candidates that stage 3 tests (figure 6 of the paper).

    Attributes
    ----------
    name : field of `Candidate`
    cutoff : field of `CutOffs`
    label : axis label in figures, with the unit
    keeps_above : whether candidates at or above the cut-off are kept, instead of those at or below it
    no_cut : the cut-off that rejects nothing
    logarithmic : whether figures have a logarithmic axis
    highest : upper limit of the chosen cut-off
    """

    name: str
    cutoff: str
    label: str
    keeps_above: bool
    no_cut: float
    logarithmic: bool = False
    highest: float = np.inf


ATTRIBUTES = (
    # thick slices make all candidates large; a cut-off chosen on them must not reject small ones in thin slices
    Attribute("volume_mm3", "min_volume_mm3", "Volume (mm³)", True, 0.0, logarithmic=True, highest=BALL_OF_2_MM_MM3),
    Attribute("ellipticity", "max_ellipticity", "Ellipticity", False, 1.0),
    Attribute("skull_distance_mm", "min_skull_distance_mm", "Distance to the edge of the brain (mm)", True, 0.0),
)


def knee_point(curve: Froc, least_share: float = 0.0, most_false: float = np.inf) -> int:
    """Find the knee of a FROC curve.

    The knee is the point farthest above the straight line from the origin to the end of the curve, with both axes
    scaled to that end (Satopaa et al. 2011, without smoothing): beyond it, additional false positives raise the TPR by
    less than on average. Of equal points the one with the higher TPR is taken, as in the paper.

    Parameters
    ----------
    least_share : only points with at least this share of the highest TPR are considered
    most_false : the curve is cut after its last point with at most this many false positives per scan, or else after
        its first point

    Returns
    -------
    int
        Index of the point.

    >>> curve = Froc(np.array([0.9, 0.6, 0.2]), np.array([0.5, 0.9, 1.0]), np.array([0.0, 1.0, 10.0]), 10, 1)
    >>> knee_point(curve), knee_point(curve, least_share=0.95), knee_point(curve, most_false=0.5)
    (1, 2, 0)
    """
    end = max(1, int(np.searchsorted(curve.fp_avg, most_false, side="right")))
    tpr, fp_avg = curve.tpr[:end], curve.fp_avg[:end]
    height = tpr / max(tpr[-1], 1e-12)
    above = height - fp_avg / max(fp_avg[-1], 1e-12)
    above[height < least_share] = -np.inf
    return int(np.flatnonzero(above >= above.max() - 1e-12)[-1])


def best_f1_point(curve: Froc) -> int:
    """Return the index of the point of highest F1; of equal points the one with the higher threshold."""
    return int(np.argmax(curve.f1))


def score_swept(stage: Stage, cutoffs: CutOffs) -> Callable[[Candidate], float | None]:
    """Return the score function whose threshold is swept for the FROC curve of a stage.

    This is, for stage 1, the highest probability in the cluster as it was found at the run's own threshold; for
    stage 2, the student's probability; and for the final stage the same, for candidates within the cut-offs.
    """
    if stage is Stage.DETECTION:
        return lambda candidate: candidate.p_detection
    if stage is Stage.DISCRIMINATION:
        return lambda candidate: candidate.p_discrimination

    def within_cutoffs(candidate: Candidate) -> float | None:
        tried = postprocess(replace(candidate, stage=Stage.DISCRIMINATION), cutoffs)
        return candidate.p_discrimination if tried.stage is Stage.FINAL else None

    return within_cutoffs


def true_and_false(records: Iterable[ScanRecord], stage: Stage) -> tuple[list[Candidate], list[Candidate]]:
    """Return the candidates of a stage that lie on a counted lesion and those on no lesion, by the overlap rule."""
    true: list[Candidate] = []
    false: list[Candidate] = []
    for record in records:
        for item in record.findings:
            truth = record.truth_of(item)
            if truth is not None and stage.includes(item.candidate.stage):
                (true if truth else false).append(item.candidate)
    return true, false


def choose_detection_threshold(records: Sequence[ScanRecord], rule: Rule = Rule.OVERLAP) -> float:
    """Choose Th_Cdet at the knee of stage 1's FROC curve (5.1), where it keeps at least `DETECTION_SHARE`.

    Parameters
    ----------
    records : records of validation subjects, detected with a low threshold of stage 1, below which none is chosen

    Raises
    ------
    ValueError
        If there is no lesion or no candidate to choose by.
    """
    return _knee_threshold(records, rule, score_swept(Stage.DETECTION, CutOffs()), DETECTION_SHARE)


def choose_discrimination_threshold(records: Sequence[ScanRecord], rule: Rule = Rule.OVERLAP) -> float:
    """Choose Th_Cdisc at the knee of stage 2's FROC curve (5.1), up to `MOST_FALSE` false positives per scan.

    Parameters
    ----------
    records : records of validation subjects, detected with the chosen Th_Cdet

    Raises
    ------
    ValueError
        If there is no lesion or no candidate to choose by.
    """
    return _knee_threshold(records, rule, score_swept(Stage.DISCRIMINATION, CutOffs()), 0.0, MOST_FALSE)


def choose_cutoffs(true: Sequence[Candidate], false: Sequence[Candidate]) -> CutOffs:
    """Choose the cut-offs of stage 3 from the attributes of true and false candidates of stage 2 (2.4, figure 6).

    The attributes are taken in the paper's order, each on the candidates that the previous cut-offs keep. A cut-off is
    placed where the share of the false candidates that it rejects exceeds the share of the true ones most, among those
    that reject at most `MOST_LOST` of the true ones. If that difference is less than `LEAST_GAIN`, nothing is cut.

    With fewer than `LEAST_FOR_CUTOFF` candidates of either kind, the paper's cut-off is used, unless it rejects more
    than `MOST_LOST` of the true ones: then nothing is cut. The least volume is at most that of a sphere of 2 mm
    diameter, the smallest microbleed that readers count.
    """
    cutoffs = CutOffs()
    for attribute in ATTRIBUTES:
        with_true, with_false = (attribute_values(items, attribute) for items in (true, false))
        limit = getattr(cutoffs, attribute.cutoff)
        if min(len(with_true), len(with_false)) >= LEAST_FOR_CUTOFF:
            limit = min(choose_cutoff(with_true, with_false, attribute), attribute.highest)
        elif len(_kept(true, attribute, limit)) < (1 - MOST_LOST) * len(true):
            limit = attribute.no_cut
        cutoffs = replace(cutoffs, **{attribute.cutoff: limit})
        true, false = (_kept(items, attribute, limit) for items in (true, false))
    return cutoffs


def choose_cutoff(true: FloatArray, false: FloatArray, attribute: Attribute) -> float:
    """Choose the cut-off of one attribute from its values, (T,) of true and (F,) of false candidates.

    It lies halfway between the last rejected and the first kept value; of equally good cut-offs the loosest is taken.
    """
    sign = 1 if attribute.keeps_above else -1
    true, false = np.sort(sign * true), np.sort(sign * false)
    limits = np.unique(np.concatenate([true, false]))
    lost, removed = (np.searchsorted(values, limits, side="left") / len(values) for values in (true, false))
    gain = np.where(lost <= MOST_LOST, removed - lost, 0.0)
    best = int(np.argmax(gain))
    if gain[best] < LEAST_GAIN:
        return attribute.no_cut
    return round(float(abs(limits[best - 1] + limits[best]) / 2), DECIMALS)


def attribute_values(candidates: Sequence[Candidate], attribute: Attribute) -> FloatArray:
    """Return the known values of an attribute."""
    known = (getattr(item, attribute.name) for item in candidates)
    return np.array([value for value in known if value is not None], np.float64)


def _knee_threshold(
    records: Sequence[ScanRecord],
    rule: Rule,
    score: Callable[[Candidate], float | None],
    least_share: float,
    most_false: float = np.inf,
) -> float:
    """Return the threshold at the knee, rounded down so that the candidate at the knee passes."""
    curve = froc([score_scan(record, rule, score) for record in records])
    if curve is None or curve.tpr[-1] == 0:
        raise ValueError("no lesion was found at any threshold: there is no FROC curve to choose a threshold by")
    threshold = curve.threshold[knee_point(curve, least_share, most_false)]
    return max(float(np.floor(threshold * 10**DECIMALS)) / 10**DECIMALS, 10**-DECIMALS)


def _kept(candidates: Sequence[Candidate], attribute: Attribute, limit: float) -> list[Candidate]:
    sign = 1 if attribute.keeps_above else -1
    values = [(item, getattr(item, attribute.name)) for item in candidates]
    return [item for item, value in values if value is None or sign * value >= sign * limit]


def _corners(scores: Sequence[Scores]) -> FloatArray:
    """Return the thresholds at which a lesion is found, falling, and then the lowest score of all."""
    found = np.concatenate([np.zeros(0), *[item.found_at for item in scores]])
    found = found[np.isfinite(found)]
    false = np.concatenate([np.zeros(0), *[item.false_at for item in scores]])
    everything = np.concatenate([found, false])
    if not len(everything):
        return everything
    return np.unique(np.append(found, everything.min()))[::-1]


def _tables(scores: Sequence[Scores], threshold: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return found lesions and false positives of each scan at each threshold, (S, T) each."""

    def at_least(values: FloatArray) -> FloatArray:
        return len(values) - np.searchsorted(np.sort(values), threshold, side="left").astype(np.float64)

    found = [at_least(item.found_at) for item in scores]
    false = [at_least(item.false_at) for item in scores]
    return np.reshape(found, (-1, len(threshold))), np.reshape(false, (-1, len(threshold)))
