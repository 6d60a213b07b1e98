"""From a scan to the input of the detector: brain mask, bias field, normalization, crop (paper, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from .brain_extraction import extract_brain
from .errors import InputError
from .head_grid import HEAD_MM, WORK_MM, BoolArray, FloatArray, largest_part, on_work_grid, resample
from .itk_threads import one_thread
from .mistaken_images import (
    check_contrast,
    check_magnitude,
    check_modality,
    check_no_phase,
    check_no_projection,
    without_offset,
)
from .scan import Modality, Scan, translated

TISSUE_LEVEL = 0.25
"""Value of ordinary tissue in every prepared image, whatever the modality; 0 is outside the brain, 1 the strongest
lesion."""
QSM_CEILING_PPM = 0.6
"""QSM above tissue, in ppm, that maps to 1."""
QSM_SPREAD_PPM = 0.04
"""Robust spread of susceptibility in a brain, in ppm: it tells ppm from ppb and calibrates other units."""
BRAIN_ML = (50.0, 2500.0)
"""Smallest and largest plausible volume of an extracted brain; in a small field of view, 5 % of it is enough."""
BACKGROUND_SHARE = 0.25
"""Share of a volume's border that has the value of a background."""
RIPPLE = 0.05
"""Ripples that interpolation leaves in the background of a stripped scan, relative to its highest values."""
CROP_MARGIN_MM = 5.0
BIAS_GRID_MM, BIAS_KNOTS_MM = 8.0, 80.0
BIAS_MINIMUM_ML = 100.0
"""Below this volume a bias field cannot be told from anatomy."""


