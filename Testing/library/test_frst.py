"""The radial symmetry transform: place and height of its peaks on every grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import phantoms
from CMMDetectLib.frst import RADII_MM, radial_symmetry, resolved_axes

ISOTROPIC = [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0)]
ANISOTROPIC = [(0.7, 0.9, 1.2), (0.45, 0.45, 1.0), (0.8, 0.8, 3.0), (0.9, 0.8, 5.0), (3.0, 0.8, 0.8)]


def grid_for(spacing_mm, size_mm=24):
    return tuple(round(size_mm / s) | 1 for s in spacing_mm)


def sphere_image(spacing_mm, offset_vox, diameter_mm, noise=0.0, contrast=0.4):
    shape = grid_for(spacing_mm)
    center_mm = phantoms.center_of(shape, spacing_mm) + np.asarray(offset_vox) * spacing_mm
    image = 0.4 + contrast * phantoms.sphere(shape, spacing_mm, center_mm, diameter_mm)
    image += noise * np.random.default_rng(1).standard_normal(shape)
    return image.astype(np.float32), center_mm / spacing_mm


def peak_of(symmetry):
    """The highest voxel, refined by a parabola along each axis."""
    top = np.unravel_index(symmetry.argmax(), symmetry.shape)
    refined = []
    for axis, index in enumerate(top):
        line = symmetry[tuple(slice(None) if a == axis else t for a, t in enumerate(top))]
        a, b, c = (float(v) for v in np.pad(line, 1)[index : index + 3])
        refined.append(index + 0.5 * (a - c) / (a - 2 * b + c))
    return np.array(refined)


@pytest.mark.parametrize("diameter_mm", [2.5, 4.0, 6.0])
@pytest.mark.parametrize("spacing_mm", ISOTROPIC + ANISOTROPIC)
def test_the_peak_is_within_half_a_voxel_of_the_center(spacing_mm, diameter_mm):
    for offset_vox in np.random.default_rng(3).uniform(-0.5, 0.5, (3, 3)):
        image, center_vox = sphere_image(spacing_mm, offset_vox, diameter_mm, noise=0.02)
        error_vox = np.abs(peak_of(radial_symmetry(image, spacing_mm)) - center_vox)
        assert error_vox.max() < 0.5, (offset_vox, error_vox)


@pytest.mark.parametrize("spacing_mm", ISOTROPIC + ANISOTROPIC)
def test_the_highest_voxel_holds_the_center(spacing_mm):
    for offset_vox in np.random.default_rng(4).uniform(-0.35, 0.35, (3, 3)):
        image, center_vox = sphere_image(spacing_mm, offset_vox, 4.0)
        symmetry = radial_symmetry(image, spacing_mm)
        assert np.array_equal(np.unravel_index(symmetry.argmax(), symmetry.shape), np.rint(center_vox))


def test_the_same_lesion_has_about_the_same_value_on_every_grid():
    values = []
    for spacing_mm in ISOTROPIC + ANISOTROPIC:
        image, _ = sphere_image(spacing_mm, (0, 0, 0), 4.0, noise=0.02)
        values.append(radial_symmetry(image, spacing_mm).max())
    assert min(values) > 0.3
    assert max(values) < 2 * min(values)


@settings(deadline=None, max_examples=12)
@given(scale=st.floats(1e-3, 1e4), offset=st.floats(-50, 50), seed=st.integers(0, 99))
def test_scale_and_offset_of_the_intensities_do_not_matter(scale, offset, seed):
    rng = np.random.default_rng(seed)
    spacing_mm = (0.8, 0.8, 3.0)
    image, _ = sphere_image(spacing_mm, rng.uniform(-0.5, 0.5, 3), 4.0)
    image += 0.02 * rng.standard_normal(image.shape)
    expected = radial_symmetry(image.astype(np.float32), spacing_mm)
    found = radial_symmetry((scale * (image + offset)).astype(np.float32), spacing_mm)
    np.testing.assert_allclose(found, expected, atol=0.01 * expected.max())


@settings(deadline=None, max_examples=12)
@given(
    spacing_mm=st.sampled_from(ISOTROPIC + ANISOTROPIC),
    order=st.permutations(range(3)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_turning_or_mirroring_the_grid_turns_the_result(spacing_mm, order, flips):
    image, _ = sphere_image(spacing_mm, (0.3, -0.2, 0.1), 4.0, noise=0.02)
    step = tuple(slice(None, None, -1) if f else slice(None) for f in flips)
    turned = np.ascontiguousarray(image.transpose(order)[step])
    found = radial_symmetry(turned, [spacing_mm[axis] for axis in order])
    expected = radial_symmetry(image, spacing_mm).transpose(order)[step]
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.max())


@pytest.mark.parametrize("direction", [(0, 1, 0), (1, 2, 0), (1, 2, 2)])
@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (0.8, 0.8, 1.2), (0.8, 0.8, 3.0)])
def test_a_vessel_scores_far_below_a_sphere(spacing_mm, direction):
    shape = grid_for(spacing_mm)
    middle = phantoms.center_of(shape, spacing_mm)
    ball = phantoms.sphere(shape, spacing_mm, middle, 3.0)
    vessel = phantoms.tube(shape, spacing_mm, phantoms.straight_line(middle, direction, 80), 2.0)
    inner = tuple(slice(int(4 / s), -int(4 / s)) for s in spacing_mm)
    highest = [radial_symmetry(0.4 + 0.4 * x, spacing_mm)[inner].max() for x in (ball, vessel)]
    # Steeply through thick slices a vessel is a short ellipse in each of them.
    steep = direction[2] > 0 and spacing_mm[2] > 2 * spacing_mm[0]
    assert highest[1] < (0.3 if steep else 0.25) * highest[0]


@pytest.mark.parametrize("spacing_mm", ISOTROPIC + ANISOTROPIC)
def test_a_small_microbleed_is_seen_nearly_as_well_as_a_large_one(spacing_mm):
    small, large = (
        radial_symmetry(sphere_image(spacing_mm, (0, 0, 0), diameter_mm)[0], spacing_mm).max()
        for diameter_mm in (1.5, 4.0)
    )
    assert small > 0.5 * large


def test_dark_spheres_are_not_seen():
    bright, center_vox = sphere_image((0.8, 0.8, 0.8), (0, 0, 0), 4.0)
    dark, _ = sphere_image((0.8, 0.8, 0.8), (0, 0, 0), 4.0, contrast=-0.4)
    at = tuple(np.rint(center_vox).astype(int))
    assert radial_symmetry(bright, (0.8, 0.8, 0.8))[at] > 0.3
    assert radial_symmetry(dark, (0.8, 0.8, 0.8))[at] < 1e-6


@pytest.mark.parametrize("spacing_mm", [(0.8, 0.8, 1.2), (0.8, 0.8, 3.0)])
@pytest.mark.parametrize("outside", [0.0, 1.0])
def test_the_edge_of_the_brain_does_not_compete_with_a_lesion(spacing_mm, outside):
    shape = grid_for(spacing_mm, 40)
    tissue, mask = phantoms.brain(shape, spacing_mm, noise=0.01)
    ball = phantoms.sphere(shape, spacing_mm, phantoms.center_of(shape, spacing_mm), 3.0)
    image = np.where(mask, tissue + 0.2 * ball, outside).astype(np.float32)
    symmetry = radial_symmetry(image, spacing_mm, mask=mask)
    assert not symmetry[~mask].any()
    np.testing.assert_allclose(peak_of(symmetry), (np.asarray(shape) - 1) / 2, atol=0.5)
    away = phantoms.sphere(shape, spacing_mm, phantoms.center_of(shape, spacing_mm), 12.0) == 0
    assert symmetry[away & mask].max() < 0.3 * symmetry.max()


def test_values_outside_the_mask_do_not_matter():
    spacing_mm = (0.8, 0.8, 3.0)
    tissue, mask = phantoms.brain((40, 40, 11), spacing_mm, noise=0.02)
    changed = np.where(mask, tissue, 7.0).astype(np.float32)
    found = radial_symmetry(changed, spacing_mm, mask=mask)
    np.testing.assert_allclose(found, radial_symmetry(tissue, spacing_mm, mask=mask), atol=1e-4)


def test_noise_alone_gives_little():
    noise = np.random.default_rng(0).standard_normal((48, 48, 16)).astype(np.float32)
    assert radial_symmetry(noise, (0.8, 0.8, 3.0)).max() < 0.4
    assert radial_symmetry(noise, (0.8, 0.8, 0.8)).max() < 0.1


def test_one_hot_voxel_does_not_rescale_the_scan():
    image, _ = sphere_image((0.8, 0.8, 3.0), (0, 0, 0), 4.0, noise=0.02)
    expected = radial_symmetry(image, (0.8, 0.8, 3.0)).max()
    image[2, 2, 1] = 1000
    found = radial_symmetry(image, (0.8, 0.8, 3.0))[10:, 10:].max()
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 3, 3), (2, 5, 1), (20, 20, 1), (1, 20, 20)])
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.8, 0.8, 3.0)])
def test_tiny_and_constant_volumes_give_finite_values(shape, spacing_mm):
    assert not radial_symmetry(np.full(shape, 0.4, np.float32), spacing_mm).any()
    found = radial_symmetry(np.random.default_rng(0).random(shape, np.float32), spacing_mm)
    assert found.dtype == np.float32 and found.shape == shape and np.isfinite(found).all()


def test_an_empty_mask_gives_zeros():
    image = np.random.default_rng(0).random((8, 8, 8), np.float32)
    assert not radial_symmetry(image, (1.0, 1.0, 1.0), mask=np.zeros(image.shape, bool)).any()


def test_the_input_is_left_alone():
    image, _ = sphere_image((0.8, 0.8, 3.0), (0, 0, 0), 4.0)
    before, mask = image.copy(), np.ones(image.shape, bool)
    radial_symmetry(image, (0.8, 0.8, 3.0), mask=mask)
    assert np.array_equal(image, before) and mask.all()


@pytest.mark.parametrize("radius_mm", RADII_MM)
def test_each_radius_answers_to_its_own_size(radius_mm):
    def answer(diameter_mm):
        image, center_vox = sphere_image((0.5, 0.5, 0.5), (0, 0, 0), diameter_mm)
        return radial_symmetry(image, (0.5, 0.5, 0.5), [radius_mm])[tuple(center_vox.astype(int))]

    assert answer(2 * radius_mm) > max(answer(radius_mm), answer(4 * radius_mm))


def test_slices_exactly_twice_as_thick_are_still_three_dimensional():
    assert resolved_axes((9, 9, 9), (0.5, 0.5, 1.0000001)) == (0, 1, 2)
    assert resolved_axes((9, 9, 9), (0.45, 0.45, 1.0)) == (0, 1)
    assert resolved_axes((9, 9, 9), (3.0, 0.8, 0.9)) == (1, 2)
    assert resolved_axes((9, 9, 1), (0.5, 0.5, 1.0)) == (0, 1)
