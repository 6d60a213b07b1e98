"""Turns of a volume to its canonical orientation and back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import phantoms
from CMMDetectLib.orientation import canonical_turn, turn_along
from CMMDetectLib.scan import Modality, Scan, spacing_of, to_world

ARRAY = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)


@settings(max_examples=60, deadline=None)
@given(rotation=ANGLES, left_handed=st.booleans(), spacing=st.permutations([0.8, 0.9, 3.0]))
def test_turning_keeps_every_voxel_at_its_place_in_the_world(rotation, left_handed, spacing):
    affine = phantoms.affine(tuple(spacing), rotation, left_handed)
    scan = Scan(ARRAY, affine, Modality.SWI)
    turned = scan.turned(canonical_turn(affine))
    ijk = np.argwhere(np.ones(ARRAY.shape, bool))
    before = {float(v): to_world(affine, p) for v, p in zip(ARRAY.ravel(), ijk, strict=True)}
    for voxel in np.argwhere(np.ones(turned.array.shape, bool))[::7]:
        value = float(turned.array[tuple(voxel)])
        assert np.allclose(to_world(turned.affine, voxel), before[value], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(rotation=ANGLES, left_handed=st.booleans())
def test_a_turn_can_be_undone(rotation, left_handed):
    turn = canonical_turn(phantoms.affine((1, 1, 1), rotation, left_handed))
    assert np.array_equal(turn.undo(turn.apply(ARRAY)), ARRAY)


@settings(max_examples=60, deadline=None)
@given(rotation=ANGLES, spacing=st.permutations([0.5, 0.5, 4.0]))
def test_thick_slices_come_last(rotation, spacing):
    affine = phantoms.affine(tuple(spacing), rotation)
    turn = canonical_turn(affine)
    assert np.allclose(spacing_of(turn.affine(affine, ARRAY.shape)), [0.5, 0.5, 4.0])


def test_a_near_isotropic_scan_is_turned_to_right_anterior_superior():
    lps = np.diag([-1.0, -1.0, 1.05, 1.0])
    turn = canonical_turn(lps)
    assert np.all(np.diag(turn.affine(lps, ARRAY.shape))[:3] > 0)


def test_axes_are_matched_one_to_one_even_when_two_point_the_same_way():
    directions = np.array([[1.0, 0.9, 0.0], [0.0, 0.44, 0.0], [0.0, 0.0, 1.0]])
    assert sorted(turn_along(directions).order) == [0, 1, 2]