@dataclass(frozen=True)
class PreparedScan:
    """A scan made ready for the detector: cropped to the brain, normalized, lesions bright.

    Attributes
    ----------
    scan : Scan
        As it was read, but for an offset of its intensities.
    crop : three slices
        ``scan.array[crop]`` lies voxel by voxel under `image`.
    image : float32 array
        From 0 to 1; tissue at `TISSUE_LEVEL`, lesions brighter, 0 outside the mask.
    mask : bool array
        The brain, without holes.
    mask_source : str
        How the mask was found: 'given', 'stripped', 'tissue', 'quiet', 'bet' or 'hd-bet'.
    tissue_signal : float
        Signal of ordinary tissue in the scan's units (after bias correction).
    """

    scan: Scan
    crop: tuple[slice, slice, slice]
    image: FloatArray
    mask: BoolArray
    mask_source: str
    tissue_signal: float

    @property
    def affine(self) -> NDArray[np.float64]:
        """Affine, (4, 4), from voxel indices of the crop to RAS millimetres."""
        return translated(self.scan.affine, (part.start for part in self.crop))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighboring voxels along i, j and k."""
        return self.scan.spacing_mm

    @property
    def brain_volume_ml(self) -> float:
        """Volume of the mask in milliliters."""
        return _volume_ml(self.mask, self.spacing_mm)


def prepare(scan: Scan, mask: BoolArray | None = None, brain_extraction: str = "bet") -> PreparedScan:
    """Prepare a scan for detection (paper, section 2.1).

    In this order: brain mask with holes filled; tight crop; bias field correction (SWI and T2* only); robust
    normalization, inverted for SWI and T2* so that lesions are bright; 0 outside the mask. The paper divides by the
    maximum, so that one hot voxel rescales everything; here the signal of ordinary tissue sets the scale.

    Parameters
    ----------
    scan : the scan, any spacing and orientation
    mask : the brain on the scan's grid, all parts of which are kept; None extracts it
    brain_extraction : 'bet' or 'hd-bet', for scans that still have their skull

    Raises
    ------
    InputError
        If the mask is empty, on another grid or without a (magnitude) signal, or no brain can be found; or if the scan
        is a phase or a minimum intensity projection.
    """
    if scan.modality.lesions_are_dark:
        check_no_projection(scan)
        scan = without_offset(scan)
    source = "given"
    if mask is None:
        mask, source = find_brain(scan, brain_extraction)
    _check_given(scan, mask)
    # a reader who masks two parts means both; after extraction, small parts beside the brain are residue
    mask = filled(mask, scan.spacing_mm, every_part=source == "given")
    crop = _bounding_box(mask, scan.spacing_mm)
    inside = np.ascontiguousarray(mask[crop])
    try:
        image, level = _normalized(scan, scan.array[crop], inside)
    except InputError as error:
        raise InputError(f"{scan.path or scan.name}: {error}") from None
    return PreparedScan(scan, crop, image, inside, source, level)


def _normalized(scan: Scan, array: FloatArray, mask: BoolArray) -> tuple[FloatArray, float]:
    """Normalize a crop of a scan according to its modality; see `normalize_magnitude`."""
    if scan.modality.lesions_are_dark:
        check_magnitude(array[mask])
        return normalize_magnitude(_without_bias(array, mask, scan.spacing_mm), mask)
    return normalize_susceptibility(array, mask)


def normalize_magnitude(array: FloatArray, mask: BoolArray) -> tuple[FloatArray, float]:
    """Scale tissue to `TISSUE_LEVEL` and invert, so that a signal void is 1 and bright CSF 0.

    ``1 - (1 - TISSUE_LEVEL) * signal / tissue``, clipped to [0, 1]; `tissue` is the median of the values within 40 %
    of that median, which CSF (1.3 to 2 times tissue on T2*, about 1 on SWI), voids, veins, hot voxels and residual
    skull hardly affect. Signals above 4/3 of tissue are not lesions and clip to 0.

    Returns
    -------
    image : float32, 0 outside the mask
    tissue : the signal of ordinary tissue

    Raises
    ------
    InputError
        If the mask holds no signal.
    """
    tissue = tissue_signal(array[mask])
    image = 1 - array * np.float32((1 - TISSUE_LEVEL) / tissue)
    np.clip(image, 0, 1, out=image)
    image[~mask] = 0
    return image, tissue


def tissue_signal(values: NDArray[np.floating]) -> float:
    """Return the median of the positive values within 40 % of that median.

    >>> tissue_signal(np.array([0, 9, 10, 11, 30, 9000], np.float32))
    10.0
    """
    values = np.sort(values)
    values = values[np.searchsorted(values, 0, side="right") :]
    if not values.size:
        raise InputError("the brain mask holds no signal above 0; give a magnitude image, or another mask with --mask")
    level = float(np.median(values))
    for _ in range(20):
        low, high = np.searchsorted(values, (0.6 * level, 1.4 * level))
        before, level = level, float(values[(low + high) // 2])
        if level == before:
            break
    return level


def normalize_susceptibility(array: FloatArray, mask: BoolArray) -> tuple[FloatArray, float]:
    """Put the brain's median susceptibility at `TISSUE_LEVEL` and `QSM_CEILING_PPM` above it at 1.

    The scale is physical, so that a lesion of a given susceptibility looks the same in every scan: 0 is 0.2 ppm below
    tissue (where calcification clips), 1 is 0.6 ppm above it, which most microbleeds but no deep gray nucleus (0.1 to
    0.2 ppm) reach at usual voxel sizes. The spread within the brain, about 0.04 ppm, tells whether the file is in ppm
    or ppb; any other unit is calibrated by it.

    Returns
    -------
    image : float32, 0 outside the mask
    tissue : the brain's median in the units of the file
    """
    low, tissue, high = (float(value) for value in np.percentile(array[mask], (16, 50, 84)))
    spread = (high - low) / 2
    image = (array - np.float32(tissue)) * np.float32((1 - TISSUE_LEVEL) / QSM_CEILING_PPM * _ppm_per_unit(spread))
    image += np.float32(TISSUE_LEVEL)
    np.clip(image, 0, 1, out=image)
    image[~mask] = 0
    return image, tissue


def _ppm_per_unit(spread: float) -> float:
    """Guess the unit of a susceptibility map from the robust spread of its values."""
    if spread == 0:
        raise InputError("the susceptibility map has one value in most of the brain; check the scan and its mask")
    for ppm_per_unit in (1.0, 1e-3):
        if QSM_SPREAD_PPM / 5 <= spread * ppm_per_unit <= QSM_SPREAD_PPM * 5:
            return ppm_per_unit
    return QSM_SPREAD_PPM / spread


def find_brain(scan: Scan, brain_extraction: str = "bet") -> tuple[BoolArray, str]:
    """Find the brain mask of a scan; it is extracted only if the scan shows a head.

    A scan with a constant background around a brain without skull is taken as already stripped; a field of view too
    small for a head, or without any background, as a piece of tissue.

    Returns
    -------
    mask : on the scan's grid
    source : how it was found, 'stripped', 'tissue' or the source that `extract_brain` returns

    Raises
    ------
    InputError
        If what is found cannot be a brain, or the scan has another contrast than its modality.
    """
    if scan.modality.lesions_are_dark:
        check_no_phase(scan)
    mask, source = _stripped(scan), "stripped"
    if mask is None:
        check_contrast(scan)
    if mask is None and _is_tissue(scan):
        mask, source = np.ones(scan.array.shape, bool), "tissue"
    if mask is None:
        mask, source = extract_brain(scan, brain_extraction)
    volume_ml = _volume_ml(mask, scan.spacing_mm)
    whole_ml = mask.size * float(np.prod(scan.spacing_mm)) / 1000
    if not min(BRAIN_ML[0], 0.05 * whole_ml) <= volume_ml <= BRAIN_ML[1]:
        check_modality(scan)
        raise InputError(
            f"{scan.path or scan.name}: found {volume_ml:.0f} mL ({source}), which cannot be a brain; "
            "give the brain with --mask"
        )
    return mask, source


def _stripped(scan: Scan) -> BoolArray | None:
    """Recognize a scan whose background was set to one value around a brain without a skull."""
    differs = _differs_from_background(scan)
    if differs is None:
        return None
    # Noise may share its most frequent value with the background; only a real background fills whole coarse voxels.
    coarse = on_work_grid(differs, scan.spacing_mm) > 0.05
    if coarse.all() or not coarse.any():
        return None
    if scan.modality is not Modality.QSM and _has_skull(scan, largest_part(coarse)):
        return None
    return differs


def _differs_from_background(scan: Scan) -> BoolArray | None:
    """Where a volume differs from the prevailing value of its border: exactly, or by more than resampling ripples.

    An exact comparison fails if only the padding that resampling has added around a rotated volume is constant: what
    differs from it is then larger than any brain.
    """
    array = scan.array
    border = np.concatenate([np.take(array, (0, -1), axis=axis).ravel() for axis in range(3)])
    values, counts = np.unique(border, return_counts=True)
    if counts.max() >= BACKGROUND_SHARE * border.size:
        differs = array != values[counts.argmax()]
        if _volume_ml(differs, scan.spacing_mm) <= BRAIN_ML[1]:
            return differs
    level = np.median(border)
    away = np.abs(array - level)
    ripple = RIPPLE * float(np.percentile(away, 99))
    if np.mean(np.abs(border - level) <= 0.02 * ripple) < BACKGROUND_SHARE:
        return None
    return away > ripple


def _has_skull(scan: Scan, head: BoolArray) -> bool:
    """Tell a head from a brain: inward from the surface, a head gets dark (skull) before it gets bright again.

    Lower quartiles are compared at each depth, because scalp and skull are not equally thick everywhere. Anything
    larger than any brain is a head in any case.
    """
    if _volume_ml(head, (WORK_MM, WORK_MM, WORK_MM)) > BRAIN_ML[1]:
        return True
    signal = on_work_grid(scan.array, scan.spacing_mm)
    depth_mm = ndimage.distance_transform_edt(head, WORK_MM)
    deep = np.median(signal[depth_mm > min(20.0, 0.6 * depth_mm.max())])
    shells = (signal[(depth_mm > start) & (depth_mm <= start + 3)] for start in (3, 6, 9, 12))
    return any(shell.size > 0 and np.percentile(shell, 25) < 0.5 * deep for shell in shells)


def _is_tissue(scan: Scan) -> bool:
    """Recognize a piece of tissue: the field of view is too small for a head, or has no dark background."""
    extent_mm = sorted(size * step_mm for size, step_mm in zip(scan.array.shape, scan.spacing_mm, strict=True))
    is_small = extent_mm[1] < HEAD_MM
    if scan.modality is Modality.QSM:
        return is_small
    coarse = on_work_grid(scan.array, scan.spacing_mm)
    background = float(np.mean(coarse < 0.2 * np.percentile(coarse, 98)))
    if is_small and background > 0.25:
        raise InputError(
            f"{scan.path or scan.name}: too small a field of view to find the brain in; give the brain with --mask"
        )
    return is_small or background < 0.02


def _volume_ml(mask: BoolArray, spacing_mm: Sequence[float]) -> float:
    return float(np.count_nonzero(mask) * np.prod(spacing_mm) / 1000)


def _check_given(scan: Scan, mask: BoolArray) -> None:
    if mask.shape != scan.array.shape:
        raise InputError(f"brain mask: {mask.shape} voxels, but the scan has {scan.array.shape}; give one on its grid")
    if not mask.any():
        raise InputError("brain mask: it is empty; give one that is nonzero in the brain")


def filled(mask: BoolArray, spacing_mm: Sequence[float], every_part: bool = False) -> BoolArray:
    """Keep the largest part (26-connected) and fill its holes, in 3D and in each plane across the longest spacing.

    A signal void inside the brain belongs to the brain; in thick slices it may be open in 3D but closed in plane.

    Parameters
    ----------
    mask : (I, J, K), not empty
    spacing_mm : of its grid
    every_part : keep all parts

    >>> slab = np.ones((5, 5, 3), bool)
    >>> slab[2, 2] = False
    >>> bool(filled(slab, (1, 1, 3)).all())
    True
    """
    box = ndimage.find_objects(mask.view(np.uint8))[0]
    part = mask[box] if every_part else largest_part(mask[box])
    part = _holes_filled(part, (0, 1, 2))
    slice_axis = int(np.argmax(spacing_mm))
    part = _holes_filled(part, tuple(axis for axis in range(3) if axis != slice_axis))
    out = np.zeros_like(mask)
    out[box] = part
    return out


def _holes_filled(mask: BoolArray, axes: tuple[int, ...]) -> BoolArray:
    """Fill the background that is not connected to the array's border along `axes`."""
    neighbors = np.zeros((3, 3, 3), bool)
    for axis in axes:
        neighbors[tuple(slice(None) if other == axis else 1 for other in range(3))] = True
    labels, count = ndimage.label(~mask, neighbors)
    outside = np.zeros(count + 1, bool)
    for axis in axes:
        outside[np.take(labels, (0, -1), axis=axis)] = True
    outside[0] = False
    return ~outside[labels]


