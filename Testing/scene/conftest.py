"""Fixtures of the tests of a review in the scene."""

import numpy as np
import pytest
import slicer
import slicer.util

from CMMDetectLib.scene import ReviewScene
from review_in_scene import AFFINE, session_of


@pytest.fixture
def volume(scene):
    array = np.random.default_rng(1).normal(100, 5, (8, 30, 20)).astype(np.float32)
    return slicer.util.addVolumeFromArray(array, AFFINE, "sub-01_swi")


@pytest.fixture(autouse=True)
def no_error_of_an_observer_is_only_printed(capfd):
    """VTK prints what an observer raises and goes on."""
    yield
    assert "Error" not in capfd.readouterr().err


@pytest.fixture
def session():
    return session_of()


@pytest.fixture
def shown(session, volume):
    return ReviewScene(session, volume)
