"""Small training cases and tasks: bright balls in noise, on shelves as the training reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from CMMDetectLib.bundle import ModelBundle, write_bundle
from CMMDetectLib.devices import Compute
from CMMDetectLib.networks import Student, Teacher
from CMMDetectLib.scan import Modality
from CMMDetectTrainLib.augmentation import Augmentation
from CMMDetectTrainLib.cases import NOT_JUDGED, Case, CaseArrays, read_shelf, write_shelf
from CMMDetectTrainLib.distillation import student_task
from CMMDetectTrainLib.patches import Sampling, SplitPlaces, centered_place
from CMMDetectTrainLib.training import Schedule, Task
from known_networks import thresholding_detector, untrained_description

CPU = Compute(torch.device("cpu"), torch.float32)
SPACING_MM = (1.0, 1.0, 2.0)
RADIUS_VOX = 2.0
LEVEL, CONTRAST, NOISE = 0.25, 0.6, 0.02


def ball(shape: Sequence[int], center: Sequence[float]) -> np.ndarray:
    """Whether each voxel lies within `RADIUS_VOX` of a center."""
    place = np.indices(shape) - np.reshape(center, (3, 1, 1, 1))
    return (place**2).sum(axis=0) <= RADIUS_VOX**2


SMALL = (24, 24, 24)
"""The paper's patch of teacher and student."""


def cube(size: int) -> tuple[int, int, int]:
    """Give the shape of a patch that is as high as it is wide, in voxels."""
    return size, size, size


def make_case(
    folder: Path,
    name: str = "sub-01_swi",
    balls: Sequence[Sequence[float]] = ((12, 12, 8),),
    shape: tuple[int, int, int] = (40, 36, 20),
    unseen: Sequence[int] = (),
    modality: Modality = Modality.SWI,
    seed: int = 0,
) -> Case:
    """A case whose microbleeds are balls; ``unseen`` are the numbers of those that are not to be judged."""
    image = LEVEL + NOISE * np.random.default_rng(seed).standard_normal(shape)
    labels = np.zeros(shape, np.int16)
    for number, center in enumerate(balls, 1):
        inside = ball(shape, center)
        image[inside] += CONTRAST
        labels[inside] = NOT_JUDGED if number in unseen else number
    channels = np.stack([image, np.where(image > LEVEL + CONTRAST / 2, 0.5, 0.0), image]).astype(np.float32)
    arrays = CaseArrays(name, name.split("_")[0], modality, SPACING_MM, channels, labels, np.ones(shape, bool))
    write_shelf(folder / name, [arrays], {"made of": name})
    return read_shelf(folder / name, {"made of": name})[0]


def candidate_task(folder: Path, network: Student, factor: int = 2) -> Task:
    """A student that learns to tell balls from noise: eight places to train with, four to validate with."""
    spots = [(12.0, 12.0, 8.0), (28.0, 24.0, 12.0)]
    cases = [make_case(folder, f"sub-{number:02d}_swi", spots, seed=number) for number in (1, 2, 3)]
    places = [
        [centered_place(case, spot, SMALL, positive=True) for spot in spots]
        + [centered_place(case, (spot[0], 35.0 - spot[1], spot[2]), SMALL, positive=False) for spot in spots]
        for case in cases
    ]
    split = SplitPlaces([*places[0], *places[1]], places[2])
    return student_task(network, None, split, Sampling(Augmentation(factor=factor, translation_vox=2), 7), CPU)


def new_student(width: int = 2) -> Student:
    """A student with the same weights every time."""
    torch.manual_seed(11)
    return Student(width)


QUICK = Schedule(epochs=3, batch=4, decay_epochs=10, checkpoint_minutes=60.0)


SCAN_SHAPE = (52, 48, 20)
SPOTS_VOX = ((14, 16, 8), (36, 30, 12))


def write_scan(folder: Path, name: str, spots: Sequence[Sequence[float]] = SPOTS_VOX, seed: int = 0) -> None:
    """A small brain with dark balls, its mask and its label map."""
    rng = np.random.default_rng(seed)
    brain = (((np.indices(SCAN_SHAPE) / np.reshape(SCAN_SHAPE, (3, 1, 1, 1)) - 0.5) / 0.48) ** 2).sum(axis=0) <= 1
    image = brain * (500 + 15 * rng.standard_normal(SCAN_SHAPE))
    labels = np.zeros(SCAN_SHAPE, np.uint8)
    for number, spot in enumerate(spots, 1):
        inside = ball(SCAN_SHAPE, spot)
        image[inside] *= 0.1
        labels[inside] = number
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*SPACING_MM, 1.0])
    for ending, array in (
        ("", image.astype(np.float32)),
        ("_microbleeds", labels),
        ("_brain", brain.astype(np.uint8)),
    ):
        nib.save(nib.Nifti1Image(array, affine), folder / f"{name}{ending}.nii.gz")


def write_start(folder: Path, level: float = 0.6) -> ModelBundle:
    """A bundle whose stage 1 finds the balls of `write_scan`; student and teacher know nothing."""
    # of width 2 the student has one node before its logits, which must not be off for every patch
    torch.manual_seed(9)
    description = untrained_description("start", 2, version="3")
    networks = {"detector": thresholding_detector(2, level), "student": Student(2), "teacher": Teacher(2)}
    return write_bundle(folder, description, networks)
