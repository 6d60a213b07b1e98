"""Conspicuity of a lesion: its contrast to the ring around it, in standard deviations of the ring."""

import numpy as np
import pytest

from CMMDetectLib.scan import Modality, Scan
from CMMDetectTrainLib.conspicuity import conspicuity

SHAPE = (24, 24, 6)
AFFINE = np.diag([0.5, 0.5, 3.0, 1.0])
NOISE = 10.0


def tissue() -> np.ndarray:
    """Even tissue of 100 with noise of 10."""
    return np.random.default_rng(3).normal(100.0, NOISE, SHAPE).astype(np.float32)


def spot(center: tuple[int, int, int], size: int = 4) -> tuple[slice, ...]:
    """The voxels of a square spot in one slice."""
    i, j, k = center
    return slice(i, i + size), slice(j, j + size), slice(k, k + 1)


def measured(array, labels, number=1, modality=Modality.SWI, affine=AFFINE) -> float | None:
    box = tuple(slice(int(low), int(high) + 1) for low, high in zip(*corners(labels == number), strict=True))
    return conspicuity(Scan(array, affine, modality), labels, number, box)


def corners(mask):
    where = np.argwhere(mask)
    return where.min(axis=0), where.max(axis=0)


def with_spot(array, change: float, at=(10, 10, 2)):
    labels = np.zeros(SHAPE, np.int32)
    labels[spot(at)] = 1
    array[spot(at)] = 100.0 + change
    return array, labels


@pytest.mark.parametrize("deviations", [2, 5, 9])
def test_a_dark_spot_stands_out_by_its_contrast_in_deviations_of_what_is_around(deviations):
    assert measured(*with_spot(tissue(), -deviations * NOISE)) == pytest.approx(deviations, rel=0.25)


def test_on_qsm_bright_spots_stand_out_and_on_magnitude_dark_ones():
    array, labels = with_spot(tissue(), 60.0)
    assert measured(array, labels, modality=Modality.QSM) == pytest.approx(6, rel=0.25)
    assert measured(array, labels, modality=Modality.T2STAR) < 0


def test_of_several_slices_the_one_that_shows_a_lesion_best_tells():
    array, labels = with_spot(tissue(), -70.0)
    alone = measured(array, labels)
    labels[spot((10, 10, 3))] = 1  # here the scan shows nothing
    assert measured(array, labels) == alone


def test_a_neighboring_lesion_and_the_background_are_no_surroundings():
    array, labels = with_spot(tissue(), -50.0)
    alone = measured(array, labels)
    array[spot((10, 15, 2))] = 5.0
    beside = measured(array, labels)
    assert beside < 0.8 * alone
    labels[spot((10, 15, 2))] = 2
    assert measured(array, labels) == pytest.approx(alone, rel=0.25)
    array[:10] = 0.0  # stripped
    assert measured(array, labels) == pytest.approx(alone, rel=0.25)


def test_a_scan_stored_along_other_axes_gives_the_same():
    array, labels = with_spot(tissue(), -50.0)
    turned = np.zeros((4, 4))
    turned[0, 1], turned[1, 2], turned[2, 0], turned[3, 3] = 0.5, 0.5, 3.0, 1.0  # slices along the first axis
    order = (2, 0, 1)
    assert measured(array.transpose(order), labels.transpose(order), affine=turned) == measured(array, labels)


def test_where_nothing_is_around_there_is_no_conspicuity():
    array, labels = with_spot(np.zeros(SHAPE, np.float32), -50.0)
    assert measured(array, labels) is None
    array, labels = with_spot(np.full(SHAPE, 100, np.float32), -50.0)  # nor where nothing varies
    assert measured(array, labels) is None
