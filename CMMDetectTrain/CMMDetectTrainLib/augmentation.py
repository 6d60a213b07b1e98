"""Augmentation of training patches: translation, noise, slight blur (2.5), and contrast.

Rotation and scaling would blur or lose a lesion of a few voxels, so nothing is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CMMDetectLib.channels import CHANNELS
from CMMDetectLib.preprocessing import TISSUE_LEVEL

IMAGES = [CHANNELS.index("image"), CHANNELS.index("with_vessels")]
Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random combinations of transformations, each applied with a probability of one half.

    Attributes
    ----------
    factor : number of patches that each training patch becomes in an epoch
    translation_vox : largest offset along the first two axes; the patch is cut from the scan at that offset, so that
        no padding enters it
    noise_variance : range of the variance of Gaussian noise, for a prepared image from 0 to 1; noise is added to the
        image with and without vessels, not to its radial symmetry transform
    blur_vox : range of sigma of a Gaussian filter
    contrast : largest factor, up or down, by which the contrast to ordinary tissue changes, as between scanners and
        echo times; 1 for none. Not in the paper
    mirror : whether to mirror along each axis with a probability of one half, which interpolates nothing. Not in the
        paper
    """

    factor: int = 10
    translation_vox: int = 15
    noise_variance: tuple[float, float] = (0.01, 0.04)
    blur_vox: tuple[float, float] = (0.1, 0.2)
    contrast: float = 1.0
    mirror: bool = True

    def offset(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw the translation, (3,) voxels."""
        if not self.translation_vox or rng.random() < 0.5:
            return np.zeros(3, np.int64)
        limit = self.translation_vox
        return np.append(rng.integers(-limit, limit + 1, 2), 0)

    def apply(self, channels: Array, labels: NDArray[np.int64], rng: np.random.Generator) -> tuple[Array, NDArray]:
        """Return a changed copy of (C, I, J, K) channels and (I, J, K) labels, except for the translation by `offset`.

        Voxels outside the brain, 0 in all channels, stay 0.
        """
        outside = ~channels.any(axis=0)
        changed = channels.copy()
        if rng.random() < 0.5:
            sigma = rng.uniform(*self.blur_vox)
            changed = np.stack([ndimage.gaussian_filter(channel, sigma) for channel in changed])
        if self.contrast > 1 and rng.random() < 0.5:
            gain = np.float32(self.contrast ** rng.uniform(-1, 1))
            changed[IMAGES] = np.clip(TISSUE_LEVEL + gain * (changed[IMAGES] - TISSUE_LEVEL), 0, 1)
        if rng.random() < 0.5:
            spread = np.float32(np.sqrt(rng.uniform(*self.noise_variance)))
            noise = spread * rng.standard_normal(channels.shape[1:], np.float32)
            changed[IMAGES] = np.clip(changed[IMAGES] + noise, 0, 1)
        changed[:, outside] = 0
        axes = tuple(axis for axis in range(3) if self.mirror and rng.random() < 0.5)
        return np.flip(changed, tuple(axis + 1 for axis in axes)).copy(), np.flip(labels, axes).copy()


NONE = Augmentation(factor=1, translation_vox=0, noise_variance=(0.0, 0.0), blur_vox=(0.0, 0.0), mirror=False)
"""Leaves every patch as it is: for validation."""
