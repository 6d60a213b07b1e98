"""Where the brain must be in a head: an average brain, laid over the scan by an affine registration.

BET knows no brain, only bright and dark: where bone is thin or the slices are thick, its surface runs out into orbits,
face and neck. An average brain knows roughly where to stop.
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

#: MNI152 on 4 mm: 0 outside the brain, inside as on T2*, that is white matter below gray matter below CSF.
FILE = shipped_folder("AverageBrain", "average_brain_data") / "average_brain.nii.gz"
CENTER_MM, TOP_MM = (0.0, -22.0, 10.0), 80.0
"""Of the average brain, MNI mm."""
SKULL_MM = 8.0
"""How far around the average brain the head is compared: dark bone lies there, whatever the contrast."""
SCALP_MM = 4.0
"""What is left out of the head's own rim: air is dark as well, and a brain as large as the head would fit it best."""
GAP_MM = 12.0
"""From the top of the head to the top of the brain."""
LIFTS_MM, LIFTS_OF_A_CUT_HEAD_MM = (-20.0, 0.0, 20.0), (40.0, 60.0)
"""Heights from which the registration starts; a head whose top is out of view may be higher than it seems."""
NECK_MM = 90.0
"""Below the top of the head by so much, face and neck begin to shift its middle."""
LEAST_VIEW_MM = 110.0
"""Of a head, along each axis; with less the average brain may find no hold."""
LEAST_SLICE_MM2 = 2000.0
"""Cross-section with which the top of the head begins."""
SEED = 1
"""Of the samples' places in their voxels, which ITK draws; by the clock if it is not told."""
REFINED = 2
"""Best starts that are refined, because the second may win."""
LOG_SCALE_SPREAD = 0.25
"""Natural log of how much larger or smaller than the average a brain may be."""


Placement = sitk.Similarity3DTransform | sitk.AffineTransform


class _Average(NamedTuple):
    signal: sitk.Image
    compared: sitk.Image
    depth_mm: sitk.Image


def brain_depth(head: Head, even: Head, affine: NDArray[np.float64]) -> FloatArray | None:
    """Lay the average brain over a head and give how deep in it every voxel lies.

    The brain and the skull around it are matched by mutual information, which needs no common contrast: shifted,
    turned and scaled from some heights, of which the best is refined affinely.

    Parameters
    ----------
    head : magnitude
    even : the same evenly lit
    affine : (4, 4), voxel indices of the head's grid to RAS mm

    Returns
    -------
    (I, J, K) mm below the average brain's surface, negative outside; None where too little of a head is in view
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
    """The head with all that it encloses, but for its outer rim; a head that is cut has none there."""
    bright = largest_part(head.signal > head.threshold)
    margin = 6
    closed = ndimage.binary_closing(np.pad(bright, margin), iterations=4)[(slice(margin, -margin),) * 3] | bright
    axial = int(np.abs(affine[2, :3]).argmax())
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in np.moveaxis(closed, axial, 0)], axis=axial)
    depth_mm = ndimage.distance_transform_edt(np.pad(filled, 1, mode="edge"), WORK_MM)
    return np.asarray(depth_mm[1:-1, 1:-1, 1:-1] > SCALP_MM)


def _starts(head: Head, affine: NDArray[np.float64]) -> Iterator[sitk.Similarity3DTransform]:
    """Put the average brain, upright and in its size, below the top of the head."""
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
    """Shift, turn and scale; the lower the result, the better, and infinite if the brain fits nowhere near."""
    method = _registration(where, bins=24, share=0.25, step_mm=4.0, least_mm=0.2, steps=60)
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0])
    return _run(method, transform, image)


def _refine(
    matched: sitk.Similarity3DTransform, image: sitk.Image, where: sitk.Image
) -> tuple[float, sitk.AffineTransform]:
    """Stretch and shear as well; give the fit, as of `_match`, and where the brain lies now."""
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
