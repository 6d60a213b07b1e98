"""Clusters of stage 1 and their measures: size, shape, and what belongs to one lesion."""

import numpy as np
import pytest
from scipy import ndimage

import phantoms
from CMMDetectLib.clusters import edge_distance_mm, find_clusters, lesion_centers, measure_clusters
from CMMDetectLib.frst import resolved_axes

GRIDS = [
    ((0.8, 0.8, 3.0), (50, 50, 14)),
    ((0.45, 0.45, 1.0), (90, 90, 40)),
    ((0.9, 0.8, 5.0), (44, 50, 8)),
    ((1.0, 1.0, 1.0), (40, 40, 40)),
    ((3.0, 0.8, 0.8), (14, 50, 50)),
]
MIDDLE = (20.2, 20.3, 20.1)


def soft(volume: np.ndarray) -> np.ndarray:
    """Blur a little and scale to 1, as a detector's map of a lesion that partial volume has made faint."""
    blurred = ndimage.gaussian_filter(volume, 0.5)
    return blurred / blurred.max()


def found(probability, spacing, threshold=0.3):
    labels, count = find_clusters(probability, threshold, spacing)
    return labels, measure_clusters(labels, count, probability, spacing)


@pytest.mark.parametrize(("spacing", "shape"), GRIDS)
@pytest.mark.parametrize("diameter", [2.0, 3.0, 4.0, 6.0, 8.0])
def test_a_sphere_is_one_round_candidate_at_its_place_on_every_grid(spacing, shape, diameter):
    _, clusters = found(soft(phantoms.sphere(shape, spacing, MIDDLE, diameter)), spacing)
    assert len(clusters.volume_mm3) == 1
    assert clusters.ellipticity[0] < 0.05
    assert np.abs(clusters.centroid_vox[0] - np.array(MIDDLE) / spacing).max() < 0.5


@pytest.mark.parametrize(("spacing", "shape"), GRIDS)
@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)])
def test_a_tube_is_elongated_in_every_direction_that_the_grid_resolves(spacing, shape, direction):
    if not any(direction[axis] for axis in resolved_axes(shape, spacing)):
        pytest.skip("end-on to thick slices a tube cannot be told from a lesion that blooms")
    line = phantoms.straight_line(MIDDLE, direction, 18.0)
    _, clusters = found(soft(phantoms.tube(shape, spacing, line, 2.0)), spacing)
    assert clusters.ellipticity.max() > 0.4


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 3.0), (0.9, 0.8, 5.0)])
def test_a_lesion_that_blooms_into_the_slices_above_and_below_is_round(spacing):
    disk = phantoms.sphere((40, 40, 1), (*spacing[:2], 0.8), (16, 16, 0), 4.0)[..., 0]
    column = np.stack([disk] * 9, axis=-1)
    column[..., :3] = column[..., 6:] = 0
    _, clusters = found(column, spacing)
    assert clusters.ellipticity[0] < 0.05


def test_a_single_voxel_is_round():
    probability = np.zeros((5, 5, 5), np.float32)
    probability[2, 2, 2] = 1
    _, clusters = found(probability, (0.5, 0.5, 6.0))
    assert clusters.ellipticity[0] == 0
    assert clusters.volume_mm3[0] == pytest.approx(1.5)
    assert clusters.peak[0] == 1


@pytest.mark.parametrize(("spacing", "shape"), GRIDS)
@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.9])
def test_two_lesions_6_mm_apart_are_two(spacing, shape, threshold):
    first = phantoms.sphere(shape, spacing, (17, 20, 20), 3.5)
    second = phantoms.sphere(shape, spacing, (17, 26, 20), 3.5)
    assert find_clusters(soft(np.maximum(first, second)), threshold, spacing)[1] == 2


def test_two_lesions_bridged_above_the_threshold_are_two():
    spacing = (0.8, 0.8, 3.0)
    lesions = phantoms.sphere((50, 50, 14), spacing, (17, 20, 21), 3.5)
    lesions = np.maximum(lesions, phantoms.sphere((50, 50, 14), spacing, (23, 20, 21), 3.5))
    bridge = phantoms.tube((50, 50, 14), spacing, [(17, 20, 21), (23, 20, 21)], 2.0)
    probability = np.maximum(lesions, 0.5 * bridge)
    assert ndimage.label(probability >= 0.3)[1] == 1
    assert find_clusters(probability, 0.3, spacing)[1] == 2


