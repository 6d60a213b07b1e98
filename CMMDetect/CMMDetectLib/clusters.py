"""From a probability map to clusters, one per lesion, and their measures.

Clusters are 26-connected (4.1 of the paper). A threshold can split one lesion or bridge two; `find_clusters` corrects
both, since a reader judges lesions and not the accidents of a threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .frst import resolved_axes

SAME_LESION_MM = 5.0
"""Peaks closer than this are one lesion if they are bridged above `BRIDGE_FRACTION`."""
BRIDGE_FRACTION = 0.5
"""Fragments are joined if they touch above this fraction of the threshold."""
BESIDE_MM = 2.5
"""A faint fragment whose peak is this close to a lesion, within its extent, belongs to it, whatever lies between."""
SADDLE_DEPTH = 0.2
"""Peaks of one cluster are two lesions if the probability between them falls by this much."""
SURROUNDINGS_MM = 4.0
"""Margin of the box around a lesion that counts as its surroundings."""
TOUCHING = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class ClusterMeasures:
    """Measures of N clusters, in the order of their labels 1 to N.

    Attributes
    ----------
    centroid_vox : (N, 3) float64
        Mean of the voxel indices, weighted by the given weights.
    volume_mm3 : (N,) float64
    peak : (N,) float32
        Highest weight.
    ellipticity : (N,) float64
        1 - middle axis / longest axis, see `ellipticity`.
    """

    centroid_vox: NDArray[np.float64]
    volume_mm3: NDArray[np.float64]
    peak: NDArray[np.float32]
    ellipticity: NDArray[np.float64]


def find_clusters(
    probability: NDArray[np.float32], threshold: float, spacing_mm: tuple[float, float, float], extent: float = 0.0
) -> tuple[NDArray[np.int32], int]:
    """Label the lesions above a threshold.

    Parameters
    ----------
    probability : (I, J, K)
    threshold : a lesion is where the probability reaches it
    spacing_mm : of the grid
    extent : a lesion consists of the voxels with at least this share of its highest probability; with the threshold
        alone, one that is low enough for faint lesions would draw clear ones too large and turn faint fragments beside
        them into lesions of their own

    Returns
    -------
    labels : (I, J, K) int32
        0 is background; the labels 1 to N are in no particular order.
    count : int
        N.
    """
    labels, count = ndimage.label(probability >= threshold, TOUCHING)
    labels = labels.astype(np.int32, copy=False)
    count = _split_bridged(labels, count, probability, spacing_mm)
    labels, count = _join_fragments(labels, count, probability, threshold, spacing_mm)
    labels = _within_extent(labels, count, probability, extent)
    return _without_crumbs(labels, count, probability, extent, spacing_mm)


def measure_clusters(
    labels: NDArray[np.int32], count: int, weight: NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> ClusterMeasures:
    """Measure the clusters 1 to ``count``, each voxel weighted by ``weight`` (not negative).

    Run time grows with the number of labeled voxels, not with the number of clusters.
    """
    voxels = np.argwhere(labels)
    of = labels[tuple(voxels.T)] - 1
    here = weight[tuple(voxels.T)].astype(np.float64) + np.finfo(np.float32).tiny
    total = np.bincount(of, here, count)
    centroid = np.empty((count, 3))
    for axis in range(3):
        centroid[:, axis] = np.bincount(of, here * voxels[:, axis], count) / total
    axes = resolved_axes(labels.shape, spacing_mm)
    spacing = np.array(spacing_mm)[list(axes)]
    offset_mm = (voxels - centroid[of])[:, axes] * spacing
    covariance = np.empty((count, len(axes), len(axes)))
    for a in range(len(axes)):
        for b in range(a, len(axes)):
            moment = np.bincount(of, here * offset_mm[:, a] * offset_mm[:, b], count) / total
            covariance[:, a, b] = covariance[:, b, a] = moment
    peak = np.zeros(count, np.float32)
    np.maximum.at(peak, of, weight[tuple(voxels.T)])
    volume = np.bincount(of, minlength=count).astype(np.float64) * np.prod(spacing_mm)
    return ClusterMeasures(centroid, volume, peak, ellipticity(covariance, spacing))


def lesion_centers(
    labels: NDArray[np.int32],
    clusters: ClusterMeasures,
    probability: NDArray[np.float32],
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Find the center of each lesion as the image shows it.

    A network is often sure of only one of the two thick slices that a lesion lies in, which puts the centroid of its
    cluster half a slice off. So the voxels that touch a cluster contribute to its center as well, each weighted by its
    contrast to the surroundings and by the square root of its probability.

    Parameters
    ----------
    labels : (I, J, K), the label ``n + 1`` for the cluster ``n`` of ``clusters``
    probability, image, mask : (I, J, K)
        Lesions are bright in ``image``; voxels outside ``mask`` do not contribute.

    Returns
    -------
    (N, 3) float64
        Voxel indices; the centroid where a cluster does not stand out.
    """
    centers = clusters.centroid_vox.copy()
    margin_vox = np.ceil(np.divide(SURROUNDINGS_MM, spacing_mm)).astype(int).tolist()
    for label, cluster in enumerate(ndimage.find_objects(labels), 1):
        box = tuple(slice(max(0, s.start - m), s.stop + m) for s, m in zip(cluster, margin_vox, strict=True))
        inside, of = mask[box], labels[box]
        has_part = inside & np.isin(of, (0, label)) & ndimage.binary_dilation(of == label, TOUCHING)
        standing_out = np.maximum(image[box] - np.median(image[box][inside]), 0)
        weight = np.where(has_part, np.sqrt(probability[box]) * standing_out, 0)
        if weight.any():
            centers[label - 1] = np.add(ndimage.center_of_mass(weight), [s.start for s in box])
    return centers


