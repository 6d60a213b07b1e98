"""Stage 1: from a prepared scan to candidates (2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidate, sphere_diameter
from .clusters import ClusterMeasures, edge_distance_mm, find_clusters, lesion_centers, measure_clusters
from .location import BrainFrame
from .methods import Method
from .preprocessing import PreparedScan
from .progress import Progress
from .scan import to_world


@dataclass(frozen=True)
class StageOne:
    """What stage 1 found, on the grid of the prepared scan.

    Attributes
    ----------
    probability : (I, J, K) float32
    labels : (I, J, K) int32
        Candidate ``n`` of ``candidates``, counted from 0, has the label ``n + 1``.
    clusters : ClusterMeasures
        Their centroids are the centers of the patches of stage 2.
    candidates : list of Candidate
        Positions are the lesion centers that the image shows; in no particular order, with provisional ids.
    brain : BrainFrame or None
        Center and size of the brain; None if the scan does not hold a whole brain.
    """

    probability: NDArray[np.float32]
    labels: NDArray[np.int32]
    clusters: ClusterMeasures
    candidates: list[Candidate]
    brain: BrainFrame | None


def detect(method: Method, prepared: PreparedScan, channels: NDArray[np.float32], progress: Progress) -> StageOne:
    """Threshold the method's probability map and turn every cluster into a candidate."""
    with progress.step("detection") as tick:
        probability = method.detect(channels, prepared, tick)
        threshold, spacing_mm = method.settings.th_detection, prepared.spacing_mm
        labels, count = find_clusters(probability, threshold, spacing_mm, method.extent)
        clusters = measure_clusters(labels, count, probability, spacing_mm)
        center_vox = lesion_centers(labels, clusters, probability, prepared.image, prepared.mask, spacing_mm)
        distance = edge_distance_mm(center_vox, prepared.mask, spacing_mm)
    position = to_world(prepared.affine, center_vox)
    candidates = [
        Candidate(
            id=f"cluster-{number}",
            x=float(position[number, 0]),
            y=float(position[number, 1]),
            z=float(position[number, 2]),
            p_detection=float(clusters.peak[number]),
            volume_mm3=float(clusters.volume_mm3[number]),
            diameter_mm=sphere_diameter(float(clusters.volume_mm3[number])),
            ellipticity=float(clusters.ellipticity[number]),
            skull_distance_mm=float(distance[number]) if np.isfinite(distance[number]) else None,
        )
        for number in range(count)
    ]
    return StageOne(probability, labels, clusters, candidates, BrainFrame.of(prepared))
