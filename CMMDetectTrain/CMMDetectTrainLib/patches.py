"""Training patches: where they lie in the cases, and how an epoch draws them (2.2, 2.3, 2.5).

Cases are cut into a grid of adjacent patches, or around candidates. An epoch is a list of draws, each a place and a
seed. A patch is read when it is needed and depends only on its draw, so that any epoch can be repeated from any point,
by any number of loader processes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from CMMDetectLib.inference import PATCH_VOX
from CMMDetectLib.network_grid import Shape

from .augmentation import NONE, Augmentation
from .cases import Case

DETECTOR_PATCH_VOX = 48
CLASSIFIER_PATCH_VOX = PATCH_VOX
VALIDATION_PART = 4
"""An epoch's limit of patches, divided by this, is the limit of patches to validate on."""
USUAL_LESION_VOX = 30
LESION_WEIGHTS = (0.1, 8.0)
"""Least and greatest weight of the voxels of a microbleed; one of `USUAL_LESION_VOX` voxels has the weight 1."""
LEAST_BRAIN_SHARE = 0.05
"""Least share of brain in a patch without microbleeds."""
Start = tuple[int, int, int]


@dataclass(frozen=True)
class Place:
    """A patch in a case.

    Attributes
    ----------
    start : first voxel; may be negative: the patch is then padded with zeros
    shape : voxels along each axis
    positive : whether a microbleed lies in it, or the candidate at its center is one
    """

    case: Case
    start: Start
    shape: Shape
    positive: bool


@dataclass(frozen=True)
class SplitPlaces:
    """The patches of the training subjects and those of the validation subjects."""

    training: Sequence[Place]
    validation: Sequence[Place]

    @property
    def origin(self) -> str:
        """Digest of the places and of the data that their cases were made from."""
        digest = hashlib.sha256()
        for place in (*self.training, *self.validation):
            case = place.case
            digest.update(repr((case.name, case.origin, place.start, place.shape, place.positive)).encode())
        return f"{len(self.training)} {digest.hexdigest()}"


@dataclass(frozen=True)
class Sampling:
    """How epochs are drawn; ``most`` is the largest number of patches in an epoch, None for all."""

    augmentation: Augmentation
    seed: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Draw:
    """A place in an epoch, with the seed of its augmentation."""

    place: Place
    seed: tuple[int, ...]


def grid_places(case: Case, shape: Shape) -> list[Place]:
    """Cut a case into adjacent patches (2.2: 48^3; 2.3.1: 24^3).

    The last patch of an axis is moved back to end with the case. Patches with hardly any brain, and those whose only
    microbleeds are not visible, are left out.
    """
    labels, mask = np.asarray(case.labels), np.asarray(case.mask)
    places = []
    for i, j, k in product(*map(_starts, case.shape, shape)):
        region = tuple(slice(max(first, 0), first + size) for first, size in zip((i, j, k), shape, strict=True))
        found = labels[region]
        if (found > 0).any():
            places.append(Place(case, (i, j, k), shape, positive=True))
        elif not found.any() and mask[region].sum() >= LEAST_BRAIN_SHARE * min(math.prod(shape), mask.size):
            places.append(Place(case, (i, j, k), shape, positive=False))
    return places


