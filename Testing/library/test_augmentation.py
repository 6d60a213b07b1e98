"""What augmentation changes in a patch, and what it preserves."""

import numpy as np
import pytest

from CMMDetectTrainLib.augmentation import NONE, Augmentation

SIZE = 16


def patch() -> tuple[np.ndarray, np.ndarray]:
    """A brain that fills half of a patch, and a microbleed in a corner of it."""
    channels = np.zeros((3, SIZE, SIZE, SIZE), np.float32)
    channels[:, SIZE // 2 :] = np.array([0.25, 0.05, 0.25]).reshape(3, 1, 1, 1)
    channels[:, 9:11, 2:4, 5:7] = 0.9
    labels = np.zeros((SIZE,) * 3, np.int64)
    labels[9:11, 2:4, 5:7] = 1
    return channels, labels


def test_a_translation_goes_along_the_first_two_axes_both_ways_and_no_farther_than_allowed():
    rng = np.random.default_rng(0)
    offsets = np.array([Augmentation(translation_vox=15).offset(rng) for _ in range(2000)])
    assert not offsets[:, 2].any()
    assert offsets[:, :2].min(axis=0) == pytest.approx([-15, -15])
    assert offsets[:, :2].max(axis=0) == pytest.approx([15, 15])
    assert np.mean(~offsets.any(axis=1)) == pytest.approx(0.5, abs=0.05)


def test_no_translation_can_be_asked_for():
    assert not Augmentation(translation_vox=0).offset(np.random.default_rng(1)).any()


def test_noise_has_the_papers_strength_is_only_in_the_image_and_stays_in_the_brain():
    only_noise = Augmentation(blur_vox=(0.0, 0.0), mirror=False)
    channels, labels = patch()
    channels[[0, 2]] = np.where(channels[[0, 2]] > 0, 0.5, 0)  # far from where values are clipped
    spreads = []
    for seed in range(60):
        changed, same_labels = only_noise.apply(channels, labels, np.random.default_rng(seed))
        brain = channels.any(axis=0)
        assert not changed[:, ~brain].any()
        assert np.array_equal(changed[1], channels[1])
        assert np.array_equal(changed[2], changed[0])  # the vessels are gone, the noise is not
        assert np.array_equal(same_labels, labels)
        spreads.append(float((changed - channels)[0][brain].std()))
    noisy = np.array(spreads)[np.array(spreads) > 0]
    assert len(noisy) == pytest.approx(30, abs=12)
    assert 0.09 < noisy.min() < 0.12
    assert 0.17 < noisy.max() < 0.21


def test_mirroring_takes_image_and_labels_along_and_the_patch_given_is_not_changed():
    only_mirror = Augmentation(blur_vox=(0.0, 0.0), noise_variance=(0.0, 0.0))
    channels, labels = patch()
    before = channels.copy()
    seen = set()
    for seed in range(40):
        changed, moved = only_mirror.apply(channels, labels, np.random.default_rng(seed))
        assert np.array_equal(changed[0] > 0.8, moved == 1)
        assert sorted(changed[0].ravel()) == sorted(channels[0].ravel())
        seen.add(tuple(np.argwhere(moved)[0]))
    assert len(seen) == 8  # each axis by itself
    assert np.array_equal(channels, before)


def test_a_blur_as_slight_as_the_papers_keeps_a_lesion_of_one_voxel():
    only_blur = Augmentation(noise_variance=(0.0, 0.0), mirror=False)
    channels = np.full((3, SIZE, SIZE, SIZE), 0.25, np.float32)
    channels[0, 8, 8, 8] = 0.9
    for seed in range(10):
        changed, _ = only_blur.apply(channels, np.zeros((SIZE,) * 3, np.int64), np.random.default_rng(seed))
        assert changed[0, 8, 8, 8] > 0.89


def test_strong_blur_does_blur():
    blur = Augmentation(blur_vox=(1.0, 1.0), noise_variance=(0.0, 0.0), mirror=False)
    channels, labels = patch()
    peaks = [float(blur.apply(channels, labels, np.random.default_rng(seed))[0].max()) for seed in range(12)]
    assert min(peaks) < 0.7
    assert max(peaks) == pytest.approx(0.9)


def test_contrast_changes_what_differs_from_tissue_and_leaves_tissue_alone():
    only_contrast = Augmentation(blur_vox=(0, 0), noise_variance=(0, 0), mirror=False, contrast=1.25)
    channels, labels = patch()
    channels[[0, 2], 12:, 8:] = 0.15
    bright, dark = [], []
    for seed in range(200):
        changed, _ = only_contrast.apply(channels, labels, np.random.default_rng(seed))
        assert changed[0, 10, 10, 10] == 0.25
        assert np.array_equal(changed[1], channels[1])
        assert np.array_equal(changed[2], changed[0])
        bright.append(float(changed[0, 9, 2, 5]) - 0.25)
        dark.append(0.25 - float(changed[0, 12, 8, 0]))
    assert np.mean(np.array(bright) == bright[0]) < 0.7
    assert min(bright) == pytest.approx(0.65 / 1.25, rel=0.05)
    assert max(bright) == pytest.approx(0.75)  # 1 is the brightest that there is
    assert (min(dark), max(dark)) == pytest.approx((0.1 / 1.25, 0.1 * 1.25), rel=0.05)


def test_the_same_seed_changes_a_patch_in_the_same_way():
    channels, labels = patch()
    one, again, other = (Augmentation().apply(channels, labels, np.random.default_rng(seed))[0] for seed in (4, 4, 5))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_none_changes_nothing():
    channels, labels = patch()
    for seed in range(5):
        changed, same = NONE.apply(channels, labels, np.random.default_rng(seed))
        assert np.array_equal(changed, channels)
        assert np.array_equal(same, labels)
        assert not NONE.offset(np.random.default_rng(seed)).any()
