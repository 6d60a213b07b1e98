"""Fixtures of the tests of a review in the scene; they import what needs slicer-core, which may be missing."""

import numpy as np
import pytest


@pytest.fixture
def volume(scene):
    from slicer.util import addVolumeFromArray

    from review_in_scene import AFFINE

    array = np.random.default_rng(1).normal(100, 5, (8, 30, 20)).astype(np.float32)
    return addVolumeFromArray(array, AFFINE, "sub-01_swi")


@pytest.fixture(autouse=True)
def no_error_of_an_observer_is_only_printed(capfd):
    """VTK prints what an observer raises and goes on."""
    yield
    assert "Error" not in capfd.readouterr().err


@pytest.fixture
def session():
    from review_in_scene import session_of

    return session_of()


@pytest.fixture
def shown(session, volume):
    from CMMDetectLib.scene import ReviewScene

    return ReviewScene(session, volume)
