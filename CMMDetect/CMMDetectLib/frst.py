"""Fast radial symmetry transform (FRST): how much the edges around a point look like a bright sphere.

After G. Loy and A. Zelinsky, "A fast radial symmetry transform for detecting points of interest", ECCV 2002;
section 2.2 of the paper. The paper averages radii of 2, 3, 4 and 6 voxels of 0.8 mm; here radii are lengths in mm, and
two shorter ones respond to microbleeds below 3 mm, which the paper's four leave near 0.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

RADII_MM = (0.8, 1.2, 1.6, 2.4, 3.2, 4.8)
STRICTNESS = 2  # alpha of Loy and Zelinsky
SMOOTHING_MM = 0.4  # before the gradient: half the pixel of common SWI, so that small lesions keep their edge
SPREAD = 0.25  # sigma of the Gaussian A_n over n
FULL_VOTE = 0.75  # share of a ring that counts as a complete ring
THRESHOLD = 2.0  # times the median gradient; pure noise exceeds it in 6 % (2D) or 2 % (3D) of the voxels
STRONG_EDGE = 90  # percentile of the voting gradients from which an edge has full weight
FAINT_EDGE = 0.1  # share of that strength below which an edge does not vote at all
THICK_SLICES = 2.0
FWHM = 2.355  # full width at half maximum of a Gaussian, in sigmas


@dataclass(frozen=True)
class _Voters:
    """The voxels that vote: their position, 1 mm along their gradient in voxels, and their weight."""

    position_vox: NDArray[np.int32]  # (3, N)
    step_vox: NDArray[np.float32]  # (3, N); 0 along an axis that is not voted along
    count: NDArray[np.float32]  # (N,)
    magnitude: NDArray[np.float32]  # (N,), at most `count`


def radial_symmetry(
    image: NDArray[np.float32],
    spacing_mm: Sequence[float],
    radii_mm: Sequence[float] = RADII_MM,
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Mean over the radii of the fast radial symmetry transform, for bright structures.

    Every voxel with a distinct gradient votes for the point ``n`` mm along its gradient, once with 1 (O_n) and
    once with the gradient's strength (M_n); ``S_n = M_n / k_n * min(O_n / k_n, 1) ** 2``.

    Parameters
    ----------
    image
        (i, j, k), lesions bright, any scale and offset.
    spacing_mm
        Voxel size. If slices are more than twice as thick as the pixel, voxels vote in plane, slice by slice; a voter
        is then weighted by the squared share of its gradient that lies in plane, so that a large sphere peaks in its
        middle slice and not in a slice where its cross-section happens to have one of the radii.
    radii_mm
        Radii ``n`` of the spheres (circles in plane) that are searched.
    mask
        Only voxels in it, and not at its rim, vote, and nothing outside it enters a gradient, so that the edge of
        the brain casts no votes. Without a mask the whole grid is tissue.

    Returns
    -------
    float32 of the shape of ``image``, >= 0, 0 outside the mask.

    Notes
    -----
    The result has no unit and is comparable between scans and grids: the same lesion gives about the same value
    at every spacing, a sharp sphere of 1.5 mm 0.4-0.7, of 3 or 5 mm 0.5-0.9, a vessel of 1-2 mm less than 0.2.
    Gradients are compared with their own median in the mask (threshold) and with their 90th percentile above the
    threshold (full strength), so scale and offset of the image do not matter, and neither does one hot voxel.
    Votes fall between voxels by linear interpolation. The Gaussian A_n (sigma ``n / 4``) is applied to the vote
    images before they are multiplied, not after: on a fine grid the votes of a real lesion never meet in one
    voxel. ``k_n`` is what three quarters of a complete ring (circle or sphere) of edges leave at its center, in
    place of Loy and Zelinsky's 9.9, which holds for one pixel size in 2D.
    """
    inside = np.ones(image.shape, bool) if mask is None else mask
    axes = resolved_axes(image.shape, spacing_mm)
    voters = _find_voters(image, inside, spacing_mm, axes)
    symmetry = np.zeros(image.shape, np.float32)
    if voters is None:
        return symmetry
    with ThreadPoolExecutor(max_workers=2) as threads:  # O_n and M_n side by side
        for radius in radii_mm:
            spread = partial(_spread, sigma_vox=[SPREAD * radius / s for s in spacing_mm])
            count, strength = threads.map(spread, _vote(voters, radius, image.shape, axes))
            full = np.float32(_full_vote(radius, spacing_mm, axes))
            np.minimum(count / full, 1, out=count)
            symmetry += strength * count**STRICTNESS / (full * len(radii_mm))
    symmetry[~inside] = 0
    return symmetry


def resolved_axes(shape: Sequence[int], spacing_mm: Sequence[float], thick: float = THICK_SLICES) -> tuple[int, ...]:
    """The axes along which a sphere is resolved: all three, or the two in-plane axes where slices are thick.

    >>> resolved_axes((256, 288, 48), (0.8, 0.8, 3.0))
    (0, 1)
    >>> resolved_axes((160, 512, 512), (1.0, 0.5, 0.5))
    (0, 1, 2)
    """
    through = int(np.argmax(spacing_mm))
    plane = tuple(axis for axis in range(3) if axis != through)
    # A spacing read from an affine carries rounding: exactly twice is still 3D.
    is_thick = spacing_mm[through] > 1.001 * thick * max(spacing_mm[axis] for axis in plane)
    return plane if is_thick or shape[through] == 1 else (0, 1, 2)