def _bounding_box(mask: BoolArray, spacing_mm: tuple[float, ...]) -> tuple[slice, slice, slice]:
    """Bounding box of the mask with a margin of `CROP_MARGIN_MM`, as far as the scan reaches."""
    box = []
    for axis, step_mm in enumerate(spacing_mm):
        margin = int(np.ceil(CROP_MARGIN_MM / step_mm - 1e-3))  # files store 1 mm as 0.99999999
        occupied = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(max(0, int(occupied[0]) - margin), min(mask.shape[axis], int(occupied[-1]) + 1 + margin)))
    return box[0], box[1], box[2]


def _without_bias(array: FloatArray, mask: BoolArray, spacing_mm: tuple[float, ...]) -> FloatArray:
    """Divide by the bias field that N4 (Tustison 2010) finds on a coarse grid; the paper uses FSL FAST.

    N4 works on the means of masked voxels, clipped to 0.2 to 2.5 times tissue, since it takes their logarithm.
    """
    if _volume_ml(mask, spacing_mm) < BIAS_MINIMUM_ML:
        return array
    extent_mm = np.multiply(array.shape, spacing_mm)
    grid = np.minimum(BIAS_GRID_MM, extent_mm / 4).tolist()
    weight = resample(mask, spacing_mm, grid)
    inside = weight > 0.5
    signal = resample(np.where(mask, array, 0), spacing_mm, grid) / np.maximum(weight, 0.5)
    signal /= tissue_signal(signal[inside])
    log_bias = _n4(np.clip(signal, 0.2, 2.5), inside, grid)
    log_bias -= np.median(log_bias[inside])
    return array * np.exp(-resample(log_bias, grid, spacing_mm, array.shape))


def _n4(signal: FloatArray, mask: BoolArray, spacing_mm: Sequence[float]) -> FloatArray:
    """Logarithm of the bias field: one level of a B-spline with a knot about every `BIAS_KNOTS_MM`."""
    image, inside = sitk.GetImageFromArray(signal.T), sitk.GetImageFromArray(mask.T.astype(np.uint8))
    image.SetSpacing(spacing_mm)
    inside.SetSpacing(spacing_mm)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([50])
    extent_mm = np.multiply(signal.shape, spacing_mm)
    n4.SetNumberOfControlPoints([3 + max(2, round(side_mm / BIAS_KNOTS_MM)) for side_mm in extent_mm])
    with one_thread():
        n4.Execute(image, inside)
    return sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).astype(np.float32).T
