"""Vessel removal on analytic phantoms: vessels go, microbleeds stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import phantoms
from CMMDetectLib.inpainting import inpaint
from CMMDetectLib.isolated_peaks import isolated_peaks
from CMMDetectLib.vessels import remove_vessels

FINE = [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (0.8, 0.8, 1.2), (0.45, 0.45, 1.0)]
THICK = [(0.8, 0.8, 3.0), (0.9, 0.8, 5.0)]
CONTRAST = 0.4
IN_PLANE = [(1, 0, 0), (1, 1, 0), (2, -1, 0)]
IN_SPACE = [*IN_PLANE, (0, 0, 1), (1, 2, 2), (-1, 0, 3)]


def brain_for(spacing_mm, size_mm=32, noise=0.02, seed=0):
    shape = tuple(round(size_mm / s) | 1 for s in spacing_mm)
    image, mask = phantoms.brain(shape, spacing_mm, noise=noise, seed=seed, margin_mm=1.0)
    return image, mask, phantoms.center_of(shape, spacing_mm)


def with_bright(image, mask, shape):
    return np.where(mask, image + CONTRAST * shape, image).astype(np.float32)


def body(shape, mask):
    return (shape > 0.5 * shape.max()) & mask


def kept_contrast(empty, image, cleaned, part):
    return (cleaned - empty)[part].mean() / (image - empty)[part].mean()


def assert_removed(shape, empty, mask, spacing_mm):
    """Draw a shape into a brain: it is found as a vessel and loses most of its contrast."""
    image = with_bright(empty, mask, shape)
    cleaned, vessels = remove_vessels(image, mask, spacing_mm)
    part = body(shape, mask)
    assert vessels[part].mean() >= 0.8
    assert kept_contrast(empty, image, cleaned, part) < 0.3


def straight_cases():
    for spacing_mm in FINE:
        yield from ((spacing_mm, direction, d) for direction in IN_SPACE for d in (1.2, 2.5))
    for spacing_mm in THICK:
        yield from ((spacing_mm, direction, d) for direction in IN_PLANE for d in (1.6, 2.5))


@pytest.mark.parametrize(("spacing_mm", "direction", "diameter_mm"), list(straight_cases()))
def test_a_straight_vessel_is_removed(spacing_mm, direction, diameter_mm):
    empty, mask, middle = brain_for(spacing_mm)
    line = phantoms.straight_line(middle, direction, 20)
    tube = phantoms.tube(empty.shape, spacing_mm, line, diameter_mm)
    assert_removed(tube, empty, mask, spacing_mm)


@pytest.mark.parametrize("diameter_mm", [1.6, 2.5])
@pytest.mark.parametrize("spacing_mm", FINE + THICK)
def test_a_curved_vessel_is_removed(spacing_mm, diameter_mm):
    empty, mask, middle = brain_for(spacing_mm)
    rise = 0.3 if spacing_mm in FINE else 0.0
    bow = phantoms.arc(middle - (0, 5, 0), 8, (1, 0, 0), (0, 1, rise))
    tube = phantoms.tube(empty.shape, spacing_mm, bow, diameter_mm)
    assert_removed(tube, empty, mask, spacing_mm)


@pytest.mark.parametrize("thickness_mm", [1.0, 2.0])
@pytest.mark.parametrize("spacing_mm", FINE + THICK)
def test_a_sulcus_is_removed(spacing_mm, thickness_mm):
    empty, mask, middle = brain_for(spacing_mm)
    for normal in ((1, 0, 0), (1, 1, 0)):
        sheet = phantoms.sheet(empty.shape, spacing_mm, middle, normal, thickness_mm, 8)
        assert_removed(sheet, empty, mask, spacing_mm)


@pytest.mark.parametrize("diameter_mm", [2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 10.0])
@pytest.mark.parametrize("spacing_mm", FINE + THICK)
def test_a_microbleed_keeps_its_contrast(spacing_mm, diameter_mm):
    empty, mask, middle = brain_for(spacing_mm)
    for offset_vox in np.random.default_rng(1).uniform(-0.5, 0.5, (2, 3)):
        ball = phantoms.sphere(empty.shape, spacing_mm, middle + offset_vox * spacing_mm, diameter_mm)
        image = with_bright(empty, mask, ball)
        cleaned, _ = remove_vessels(image, mask, spacing_mm)
        assert kept_contrast(empty, image, cleaned, body(ball, mask)) >= 0.95


@pytest.mark.parametrize("diameter_mm", [2.0, 4.0, 6.0])
@pytest.mark.parametrize("spacing_mm", FINE + THICK)
def test_a_microbleed_3_mm_from_a_vessel_keeps_its_contrast(spacing_mm, diameter_mm):
    empty, mask, middle = brain_for(spacing_mm)
    tube = phantoms.tube(empty.shape, spacing_mm, phantoms.straight_line(middle, (1, 0, 0), 22), 1.6)
    center = np.add(middle, (0, 0.8 + 3 + diameter_mm / 2, 0))
    ball = phantoms.sphere(empty.shape, spacing_mm, center, diameter_mm)
    image = with_bright(empty, mask, np.maximum(tube, ball))
    cleaned, vessels = remove_vessels(image, mask, spacing_mm)
    assert vessels[body(tube, mask)].mean() >= 0.8
    assert kept_contrast(empty, image, cleaned, body(ball, mask)) >= 0.95


@pytest.mark.parametrize("diameter_mm", [3.0, 4.0, 6.0])
@pytest.mark.parametrize("spacing_mm", FINE)
def test_a_microbleed_that_touches_a_thin_vessel_is_kept(spacing_mm, diameter_mm):
    empty, mask, middle = brain_for(spacing_mm)
    tube = phantoms.tube(empty.shape, spacing_mm, phantoms.straight_line(middle, (1, 0, 0), 22), 1.2)
    center = np.add(middle, (0, 0.6 + diameter_mm / 2, 0))
    ball = phantoms.sphere(empty.shape, spacing_mm, center, diameter_mm)
    image = with_bright(empty, mask, np.maximum(tube, ball))
    cleaned, vessels = remove_vessels(image, mask, spacing_mm)
    assert vessels[body(tube, mask) & (ball == 0)].mean() >= 0.7
    assert kept_contrast(empty, image, cleaned, body(ball, mask)) >= 0.95


@pytest.mark.parametrize("spacing_mm", FINE + THICK)
def test_a_lesion_twice_as_long_as_wide_is_kept(spacing_mm):
    empty, mask, middle = brain_for(spacing_mm)
    for direction in IN_SPACE:
        stub = phantoms.tube(empty.shape, spacing_mm, phantoms.straight_line(middle, direction, 2.5), 2.5)
        image = with_bright(empty, mask, stub)
        cleaned, _ = remove_vessels(image, mask, spacing_mm)
        assert kept_contrast(empty, image, cleaned, body(stub, mask)) >= 0.95


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("spacing_mm", FINE + THICK)
def test_little_is_removed_from_tissue_without_vessels(spacing_mm, noise):
    for seed in (0, 1):
        image, mask, _ = brain_for(spacing_mm, noise=noise, seed=seed)
        _, vessels = remove_vessels(image, mask, spacing_mm)
        assert vessels[mask].mean() < 0.03


@pytest.mark.parametrize("rim", [0.0, 0.9])
@pytest.mark.parametrize("spacing_mm", [(0.8, 0.8, 1.2), (0.8, 0.8, 3.0)])
def test_the_rim_of_the_brain_is_not_destroyed_and_does_not_hide_a_vessel(spacing_mm, rim):
    empty, mask, middle = brain_for(spacing_mm)
    tube = phantoms.tube(empty.shape, spacing_mm, phantoms.straight_line(middle, (1, 1, 0), 18), 1.6)
    image = with_bright(empty, mask, tube)
    at_rim = mask & ~ndimage.binary_erosion(mask)
    image[at_rim] = rim
    cleaned, vessels = remove_vessels(image, mask, spacing_mm)
    assert vessels[body(tube, mask)].mean() >= 0.8
    assert vessels[at_rim].mean() < 0.03
    assert np.abs(cleaned - image)[mask & (tube < 0.01)].mean() < 0.01


def test_nothing_outside_the_mask_has_any_influence():
    spacing_mm = (0.8, 0.8, 1.2)
    empty, mask, middle = brain_for(spacing_mm)
    edge = np.add(middle, (0, 10, 0))
    tube = phantoms.tube(empty.shape, spacing_mm, phantoms.straight_line(edge, (1, 0, 0), 40), 1.6)
    image = with_bright(empty, mask, tube)
    cleaned, vessels = remove_vessels(image, mask, spacing_mm)
    other, others = remove_vessels(np.where(mask, image, -5), mask, spacing_mm)
    assert vessels.any() and not (vessels & ~mask).any()
    assert np.array_equal(vessels, others) and np.array_equal(cleaned[mask], other[mask])
    assert cleaned[vessels].min() > empty[mask].min()


@settings(deadline=None, max_examples=8)
@given(scale=st.floats(1e-3, 1e4), offset=st.floats(-20, 20))
def test_scale_and_offset_of_the_intensities_do_not_matter(scale, offset):
    spacing_mm = (0.8, 0.8, 3.0)
    empty, mask, middle = brain_for(spacing_mm)
    tube = phantoms.tube(empty.shape, spacing_mm, phantoms.straight_line(middle, (1, 2, 0), 20), 1.6)
    image = with_bright(empty, mask, tube)
    cleaned, vessels = remove_vessels(image, mask, spacing_mm)
    other, others = remove_vessels(scale * (image.astype(float) + offset), mask, spacing_mm)
    assert vessels.any()
    assert (vessels ^ others).sum() <= 0.02 * vessels.sum()
    same = vessels == others
    np.testing.assert_allclose(other[same] / scale - offset, cleaned[same], atol=0.02)


@settings(deadline=None, max_examples=8)
@given(
    spacing_mm=st.sampled_from(FINE + THICK),
    order=st.permutations(range(3)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_turning_or_mirroring_the_grid_turns_the_result(spacing_mm, order, flips):
    empty, mask, middle = brain_for(spacing_mm, size_mm=26)
    tube = phantoms.tube(empty.shape, spacing_mm, phantoms.straight_line(middle, (1, 2, 0), 16), 1.6)
    ball = phantoms.sphere(empty.shape, spacing_mm, np.add(middle, (5, -4, 1)), 3.0)
    image = with_bright(empty, mask, np.maximum(tube, ball))
    step = tuple(slice(None, None, -1) if f else slice(None) for f in flips)
    _, found = remove_vessels(
        image.transpose(order)[step], mask.transpose(order)[step], [spacing_mm[axis] for axis in order]
    )
    _, expected = remove_vessels(image, mask, spacing_mm)
    expected = expected.transpose(order)[step]
    assert expected.any()
    assert (found ^ expected).sum() <= 0.01 * expected.sum()


@pytest.mark.parametrize("spacing_mm", [(0.9, 0.9, 0.9), (0.7, 0.7, 0.7)])
@pytest.mark.parametrize("width_mm", [2.0, 3.0])
def test_a_microbleed_that_blooms_along_the_field_stays_and_a_vein_along_it_goes(spacing_mm, width_mm):
    empty, mask, middle = brain_for(spacing_mm)
    column = phantoms.tube(empty.shape, spacing_mm, phantoms.straight_line(middle, (0, 0, 1), 8), width_mm)
    vein = phantoms.tube(empty.shape, spacing_mm, phantoms.straight_line(middle, (0, 0, 1), 24), 1.6)
    lost, gone = (
        [
            remove_vessels(with_bright(empty, mask, shape), mask, spacing_mm, bloom_axis=axis)[1][body(shape, mask)]
            for axis in (None, 2)
        ]
        for shape in (column, vein)
    )
    assert lost[0].mean() > 0.7 and lost[1].mean() < 0.3
    assert gone[0].mean() > 0.8 and gone[1].mean() > 0.7


def test_the_last_digit_of_a_stored_voxel_size_changes_nothing():
    empty, mask, middle = brain_for((1.0, 1.0, 1.0))
    rim = phantoms.tube(empty.shape, (1.0, 1.0, 1.0), phantoms.straight_line(middle, (1, 2, 2), 40), 2.5)
    image = with_bright(empty, mask, rim)
    stored = float(np.nextafter(np.float32(1), np.float32(0)))
    _, vessels = remove_vessels(image, mask, (1.0, 1.0, 1.0))
    _, others = remove_vessels(image, mask, (stored, stored, stored))
    assert vessels.any() and np.array_equal(vessels, others)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 3, 3), (2, 5, 1), (24, 24, 1), (1, 24, 24)])
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.8, 0.8, 3.0)])
def test_tiny_and_constant_volumes_pass_through(shape, spacing_mm):
    everywhere = np.ones(shape, bool)
    noise = np.random.default_rng(0).random(shape, np.float32)
    for image in (np.full(shape, 0.4, np.float32), noise):
        cleaned, vessels = remove_vessels(image, everywhere, spacing_mm)
        assert cleaned.shape == vessels.shape == shape
        assert cleaned.dtype == np.float32 and vessels.dtype == bool
        assert np.isfinite(cleaned).all() and vessels.mean() < 0.1


def test_a_peak_of_one_voxel_stands_alone_where_voxels_are_so_large_that_a_ball_is_three_across():
    image = np.zeros((7, 7, 7), np.float32)
    image[3, 3, 3] = 1
    isolated = isolated_peaks(
        image, np.array([image.argmax()]), ndimage.generate_binary_structure(3, 1), (1.0, 1.0, 1.0)
    )
    assert isolated[3, 3, 3]


def test_one_thick_slice_is_searched():
    shape, spacing_mm = (61, 61, 1), (0.5, 0.5, 2.0)
    line = phantoms.straight_line(phantoms.center_of(shape, spacing_mm), (1, 1, 0), 18)
    tube = phantoms.tube(shape, spacing_mm, line, 1.6)
    noise = 0.02 * np.random.default_rng(0).standard_normal(shape)
    image = (0.4 + CONTRAST * tube + noise).astype(np.float32)
    _, vessels = remove_vessels(image, np.ones(shape, bool), spacing_mm)
    assert vessels[tube > 0.4].mean() >= 0.8


def test_an_empty_mask_changes_nothing():
    image = np.random.default_rng(0).random((9, 9, 9), np.float32)
    cleaned, vessels = remove_vessels(image, np.zeros(image.shape, bool), (1.0, 1.0, 1.0))
    assert not vessels.any() and np.array_equal(cleaned, image)


def test_memory_order_does_not_matter_and_the_input_is_left_alone():
    spacing_mm = (0.8, 0.8, 1.2)
    empty, mask, middle = brain_for(spacing_mm)
    tube = phantoms.tube(empty.shape, spacing_mm, phantoms.straight_line(middle, (1, 2, 1), 20), 1.6)
    image = with_bright(empty, mask, tube)
    before = image.copy()
    cleaned, vessels = remove_vessels(image, mask, spacing_mm)
    other, others = remove_vessels(np.asfortranarray(image), np.asfortranarray(mask), spacing_mm)
    assert np.array_equal(image, before)
    assert np.array_equal(vessels, others) and np.array_equal(cleaned, other)
    assert np.array_equal(cleaned[~vessels], image[~vessels])


def test_a_painted_voxel_is_the_mean_of_its_valid_neighbors():
    image = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    hole, mask = np.zeros((2, 3, 3, 3), bool)
    hole[1, 1, 1], mask[:] = True, True
    assert inpaint(image, hole, mask)[1, 1, 1] == 13
    mask[0] = False  # background: 0 to 8
    assert inpaint(image, hole, mask)[1, 1, 1] == pytest.approx((sum(range(9, 27)) - 13) / 17)


def test_a_wide_hole_is_filled_from_its_rim_inward():
    image = np.full((9, 9, 9), 2.0, np.float32)
    hole = np.zeros(image.shape, bool)
    hole[2:7, 2:7, 2:7] = True
    image[hole] = 100
    assert np.array_equal(inpaint(image, hole, np.ones(image.shape, bool)), np.full((9, 9, 9), 2.0))


def test_a_hole_without_any_valid_neighbor_stays():
    image = np.random.default_rng(0).random((4, 4, 4), np.float32)
    everywhere = np.ones(image.shape, bool)
    assert np.array_equal(inpaint(image, everywhere, everywhere), image)


@pytest.mark.parametrize("spacing_mm", [(0.94, 0.94, 1.75), (1.0, 1.0, 2.5), (0.45, 0.45, 1.0)])
def test_a_lesion_that_blooms_into_the_slices_above_and_below_keeps_its_contrast(spacing_mm):
    empty, mask, middle = brain_for(spacing_mm)
    in_plane_mm = (*spacing_mm[:2], spacing_mm[0])
    round_one = phantoms.sphere(empty.shape, in_plane_mm, middle / spacing_mm * in_plane_mm, 3.6)
    image = with_bright(empty, mask, round_one)
    cleaned, _ = remove_vessels(image, mask, spacing_mm)
    assert kept_contrast(empty, image, cleaned, body(round_one, mask)) >= 0.95


SLICES = [(0.94, 0.94, 1.75), (1.0, 1.0, 2.5), (0.8, 0.8, 1.5)]


def blooming(shape, spacing_mm, center_mm, diameter_mm):
    """A ball that is as many slices high as pixels wide."""
    in_plane_mm = (*spacing_mm[:2], spacing_mm[0])
    return phantoms.sphere(shape, in_plane_mm, np.divide(center_mm, spacing_mm) * in_plane_mm, diameter_mm)


@pytest.mark.parametrize("diameter_mm", [2.5, 3.5])
@pytest.mark.parametrize("spacing_mm", SLICES)
def test_a_blooming_microbleed_within_a_net_of_veins_keeps_its_contrast(spacing_mm, diameter_mm):
    empty, mask, middle = brain_for(spacing_mm)
    ball = blooming(empty.shape, spacing_mm, middle, diameter_mm)
    gap_mm = diameter_mm / 2 + 1.6
    lines = [phantoms.straight_line(np.add(middle, (0, side * gap_mm, 0)), (1, 0, 0), 22) for side in (-1, 1)]
    lines.append(phantoms.straight_line(np.add(middle, (gap_mm, 0, 0)), (0, 1, 0), 22))
    net = np.max([phantoms.tube(empty.shape, spacing_mm, line, 1.6) for line in lines], axis=0)
    image = with_bright(empty, mask, np.maximum(0.7 * net, ball))
    cleaned, vessels = remove_vessels(image, mask, spacing_mm)
    assert vessels[body(net, mask) & (ball == 0)].mean() >= 0.6
    assert kept_contrast(empty, image, cleaned, body(ball, mask)) >= 0.9


@pytest.mark.parametrize("diameter_mm", [2.5, 3.5])
@pytest.mark.parametrize("spacing_mm", [*SLICES, (0.8, 0.8, 3.0)])
def test_a_microbleed_at_the_end_of_a_vein_is_kept(spacing_mm, diameter_mm):
    empty, mask, middle = brain_for(spacing_mm)
    ball = blooming(empty.shape, spacing_mm, middle, diameter_mm)
    tube = phantoms.tube(empty.shape, spacing_mm, [middle, np.add(middle, (12, 0, 0))], 1.6)
    image = with_bright(empty, mask, np.maximum(0.7 * tube, ball))
    cleaned, vessels = remove_vessels(image, mask, spacing_mm)
    assert vessels[body(tube, mask) & (ball == 0)].mean() >= 0.5
    assert kept_contrast(empty, image, cleaned, body(ball, mask)) >= 0.8


@pytest.mark.parametrize("spacing_mm", SLICES)
def test_a_microbleed_that_touches_a_sulcus_is_kept(spacing_mm):
    empty, mask, middle = brain_for(spacing_mm)
    sheet = phantoms.sheet(empty.shape, spacing_mm, middle, (0, 1, 0), 1.6, 9)
    ball = blooming(empty.shape, spacing_mm, np.add(middle, (0, 0.8 + 1.5, 0)), 3.0)
    image = with_bright(empty, mask, np.maximum(0.6 * sheet, ball))
    cleaned, vessels = remove_vessels(image, mask, spacing_mm)
    assert vessels[body(sheet, mask) & (ball == 0)].mean() >= 0.7
    assert kept_contrast(empty, image, cleaned, body(ball, mask)) >= 0.8
