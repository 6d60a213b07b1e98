"""Teacher to student: the candidates of stage 1, and the student that learns to classify them (2.3.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from CMMDetectLib.candidates import write_json
from CMMDetectLib.clusters import find_clusters, measure_clusters
from CMMDetectLib.devices import Compute
from CMMDetectLib.inference import fused, microbleed_probabilities, microbleed_probability
from CMMDetectLib.matching import shared_voxels
from CMMDetectLib.network_grid import Shape
from CMMDetectLib.networks import CandidateDetector, Student, Teacher
from CMMDetectLib.paper_method import PaperMethod
from CMMDetectLib.progress import Tick
from CMMDetectLib.results import prepare_folder

from .cases import NOT_JUDGED, Case
from .losses import student_loss
from .patches import CandidateSet, Place, Sampling, SplitPlaces, centered_place, draw_epoch, draw_validation
from .training import Batch, Task, fingerprint

BATCH = 8
"""Number of patches that stage 1 processes at once."""


def candidate_places(
    detector: CandidateDetector,
    cases: Sequence[Case],
    shape: Shape,
    threshold: float,
    compute: Compute,
    folder: Path,
    tick: Tick = lambda _: None,
) -> list[Place]:
    """Run stage 1 over cases and return the patches around its true and false candidates.

    A candidate is true if its cluster shares a voxel with a microbleed (4.1). One that shares voxels only with
    microbleeds that are not visible is left out.

    Parameters
    ----------
    shape : shape of a patch in voxels
    threshold : Th_Cdet of the candidates
    folder : stores the result shelf by shelf, so that an interrupted search can be resumed
    tick : called with the finished fraction
    """
    prepare_folder(folder)
    key = {"detector": fingerprint(detector), "threshold": threshold}
    places: list[Place] = []
    done = 0
    for shelf, group in groupby(cases, key=lambda case: case.shelf):
        on_shelf = list(group)
        path = folder / f"{shelf.name}-candidates.json"
        found = _read(path, key, on_shelf)
        if found is None:
            probabilities = _probabilities(detector, on_shelf, compute)
            found = [_candidates(case, p, threshold) for case, p in zip(on_shelf, probabilities, strict=True)]
            write_json(path, {"key": key, "cases": {case.name: f for case, f in zip(on_shelf, found, strict=True)}})
        for case, candidates in zip(on_shelf, found, strict=True):
            places += [centered_place(case, (i, j, k), shape, bool(true)) for i, j, k, true in candidates]
        done += len(on_shelf)
        tick(done / len(cases))
    return places


def student_task(
    network: Student,
    teacher: Teacher | None,
    places: SplitPlaces,
    sampling: Sampling,
    compute: Compute,
) -> Task:
    """Stage 2: classify a patch around a candidate as microbleed or not, guided by the teacher.

    Parameters
    ----------
    teacher : in any mode; it is not changed. None trains on the classes alone
    places : result of `candidate_places`
    """
    guide = None if teacher is None else fused(teacher, compute)

    def loss(student: nn.Module, batch: Batch) -> Tensor:
        channels, classes = batch
        logits = student(channels)
        if guide is None:
            return functional.cross_entropy(logits.float(), classes)
        return student_loss(logits, classes, teacher_logits(guide, channels))

    def draw(epoch: int) -> CandidateSet:
        return CandidateSet(draw_epoch(places.training, sampling, epoch), sampling.augmentation)

    validation = CandidateSet(draw_validation(places.validation, sampling))
    origin = places.origin if teacher is None else f"{places.origin} {fingerprint(teacher)}"
    return Task("student", network, loss, draw, validation, origin)


@torch.no_grad()
def teacher_logits(guide: nn.Module, channels: Tensor) -> Tensor:
    """Return the patch logits, (N, 2), of a teacher in inference mode (2.3.2)."""
    dtype = next(guide.parameters()).dtype
    return guide.classifier(guide.extractor(channels.to(dtype))[2]).float()  # type: ignore[operator]


def _probabilities(
    detector: CandidateDetector, on_shelf: Sequence[Case], compute: Compute
) -> Iterator[NDArray[np.float32]]:
    """Run stage 1 over the cases of a shelf: one scan, or many patches of one shape."""
    if len(on_shelf) == 1:
        channels, mask = np.asarray(on_shelf[0].channels, np.float32), np.array(on_shelf[0].mask)
        yield microbleed_probability(detector, channels, mask, compute, lambda _: None)
        return
    for first in range(0, len(on_shelf), BATCH):
        batch = on_shelf[first : first + BATCH]
        channels = np.stack([np.asarray(case.channels, np.float32) for case in batch])
        yield from microbleed_probabilities(detector, channels, np.stack([case.mask for case in batch]), compute)


def _candidates(
    case: Case, probability: NDArray[np.float32], threshold: float
) -> list[tuple[float, float, float, int]]:
    """Centroid in voxels and class of each candidate of a case."""
    labels, count = find_clusters(probability, threshold, case.spacing_mm, PaperMethod.extent)
    centers = measure_clusters(labels, count, probability, case.spacing_mm).centroid_vox
    true, unseen = _touching(labels, count, np.asarray(case.labels))
    judged = true | ~unseen
    found = zip(*np.round(centers[judged], 2).T.tolist(), true[judged].astype(int).tolist(), strict=True)
    return list(found)


def _touching(
    labels: NDArray[np.int32], count: int, truth: NDArray[np.int16]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which clusters, (N,), share a voxel with a visible microbleed, and which with one that is not visible."""
    kinds = np.where(truth == NOT_JUDGED, 2, truth > 0).astype(np.int32)
    shared = shared_voxels(labels, kinds, count, 2) > 0
    return shared[:, 0], shared[:, 1]


def _read(
    path: Path, key: dict[str, object], cases: Sequence[Case]
) -> list[list[tuple[float, float, float, int]]] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["key"] != key:
            return None
        return [content["cases"][case.name] for case in cases]
    except (OSError, ValueError, KeyError):
        return None
