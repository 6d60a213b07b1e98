"""The networks' grid: resampling to voxels of one size and back."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from CMMDetectLib.bundle import write_bundle
from CMMDetectLib.channels import input_channels
from CMMDetectLib.detection import detect
from CMMDetectLib.devices import choose_compute
from CMMDetectLib.discrimination import discriminate
from CMMDetectLib.network_grid import SCANS_OWN, NetworkGrid, NetworkVoxel
from CMMDetectLib.paper_method import PaperMethod
from CMMDetectLib.preprocessing import prepare
from CMMDetectLib.progress import Progress
from CMMDetectLib.scan import Modality, Scan
from CMMDetectTrainLib.cases import case_of_scan
from CMMDetectTrainLib.evaluation_set import find_scans
from known_networks import thresholding_detector
from small_scans import lesion_positions, stripped_brain
from test_evaluation import AFFINE, lesion_labels, save

SPACING_MM = (0.4, 0.5, 3.0)
SHAPE = (60, 48, 12)


def dot(center, sigma_mm=1.0):
    """A dot of 1 mm on the scan's grid."""
    steps = np.meshgrid(*(np.arange(n) - c for n, c in zip(SHAPE, center, strict=True)), indexing="ij")
    distance = sum((step * size / sigma_mm) ** 2 for step, size in zip(steps, SPACING_MM, strict=True))
    return np.exp(-distance / 2).astype(np.float32)


@pytest.fixture
def grid():
    return NetworkGrid.of(SHAPE, SPACING_MM, NetworkVoxel(0.8))


def test_pixels_become_what_was_asked_for_and_slices_stay(grid):
    assert grid.shape == (30, 30, 12)
    assert grid.spacing_mm(SPACING_MM) == pytest.approx((0.8, 0.8, 3.0))


def test_slices_become_what_was_asked_for_too():
    grid = NetworkGrid.of(SHAPE, SPACING_MM, NetworkVoxel(0.8, 1.5))
    assert grid.shape == (30, 30, 24)
    assert grid.spacing_mm(SPACING_MM) == pytest.approx((0.8, 0.8, 1.5))


@pytest.mark.parametrize("slice_mm", [1.2, 2.5, 5.0])
def test_a_microbleed_is_as_high_on_the_networks_grid_whatever_slices_the_scan_has(slice_mm):
    height = []
    for through_mm in (1.2, 2.5):
        steps_mm = (np.arange(round(60 / through_mm)) + 0.5) * through_mm - 30
        profile = np.exp(-((steps_mm / 4) ** 2) / 2).astype(np.float32)[None, None]
        grid = NetworkGrid.of(profile.shape, (1.0, 1.0, through_mm), NetworkVoxel(slice_mm=slice_mm))
        seen = grid.channels(profile[None], np.ones(grid.shape, bool))[0, 0, 0]
        height.append(seen.sum() * slice_mm)
    assert height[0] == pytest.approx(height[1], rel=0.1)


def test_a_patch_is_as_high_as_wide_in_millimeters_and_can_be_pooled_twice():
    assert NetworkVoxel(0.8, 1.6).patch_shape(48) == (48, 48, 24)
    assert NetworkVoxel(1.0, 1.3).patch_shape(24) == (24, 24, 20)
    assert NetworkVoxel(0.4, 6.0).patch_shape(16) == (16, 16, 4)


def test_without_a_voxel_size_nothing_is_touched():
    grid = NetworkGrid.of(SHAPE, SPACING_MM, SCANS_OWN)
    volume, mask = np.random.default_rng(0).random((2, *SHAPE), np.float32), np.ones(SHAPE, bool)
    assert grid.channels(volume, mask) is volume
    assert np.array_equal(grid.back(volume[0]), volume[0])
    assert grid.points(np.array([[1.0, 2.0, 3.0]])).tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("size", [(0.3,), (0.8,), (0.8, 1.6), (0.8, 2.0)])
