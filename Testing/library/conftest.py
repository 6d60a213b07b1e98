"""Scans and bundles that several tests share."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from torch import manual_seed, set_num_threads

import phantoms
from CMMDetectLib.bundle import ModelBundle, write_bundle
from CMMDetectLib.networks import CandidateDetector, Student, Teacher
from known_networks import unbiased, untrained_description
from small_scans import SPACING_MM, stripped_brain

set_num_threads(1)  # the networks of the tests are so small that threads only wait for each other


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
    networks = {"detector": unbiased(CandidateDetector(4)), "student": Student(4), "teacher": Teacher(4)}
    description = untrained_description("test", 4)
    return write_bundle(tmp_path / "bundle", description, networks)
