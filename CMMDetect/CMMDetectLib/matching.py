"""Two rules for which candidates match which lesions.

Published rules differ, and so do the metrics that they give. The two rules here work on arrays and points only:

* overlap, the paper's (4.1): a cluster that shares at least one voxel with a true lesion has found it. A lesion found
  several times counts once, and none of its clusters is a false positive; one cluster may find several lesions.
* center, one to one: a candidate finds a lesion whose center lies within 3 mm or within the lesion's radius, whichever
  is more. A lesion takes one candidate and a candidate one lesion; a second candidate on a lesion is a false positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

CENTER_DISTANCE_MM = 3.0


@dataclass(frozen=True)
class Match:
    """Assignment of C candidates to L true lesions.

    Attributes
    ----------
    candidate_of : (L,) int
        Index of the candidate that found each lesion, -1 if none did.
    is_false : (C,) bool
        Candidates that are false positives.
    """

    candidate_of: NDArray[np.intp]
    is_false: NDArray[np.bool_]


def shared_voxels(
    clusters: NDArray[np.integer], truth: NDArray[np.integer], cluster_count: int, truth_count: int
) -> NDArray[np.int64]:
    """Count the voxels that clusters and true lesions share.

    Parameters
    ----------
    clusters, truth : label maps of the same shape; 0 is background
    cluster_count, truth_count : the highest label of each, C and L

    Returns
    -------
    (C, L) int64
        Row ``c`` is the label ``c + 1`` of ``clusters``, column ``l`` the label ``l + 1`` of ``truth``.

    >>> shared_voxels(np.array([1, 1, 2, 0]), np.array([0, 1, 0, 2]), 2, 2)
    array([[1, 0],
           [0, 0]])
    """
    both = (clusters > 0) & (truth > 0)
    pairs = (clusters[both].astype(np.int64) - 1) * truth_count + truth[both].astype(np.int64) - 1
    return np.bincount(pairs, minlength=cluster_count * truth_count).reshape(cluster_count, truth_count)


def match_overlap(touches: NDArray[np.bool_], priority: ArrayLike | None = None) -> Match:
    """Match by the paper's rule (4.1): one shared voxel is enough.

    Parameters
    ----------
    touches : (C, L)
        Whether a candidate's cluster shares a voxel with a lesion.
    priority : (C,)
        Of several candidates on one lesion, the one with the highest priority is named; without priorities, the first.
    """
    order = _by_priority(len(touches), priority)
    found = touches.any(axis=0)
    first = order[touches[order].argmax(axis=0)] if len(order) else np.zeros(touches.shape[1], np.intp)
    return Match(np.where(found, first, -1), np.logical_not(touches.any(axis=1)))


def match_centers(
    points_mm: ArrayLike,
    centers_mm: ArrayLike,
    radii_mm: ArrayLike,
    priority: ArrayLike | None = None,
    optional: NDArray[np.bool_] | None = None,
) -> Match:
    """Match one to one by the distance of centers, at most `CENTER_DISTANCE_MM` or the lesion's radius.

    The assignment is optimal, not greedy: a greedy choice can give a candidate between two lesions to the one that has
    another candidate and so miss the second. In this order, it (1) finds as many lesions as any assignment can, (2)
    prefers candidates of high priority and (3) keeps the sum of the distances small. With the detector's score as
    the priority the candidates above any threshold then find as many lesions as they could if they were matched
    alone (matchable candidates form a matroid), so one assignment serves a whole FROC curve.

    Parameters
    ----------
    points_mm : (C, 3), candidates
    centers_mm : (L, 3), lesions
    radii_mm : (L,), of the lesions
    priority : (C,), candidates of high priority are preferred; without it all are equal
    optional : (L,)
        Lesions that need not be found. They are matched after all others, and no candidate within their reach is a
        false positive.
    """
    points, centers = np.reshape(points_mm, (-1, 3)), np.reshape(centers_mm, (-1, 3))
    distance = cdist(points, centers)
    in_reach = distance <= np.maximum(CENTER_DISTANCE_MM, radii_mm)
    optional = np.zeros(len(centers), bool) if optional is None else optional
    candidate_of = np.full(len(centers), -1)
    candidate_of[~optional] = _assign(distance[:, ~optional], in_reach[:, ~optional], priority)
    excused = in_reach[:, optional].any(axis=1)
    free = np.flatnonzero(~np.isin(np.arange(len(points)), candidate_of))
    rest = _assign(distance[np.ix_(free, optional)], in_reach[np.ix_(free, optional)], None)
    candidate_of[optional] = np.where(rest >= 0, np.append(free, -1)[rest], -1)
    return Match(candidate_of, ~np.isin(np.arange(len(points)), candidate_of) & ~excused)


def _assign(
    distance: NDArray[np.float64], in_reach: NDArray[np.bool_], priority: ArrayLike | None
) -> NDArray[np.intp]:
    """Return the row assigned to each column in the best one-to-one assignment, -1 for none."""
    row_of = np.full(distance.shape[1], -1)
    rows = np.flatnonzero(in_reach.any(axis=1))
    columns = np.flatnonzero(in_reach.any(axis=0))
    if not len(rows):
        return row_of
    near = in_reach[np.ix_(rows, columns)]
    step = distance[np.ix_(rows, columns)]
    rank = np.zeros(len(rows))
    if priority is not None:
        rank = np.unique(np.asarray(priority, np.float64)[rows], return_inverse=True)[1].astype(np.float64)
    # one step of rank outweighs all distances; every match lowers the cost, so as many as possible are made
    whole_mm = step[near].sum() + 1
    cost = np.where(near, step - whole_mm * (rank + 1)[:, None], 0.0)
    taken, given = linear_sum_assignment(cost)
    used = near[taken, given]
    row_of[columns[given[used]]] = rows[taken[used]]
    return row_of


def _by_priority(count: int, priority: ArrayLike | None) -> NDArray[np.intp]:
    """Order of the candidates, the highest priority first."""
    if priority is None:
        return np.arange(count)
    return np.argsort(-np.asarray(priority, np.float64), kind="stable")
