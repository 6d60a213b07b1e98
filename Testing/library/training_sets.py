"""Data sets and a bundle so small that a whole training takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import manual_seed

import phantoms
from CMMDetectLib.bundle import ModelBundle, write_bundle
from CMMDetectLib.networks import Student
from CMMDetectLib.scan import Modality, Scan, to_world
from CMMDetectTrainLib.case_list import NewCase, add_case
from CMMDetectTrainLib.training_job import TrainingJob
from known_networks import thresholding_detector, untrained_description

SPACING_MM = (1.5, 1.5, 3.0)
SHAPE = (60, 72, 24)
WIDTH = 2
DIAMETER_MM = 5.0
PLACES_MM = ((34.0, 42.0, 36.0), (56.0, 62.0, 40.0), (44.0, 76.0, 30.0), (60.0, 36.0, 30.0))
"""Where microbleeds are, in the grid's own millimetres."""
TINY = {"width": WIDTH, "epochs": 2, "patience": 2, "batch": 4, "patches_an_epoch": 8, "patch_size": 24, "factor": 1}


def small_scan(name: str, microbleeds: int = 2, seed: int = 0) -> tuple[Scan, np.ndarray, np.ndarray]:
    """A stripped SWI brain, the label map of its microbleeds, and their positions (RAS mm)."""
    tissue, mask = phantoms.brain(SHAPE, SPACING_MM, noise=0.01, seed=seed)
    labels = np.zeros(SHAPE, np.int32)
    rng = np.random.default_rng(seed)
    centers = np.array(PLACES_MM[:microbleeds]).reshape(-1, 3) + rng.uniform(-2, 2, (microbleeds, 3))
    for number, center in enumerate(centers, 1):
        ball = phantoms.sphere(SHAPE, SPACING_MM, tuple(center), DIAMETER_MM)
        tissue *= 1 - 0.9 * ball
        labels[ball > 0.5] = number
    affine = phantoms.affine(SPACING_MM)
    array = np.where(mask, 1250 * tissue, 0).astype(np.float32)
    return Scan(array, affine, Modality.SWI, name), labels, to_world(affine, centers / SPACING_MM)


def write_training_set(folder: Path, microbleeds: Sequence[int] = (2, 2, 1, 2)) -> Path:
    """Write a data set with a subject for each number of microbleeds, and give its folder."""
    for number, many in enumerate(microbleeds, 1):
        scan, labels, positions = small_scan(f"sub-{number:02d}_swi", many, number)
        add_case(folder, NewCase(scan=scan, labels=labels, points_mm=positions, reader="Ada"))
    return folder


def known_bundle(folder: Path) -> ModelBundle:
    """A bundle whose stage 1 marks what is bright; its student knows nothing."""
    manual_seed(3)
    description = untrained_description("known", WIDTH, version="1", th_detection=0.5, th_discrimination=0.01)
    networks = {"detector": thresholding_detector(WIDTH, 0.8), "student": Student(WIDTH)}
    return write_bundle(folder, description, networks)


def tiny_job(dataset: Path, output: Path, **others: object) -> TrainingJob:
    """A training of seconds."""
    return TrainingJob(dataset=str(dataset), output=str(output), device="cpu", **{**TINY, **others})
