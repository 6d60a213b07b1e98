"""A small volume of noise on an oblique grid, as a file."""

from pathlib import Path

import nibabel as nib
import numpy as np

import phantoms

ARRAY = np.random.default_rng(0).normal(100, 20, (7, 9, 5)).astype(np.float32)
OBLIQUE = phantoms.affine((0.8, 0.9, 3.0), rotation_deg=(10, -20, 30))


def save(path: Path, array: np.ndarray = ARRAY, affine: np.ndarray = OBLIQUE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def with_value(value: float) -> np.ndarray:
    array = ARRAY.copy()
    array[3, 3, 3] = value
    return array