def ellipticity(covariance_mm2: NDArray[np.float64], spacing_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Elongation of a cluster beyond what its voxels explain: 1 - middle axis / longest axis.

    The paper (2.4) rejects tubular candidates of ellipticity above 0.2 without defining it. Here the axes are those of
    the solid ellipsoid with the cluster's second moments in mm. On a voxel grid a length is uncertain by the voxel's
    own extent along that axis: this extent is subtracted from the longest axis and added to the middle one. So a
    sphere scores 0 on any grid, as does a single voxel, and what remains is elongation that the grid cannot have
    caused. The middle axis is compared, not the shortest, because a flat lesion is not a tube.

    Where slices are more than twice as thick as the pixel, only the two in-plane axes are compared: the lobes of a
    microbleed's dipole field fill the slices above and below it, so that on 3 mm slices a 3 mm lesion is 9 mm high.

    Parameters
    ----------
    covariance_mm2 : (N, D, D), D 2 or 3
        Second central moments of each cluster's voxel centers.
    spacing_mm : (D,)

    Returns
    -------
    (N,) float64
        0 (round) to 1 (a line).
    """
    variance, axes = np.linalg.eigh(covariance_mm2)
    lengths = 2 * np.sqrt(5 * np.maximum(variance, 0))
    voxel = np.linalg.norm(axes * spacing_mm[None, :, None], axis=1)
    longest = lengths[:, -1] - voxel[:, -1]
    middle = lengths[:, -2] + voxel[:, -2]
    return np.where(longest > middle, 1 - middle / np.maximum(longest, 1e-9), 0.0)


def edge_distance_mm(
    points_vox: NDArray[np.float64], mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Distance in mm, (N,), of points, (N, 3) voxel indices, to the nearest voxel outside the mask.

    The border of the volume is not an edge, since the brain continues there. Without any voxel outside the mask the
    distance is infinite.
    """
    rim = ndimage.binary_dilation(mask) & ~mask
    outside = np.argwhere(rim)
    if not len(outside):
        return np.full(len(points_vox), np.inf)
    return cKDTree(outside * np.asarray(spacing_mm)).query(points_vox * np.asarray(spacing_mm))[0]


def _split_bridged(
    labels: NDArray[np.int32],
    count: int,
    probability: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
) -> int:
    """Split each cluster that is long enough for two lesions into watershed basins, in place; return the new count."""
    maxima = (labels > 0) & (probability == ndimage.maximum_filter(probability, 3))
    has_several = np.bincount(labels[maxima], minlength=count + 1) > 1
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        extent_mm = [(part.stop - part.start - 1) * step for part, step in zip(box, spacing_mm, strict=True)]
        if not has_several[label] or np.linalg.norm(extent_mm) <= SAME_LESION_MM:
            continue
        inside = labels[box] == label
        depth = sitk.GetImageFromArray(np.where(inside, 1 - probability[box], np.float32(2)))
        basins = sitk.GetArrayFromImage(sitk.MorphologicalWatershed(depth, SADDLE_DEPTH, False, True))
        for basin in np.unique(basins[inside])[1:]:
            count += 1
            labels[box][inside & (basins == basin)] = count
    return count


def _join_fragments(
    labels: NDArray[np.int32],
    count: int,
    probability: NDArray[np.float32],
    threshold: float,
    spacing_mm: tuple[float, float, float],
) -> tuple[NDArray[np.int32], int]:
    """Join clusters whose peaks are close and which touch above a lower threshold."""
    if count < 2:
        return labels, count
    peak_vox = _peaks(labels, count, probability)
    bridged, _ = ndimage.label(probability >= BRIDGE_FRACTION * threshold, TOUCHING)
    component = bridged[tuple(peak_vox.T)]
    pairs = _close_pairs(peak_vox, spacing_mm)
    first, second = pairs[component[pairs[:, 0]] == component[pairs[:, 1]]].T
    links = coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count))
    joined, lesion = connected_components(links, directed=False)
    return np.concatenate([[0], lesion + 1]).astype(np.int32)[labels], joined


