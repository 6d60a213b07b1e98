"""Preprocessing: the image that reaches the detector, and scans that are refused."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from CMMDetectLib.errors import InputError
from CMMDetectLib.preprocessing import TISSUE_LEVEL, filled, find_brain, normalize_magnitude, prepare
from CMMDetectLib.scan import Modality, Scan, Turn, to_world, write_image
from head_phantom import affine_of, dice, head

SPACING_MM = (1.5, 1.5, 2.0)
OBLIQUE = np.array([[-1.4, 0.3, 0.1, 80.0], [0.3, 1.45, -0.2, -90.0], [0.1, 0.1, 1.98, -95.0], [0, 0, 0, 1]])


DIGEST = """
import hashlib, sys
from pathlib import Path
from CMMDetectLib.preprocessing import prepare
from CMMDetectLib.scan import read_scan
prepared = prepare(read_scan(Path(sys.argv[1])))
print(prepared.mask_source, hashlib.sha256(prepared.mask.tobytes() + prepared.image.tobytes()).hexdigest())
"""


def scan_of(array, modality="swi", spacing_mm=SPACING_MM, affine=None):
    affine = np.diag([*spacing_mm, 1.0]) if affine is None else affine
    return Scan(np.asarray(array, np.float32), affine, Modality(modality), "sub-01")


def uncropped(prepared, array):
    whole = np.zeros(prepared.scan.array.shape, array.dtype)
    whole[prepared.crop] = array
    return whole


@pytest.fixture(scope="module", params=["swi", "t2star"])
def contrast(request):
    return request.param, head(request.param, SPACING_MM, (-60, 80))


@pytest.fixture(scope="module")
def swi_head():
    return head("swi", SPACING_MM, (-60, 80))


def tissue_piece(seed=0):
    """A 24 mm piece of tissue, as wide as the field of view, with one lesion."""
    signal = 300 + 20 * np.random.default_rng(seed).standard_normal((51, 51, 41))
    signal[24:28, 24:28, 20:22] = 0
    return scan_of(signal, "t2star", (0.47, 0.47, 1.0))


def susceptibility(unit=1.0, seed=0):
    """A masked susceptibility map with a lesion, a calcification and a vein."""
    inside = np.zeros((64, 64, 40), bool)
    inside[6:58, 6:58, 4:36] = True
    chi = np.random.default_rng(seed).normal(0, 0.04, inside.shape)
    chi[30, 30, 20], chi[40, 40, 20], chi[20, 20, 20] = 0.9, -0.5, 0.3
    return scan_of(unit * chi * inside, "qsm", (2.0, 2.0, 2.0)), inside


class TestTheMask:
    def test_a_head_gets_the_space_inside_its_skull(self, contrast):
        modality, phantom = contrast
        prepared = prepare(scan_of(phantom.signal, modality))
        assert prepared.mask_source == "bet"
        assert dice(uncropped(prepared, prepared.mask), phantom.inside_skull) > 0.95
        assert prepared.brain_volume_ml == pytest.approx(
            phantom.inside_skull.sum() * np.prod(SPACING_MM) / 1e3, rel=0.05
        )

    @pytest.mark.parametrize("background", [0.0, -1.0])
    def test_a_stripped_scan_is_recognized_and_its_voids_are_filled(self, contrast, background):
        modality, phantom = contrast
        inside = phantom.inside_skull
        voids = phantom.voids & ndimage.binary_erosion(inside, iterations=2)
        signal = np.where(inside & ~voids, phantom.signal, background)
        prepared = prepare(scan_of(signal, modality))
        assert voids.any()
        assert prepared.mask_source == "stripped"
        assert uncropped(prepared, prepared.mask)[voids].all()
        assert dice(uncropped(prepared, prepared.mask), inside) > 0.999

    def test_a_stripped_scan_that_was_resampled_is_still_recognized(self, contrast):
        modality, phantom = contrast
        inside = phantom.inside_skull
        moved = ndimage.shift(phantom.signal * inside, 0.4, order=3, mode="nearest")
        assert (moved == 0).mean() < 0.01
        prepared = prepare(scan_of(moved, modality))
        assert prepared.mask_source == "stripped"
        assert dice(uncropped(prepared, prepared.mask), inside) > 0.93

    def test_a_masked_qsm_that_was_resampled_is_still_recognized(self):
        scan, inside = susceptibility()
        moved = replace(scan, array=ndimage.shift(scan.array, 0.4, order=3, mode="nearest"))
        prepared = prepare(moved)
        assert prepared.mask_source == "stripped"
        assert dice(uncropped(prepared, prepared.mask), inside) > 0.93

    def test_a_masked_qsm_that_was_turned_in_a_large_field_of_view_is_still_recognized(self):
        scan, inside = susceptibility()
        wide = np.pad(scan.array, ((20, 20), (20, 20), (12, 12)))
        turned = ndimage.rotate(wide, 10, reshape=False, order=3, mode="constant")
        at_border = np.concatenate([turned[0].ravel(), turned[-1].ravel()])
        assert np.mean(at_border == 0) > 0.25
        assert np.count_nonzero(turned) * 8 / 1000 > 2500
        prepared = prepare(replace(scan, array=turned))
        assert prepared.mask_source == "stripped"
        expected = ndimage.rotate(np.pad(inside, ((20, 20), (20, 20), (12, 12))), 10, reshape=False, order=0)
        assert dice(uncropped(prepared, prepared.mask), expected) > 0.93

    @pytest.mark.parametrize("slices", [slice(None), slice(30, 45)], ids=["whole", "slab"])
    def test_a_head_in_air_of_exactly_zero_is_not_taken_for_a_stripped_scan(self, modality_head_in_zero, slices):
        modality, signal, inside = modality_head_in_zero
        mask, source = find_brain(scan_of(signal[:, :, slices], modality))
        assert source == "bet"
        assert dice(mask, inside[:, :, slices]) > 0.93

    def test_a_stripped_slab_is_recognized(self, swi_head):
        slab = (swi_head.signal * swi_head.inside_skull)[:, :, 30:40]
        assert find_brain(scan_of(slab))[1] == "stripped"

    @pytest.mark.parametrize("modality", ["swi", "t2star", "qsm"])
    def test_a_piece_of_tissue_is_all_brain(self, modality):
        piece = tissue_piece()
        prepared = prepare(scan_of(piece.array, modality, (0.47, 0.47, 1.0)))
        assert prepared.mask_source == "tissue"
        assert prepared.image.shape == piece.array.shape
        assert prepared.mask.all()

    def test_a_masked_qsm_keeps_its_mask(self):
        scan, inside = susceptibility()
        prepared = prepare(scan)
        assert prepared.mask_source == "stripped"
        assert np.array_equal(uncropped(prepared, prepared.mask), inside)

    def test_a_given_mask_is_taken_with_its_holes_filled(self, swi_head):
        given = swi_head.inside_skull & ~swi_head.voids
        prepared = prepare(scan_of(swi_head.signal), given)
        assert prepared.mask_source == "given"
        assert np.array_equal(uncropped(prepared, prepared.mask), filled(swi_head.inside_skull, SPACING_MM))

    def test_every_piece_of_a_given_mask_is_looked_at(self, swi_head):
        given = swi_head.inside_skull.copy()
        given[given.shape[0] // 2 - 1 : given.shape[0] // 2 + 1] = False
        prepared = prepare(scan_of(swi_head.signal), given)
        assert np.array_equal(uncropped(prepared, prepared.mask), given)

    def test_a_void_that_is_open_between_thick_slices_is_filled_in_plane(self):
        mask = np.ones((9, 9, 5), bool)
        mask[4, 4] = False
        assert filled(mask, (1, 1, 4)).all()
        assert not filled(mask, (4, 1, 1)).all()

    def test_only_the_largest_part_of_a_mask_stays(self):
        mask = np.zeros((20, 20, 20), bool)
        mask[2:12, 2:12, 2:12] = mask[15:18, 15:18, 15:18] = True
        assert filled(mask, (1, 1, 1)).sum() == 1000


@pytest.fixture(params=["swi", "t2star"])
def modality_head_in_zero(request):
    phantom = head(request.param, SPACING_MM, (-60, 80), noise=0)
    assert np.mean(phantom.signal == 0) > 0.3
    return request.param, phantom.signal, phantom.inside_skull


class TestTheImage:
    def test_tissue_has_one_level_and_everything_lies_between_0_and_1(self, contrast):
        modality, phantom = contrast
        prepared = prepare(scan_of(phantom.signal, modality), phantom.inside_skull)
        assert prepared.image.dtype == np.float32
        assert prepared.image.min() == 0
        assert prepared.image.max() <= 1
        assert np.all(prepared.image[~prepared.mask] == 0)
        tissue = np.abs(prepared.image - TISSUE_LEVEL) < 0.15
        assert np.mean(tissue[prepared.mask]) > 0.6
        assert np.median(prepared.image[tissue]) == pytest.approx(TISSUE_LEVEL, abs=0.02)

    def test_a_void_is_the_brightest_and_stays_in_the_mask(self, contrast):
        modality, phantom = contrast
        signal = phantom.signal.copy()
        center = (64, 80, 40)
        signal[center] = 0
        prepared = prepare(scan_of(signal, modality), phantom.inside_skull)
        assert uncropped(prepared, prepared.image)[center] == 1

    def test_bright_csf_is_no_lesion(self):
        phantom = head("t2star", SPACING_MM, (-60, 80), bias=0)
        prepared = prepare(scan_of(phantom.signal, "t2star"), phantom.inside_skull)
        csf = phantom.signal[prepared.crop] > 1.7
        assert np.count_nonzero(csf & prepared.mask) > 1000
        assert np.median(prepared.image[csf & prepared.mask]) == 0

    def test_the_scale_of_the_intensities_does_not_matter(self, contrast):
        modality, phantom = contrast
        images = [prepare(scan_of(f * phantom.signal, modality), phantom.inside_skull).image for f in (1, 371.3)]
        assert np.abs(images[0] - images[1]).max() < 1e-3

    def test_a_hot_voxel_rescales_nothing(self, swi_head):
        hot = swi_head.signal.copy()
        hot[64, 80, 40] = 1e4
        images = [prepare(scan_of(signal), swi_head.inside_skull).image for signal in (swi_head.signal, hot)]
        assert np.quantile(np.abs(images[0] - images[1]), 0.999) < 0.01

    def test_an_uneven_receive_field_is_evened_out(self, swi_head):
        even = head("swi", SPACING_MM, (-60, 80), bias=0).signal
        uneven = head("swi", SPACING_MM, (-60, 80), bias=0.3).signal
        inside = swi_head.inside_skull
        prepared = prepare(scan_of(uneven), inside)
        tissue = (even > 0.85)[prepared.crop] & prepared.mask
        before = (uneven / np.maximum(even, 0.1))[prepared.crop][tissue]
        after = (1 - prepared.image[tissue]) / even[prepared.crop][tissue]
        assert before.std() / before.mean() > 0.12
        assert after.std() / after.mean() < 0.06

    def test_a_mask_without_signal_is_refused(self):
        with pytest.raises(InputError, match=r"no signal above 0.*--mask"):
            normalize_magnitude(np.zeros((4, 4, 4), np.float32), np.ones((4, 4, 4), bool))

    def test_a_phase_and_standardized_intensities_are_refused_instead_of_searched(self):
        scan = tissue_piece()
        standardized = (scan.array - scan.array.mean()) / scan.array.std()
        for array in (standardized, np.angle(np.exp(1j * scan.array))):
            with pytest.raises(
                InputError, match=r"sub-01: \d+ % of the brain is below 0, as in phase.*--modality qsm"
            ):
                prepare(replace(scan, array=array), np.ones(array.shape, bool))

    def test_ripples_below_0_are_no_reason_to_refuse_a_scan(self):
        scan = tissue_piece()
        rippled = np.where(np.random.default_rng(1).random(scan.array.shape) < 0.1, -scan.array, scan.array)
        assert prepare(replace(scan, array=rippled)).tissue_signal == pytest.approx(300, rel=0.02)


class TestSusceptibility:
    def test_lesions_are_bright_calcification_is_dark(self):
        prepared = prepare(susceptibility()[0])
        image = uncropped(prepared, prepared.image)
        assert (image[30, 30, 20], image[40, 40, 20]) == (1, 0)
        assert image[20, 20, 20] == pytest.approx(TISSUE_LEVEL + 0.3 * 0.75 / 0.6, abs=0.01)
        assert np.median(prepared.image[prepared.mask]) == pytest.approx(TISSUE_LEVEL, abs=0.005)

    @pytest.mark.parametrize("unit", [1000.0, 1e5], ids=["ppb", "arbitrary"])
    def test_any_unit_gives_the_image_of_ppm(self, unit):
        in_ppm, other = (prepare(susceptibility(factor)[0]) for factor in (1.0, unit))
        assert np.abs(in_ppm.image - other.image).max() < 0.03

    def test_one_value_everywhere_is_refused(self):
        inside = susceptibility()[1]
        with pytest.raises(InputError, match="one value in most of the brain"):
            prepare(scan_of(inside.astype(float), "qsm", (2.0, 2.0, 2.0)), inside)


class TestTheCrop:
    def test_it_maps_back_onto_the_scan(self, swi_head):
        scan = scan_of(swi_head.signal, affine=OBLIQUE)
        prepared = prepare(scan, swi_head.inside_skull)
        assert scan.array[prepared.crop].shape == prepared.image.shape == prepared.mask.shape
        assert prepared.spacing_mm == pytest.approx(scan.spacing_mm)
        start = [part.start for part in prepared.crop]
        assert min(start[:2]) > 0
        there, back = to_world(prepared.affine, [3, 5, 7]), to_world(scan.affine, np.add(start, [3, 5, 7]))
        assert there == pytest.approx(back)

    def test_it_is_tight_with_a_margin_of_a_few_millimeters(self, swi_head):
        prepared = prepare(scan_of(swi_head.signal), swi_head.inside_skull)
        for axis, step_mm in enumerate(SPACING_MM):
            occupied = np.flatnonzero(prepared.mask.any(axis=tuple({0, 1, 2} - {axis})))
            before_mm = occupied[0] * step_mm
            assert before_mm <= 7
            assert prepared.crop[axis].start == 0 or before_mm >= 5

    def test_a_mirrored_scan_gives_the_mirrored_image(self, swi_head):
        scan = scan_of(swi_head.signal)
        straight, mirrored = prepare(scan), prepare(scan.turned(Turn((0, 1, 2), (True, False, True))))
        image = uncropped(mirrored, mirrored.image)[::-1, :, ::-1]
        assert np.mean(np.abs(image - uncropped(straight, straight.image))) < 0.005

    @pytest.mark.parametrize("shape", [(9, 9, 5), (40, 40, 1), (3, 3, 3)])
    def test_a_volume_smaller_than_a_patch_works(self, shape):
        signal = 100 + np.random.default_rng(0).standard_normal(shape)
        assert prepare(scan_of(signal)).image.shape == shape

    def test_a_thin_stack_of_slices_works(self, swi_head):
        prepared = prepare(scan_of(swi_head.signal[:, :, 30:33]))
        assert dice(uncropped(prepared, prepared.mask), swi_head.inside_skull[:, :, 30:33]) > 0.9


class TestWhatIsRefused:
    def test_an_empty_mask(self, swi_head):
        with pytest.raises(InputError, match="brain mask: it is empty"):
            prepare(scan_of(swi_head.signal), np.zeros(swi_head.signal.shape, bool))

    def test_a_mask_of_another_shape(self, swi_head):
        with pytest.raises(InputError, match=r"brain mask: \(4, 4, 4\) voxels"):
            prepare(scan_of(swi_head.signal), np.ones((4, 4, 4), bool))

    def test_a_volume_of_noise(self):
        noise = np.abs(np.random.default_rng(0).standard_normal((96, 96, 40)))
        with pytest.raises(InputError, match=r"sub-01: found .* cannot be a brain; give the brain with --mask"):
            prepare(scan_of(noise, spacing_mm=(2, 2, 4)))

    def test_a_stripped_scan_with_next_to_nothing_in_it(self):
        speck = np.zeros((96, 96, 40))
        speck[40:43, 40:43, 20] = 1
        with pytest.raises(InputError, match=r"found 0 mL \(stripped\), which cannot be a brain"):
            prepare(scan_of(speck, spacing_mm=(2, 2, 4)))

    def test_a_corner_of_a_head(self, swi_head):
        with pytest.raises(InputError, match=r"too small a field of view .*--mask"):
            prepare(scan_of(swi_head.signal[:40, :40, :40]))


def test_the_number_of_cores_does_not_change_a_scan(tmp_path):
    whole_mm = (-95.0, 95.0)
    phantom = head("swi", SPACING_MM, whole_mm)
    path = tmp_path / "sub-01_swi.nii.gz"
    write_image(path, phantom.signal, affine_of(phantom, whole_mm))

    def prepared_on(cores):
        threads = dict.fromkeys(("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), cores)
        command = [sys.executable, "-c", DIGEST, str(path)]
        return subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=True).stdout

    on_one = prepared_on("1")
    assert on_one.startswith("bet ")
    assert prepared_on("3") == on_one
