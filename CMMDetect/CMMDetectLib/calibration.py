"""From the networks' own probabilities to a calibrated one: of candidates shown as 0.8, 8 in 10 are microbleeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .location import Location

LEAST_PROBABILITY = 1e-7
"""Probabilities are clipped to this distance from 0 and 1: near 1, float32 resolves no finer differences."""


@dataclass(frozen=True)
class Burden:
    """What the other candidates of a scan tell about one candidate.

    Most people have no microbleeds or a few, some have dozens; the number of mimics varies little from scan to scan.
    So an uncertain candidate is more likely a microbleed in a scan with certain ones, and more likely a mimic where it
    is one of many uncertain ones. The networks see one patch at a time and cannot tell.

    Attributes
    ----------
    microbleed_slope, mimic_slope : weights of log(1 + n) for the expected numbers n of other microbleeds and mimics
    scale, offset : scale and offset of the candidate's own log odds
    """

    microbleed_slope: float
    mimic_slope: float = 0.0
    scale: float = 1.0
    offset: float = 0.0

    def apply(self, evidence: ArrayLike) -> NDArray[np.float64]:
        """Return the log odds, (N,), of all N candidates of a scan, given the log odds of each on its own.

        >>> Burden(1.0).apply([0.0, 30.0, 30.0]).round(2)
        array([ 1.1 , 30.92, 30.92])
        """
        alone = np.asarray(evidence, np.float64)
        microbleeds, mimics = others_expected(alone)
        company = self.microbleed_slope * np.log1p(microbleeds) + self.mimic_slope * np.log1p(mimics)
        return self.scale * alone + company + self.offset


@dataclass(frozen=True)
class Calibration:
    """Platt scaling of two networks: a weighted sum of their log odds; the default gives the student's probability.

    The student sees a small patch, the detector also its surroundings: a candidate that both take for a microbleed is
    one more often than a candidate that only one of them does. The offset is needed because the student is trained
    with as many mimics as microbleeds, while stage 1 passes on many more mimics. Neither network sees where in the
    head the candidate lies, or what else the scan holds.

    Attributes
    ----------
    slope : weight of the student's log odds
    offset : log odds where both networks say one half
    detection_slope : weight of the log odds of the highest probability that stage 1 has in the candidate
    calcium_slopes, edge_slopes : weights, by modality, of the candidate's closeness to common sites of calcification
        and to the edge of the brain (`location`)
    burden : weights of the scan's other candidates; None ignores them
    """

    slope: float = 1.0
    offset: float = 0.0
    detection_slope: float = 0.0
    calcium_slopes: Mapping[str, float] = field(default_factory=dict)
    edge_slopes: Mapping[str, float] = field(default_factory=dict)
    burden: Burden | None = None

    def apply(
        self, probability: ArrayLike, detection: ArrayLike, location: Location | None = None
    ) -> NDArray[np.float32]:
        """Calibrate probabilities of the student and of stage 1, those of all N candidates of a scan, (N,).

        >>> Calibration().apply([0.2, 0.5], [0.9, 0.9])
        array([0.2, 0.5], dtype=float32)
        >>> Calibration(offset=-float(np.log(9))).apply([0.5, 0.9], [0.9, 0.9]).round(3)
        array([0.1, 0.5], dtype=float32)
        >>> Calibration(detection_slope=1.0).apply([0.5, 0.9], [0.9, 0.1]).round(3)
        array([0.9, 0.5], dtype=float32)
        >>> from CMMDetectLib.scan import Modality
        >>> at_the_edge = Location(Modality.SWI, np.zeros(2), np.array([1.0, 0.0]))
        >>> Calibration(edge_slopes={"swi": -4.0}).apply([0.5, 0.9], [0.9, 0.9], at_the_edge).round(2)
        array([0.02, 0.9 ], dtype=float32)
        >>> in_company = Calibration(burden=Burden(2.0))
        >>> in_company.apply([0.5], [0.9]), in_company.apply([0.5, 0.99, 0.99], [0.9, 0.9, 0.9]).round(2)
        (array([0.5], dtype=float32), array([0.9, 1. , 1. ], dtype=float32))
        """
        if self == Calibration():
            return np.asarray(probability, np.float32)
        evidence = self.slope * log_odds(probability) + self.detection_slope * log_odds(detection)
        if location is not None and location.modality is not None:
            evidence = evidence + self.calcium_slopes.get(location.modality, 0.0) * location.calcium
            evidence = evidence + self.edge_slopes.get(location.modality, 0.0) * location.edge
        evidence = evidence + self.offset
        return from_log_odds(self.burden.apply(evidence) if self.burden else evidence).astype(np.float32)


def log_odds(probability: ArrayLike) -> NDArray[np.float64]:
    """Return log(p / (1 - p)), limited to about +-16."""
    kept = np.clip(np.asarray(probability, np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.log(kept) - np.log1p(-kept)


def from_log_odds(evidence: ArrayLike) -> NDArray[np.float64]:
    """Return the probability that belongs to log odds."""
    return 1 / (1 + np.exp(-np.asarray(evidence, np.float64)))


def others_expected(evidence: ArrayLike) -> NDArray[np.float64]:
    """Return the expected numbers of microbleeds and of mimics among the other candidates of a scan, (2, N).

    >>> others_expected([0.0, 0.0, 40.0]).round(2)
    array([[1.5, 1.5, 1. ],
           [0.5, 0.5, 1. ]])
    """
    probability = np.stack([from_log_odds(evidence), from_log_odds(-np.asarray(evidence))])
    return np.maximum(probability.sum(axis=-1, keepdims=True) - probability, 0.0)