def centered_place(case: Case, center_vox: Sequence[float], shape: Shape, positive: bool) -> Place:
    """Return the patch around a candidate (2.3.2); see `inference.cut_patches`."""
    i, j, k = (int(np.rint(value)) - size // 2 for value, size in zip(center_vox, shape, strict=True))
    return Place(case, (i, j, k), shape, positive)


def draw_epoch(places: Sequence[Place], sampling: Sampling, epoch: int) -> list[Draw]:
    """Draw an epoch: each patch with a microbleed `Augmentation.factor` times, as many without, in random order.

    A scan has many more patches without microbleeds than with: each epoch draws others, and none is drawn twice in an
    epoch before all have been drawn.
    """
    rng = np.random.default_rng([sampling.seed, epoch])
    positive = [place for place in places if place.positive]
    negative = [place for place in places if not place.positive]
    many = sampling.augmentation.factor * len(positive or negative)
    if sampling.most is not None:
        many = min(many, max(1, sampling.most // 2))
    drawn = [*_drawn(positive, many, rng), *_drawn(negative, many, rng)]
    order = rng.permutation(len(drawn))
    return [Draw(drawn[index], (sampling.seed, epoch, number)) for number, index in enumerate(order)]


def draw_validation(places: Sequence[Place], sampling: Sampling) -> list[Draw]:
    """Draw the patches that every epoch is validated on: fewer than an epoch's, not augmented, always the same."""
    most = None if sampling.most is None else -(-sampling.most // VALIDATION_PART)
    return draw_epoch(places, replace(sampling, augmentation=NONE, most=most), 0)


def every_place(places: Iterable[Place]) -> list[Draw]:
    """Return a draw of each place, in order."""
    return [Draw(place, (number,)) for number, place in enumerate(places)]


class PatchSet(Dataset[tuple[Tensor, ...]]):
    """The patches of an epoch: channels (C, I, J, K) float32, labels (I, J, K) int64, weights (I, J, K) float32.

    Labels are 0, 1 and `cases.NOT_JUDGED`; weights are those of `lesion_weights`.
    """

    def __init__(self, draws: Sequence[Draw], augmentation: Augmentation = NONE) -> None:
        self._draws = draws
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self._draws)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        channels, labels = cut(self._draws[index], self._augmentation)
        weights = lesion_weights(labels)
        return torch.from_numpy(channels), torch.from_numpy(np.minimum(labels, 1)), torch.from_numpy(weights)


class CandidateSet(PatchSet):
    """Patches around candidates with their class: (C, I, J, K) float32, and int64 0 or 1."""

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        channels, _ = cut(self._draws[index], self._augmentation)
        return torch.from_numpy(channels), torch.tensor(int(self._draws[index].place.positive))


def cut(draw: Draw, augmentation: Augmentation) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read a patch and augment it.

    Returns
    -------
    channels : (C, I, J, K); zero beyond the case
    labels : (I, J, K) of 0, the number of a microbleed, and `cases.NOT_JUDGED`
    """
    place = draw.place
    rng = np.random.default_rng(draw.seed)
    start = np.array(place.start) + _within(place, augmentation.offset(rng))
    channels = cut_region(place.case.channels, start, place.shape).astype(np.float32)
    labels = cut_region(place.case.labels[None], start, place.shape)[0].astype(np.int64)
    return augmentation.apply(channels, labels, rng) if augmentation != NONE else (channels, labels)


def lesion_weights(labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Weight the voxels of a patch, (I, J, K), so that each microbleed counts about the same; tissue has weight 1.

    Microbleeds are counted one by one but differ in volume by a factor of a hundred. With equal weights of all voxels,
    the small ones, which are the majority, would hardly contribute to the loss and would not be found.

    >>> lesion_weights(np.array([0, 7, -1])).tolist()
    [1.0, 8.0, 1.0]
    """
    size = np.bincount(np.maximum(labels, 0).ravel())
    weight = np.clip(USUAL_LESION_VOX / np.maximum(size, 1), *LESION_WEIGHTS).astype(np.float32)
    weight[0] = 1
    return weight[np.maximum(labels, 0)]


def cut_region(volume: NDArray[Any], start: NDArray[np.int64], shape: Shape) -> NDArray[Any]:
    """Cut (C, *shape) out of (C, I, J, K); only that part is read, and it is zero beyond the volume.

    >>> cut_region(np.arange(3).reshape(1, 3, 1, 1), np.array([2, 0, 0]), (2, 2, 2))[0, :, 0, 0]
    array([2, 0])
    """
    first = np.maximum(start, 0)
    last = np.minimum(start + shape, volume.shape[1:])
    patch = np.zeros((volume.shape[0], *shape), volume.dtype)
    if (last > first).all():
        inner = tuple(slice(a, b) for a, b in zip(first - start, last - start, strict=True))
        outer = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        patch[(slice(None), *inner)] = volume[(slice(None), *outer)]
    return patch


def _within(place: Place, offset: NDArray[np.int64]) -> NDArray[np.int64]:
    """Limit a translation so that a patch stays as far inside its case as it was."""
    start, room = np.array(place.start), np.array(place.case.shape) - place.shape
    low, high = np.minimum(-start, 0), np.maximum(room - start, 0)
    return np.clip(offset, low, high)


def _starts(length: int, size: int) -> list[int]:
    """Return the first voxels of adjacent patches along an axis.

    >>> _starts(100, 48), _starts(30, 48)
    ([0, 48, 52], [-9])
    """
    if length <= size:
        return [-((size - length) // 2)]
    return [min(first, length - size) for first in range(0, length, size)]


def _drawn(places: Sequence[Place], many: int, rng: np.random.Generator) -> list[Place]:
    rounds = -(-many // len(places)) if places else 0
    order = [index for _ in range(rounds) for index in rng.permutation(len(places))]
    return [places[index] for index in order[:many]]
