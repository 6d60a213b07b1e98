"""Training patches: their places and content, and how an epoch is drawn."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from CMMDetectLib.inference import cut_patches
from CMMDetectTrainLib.augmentation import NONE, Augmentation
from CMMDetectTrainLib.cases import NOT_JUDGED, CaseArrays, read_shelf, write_shelf
from CMMDetectTrainLib.patches import (
    CandidateSet,
    Draw,
    PatchSet,
    Place,
    Sampling,
    SplitPlaces,
    centered_place,
    cut,
    draw_epoch,
    draw_validation,
    grid_places,
    lesion_weights,
)
from training_cases import SMALL, SPACING_MM, cube, make_case

ONLY_TRANSLATION = Augmentation(translation_vox=15, noise_variance=(0, 0), blur_vox=(0, 0), mirror=False)


def numbered_case(folder, shape):
    """A case whose channels say where a voxel is: i, and j + 80 k, in 2048ths, which half precision holds exactly."""
    i, j, k = np.indices(shape)
    arrays = CaseArrays(
        "sub-01_swi",
        "sub-01",
        "swi",
        SPACING_MM,
        np.stack([i, j + 80 * k, i]).astype(np.float32) / 2048,
        np.zeros(shape, np.int16),
        np.ones(shape, bool),
    )
    write_shelf(folder, [arrays], {})
    return read_shelf(folder, {})[0]


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(*[st.integers(5, 60)] * 3), size=st.sampled_from([16, 24, 48]))
def test_the_grid_covers_every_voxel_of_scans_of_any_size(tmp_path_factory, shape, size):
    case = make_case(tmp_path_factory.mktemp("case"), shape=shape, balls=())
    seen = np.zeros(shape, bool)
    for place in grid_places(case, cube(size)):
        assert all(
            -size < first and (first >= 0 or length < size) for first, length in zip(place.start, shape, strict=True)
        )
        seen[tuple(slice(max(first, 0), first + size) for first in place.start)] = True
    assert seen.all()


def test_a_patch_is_a_microbleeds_where_one_lies_and_is_left_out_where_it_cannot_be_seen(tmp_path):
    case = make_case(tmp_path, shape=(72, 24, 24), balls=((12, 12, 12), (36, 12, 12)), unseen=(2,))
    assert [(place.start, place.positive) for place in grid_places(case, SMALL)] == [
        ((0, 0, 0), True),
        ((48, 0, 0), False),
    ]


def test_patches_with_hardly_any_brain_teach_nothing(tmp_path):
    shape = (48, 24, 24)
    mask = np.zeros(shape, bool)
    mask[:25] = True  # one sheet of voxels of the second patch
    image = np.zeros((3, *shape), np.float32)
    write_shelf(tmp_path, [CaseArrays("a", "a", "swi", SPACING_MM, image, np.zeros(shape, np.int16), mask)], {})
    assert [place.start for place in grid_places(read_shelf(tmp_path, {})[0], SMALL)] == [(0, 0, 0)]


@pytest.mark.parametrize("slices", [6, 9, 20])
def test_scans_of_few_thick_slices_give_patches_with_zeros_above_and_below(tmp_path, slices):
    case = make_case(tmp_path, shape=(60, 50, slices), balls=((20, 20, slices // 2),))
    places = grid_places(case, SMALL)
    assert sum(place.positive for place in places) >= 1
    for place in places:
        channels, labels = cut(Draw(place, (0,)), NONE)
        filled = np.flatnonzero(channels.any(axis=(0, 1, 2)))
        first = -place.start[2]
        assert (filled.min(), filled.max()) == (first, first + slices - 1)
        assert (first, 24 - slices - first) == pytest.approx((12 - slices / 2, 12 - slices / 2), abs=0.5)
        assert labels.any() == place.positive


def test_a_patch_around_a_candidate_is_what_the_detector_will_see(tmp_path):
    case = make_case(tmp_path, balls=((12, 12, 8), (2, 33, 18)))
    channels = np.asarray(case.channels, np.float32)
    for center in [(12.0, 12.0, 8.0), (1.6, 33.4, 18.2), (0.0, 0.0, 0.0), (39.0, 35.0, 19.0)]:
        seen = cut_patches(channels, np.array([center]), SMALL)[0]
        found, labels = cut(Draw(centered_place(case, center, SMALL, positive=True), (0,)), NONE)
        assert np.array_equal(found, seen)
        assert labels.shape == (24, 24, 24)


def test_a_translation_brings_in_more_of_the_scan_along_the_right_axes(tmp_path):
    case = numbered_case(tmp_path, (90, 80, 25))
    place = Place(case, (33, 28, 1), SMALL, positive=False)
    whole = np.asarray(case.channels, np.float32)
    starts = set()
    for seed in range(60):
        channels, _ = cut(Draw(place, (seed,)), ONLY_TRANSLATION)
        i, (k, j) = int(2048 * channels[0, 0, 0, 0]), divmod(int(2048 * channels[1, 0, 0, 0]), 80)
        assert np.array_equal(channels, whole[:, i : i + 24, j : j + 24, k : k + 24])
        assert k == 1
        starts.add((i, j))
    i, j = np.array(sorted(starts)).T
    assert i.min() < 25 and i.max() > 41 and j.min() < 20 and j.max() > 36
    assert (np.abs(i - 33) <= 15).all() and (np.abs(j - 28) <= 15).all()


def test_a_translation_does_not_push_a_patch_out_of_the_scan(tmp_path):
    case = make_case(tmp_path, shape=(40, 36, 30), balls=())
    for start in [(0, 0, 0), (16, 12, 6), (10, 2, 3)]:
        for seed in range(20):
            channels, _ = cut(Draw(Place(case, start, SMALL, positive=False), (seed,)), ONLY_TRANSLATION)
            assert channels[0].all()  # the image is nowhere 0


def test_a_patch_over_the_border_is_filled_with_zeros_and_moves_only_inward(tmp_path):
    case = make_case(tmp_path, shape=(40, 36, 30), balls=())
    place = Place(case, (-8, 6, 3), SMALL, positive=False)
    widths = set()
    for seed in range(40):
        channels, labels = cut(Draw(place, (seed,)), ONLY_TRANSLATION)
        outside = int((~channels.any(axis=(0, 2, 3))).sum())
        assert not channels[:, :outside].any()
        assert channels[0, outside:].all()
        assert not labels.any()
        widths.add(outside)
    assert max(widths) == 8
    assert min(widths) == 0


def test_labels_are_zero_one_or_not_judged(tmp_path):
    case = make_case(tmp_path, balls=((8, 12, 8), (20, 12, 8), (8, 24, 8)), unseen=(2,))
    _, labels, _ = PatchSet([Draw(Place(case, (0, 0, 0), cube(32), positive=True), (0,))])[0]
    assert sorted(np.unique(labels)) == [NOT_JUDGED, 0, 1]
    assert (labels == 1).sum() == 2 * (labels == NOT_JUDGED).sum()


def split_places(folder):
    cases = [make_case(folder, f"sub-{n:02d}_swi", shape=(96, 96, 24), balls=((12, 12, 12),), seed=n) for n in (1, 2)]
    return [place for case in cases for place in grid_places(case, SMALL)]


def test_an_epoch_has_every_microbleed_as_often_as_augmentation_says_and_as_many_patches_without(tmp_path):
    places = split_places(tmp_path)
    draws = draw_epoch(places, Sampling(Augmentation(factor=5), seed=3), epoch=0)
    positive = Counter((draw.place.case.name, draw.place.start) for draw in draws if draw.place.positive)
    negative = Counter((draw.place.case.name, draw.place.start) for draw in draws if not draw.place.positive)
    assert set(positive.values()) == {5} and len(positive) == 2
    assert sum(negative.values()) == 10
    assert set(negative.values()) == {1}
    assert len({draw.seed for draw in draws}) == len(draws)
    first = [draw.place.positive for draw in draws[: len(draws) // 2]]
    assert 0 < sum(first) < len(first)  # mixed, not one class after the other


def test_an_epoch_can_be_drawn_again_and_another_one_differs(tmp_path):
    places = split_places(tmp_path)
    sampling = Sampling(Augmentation(factor=2), seed=3)
    assert draw_epoch(places, sampling, 4) == draw_epoch(places, sampling, 4)
    assert draw_epoch(places, sampling, 4) != draw_epoch(places, sampling, 5)
    assert draw_epoch(places, sampling, 4) != draw_epoch(places, replace(sampling, seed=4), 4)


def test_an_epoch_keeps_to_its_largest_number_of_patches(tmp_path):
    places = split_places(tmp_path)
    for most in (2, 3, 8, 1000):
        draws = draw_epoch(places, Sampling(Augmentation(factor=10), most=most), 0)
        assert len(draws) == min(2 * (most // 2), 40)
        assert sum(draw.place.positive for draw in draws) == len(draws) // 2


def test_every_epoch_is_validated_on_the_same_patches_as_they_are(tmp_path):
    places = split_places(tmp_path)
    draws = draw_validation(places, Sampling(Augmentation(factor=10), seed=1))
    assert draws == draw_validation(places, Sampling(Augmentation(factor=5), seed=1))
    assert sum(draw.place.positive for draw in draws) == 2
    assert len(draws) == 4


def test_validation_takes_a_small_part_of_the_patches_that_an_epoch_may_take(tmp_path):
    places = split_places(tmp_path)
    sampling = Sampling(Augmentation(factor=10), most=8)
    assert len(draw_epoch(places, sampling, 0)) == 8
    assert len(draw_validation(places, sampling)) == 2


def test_small_and_large_microbleeds_count_alike():
    labels = np.zeros((20, 20, 20), np.int64)
    labels[2:4, 2:4, 2:4] = 7  # 8 voxels
    labels[8:14, 8:14, 8:14] = 9  # 216 voxels
    labels[17:19, 17, 17] = NOT_JUDGED
    weights = lesion_weights(labels)
    assert weights[labels == 7].sum() == pytest.approx(30)
    assert weights[labels == 9].sum() == pytest.approx(30)
    assert np.all(weights[labels <= 0] == 1)


def test_one_voxel_does_not_outweigh_all_else_and_a_hemorrhage_of_voxels_still_counts():
    one, many = np.zeros((30, 30, 30), np.int64), np.ones((30, 30, 30), np.int64)
    one[3, 3, 3] = 1
    assert lesion_weights(one).max() == 8
    assert lesion_weights(many).min() == pytest.approx(0.1)


def test_a_data_set_gives_tensors(tmp_path):
    case = make_case(tmp_path)
    draws = [Draw(centered_place(case, (12.0, 12.0, 8.0), SMALL, positive), (0,)) for positive in (True, False)]
    channels, labels, weights = PatchSet(draws)[0]
    assert channels.shape == (3, 24, 24, 24) and str(channels.dtype) == "torch.float32"
    assert weights.shape == (24, 24, 24) and str(weights.dtype) == "torch.float32"
    assert set(labels.unique().tolist()) == {0, 1}
    assert labels.shape == (24, 24, 24) and str(labels.dtype) == "torch.int64"
    assert [int(CandidateSet(draws)[index][1]) for index in (0, 1)] == [1, 0]


def test_places_from_other_scans_are_told_apart(tmp_path):
    places = split_places(tmp_path)
    origin = SplitPlaces(places, []).origin
    assert origin == SplitPlaces(list(places), []).origin
    assert origin != SplitPlaces(places[1:], places[:1]).origin
    changed = replace(places[0], case=replace(places[0].case, origin="made from a corrected mask"))
    assert origin != SplitPlaces([changed, *places[1:]], []).origin
