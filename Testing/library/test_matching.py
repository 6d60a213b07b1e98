"""Matching of candidates and lesions, by overlap and by center."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from CMMDetectLib.matching import (
    CENTER_DISTANCE_MM,
    match_centers,
    match_overlap,
    shared_voxels,
)


def boxes(*corners: tuple[int, int]) -> np.ndarray:
    """Label map of a line of voxels: one label a (start, stop)."""
    labels = np.zeros((20, 3, 3), np.int32)
    for number, (start, stop) in enumerate(corners, 1):
        labels[start:stop, 1, 1] = number
    return labels


def overlap(clusters: np.ndarray, truth: np.ndarray):
    return match_overlap(shared_voxels(clusters, truth, clusters.max(), truth.max()) > 0)


def test_one_shared_voxel_finds_a_lesion_and_a_neighboring_one_does_not():
    truth = boxes((0, 3), (10, 13))
    found = overlap(boxes((2, 6), (13, 16)), truth)
    assert found.candidate_of.tolist() == [0, -1]
    assert found.is_false.tolist() == [False, True]


def test_several_clusters_on_one_lesion_count_once_and_none_is_false():
    found = overlap(boxes((0, 2), (3, 5), (8, 9)), boxes((0, 6)))
    assert found.candidate_of.tolist() == [0]
    assert found.is_false.tolist() == [False, False, True]


def test_one_cluster_over_two_lesions_finds_both():
    assert overlap(boxes((0, 10)), boxes((0, 2), (8, 12))).candidate_of.tolist() == [0, 0]


def test_of_several_clusters_the_one_of_highest_priority_is_named():
    touches = np.array([[True], [True], [False]])
    assert match_overlap(touches, priority=[0.2, 0.9, 1.0]).candidate_of.tolist() == [1]


def test_shared_voxels_are_counted():
    clusters, truth = boxes((0, 5), (8, 12)), boxes((3, 9))
    assert shared_voxels(clusters, truth, 2, 1).tolist() == [[2], [1]]


@pytest.mark.parametrize(("diameter_mm", "reach_mm"), [(2.0, CENTER_DISTANCE_MM), (10.0, 5.0)])
def test_a_center_matches_within_3_mm_or_the_radius_of_a_large_lesion(diameter_mm, reach_mm):
    near = match_centers([[reach_mm - 0.01, 0, 0]], [[0, 0, 0]], [diameter_mm / 2])
    far = match_centers([[reach_mm + 0.01, 0, 0]], [[0, 0, 0]], [diameter_mm / 2])
    assert near.candidate_of.tolist() == [0] and not near.is_false[0]
    assert far.candidate_of.tolist() == [-1] and far.is_false[0]


def test_the_second_center_on_a_lesion_is_false_and_the_nearer_one_is_right():
    found = match_centers([[2, 0, 0], [0.5, 0, 0]], [[0, 0, 0]], [1])
    assert found.candidate_of.tolist() == [1]
    assert found.is_false.tolist() == [True, False]


def test_a_candidate_between_two_lesions_goes_to_the_one_that_has_no_other():
    # the nearest pair alone would be candidate 0 with lesion 0, and lesion 1 would be missed
    found = match_centers([[1.5, 0, 0], [-2, 0, 0]], [[0, 0, 0], [4, 0, 0]], [1, 1])
    assert found.candidate_of.tolist() == [1, 0]
    assert not found.is_false.any()


def test_candidates_on_an_optional_lesion_are_neither_right_nor_wrong():
    points = [[0, 0, 0], [1, 0, 0], [30, 0, 0]]
    found = match_centers(points, [[0, 0, 0]], [1], optional=np.array([True]))
    assert found.candidate_of.tolist() == [0]
    assert found.is_false.tolist() == [False, False, True]


def test_an_optional_lesion_takes_no_candidate_from_one_that_counts():
    found = match_centers([[1, 0, 0]], [[0.9, 0, 0], [3, 0, 0]], [1, 1], optional=np.array([True, False]))
    assert found.candidate_of.tolist() == [-1, 0]


points = st.lists(st.tuples(*[st.floats(0, 12)] * 2, st.just(0.0)), min_size=1, max_size=7)


@given(points, points, st.randoms(use_true_random=False))
def test_one_assignment_finds_at_every_threshold_as_many_lesions_as_its_own_would(candidates, lesions, random):
    score = np.array([random.choice([0.1, 0.3, 0.5, 0.7, 0.9]) for _ in candidates])
    of = match_centers(candidates, lesions, np.ones(len(lesions)), score).candidate_of
    found_at = np.where(of >= 0, score[of], -1)
    distance = np.linalg.norm(np.array(candidates)[:, None] - np.array(lesions), axis=2)
    for threshold in (0.1, 0.3, 0.5, 0.7, 0.9):
        graph = csr_array((distance <= CENTER_DISTANCE_MM) & (score >= threshold)[:, None])
        most = np.count_nonzero(maximum_bipartite_matching(graph, perm_type="row") >= 0)
        assert np.count_nonzero(found_at >= threshold) == most


def test_nothing_matches_nothing():
    for candidates, lesions in (([], [[0, 0, 0]]), ([[0, 0, 0]], []), ([], [])):
        by_center = match_centers(candidates, lesions, np.ones(len(lesions)))
        by_overlap = match_overlap(np.zeros((len(candidates), len(lesions)), bool))
        for found in (by_center, by_overlap):
            assert found.candidate_of.tolist() == [-1] * len(lesions)
            assert found.is_false.tolist() == [True] * len(candidates)