def relative_to_median(image: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The image minus its median inside; 0 outside. ``inside`` must not be empty."""
    return np.where(inside, image - np.median(image[inside]), 0).astype(np.float32, copy=False)


def smooth_inside(
    image: NDArray[np.float32], inside: NDArray[np.bool_], sigma_vox: Sequence[float]
) -> NDArray[np.float32]:
    """Gaussian smoothing to which only voxels inside contribute (normalized convolution).

    Voxels just outside continue the inside smoothly; farther out the values fade to 0.
    """
    smooth = ndimage.gaussian_filter(image, sigma_vox, mode="nearest", truncate=3)
    if not inside.all():
        weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma_vox, mode="nearest", truncate=3)
        np.divide(smooth, weight, out=smooth, where=weight > 0.05)
    return smooth


def _find_voters(
    image: NDArray[np.float32], inside: NDArray[np.bool_], spacing_mm: Sequence[float], axes: tuple[int, ...]
) -> _Voters | None:
    """Voxels whose gradient clearly exceeds the median gradient, away from the rim of the mask."""
    eligible = _without_rim(inside, axes)
    if not eligible.any():
        return None
    sigma_vox = [SMOOTHING_MM / spacing_mm[axis] if axis in axes else 0 for axis in range(3)]
    gradient = _gradient(smooth_inside(relative_to_median(image, inside), inside, sigma_vox), spacing_mm)
    squared = reduce(np.add, (gradient[axis] ** 2 for axis in axes))
    eligible &= squared > THRESHOLD**2 * np.median(squared[eligible])
    position = np.stack(np.nonzero(eligible)).astype(np.int32)
    if position.shape[1] == 0:
        return None
    magnitude = np.sqrt(squared[eligible])
    components = np.stack([g[eligible] for g in gradient])
    strong = np.float32(np.percentile(magnitude, STRONG_EDGE))
    # Without noise the median is 0, and the faint skirts of edges would vote for wrong distances.
    chosen = magnitude > FAINT_EDGE * strong
    magnitude, components = magnitude[chosen], components[:, chosen]
    in_plane = magnitude**2 / (components**2).sum(axis=0)
    step = np.zeros_like(components)
    for axis in axes:
        step[axis] = components[axis] / (magnitude * np.float32(spacing_mm[axis]))
    return _Voters(position[:, chosen], step, in_plane, in_plane * np.minimum(magnitude / strong, 1))


def _without_rim(inside: NDArray[np.bool_], axes: tuple[int, ...]) -> NDArray[np.bool_]:
    """Voxels whose neighbors along the axes are inside too; the border of the grid does not count as a rim."""
    cross = ndimage.generate_binary_structure(3, 1)
    for axis in set(range(3)) - set(axes):
        cross.swapaxes(0, axis)[[0, 2]] = False
    return ndimage.binary_erosion(inside, cross, border_value=1)


def _gradient(image: NDArray[np.float32], spacing_mm: Sequence[float]) -> list[NDArray[np.float32]]:
    """Central differences per mm; 0 along an axis of one voxel."""
    return [
        np.gradient(image, np.float32(s), axis=axis) if image.shape[axis] > 1 else np.zeros_like(image)
        for axis, s in enumerate(spacing_mm)
    ]


def _vote(
    voters: _Voters, radius_mm: float, shape: Sequence[int], axes: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The vote images O_n and M_n; a vote is shared linearly among the voxels around the point it falls on."""
    count, strength = (np.zeros(int(np.prod(shape)), np.float32) for _ in range(2))
    target = voters.position_vox + np.float32(radius_mm) * voters.step_vox
    for index, share in _corners(target, shape, axes):
        np.add.at(count, index, share * voters.count)
        np.add.at(strength, index, share * voters.magnitude)
    return count.reshape(shape), strength.reshape(shape)


def _spread(votes: NDArray[np.float32], sigma_vox: Sequence[float]) -> NDArray[np.float32]:
    """The Gaussian A_n, in place."""
    return ndimage.gaussian_filter(votes, sigma_vox, output=votes, mode="constant", truncate=3)


def _corners(
    target_vox: NDArray[np.float32], shape: Sequence[int], axes: tuple[int, ...]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Flat index and linear weight of each grid point around the targets; weight 0 for those off the grid."""
    low = np.floor(target_vox).astype(np.int32)
    part = target_vox - low
    for upper in product(*((0, 1) if axis in axes else (0,) for axis in range(3))):
        flat = np.zeros(target_vox.shape[1], np.intp)
        share = np.ones(target_vox.shape[1], np.float32)
        for axis, is_upper in enumerate(upper):
            index = low[axis] + is_upper
            share *= part[axis] if is_upper else 1 - part[axis]
            share *= (index >= 0) & (index < shape[axis])
            flat = flat * shape[axis] + np.clip(index, 0, shape[axis] - 1)
        yield flat, share


def _full_vote(radius_mm: float, spacing_mm: Sequence[float], axes: tuple[int, ...]) -> float:
    """k_n: the votes at the center of most of a ring (circle or sphere) of edges, after linear sharing and A_n."""
    spacing = np.asarray([spacing_mm[axis] for axis in axes])
    cell = float(np.prod(spacing))
    pixel = cell ** (1 / len(axes))
    edge_mm = float(np.hypot(pixel, FWHM * SMOOTHING_MM))
    ring = 2 * np.pi * radius_mm if len(axes) == 2 else 4 * np.pi * radius_mm**2
    # Linear sharing is a triangle of variance spacing^2 / 6 that comes before the Gaussian.
    spread_mm = np.sqrt((SPREAD * radius_mm) ** 2 + spacing**2 / 6)
    return FULL_VOTE * ring * edge_mm / float(np.prod(np.sqrt(2 * np.pi) * spread_mm))