def test_a_point_of_the_scan_is_at_the_same_place_of_the_networks_grid_and_back(size):
    grid, center = NetworkGrid.of(SHAPE, SPACING_MM, NetworkVoxel(*size)), (22.0, 30.0, 5.0)
    seen = grid.channels(dot(center)[None], np.ones(grid.shape, bool))[0]
    assert ndimage.center_of_mass(seen) == pytest.approx(tuple(grid.points(np.array([center]))[0]), abs=0.1)
    assert ndimage.center_of_mass(grid.back(seen)) == pytest.approx(center, abs=0.2)


def test_a_dot_keeps_its_size_in_millimeters(grid):
    seen = grid.channels(dot((22.0, 30.0, 5.0))[None], np.ones(grid.shape, bool))[0]
    area = [
        np.count_nonzero(image > image.max() / 2) * pixel for image, pixel in ((dot((22, 30, 5)), 0.2), (seen, 0.64))
    ]
    assert area[1] == pytest.approx(area[0], rel=0.4)


def test_outside_the_mask_the_channels_are_0(grid):
    mask = np.zeros(SHAPE, bool)
    mask[:30] = True
    seen = grid.mask(mask)
    assert seen[:14].all() and not seen[16:].any()
    assert not grid.channels(np.ones((2, *SHAPE), np.float32), seen)[:, ~seen].any()


def test_the_smallest_microbleed_is_still_there(grid):
    labels = np.zeros(SHAPE, np.int16)
    labels[20, 20, 3], labels[41, 7, 9], labels[0, 0, 0] = 1, 2, -1
    seen = grid.labels(labels)
    assert {1, 2} <= set(np.unique(seen))
    assert np.argwhere(seen == 2)[0] == pytest.approx(grid.points(np.array([[41, 7, 9]]))[0], abs=1)


def test_a_point_at_the_border_stays_inside(grid):
    points = grid.points(np.array([[0.0, 0.0, 0.0], np.array(SHAPE) - 1.0]))
    assert (points >= 0).all() and (points <= np.array(grid.shape) - 1).all()


def test_the_detector_finds_the_same_microbleeds_on_a_grid_of_its_own(small_bundle, tmp_path):
    networks = {"detector": thresholding_detector(4, 0.5), "student": small_bundle.student()}
    scan = Scan(stripped_brain(), AFFINE, Modality.SWI)
    prepared = prepare(scan)
    channels = input_channels(prepared, Progress())
    for number, (pixel_mm, slice_mm) in enumerate([(None, None), (0.8, None), (1.3, None), (0.8, 1.6)]):
        description = replace(small_bundle.description, pixel_mm=pixel_mm, slice_mm=slice_mm)
        bundle = write_bundle(tmp_path / str(number), description, networks)
        method = PaperMethod(bundle, choose_compute("cpu", "float32"))
        found = detect(method, prepared, channels, Progress())
        assert len(discriminate(method, prepared, channels, found, Progress())) == len(found.candidates)
        assert not found.probability[~prepared.mask].any()
        places = np.array([(item.x, item.y, item.z) for item in found.candidates])
        nearest = np.linalg.norm(lesion_positions(AFFINE)[:, None] - places, axis=2).min(axis=1)
        assert (nearest < 1.0).all()


def test_a_training_case_lies_on_the_networks_grid_with_all_its_microbleeds(tmp_path):
    folder = tmp_path / "set"
    save(folder / "sub-01_swi.nii.gz", stripped_brain())
    save(folder / "sub-01_swi_microbleeds.nii.gz", lesion_labels())
    [entry] = find_scans(folder)
    voxel = NetworkVoxel(0.9, 1.4)
    own, brought = (case_of_scan(entry, tmp_path / "shelves", voxel=one) for one in (SCANS_OWN, voxel))
    assert brought.spacing_mm == pytest.approx((0.9, 0.9, 1.4), rel=0.04)
    assert brought.channels.shape == (3, *brought.shape)
    assert set(np.unique(brought.labels)) == set(np.unique(own.labels))
    assert case_of_scan(entry, tmp_path / "shelves", voxel=voxel) == brought
