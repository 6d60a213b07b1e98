"""From the networks' own probabilities to one that keeps its word: of candidates shown as 0.8, 8 in 10 are true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .location import Location

LEAST_PROBABILITY = 1e-7
"""Probabilities closer than this to 0 or 1 are taken to be so far off: float32 tells no more apart near 1."""


@dataclass(frozen=True)
class Burden:
    """What the other candidates of its scan say of one.

    Most people have no microbleed or a few, some have dozens; mimics are about as many in every scan. So an uncertain
    candidate is a microbleed more often where sure ones are, and mostly a mimic where it is one of many. The networks
    see one patch each and cannot tell.

    Attributes
    ----------
    microbleed_slope, mimic_slope : weights of how many other microbleeds and mimics are to be expected, the logarithm
        of 1 and the number
    scale, offset : of the log odds that a candidate has for itself
    """

    microbleed_slope: float
    mimic_slope: float = 0.0
    scale: float = 1.0
    offset: float = 0.0

    def apply(self, evidence: ArrayLike) -> NDArray[np.float64]:
        """Give log odds in their scan for those that all its candidates have for themselves, (N,).

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

    The student looks at a small patch from close by, the detector has seen the surroundings: where both speak for a
    microbleed, it is one more often than where only one of them does. The offset is needed because the student is
    trained with as many mimics as microbleeds, while stage 1 hands it many more. What neither network sees is where
    in the head the candidate lies, and what else the scan holds.

    Attributes
    ----------
    slope : weight of the student's log odds
    offset : log odds where both networks say one half
    detection_slope : weight of the log odds of the highest probability that stage 1 has in the candidate
    calcium_slopes, edge_slopes : weights, by modality, of how near the candidate is to where calcium gathers, and to
        the edge of the brain (`location`)
    burden : what the scan's other candidates say; None for nothing
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
    """Give the logarithm of p / (1 - p), at most about 16 in either direction."""
    kept = np.clip(np.asarray(probability, np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.log(kept) - np.log1p(-kept)


def from_log_odds(evidence: ArrayLike) -> NDArray[np.float64]:
    """Give the probability of log odds."""
    return 1 / (1 + np.exp(-np.asarray(evidence, np.float64)))


def others_expected(evidence: ArrayLike) -> NDArray[np.float64]:
    """Give how many microbleeds and mimics to expect among the others, (2, N), for log odds of a scan's candidates.

    >>> others_expected([0.0, 0.0, 40.0]).round(2)
    array([[1.5, 1.5, 1. ],
           [0.5, 0.5, 1. ]])
    """
    probability = np.stack([from_log_odds(evidence), from_log_odds(-np.asarray(evidence))])
    return np.maximum(probability.sum(axis=-1, keepdims=True) - probability, 0.0)