def _peaks(labels: NDArray[np.int32], count: int, probability: NDArray[np.float32]) -> NDArray[np.int_]:
    """Return the voxel of each cluster's highest probability, (N, 3)."""
    voxels = np.argwhere(labels)
    strongest_last = np.argsort(probability[tuple(voxels.T)], kind="stable")
    peak_vox = np.zeros((count, 3), int)
    peak_vox[labels[tuple(voxels.T)][strongest_last] - 1] = voxels[strongest_last]
    return peak_vox


def _close_pairs(peak_vox: NDArray[np.int_], spacing_mm: tuple[float, float, float]) -> NDArray[np.int_]:
    """Return the pairs of clusters whose peaks are close enough for one lesion, (M, 2), counted from 0."""
    return cKDTree(peak_vox * np.asarray(spacing_mm)).query_pairs(SAME_LESION_MM, output_type="ndarray")


def _within_extent(
    labels: NDArray[np.int32], count: int, probability: NDArray[np.float32], extent: float
) -> NDArray[np.int32]:
    """Remove from each cluster the voxels below the share ``extent`` of its highest probability, in place."""
    inside = np.nonzero(labels)
    of, here = labels[inside], probability[inside]
    highest = np.zeros(count + 1, probability.dtype)
    np.maximum.at(highest, of, here)
    labels[inside] = np.where(here >= extent * highest[of], of, 0)
    return labels


def _without_crumbs(
    labels: NDArray[np.int32],
    count: int,
    probability: NDArray[np.float32],
    extent: float,
    spacing_mm: tuple[float, float, float],
) -> tuple[NDArray[np.int32], int]:
    """Remove each cluster that lies beside a lesion and is too faint to be part of its extent."""
    if count < 2:
        return labels, count
    peak_vox = _peaks(labels, count, probability)
    peak = probability[tuple(peak_vox.T)]
    boxes = ndimage.find_objects(labels)

    def is_beside(crumb: int, lesion: int) -> bool:
        box = boxes[lesion]
        away_vox = np.argwhere(labels[box] == lesion + 1) + [part.start for part in box] - peak_vox[crumb]
        return bool(np.linalg.norm(away_vox * spacing_mm, axis=1).min() <= BESIDE_MM)

    is_lesion = np.ones(count, bool)
    for pair in _close_pairs(peak_vox, spacing_mm).tolist():
        crumb, lesion = sorted(pair, key=peak.__getitem__)
        if peak[crumb] < extent * peak[lesion] and is_beside(crumb, lesion):
            is_lesion[crumb] = False
    numbers = np.where(is_lesion, np.cumsum(is_lesion), 0)
    return np.concatenate([[0], numbers]).astype(np.int32)[labels], int(is_lesion.sum())