def test_a_lesion_that_the_threshold_splits_is_one():
    spacing = (0.8, 0.8, 3.0)
    probability = 0.6 * phantoms.sphere((50, 50, 14), spacing, (20, 20, 21), 4.0)
    probability[25] = np.minimum(probability[25], 0.2)
    assert ndimage.label(probability >= 0.3, np.ones((3, 3, 3)))[1] == 2
    labels, count = find_clusters(probability, 0.3, spacing)
    assert count == 1
    assert set(np.unique(labels)) == {0, 1}


def test_a_crumb_beside_a_lesion_is_no_lesion_of_its_own():
    spacing, shape = (0.8, 0.8, 3.0), (50, 50, 14)
    probability = phantoms.sphere(shape, spacing, (20, 20, 21), 4.0)
    probability[29, 25, 7] = 0.2  # 3.2 mm from its center, a voxel from its edge
    labels, count = find_clusters(probability, 0.03, spacing, 0.5)
    assert count == 1
    assert labels[29, 25, 7] == 0
    probability[29, 25, 7] = 0.6
    assert find_clusters(probability, 0.03, spacing, 0.5)[1] == 2


def test_a_faint_lesion_5_mm_from_a_sure_one_is_a_lesion():
    spacing, shape = (0.8, 0.8, 3.0), (50, 50, 14)
    sure = phantoms.sphere(shape, spacing, (17, 20, 21), 3.0)
    faint = 0.2 * phantoms.sphere(shape, spacing, (22, 20, 21), 2.0)
    assert find_clusters(np.maximum(sure, faint), 0.03, spacing, 0.5)[1] == 2


def test_a_crumb_between_two_lesions_joins_them_not():
    spacing, shape = (0.8, 0.8, 3.0), (50, 50, 14)
    lesions = phantoms.sphere(shape, spacing, (16.8, 20, 21), 3.0)
    lesions = np.maximum(lesions, 0.9 * phantoms.sphere(shape, spacing, (22.4, 20, 21), 3.0))
    lesions[24, 28, 7] = 0.1  # 2.4 mm beside the line between them
    assert find_clusters(lesions, 0.03, spacing, 0.5)[1] == 2


def test_a_plain_tube_is_not_cut_into_round_pieces():
    spacing = (0.8, 0.8, 3.0)
    noise = 0.05 * np.random.default_rng(0).standard_normal((50, 50, 14)).astype(np.float32)
    tube = phantoms.tube((50, 50, 14), spacing, [(8, 20, 21), (32, 22, 21)], 2.0)
    assert find_clusters(0.8 * tube + noise * (tube > 0.5), 0.3, spacing)[1] == 1


@pytest.mark.parametrize(("spacing", "shape"), GRIDS[:2])
def test_a_lower_threshold_finds_fainter_lesions_and_draws_sure_ones_no_larger(spacing, shape):
    sure = phantoms.sphere(shape, spacing, (12, 20, 20), 4.0)
    faint = 0.2 * phantoms.sphere(shape, spacing, (28, 20, 20), 4.0)
    blurred = ndimage.gaussian_filter(np.maximum(sure, faint), 1.2 / np.array(spacing)).astype(np.float32)
    probability = blurred / blurred.max()

    def volumes(threshold, extent):
        labels, count = find_clusters(probability, threshold, spacing, extent)
        return np.sort(measure_clusters(labels, count, probability, spacing).volume_mm3)[::-1]

    low, high = volumes(0.05, 0.5), volumes(0.4, 0.5)
    assert len(low) == 2 and len(high) == 1
    assert high[0] in low and high[0] < 0.5 * volumes(0.05, 0.0)[0]
    assert low[1] == pytest.approx(low[0], rel=0.1)  # half of its own height, not of the other's


def centers_mm(probability, image, spacing, mask=None):
    labels, clusters = found(probability, spacing)
    mask = np.ones(image.shape, bool) if mask is None else mask
    return lesion_centers(labels, clusters, probability, image, mask, spacing) * spacing


