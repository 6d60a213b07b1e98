"""The average brain that guides BET is registered to a head in any position, unless too little of it is in view."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CMMDetectLib.average_brain import FILE, brain_depth
from CMMDetectLib.bet import bet
from CMMDetectLib.head_grid import WORK_MM, Head, affine_on_work_grid, on_work_grid
from head_phantom import affine_of, dice, head

WHOLE_MM = (-95.0, 95.0)
MAKER = Path(__file__).parents[1] / "benchmarks" / "average_brain.py"


def depth_in(phantom, affine):
    found = Head.of(on_work_grid(phantom.signal, phantom.spacing_mm))
    work = affine_on_work_grid(affine, phantom.signal.shape, found.signal.shape)
    return brain_depth(found, found.evenly_lit(), work)


@pytest.fixture(scope="module")
def phantom():
    return head("t2star", (WORK_MM,) * 3, WHOLE_MM)


def test_the_shipped_file_is_what_its_maker_makes():
    made, affine = runpy.run_path(str(MAKER))["average_brain"]()
    shipped = sitk.ReadImage(str(FILE))
    assert np.array_equal(sitk.GetArrayFromImage(shipped).T, made)
    assert np.allclose(shipped.GetSpacing(), np.diag(affine)[:3])
    assert np.allclose(np.array(shipped.GetOrigin()) * (-1, -1, 1), affine[:3, 3])


def test_it_lies_where_the_brain_is(phantom):
    depth_mm = depth_in(phantom, affine_of(phantom, WHOLE_MM))
    assert depth_mm.shape == phantom.signal.shape
    assert dice(depth_mm > 0, phantom.inside_skull) > 0.85


def test_it_lies_at_the_same_place_every_time(phantom):
    affine = affine_of(phantom, WHOLE_MM)
    assert np.array_equal(depth_in(phantom, affine), depth_in(phantom, affine))


@pytest.mark.parametrize("turn_deg", [-25, 15])
@pytest.mark.parametrize("shift_mm", [(0, 0, 0), (30, -40, 120)])
def test_it_follows_a_nodding_head_anywhere_in_the_scanner(phantom, turn_deg, shift_mm):
    cosine, sine = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    nod = np.eye(4)
    nod[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
    nod[:3, 3] = shift_mm
    depth_mm = depth_in(phantom, nod @ affine_of(phantom, WHOLE_MM))
    assert dice(depth_mm > 0, phantom.inside_skull) > 0.85


def test_bright_coils_do_not_pull_it_to_the_rim():
    shaded = head("t2star", (WORK_MM,) * 3, WHOLE_MM)
    i, j, k = np.ogrid[tuple(slice(-1, 1, size * 1j) for size in shaded.signal.shape)]
    shaded.signal[:] *= 1 + (i**2 + j**2 + k**2)
    depth_mm = depth_in(shaded, affine_of(shaded, WHOLE_MM))
    assert dice(depth_mm > 0, shaded.inside_skull) > 0.85


@pytest.mark.parametrize("z_range_mm", [(-20.0, 40.0), (10.0, 100.0)], ids=["slab", "top-of-the-head"])
def test_a_small_view_of_a_head_is_left_to_bet_alone(z_range_mm):
    part = head("swi", (1.5, 1.5, 3.0), z_range_mm)
    affine = affine_of(part, z_range_mm)
    assert depth_in(part, affine) is None
    assert np.array_equal(bet(part.signal, part.spacing_mm, affine), bet(part.signal, part.spacing_mm))
