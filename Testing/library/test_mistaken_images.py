"""What is given for a magnitude or SWI by mistake, and is seen by its values alone."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from CMMDetectLib.errors import InputError
from CMMDetectLib.mistaken_images import check_contrast, check_no_phase, check_no_projection, without_offset
from CMMDetectLib.preprocessing import find_brain, prepare
from CMMDetectLib.scan import Modality, Scan
from head_phantom import Head, dice, head

SPACING_MM = (1.5, 1.5, 2.0)
MOST = 4095
"""Highest value of a scanner's phase."""


@pytest.fixture(scope="module")
def swi() -> Head:
    return head("swi", SPACING_MM, (-60, 80))


def scan_of(array: np.ndarray, modality: str = "swi") -> Scan:
    return Scan(np.asarray(array, np.float32), np.diag([*SPACING_MM, 1.0]), Modality(modality), "sub-01")


def phase_of(phantom: Head, wrapped: bool) -> np.ndarray:
    """A phase as scanners store it: any value in air, and smooth in the head, wrapped or filtered."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal(phantom.signal.shape), 20)
    angle = (20 if wrapped else 0.5) * smooth / smooth.std() + 0.05 * rng.standard_normal(phantom.signal.shape)
    angle = np.where(phantom.signal > 0.2, angle, rng.uniform(-np.pi, np.pi, angle.shape))
    return np.round((np.angle(np.exp(1j * angle)) + np.pi) / (2 * np.pi) * MOST)


@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "filtered"])
@pytest.mark.parametrize("modality", ["swi", "t2star"])
def test_a_phase_without_negative_values_is_refused_instead_of_searched(swi, wrapped, modality):
    with pytest.raises(InputError, match=r"sub-01: noise fills the whole range .* phase; give the magnitude or SWI"):
        prepare(scan_of(phase_of(swi, wrapped), modality))


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.15])
@pytest.mark.parametrize("modality", ["swi", "t2star"])
def test_a_noisy_magnitude_is_not_taken_for_a_phase(modality, noise):
    check_no_phase(scan_of(head(modality, SPACING_MM, (-60, 80), noise=noise).signal, modality))


def projection(array: np.ndarray, slices: int, step: int) -> np.ndarray:
    """Minimum over slabs that begin every so many slices."""
    starts = range(0, array.shape[2] - slices + 1, step)
    return np.stack([array[:, :, k : k + slices].min(axis=2) for k in starts], axis=2)


@pytest.mark.parametrize(("slices", "step"), [(8, 1), (4, 1), (4, 3)])
@pytest.mark.parametrize("stored", ["float", "whole numbers"])
def test_a_minimum_intensity_projection_is_refused_instead_of_searched(swi, slices, step, stored):
    signal = swi.signal if stored == "float" else np.round(2000 * swi.signal)
    with pytest.raises(InputError, match=r"sub-01: neighboring slices .* minimum intensity projection"):
        prepare(scan_of(projection(signal, slices, step)))


@pytest.mark.parametrize("levels", [20, 60, 255, 4095])
def test_few_levels_of_gray_are_no_projection(swi, levels):
    check_no_projection(scan_of(np.round(levels * swi.signal / swi.signal.max())))


@pytest.mark.parametrize("times", [2, 3])
def test_slices_that_were_doubled_or_interpolated_are_no_projection(swi, times):
    whole = np.round(300 * swi.signal)
    check_no_projection(scan_of(np.repeat(whole, times, axis=2)))
    check_no_projection(scan_of(np.round(ndimage.zoom(whole, (1, 1, times), order=3))))


@pytest.mark.parametrize("offset", [200, 1000, 32768])
def test_an_offset_of_all_intensities_changes_nothing(swi, offset):
    plain = np.round(200 * swi.signal)
    as_made, shifted = (prepare(scan_of(array), swi.inside_skull) for array in (plain, plain + offset))
    assert np.abs(shifted.image - as_made.image).max() < 0.02


def test_a_brain_is_found_in_spite_of_an_offset(swi):
    mask, source = find_brain(without_offset(scan_of(200 * swi.signal + 1000)))
    assert source == "bet"
    assert dice(mask, swi.inside_skull) > 0.95


def test_a_scan_as_the_scanner_made_it_stays_as_it_is(swi):
    for signal in (swi.signal, swi.signal * swi.inside_skull, swi.signal[40:70, 60:90, 20:40]):
        scan = scan_of(signal)
        assert without_offset(scan) is scan


def test_a_piece_of_tissue_without_dark_voxels_keeps_its_intensities():
    piece = replace(scan_of(np.full((40, 40, 20), 300.0)), affine=np.diag([0.5, 0.5, 1.0, 1.0]))
    assert without_offset(piece) is piece


@pytest.mark.parametrize("modality", ["swi", "t2star"])
@pytest.mark.parametrize("z_range_mm", [(-60, 80), (-20, 30)], ids=["head", "slab"])
@pytest.mark.parametrize(
    "invert", [lambda signal: 3 - signal, lambda signal: 1 / (signal + 0.1)], ids=["gray", "rate"]
)
def test_an_inverted_head_is_refused_instead_of_searched(modality, z_range_mm, invert):
    scan = scan_of(invert(head(modality, (1.5, 1.5, 1.5), z_range_mm).signal), modality)
    with pytest.raises(InputError, match=r"sub-01: air is brighter .* inverted image or a map of R2\*; give the magn"):
        prepare(scan)


def test_a_head_that_stands_low_in_its_field_of_view_is_not_taken_for_inverted():
    signal = head("t2star", SPACING_MM, (-60, 80)).signal
    air = np.abs(0.15 * np.random.default_rng(0).standard_normal((*signal.shape[:2], 90)))
    air[30:-30, 30:-30] /= 5
    check_contrast(scan_of(np.concatenate([signal, air], axis=2), "t2star"))


@pytest.mark.parametrize("given", ["swi", "t2star"])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_a_magnitude_that_is_said_to_be_qsm_is_refused_with_what_it_seems_to_be(given, noise):
    signal = head(given, SPACING_MM, (-60, 80), noise=noise).signal
    with pytest.raises(InputError, match=r"sub-01: air is darker .* as in a magnitude; give .* or say --modality swi"):
        prepare(scan_of(1000 * signal, "qsm"))


@pytest.mark.parametrize(
    ("modality", "masked", "mean_ppm"), [("swi", True, 0.01), ("t2star", True, -0.01), ("swi", False, 0.01)]
)
def test_a_susceptibility_map_that_is_said_to_be_a_magnitude_is_refused_with_what_it_seems_to_be(
    swi, modality, masked, mean_ppm
):
    with pytest.raises(InputError, match=r"sub-01: \d+ % of the brain is below 0, .* or say --modality qsm"):
        prepare(scan_of(susceptibility(swi, masked) + mean_ppm * swi.inside_skull, modality))


def test_a_susceptibility_map_without_negative_values_is_no_magnitude(swi):
    """Programs store 0 ppm as the middle of whole numbers."""
    stored = scan_of(np.round(2048 + 1000 * susceptibility(swi, masked=False)).clip(0), "qsm")
    mask, source = find_brain(stored)
    assert source == "quiet"
    assert dice(mask, swi.inside_skull) > 0.9


def susceptibility(phantom: Head, masked: bool) -> np.ndarray:
    """A map in ppm with 0, or noise, around the brain."""
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.standard_normal(phantom.signal.shape), 1)
    outside = 0 if masked else 0.5 * rng.standard_normal(texture.shape)
    return np.where(phantom.inside_skull, 0.04 * texture / texture.std(), outside)
