"""Roughly where the brain is in a head: an average brain, registered to the scan by an affine transform.

BET sees only bright and dark: where bone is thin or slices are thick, its surface leaks into the orbits, face and
neck. An average brain tells it roughly where to stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from .head_grid import WORK_MM, BoolArray, FloatArray, Head, largest_part
from .itk_threads import one_thread
from .resources import shipped_folder
from .scan import LPS_FROM_RAS, as_image, to_world

FILE = shipped_folder("AverageBrain", "average_brain_data") / "average_brain.nii.gz"
"""MNI152 at 4 mm: 0 outside the brain; inside, the contrast of T2* (white matter darker than gray, CSF brightest)."""
CENTER_MM, TOP_MM = (0.0, -22.0, 10.0), 80.0
"""Center of the average brain and height of its top, in MNI mm."""
SKULL_MM = 8.0
"""Margin around the average brain that is compared too: it holds dark bone, whatever the contrast."""
SCALP_MM = 4.0
"""Rim of the head that is left out: with dark air around it, a brain as large as the head would fit best."""
GAP_MM = 12.0
"""Usual distance from the top of the head to the top of the brain."""
LIFTS_MM, LIFTS_OF_A_CUT_HEAD_MM = (-20.0, 0.0, 20.0), (40.0, 60.0)
"""Start heights of the registration; a head whose top is out of view may reach higher than it seems."""
NECK_MM = 90.0
"""Farther below the top of the head than this, face and neck shift the center of a slice."""
LEAST_VIEW_MM = 110.0
"""Smallest extent of the head along each axis for which the registration is reliable."""
LEAST_SLICE_MM2 = 2000.0
"""Cross-section from which a slice counts as the top of the head."""
SEED = 1
"""Seed of the sample positions that ITK draws; without one it takes the clock."""
REFINED = 2
"""Number of best starts that are refined, because the second may win."""
LOG_SCALE_SPREAD = 0.25
"""Natural logarithm of the factor by which a brain may be larger or smaller than the average."""


Placement = sitk.Similarity3DTransform | sitk.AffineTransform


class _Average(NamedTuple):
    signal: sitk.Image
    compared: sitk.Image
    depth_mm: sitk.Image


def brain_depth(head: Head, even: Head, affine: NDArray[np.float64]) -> FloatArray | None:
    """Register the average brain to a head and return how deep in it every voxel lies.

    Brain and surrounding skull are matched by mutual information, which needs no common contrast: first by shift,
    rotation and scale from several start heights, of which the best are refined by an affine transform.

    Parameters
    ----------
    head : magnitude
    even : the same head after `Head.evenly_lit`
    affine : (4, 4), voxel indices of the head's grid to RAS mm

    Returns
    -------
    (I, J, K) depth below the average brain's surface in mm, negative outside; None where too little of the head is in
    view
    """
    inner = _without_scalp(head, affine)
    view_mm = np.ptp(to_world(affine, np.argwhere(inner)), axis=0) if inner.any() else np.zeros(3)
    if view_mm.min() < LEAST_VIEW_MM:
        return None
    image, where = as_image(even.signal, affine), as_image(inner.astype(np.uint8), affine)
    with one_thread():
        matched = [(_match(start, image, where), start) for start in _starts(head, affine)]
        best = sorted((pair for pair in matched if np.isfinite(pair[0])), key=itemgetter(0))[:REFINED]
        refined = [_refine(start, image, where) for _, start in best]
    refined = [pair for pair in refined if np.isfinite(pair[0])]
    if not refined:
        return None
    _, placed = min(refined, key=itemgetter(0))
    depth = sitk.Resample(_average().depth_mm, image, placed.GetInverse(), sitk.sitkLinear, -40.0)
    return np.ascontiguousarray(sitk.GetArrayViewFromImage(depth).T)


@cache
def _average() -> _Average:
    signal = sitk.Cast(sitk.ReadImage(str(FILE)), sitk.sitkFloat32)
    to_rim_mm = sitk.SignedMaurerDistanceMap(
        signal > 0, insideIsPositive=True, squaredDistance=False, useImageSpacing=True
    )
    depth_mm = to_rim_mm + signal.GetSpacing()[0] / 2  # the surface is half a voxel beyond the outermost centers
    return _Average(signal, depth_mm > -SKULL_MM, depth_mm)


def _without_scalp(head: Head, affine: NDArray[np.float64]) -> BoolArray:
    """The head and all that it encloses, without its outer rim; a head cut by the field of view has no rim there."""
    bright = largest_part(head.signal > head.threshold)
    margin = 6
    closed = ndimage.binary_closing(np.pad(bright, margin), iterations=4)[(slice(margin, -margin),) * 3] | bright
    axial = int(np.abs(affine[2, :3]).argmax())
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in np.moveaxis(closed, axial, 0)], axis=axial)
    depth_mm = ndimage.distance_transform_edt(np.pad(filled, 1, mode="edge"), WORK_MM)
    return np.asarray(depth_mm[1:-1, 1:-1, 1:-1] > SCALP_MM)


def _starts(head: Head, affine: NDArray[np.float64]) -> Iterator[sitk.Similarity3DTransform]:
    """Place the average brain, upright and unscaled, below the top of the head."""
    bright_mm = to_world(affine, np.argwhere(head.signal > head.threshold))
    levels = np.arange(bright_mm[:, 2].min(), bright_mm[:, 2].max() + 8, 4.0)
    area_mm2 = np.histogram(bright_mm[:, 2], levels)[0] * abs(np.linalg.det(affine[:3, :3])) / 4
    top = float(levels[1:][area_mm2 > LEAST_SLICE_MM2].max(initial=levels[1]))
    upper = bright_mm[bright_mm[:, 2] > top - NECK_MM]
    middle = np.percentile(upper[:, :2], (2, 98), axis=0).mean(axis=0)
    corners = to_world(affine, np.array(list(np.ndindex(2, 2, 2))) * (np.array(head.signal.shape) - 1))
    is_cut = top > corners[:, 2].max() - 8
    for lift in (*LIFTS_MM, *(LIFTS_OF_A_CUT_HEAD_MM if is_cut else ())):
        center = np.array([*middle, top - GAP_MM - TOP_MM + CENTER_MM[2] + lift])
        start = sitk.Similarity3DTransform()
        start.SetCenter((LPS_FROM_RAS[:3, :3] @ CENTER_MM).tolist())
        start.SetTranslation((LPS_FROM_RAS[:3, :3] @ (center - CENTER_MM)).tolist())
        yield start


def _match(transform: sitk.Similarity3DTransform, image: sitk.Image, where: sitk.Image) -> float:
    """Fit shift, rotation and scale; the lower the result, the better, and infinite if the brain does not fit here."""
    method = _registration(where, bins=24, share=0.25, step_mm=4.0, least_mm=0.2, steps=60)
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0])
    return _run(method, transform, image)


def _refine(
    matched: sitk.Similarity3DTransform, image: sitk.Image, where: sitk.Image
) -> tuple[float, sitk.AffineTransform]:
    """Fit an affine transform; return the result as `_match` does, and the transform."""
    transform = sitk.AffineTransform(matched.GetMatrix(), matched.GetTranslation(), matched.GetCenter())
    method = _registration(where, bins=32, share=0.5, step_mm=2.0, least_mm=0.005, steps=200)
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([2.0])
    return _run(method, transform, image), transform


def _run(method: sitk.ImageRegistrationMethod, transform: Placement, image: sitk.Image) -> float:
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(_average().signal, image)
    except RuntimeError:  # the brain has left the head
        return np.inf
    scale = np.cbrt(abs(np.linalg.det(np.reshape(transform.GetMatrix(), (3, 3)))))
    plausible = 1 - (np.log(scale) / LOG_SCALE_SPREAD) ** 2
    return float(method.GetMetricValue() * plausible) if plausible > 0 else np.inf


def _registration(
    where: sitk.Image, bins: int, share: float, step_mm: float, least_mm: float, steps: int
) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(bins)
    method.SetMetricFixedMask(_average().compared)
    method.SetMetricMovingMask(where)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(share, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(step_mm, least_mm, steps, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    return method
