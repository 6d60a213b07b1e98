"""Post-processing of images after reconstruction: filters, gray levels, skull stripping, scaled QSM.

It is drawn at random for training patches, so that a detector does not depend on one reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.scan import Modality

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Appearance:
    """Post-processing of an image after its reconstruction; the defaults do not change it.

    Attributes
    ----------
    blur_vox : standard deviation of a Gaussian along i, j and k (resampling, smoothing)
    sharpening : share of the difference to a blurred copy that an edge filter adds
    gray_levels : number of steps from 0 to twice the tissue's signal; 0 for no quantization
    gamma : exponent on the magnitude relative to the tissue's signal
    stripped_mm : voxels farther than this outside the brain's hull are set to 0; None for no skull stripping
    level : factor between the tissue's signal and the one that preprocessing assumes
    qsm_scale : factor on the susceptibility, as of an over-regularized inversion
    """

    blur_vox: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sharpening: float = 0.0
    gray_levels: int = 0
    gamma: float = 1.0
    stripped_mm: float | None = None
    level: float = 1.0
    qsm_scale: float = 1.0


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """Draw the post-processing; each step is rare, and a third of the images have none but another level."""
    blur = np.zeros(3)
    if rng.random() < 0.2:
        blur = rng.uniform(0.2, 0.7, 3) * (1.0, 1.0, rng.choice([0.0, 1.0]))
    return Appearance(
        blur_vox=(float(blur[0]), float(blur[1]), float(blur[2])),
        sharpening=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.12 else 0.0,
        gray_levels=int(rng.integers(40, 256)) if rng.random() < 0.15 else 0,
        gamma=float(np.exp(rng.normal(0.0, 0.2))) if rng.random() < 0.2 else 1.0,
        stripped_mm=float(rng.uniform(-1.5, 3.0)) if rng.random() < 0.3 else None,
        level=float(np.exp(rng.normal(0.0, 0.08))),
        qsm_scale=float(rng.uniform(0.4, 1.0)) if rng.random() < 0.4 else 1.0,
    )


def apply_appearance(
    image: Array, tissue_signal: float, depth_mm: Array, modality: Modality, appearance: Appearance
) -> Array:
    """Apply post-processing to an image.

    Parameters
    ----------
    image : (I, J, K) magnitude or ppm
    tissue_signal : signal of ordinary tissue, in units of ``image``; 0 for QSM
    depth_mm : (I, J, K) depth below the brain's hull, negative outside
    modality : gray levels, gamma, level and stripping apply to magnitudes, the scale to QSM
    appearance : the post-processing

    Returns
    -------
    image : (I, J, K), a new array
    """
    if modality is Modality.QSM:
        image = image * np.float32(appearance.qsm_scale)
        return _filtered(image, appearance)
    image = image * np.float32(appearance.level)
    if appearance.gamma != 1.0:
        image = np.power(image.clip(0.0) / tissue_signal, appearance.gamma, dtype=np.float32) * np.float32(
            tissue_signal
        )
    image = _filtered(image, appearance).clip(0.0)
    if appearance.gray_levels:
        step = np.float32(2.0 * tissue_signal / appearance.gray_levels)
        image = np.round(image / step) * step
    if appearance.stripped_mm is not None:
        image = np.where(depth_mm > -appearance.stripped_mm, image, np.float32(0.0))
    return np.asarray(image, dtype=np.float32)


def _filtered(image: Array, appearance: Appearance) -> Array:
    if any(appearance.blur_vox):
        image = ndimage.gaussian_filter(image, appearance.blur_vox, truncate=3.0)
    if appearance.sharpening:
        image = image + np.float32(appearance.sharpening) * (image - ndimage.gaussian_filter(image, 1.0, truncate=2.0))
    return image
