"""An analytic head for the preprocessing tests: scalp, skull, CSF, brain, eyes, sinus, neck, veins and voids.

Written in RAS millimetres about the middle of the brain, so that the same head can be sampled on any grid. What
a perfect brain extraction returns is the space inside the skull: on SWI and T2* the CSF is as bright as tissue.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIGNALS: dict[str, dict[str, float]] = {
    "swi": {
        "scalp": 0.7,
        "skull": 0.08,
        "csf": 0.9,
        "gray": 0.95,
        "white": 1.0,
        "eye": 0.8,
        "vein": 0.15,
        "muscle": 0.6,
    },
    "t2star": {
        "scalp": 1.4,
        "skull": 0.08,
        "csf": 1.9,
        "gray": 1.1,
        "white": 0.9,
        "eye": 2.0,
        "vein": 0.6,
        "muscle": 0.5,
    },
}
"""Signal by tissue. SWI: CSF close to tissue, veins dark. T2*: CSF bright, veins gray. Skull and air are dark in
both."""
VOIDS_MM = ((30.0, 10.0, 20.0, 4.0), (-35.0, -30.0, 10.0, 2.5), (0.0, 20.0, 48.0, 3.0), (-58.0, 0.0, 5.0, 3.0))


@dataclass(frozen=True)
class Head:
    """A simulated head: `signal`, the space inside the skull, and where signal voids (x, y, z, radius) lie."""

    signal: NDArray[np.float32]
    inside_skull: NDArray[np.bool_]
    voids: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]


def head(
    modality: str = "swi",
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 2.0),
    z_range_mm: tuple[float, float] = (-95.0, 95.0),
    noise: float = 0.03,
    bias: float = 0.2,
    seed: int = 0,
    open_base: bool = False,
) -> Head:
    """Sample the head on a 192 x 228 mm field of view between two heights.

    Parameters
    ----------
    modality
        Key of `SIGNALS`.
    spacing_mm
        Voxel size; thick slices average what lies within them.
    z_range_mm
        Field of view along z: (-60, 60) cuts the neck, (-20, 30) is a slab through the brain.
    noise
        Standard deviation of the complex noise behind the magnitude, relative to white matter;
        0 leaves air at exactly 0.
    bias
        Amplitude of the receive field's log.
    open_base
        Whether bone is missing below the front of the brain, as it seems where slices are thick: orbits and muscles
        as bright as brain touch it.
    """
    per_slice = max(1, round(spacing_mm[2] / 1.5))
    x, y, z = _grid(spacing_mm, z_range_mm, per_slice)
    regions = _regions(x, y, z)
    table = SIGNALS[modality]
    if open_base:
        regions["skull"] &= (z > -25) | (y < -20)
        regions["air"] &= False
        table = table | {"muscle": table["white"], "eye": table["white"]}
    signal = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.float32)
    for name, region in regions.items():
        signal[region] = table.get(name, 0.0)
    signal *= np.exp(bias * (np.cos(x / 50) * np.sin(y / 60 + 0.5) + 0.5 * np.sin(z / 55))).astype(np.float32)
    signal = ndimage.gaussian_filter(_average(signal, per_slice), 0.5)
    if noise:
        rng = np.random.default_rng(seed)
        signal = np.hypot(
            signal + noise * rng.standard_normal(signal.shape), noise * rng.standard_normal(signal.shape)
        )
    else:
        signal[signal < 0.02] = 0
    return Head(
        signal=signal.astype(np.float32),
        inside_skull=_average(regions["inside"].astype(np.float32), per_slice) >= 0.5,
        voids=_average(regions["void"].astype(np.float32), per_slice) >= 0.5,
        spacing_mm=spacing_mm,
    )


def affine_of(phantom: Head, z_range_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Voxel indices to RAS mm about the middle of the brain."""
    affine = np.diag([*phantom.spacing_mm, 1.0])
    affine[:3, 3] = -(np.array(phantom.signal.shape) - 1) / 2 * phantom.spacing_mm
    affine[2, 3] = z_range_mm[0] + phantom.spacing_mm[2] / 2
    return affine


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Overlap of two masks."""
    return 2 * float(np.count_nonzero(first & second)) / float(np.count_nonzero(first) + np.count_nonzero(second))


def _grid(spacing_mm: tuple[float, ...], z_range_mm: tuple[float, float], per_slice: int) -> list[NDArray[np.float64]]:
    shape = (round(192 / spacing_mm[0]), round(228 / spacing_mm[1]))
    slices = round((z_range_mm[1] - z_range_mm[0]) / spacing_mm[2])
    x = (np.arange(shape[0]) - (shape[0] - 1) / 2) * spacing_mm[0]
    y = (np.arange(shape[1]) - (shape[1] - 1) / 2) * spacing_mm[1]
    z = z_range_mm[0] + (np.arange(slices * per_slice) + 0.5) * spacing_mm[2] / per_slice
    return [x[:, None, None], y[None, :, None], z[None, None, :]]


def _average(volume: NDArray[np.float32], per_slice: int) -> NDArray[np.float32]:
    return volume.reshape(*volume.shape[:2], -1, per_slice).mean(axis=-1)


def _regions(x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Regions in painting order: a later one covers an earlier one."""
    cerebrum, cerebellum = (0.0, 0.0, 8.0), (0.0, -48.0, -40.0)
    neck = (np.hypot(x, y + 25) < 55) & (z < -40)
    canal = (np.hypot(x, (y + 28) * 1.1) < 9) & (z < -35)
    inside = (
        _ellipsoid(x, y, z, cerebrum, (68, 85, 62), flat_below=0.8)
        | _ellipsoid(x, y, z, cerebellum, (50, 36, 26))
        | (canal & (z > -75))
    )
    skull = (
        _ellipsoid(x, y, z, cerebrum, (75, 92, 69), flat_below=0.8)
        | _ellipsoid(x, y, z, cerebellum, (57, 43, 33))
        | ((np.hypot(x, y + 28) < 16) & (z < -35))
    )
    scalp = _ellipsoid(x, y, z, cerebrum, (81, 98, 75)) | _ellipsoid(x, y, z, (0, 45, -50), (60, 48, 60))
    sulci = np.sin(x / 3.1 + 1.3 * np.sin(y / 9)) * np.sin(y / 3.4 + np.sin(z / 8)) * np.sin(z / 3.7) > 0.25
    cortex = _ellipsoid(x, y, z, cerebrum, (65, 82, 59), flat_below=0.8)
    white = _ellipsoid(x, y, z, cerebrum, (54, 70, 48), flat_below=0.8)
    regions = {
        "muscle": (scalp & ~skull & (z < -25)) | neck,
        "scalp": scalp & (z >= -25),
        "skull": skull,
        "inside": inside,
        "csf": inside,
        "gray": (cortex & (~sulci | white) & (np.abs(x) > 1.5)) | (canal & (np.hypot(x, y + 28) < 6)),
        "white": white & (np.abs(x) > 3),
    }
    regions["gray"] |= _ellipsoid(x, y, z, cerebellum, (47, 33, 23)) | _ellipsoid(x, y, z, (0, -20, -35), (14, 14, 26))
    regions["ventricle"] = regions["csf"] & (
        _ellipsoid(x, y, z, (9, 0, 14), (6, 26, 8)) | _ellipsoid(x, y, z, (-9, 0, 14), (6, 26, 8))
    )
    regions["eye"] = _ellipsoid(x, y, z, (32, 82, -38), (12, 12, 12)) | _ellipsoid(
        x, y, z, (-32, 82, -38), (12, 12, 12)
    )
    regions["vein"] = _veins(x, y, z) & inside
    regions["air"] = _ellipsoid(x, y, z, (0, 70, -38), (16, 16, 14))
    regions["void"] = np.zeros(inside.shape, bool)
    for *center, radius in VOIDS_MM:
        regions["void"] |= _ellipsoid(x, y, z, (center[0], center[1], center[2]), (radius, radius, radius))
    regions["csf"] = regions["csf"] | regions.pop("ventricle")
    return regions


def _ellipsoid(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    z: NDArray[np.float64],
    center: tuple[float, float, float],
    radii: tuple[float, float, float],
    flat_below: float = 1.0,
) -> NDArray[np.bool_]:
    below = np.where(z < center[2], flat_below * radii[2], radii[2])
    return (((x - center[0]) / radii[0]) ** 2 + ((y - center[1]) / radii[1]) ** 2 + ((z - center[2]) / below) ** 2) < 1


def _veins(x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Sagittal sinus, and a fan of 2-3 mm veins toward the surface."""
    found = (np.abs(x) < 3) & (np.abs(np.hypot(y / 82, (z - 8) / 59) - 1) < 0.05) & (z > 0)
    for y0, z0, width in ((-50, 40, 1.5), (-25, 45, 1.0), (5, 50, 1.2), (35, 35, 1.5)):
        bend = 6 * np.sin(x / 15)
        found = found | (np.hypot(y - y0 - bend, z - z0 + np.abs(x) / 3) < width)
    return found
