"""Magnetic properties of tissues, and their gradient-echo signal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FIELDS_T = (1.5, 3.0, 7.0)


@dataclass(frozen=True)
class Tissue:
    """Properties of a tissue.

    Attributes
    ----------
    chi_ppm : susceptibility
    t1_ms, t2star_ms : T1 and T2* at 1.5, 3 and 7 T
    density : proton density relative to water
    """

    chi_ppm: float
    t1_ms: tuple[float, float, float]
    t2star_ms: tuple[float, float, float]
    density: float

    def relaxation_ms(self, field_t: float) -> tuple[float, float]:
        """Return T1 and T2* at a field strength, interpolated over its logarithm.

        >>> TISSUES["white"].relaxation_ms(3.0)
        (1084.0, 53.0)
        """
        fields = np.log(FIELDS_T)
        t1, t2star = (
            float(np.exp(np.interp(np.log(field_t), fields, np.log(times)))) for times in (self.t1_ms, self.t2star_ms)
        )
        return round(t1, 3), round(t2star, 3)


# susceptibility: chi-separation phantom values; relaxation: Stanisz 2005, Wright 2008, Peters 2007
TISSUES: Mapping[str, Tissue] = {
    "air": Tissue(9.2, (1000, 1000, 1000), (1, 1, 1), 0.0),
    "bone": Tissue(-2.1, (600, 700, 900), (1.5, 1.2, 0.8), 0.25),
    "marrow": Tissue(-0.6, (350, 400, 500), (16, 9, 4), 0.75),
    "fat": Tissue(0.019, (280, 370, 500), (45, 30, 14), 0.95),
    "muscle": Tissue(0.0, (1000, 1400, 1700), (35, 28, 15), 0.8),
    "csf": Tissue(0.019, (4000, 4000, 4400), (500, 300, 150), 1.0),
    "gray": Tissue(0.020, (1120, 1600, 1900), (84, 66, 33), 0.82),
    "white": Tissue(-0.030, (880, 1084, 1150), (66, 53, 27), 0.70),
    "white_lesion": Tissue(0.000, (1100, 1400, 1500), (90, 75, 42), 0.82),
    "dura": Tissue(0.010, (800, 1000, 1200), (10, 7, 4), 0.60),
    "caudate": Tissue(0.044, (1100, 1480, 1750), (59, 41, 20), 0.82),
    "putamen": Tissue(0.038, (1050, 1330, 1650), (55, 31, 16), 0.82),
    "pallidum": Tissue(0.131, (900, 1050, 1300), (45, 25, 12), 0.78),
    "thalamus": Tissue(0.020, (1000, 1350, 1600), (64, 48, 25), 0.80),
    "red_nucleus": Tissue(0.100, (950, 1200, 1500), (46, 27, 13), 0.78),
    "nigra": Tissue(0.111, (950, 1200, 1500), (46, 27, 13), 0.78),
    "dentate": Tissue(0.152, (950, 1250, 1550), (50, 32, 16), 0.78),
    "blood": Tissue(0.30, (1440, 1600, 2000), (70, 25, 8), 0.85),
}
IRON_RICH = ("caudate", "putamen", "pallidum", "red_nucleus", "nigra", "dentate")
PARENCHYMA = ("gray", "white", "white_lesion", "thalamus", *IRON_RICH)
"""Tissues that contain microbleeds: the brain without CSF, membranes and vessels."""


def spoiled_gradient_echo(
    tissue: Tissue, field_t: float, te_ms: float, tr_ms: float, flip_deg: float, r2star_scale: float = 1.0
) -> float:
    """Return the steady-state magnitude of a spoiled gradient echo, relative to a proton density of 1.

    S = PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE R2*), E1 = exp(-TR / T1).
    """
    t1, t2star = tissue.relaxation_ms(field_t)
    recovery = np.exp(-tr_ms / t1)
    angle = np.deg2rad(flip_deg)
    steady = np.sin(angle) * (1.0 - recovery) / (1.0 - np.cos(angle) * recovery)
    return float(tissue.density * steady * np.exp(-te_ms * r2star_scale / t2star))
