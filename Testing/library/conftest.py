"""Scans and bundles that several tests share."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from torch import manual_seed, set_num_threads

import phantoms
from CMMDetectLib.bundle import BundleDescription, ModelBundle, write_bundle
from CMMDetectLib.networks import CandidateDetector, Student, Teacher
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectLib.scan import Modality, to_world

set_num_threads(1)  # the networks of the tests are so small that threads only wait for each other

SPACING_MM = (1.0, 1.0, 2.0)
SHAPE = (104, 120, 50)
LESIONS_MM = ((40.0, 50.0, 40.0, 4.0), (66.0, 70.0, 60.0, 5.0), (52.0, 84.0, 44.0, 3.0))
"""Center in the grid's own millimetres and diameter of each microbleed of `write_stripped_scan`."""


def lesion_positions(affine: np.ndarray) -> np.ndarray:
    """RAS millimetres of the microbleeds."""
    return to_world(affine, np.array(LESIONS_MM)[:, :3] / SPACING_MM)


def stripped_brain() -> np.ndarray:
    """An SWI-like brain without skull: tissue of 500, three dark microbleeds, 0 outside."""
    tissue, mask = phantoms.brain(SHAPE, SPACING_MM, noise=0.01, seed=3)
    for *center, diameter in LESIONS_MM:
        tissue *= 1 - 0.9 * phantoms.sphere(SHAPE, SPACING_MM, tuple(center), diameter)
    return np.where(mask, 1250 * tissue, 0).astype(np.float32)


@pytest.fixture(autouse=True)
def the_same_random_numbers_in_every_run() -> None:
    """Untrained networks draw their weights from torch's global generator."""
    manual_seed(0)


@pytest.fixture
def write_stripped_scan(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes the brain to a file and returns its path."""

    def write(name: str = "sub-01_swi.nii.gz", affine: np.ndarray | None = None) -> Path:
        place = phantoms.affine(SPACING_MM) if affine is None else affine
        path = tmp_path / name
        nib.save(nib.Nifti1Image(stripped_brain(), place), path)
        return path

    return write


@pytest.fixture
def stripped_scan(write_stripped_scan: Callable[..., Path]) -> Path:
    """The path of a small SWI brain with three microbleeds."""
    return write_stripped_scan()


@pytest.fixture
def small_bundle(tmp_path: Path) -> ModelBundle:
    """A bundle of narrow, untrained networks; a threshold of 0.3 lets them mark something."""
    manual_seed(5)
    description = BundleDescription(
        name="test",
        version="0",
        created="2026-01-01",
        license="Apache-2.0",
        width=4,
        modality=tuple(Modality),
        trained_on="nothing",
        th_detection=0.3,
        th_discrimination=0.3,
        cutoffs=CutOffs(),
    )
    networks = {"detector": CandidateDetector(4), "student": Student(4), "teacher": Teacher(4)}
    return write_bundle(tmp_path / "bundle", description, networks)
