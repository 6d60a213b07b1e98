"""A small brain with three microbleeds at known places."""

import numpy as np

import phantoms
from CMMDetectLib.scan import to_world

SPACING_MM = (1.0, 1.0, 2.0)
SHAPE = (104, 120, 50)
LESIONS_MM = ((40.0, 50.0, 40.0, 4.0), (66.0, 70.0, 60.0, 5.0), (52.0, 84.0, 44.0, 3.0))
"""Center in the grid's own millimetres and diameter of each microbleed of `write_stripped_scan`."""


def lesion_positions(affine: np.ndarray) -> np.ndarray:
    """RAS millimetres of the microbleeds."""
    return to_world(affine, np.array(LESIONS_MM)[:, :3] / SPACING_MM)


def stripped_brain() -> np.ndarray:
    """An SWI-like brain without skull: tissue of 500, three dark microbleeds, 0 outside."""
    tissue, mask = phantoms.brain(SHAPE, SPACING_MM, noise=0.01, seed=3)
    for *center, diameter in LESIONS_MM:
        tissue *= 1 - 0.9 * phantoms.sphere(SHAPE, SPACING_MM, tuple(center), diameter)
    return np.where(mask, 1250 * tissue, 0).astype(np.float32)