@pytest.mark.parametrize(("spacing", "shape"), GRIDS)
@pytest.mark.parametrize("diameter", [3.0, 6.0, 10.0])
def test_a_lesion_is_centered_where_the_image_shows_it_on_every_grid(spacing, shape, diameter):
    sphere = soft(phantoms.sphere(shape, spacing, MIDDLE, diameter))
    center = centers_mm(sphere, 0.25 + 0.5 * sphere, spacing)[0]
    assert np.abs((center - MIDDLE) / spacing).max() < 0.25


@pytest.mark.parametrize("slice_mm", [2.5, 5.0, 6.0])
def test_a_lesion_in_two_thick_slices_of_which_stage_1_marks_one_is_centered_between_them(slice_mm):
    spacing, middle = (0.9, 0.9, slice_mm), (18.0, 18.0, 3.5 * slice_mm)
    lesion = phantoms.sphere((40, 40, 8), spacing, middle, 3.0)
    image = (0.25 + 0.5 * lesion).astype(np.float32)
    probability = lesion / lesion.max()
    probability[..., 4] *= 0.1
    marked = found(probability, spacing)[1].centroid_vox[0] * spacing
    away_mm = np.linalg.norm(centers_mm(probability, image, spacing)[0] - middle)
    assert np.linalg.norm(marked - middle) == pytest.approx(slice_mm / 2, abs=0.1)
    assert away_mm < 0.6 * slice_mm / 2


def test_a_lesion_beside_another_or_beside_the_skull_keeps_its_center():
    spacing, shape = (0.8, 0.8, 3.0), (50, 50, 14)
    first, second = (17, 20, 21), (22, 20, 21)
    lesions = [soft(phantoms.sphere(shape, spacing, place, 3.0)) for place in (first, second)]
    both = np.maximum(*lesions)
    image = (0.25 + 0.5 * both).astype(np.float32)
    centers = centers_mm(both, image, spacing)
    assert np.abs(centers[np.argsort(centers[:, 0])] - (first, second)).max() < 0.3
    mask = np.zeros(shape, bool)
    mask[:25] = True
    image[~mask] = 1.0  # as bright as a lesion
    assert np.abs(centers_mm(lesions[0] * mask, image, spacing, mask)[0] - first).max() < 0.3


def test_what_is_faint_beside_a_lesion_is_not_drawn_into_its_halo():
    spacing, shape = (0.8, 0.8, 3.0), (50, 50, 14)
    lesion = ndimage.gaussian_filter(phantoms.sphere(shape, spacing, (20, 20, 21), 3.0), (1, 1, 0.3))
    probability = lesion / lesion.max()
    image = (0.25 + 0.5 * probability).astype(np.float32)
    probability[33, 25, 7] = 0.2  # 6.4 mm from its center
    labels, count = find_clusters(probability, 0.1, spacing, 0.5)
    clusters = measure_clusters(labels, count, probability, spacing)
    centers = lesion_centers(labels, clusters, probability, image, np.ones(shape, bool), spacing)
    faint = clusters.peak.argmin()
    assert count == 2
    assert np.linalg.norm((centers[faint] - (33, 25, 7)) * spacing) < 1.5


def test_a_lesion_that_the_image_does_not_show_is_centered_by_stage_1():
    sphere = soft(phantoms.sphere(GRIDS[0][1], GRIDS[0][0], MIDDLE, 4.0))
    _, clusters = found(sphere, GRIDS[0][0])
    flat = np.full(sphere.shape, 0.25, np.float32)
    assert np.array_equal(centers_mm(sphere, flat, GRIDS[0][0]), clusters.centroid_vox * GRIDS[0][0])


def test_nothing_above_the_threshold_gives_no_clusters():
    labels, clusters = found(np.zeros((4, 4, 4), np.float32), (1, 1, 1))
    assert not labels.any()
    assert clusters.centroid_vox.shape == (0, 3)
    assert clusters.ellipticity.shape == (0,)


def test_distances_to_the_edge_are_in_millimetres_and_the_border_of_the_volume_is_no_edge():
    mask = np.ones((20, 20, 10), bool)
    mask[0] = False
    points = np.array([[5.0, 0.0, 0.0], [10.0, 10.0, 9.0]])
    assert edge_distance_mm(points, mask, (0.8, 0.8, 3.0)) == pytest.approx([4.0, 8.0])


def test_a_mask_that_fills_the_volume_has_no_edge():
    assert np.isinf(edge_distance_mm(np.zeros((1, 3)), np.ones((3, 3, 3), bool), (1, 1, 1)))[0]
