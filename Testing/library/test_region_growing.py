"""The mask of a lesion grown from a point: on spheres, beside vessels and on simulated scans."""

from dataclasses import replace

import numpy as np
import pytest

import phantoms
from CMMDetectLib.errors import InputError
from CMMDetectLib.orientation import slice_axis
from CMMDetectLib.region_growing import (
    GrownLesion,
    GrowthFlag,
    GrowthSettings,
    grow_at_voxel,
    grow_lesion,
)
from CMMDetectLib.scan import Modality, Scan, to_world
from CMMDetectTrainLib.simulation.patches import PatchSource

GRIDS = [(0.5, 0.5, 0.5), (0.8, 0.8, 0.8), (0.45, 0.45, 1.0), (0.8, 0.8, 3.0), (0.9, 0.9, 5.0)]
WIDE_MM = 36.0
BOTH = pytest.mark.parametrize("modality", [Modality.SWI, Modality.QSM])


def middle_of(spacing: tuple[float, ...]) -> np.ndarray:
    """A lesion's center, not on a voxel's, in mm of the grid."""
    return np.add(phantoms.center_of(shape_of(spacing), spacing), (0.2, 0.1, 0.3))


def shape_of(spacing: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(int(WIDE_MM / step) for step in spacing)


def scan_of(occupancy: np.ndarray, spacing: tuple[float, ...], modality: Modality, noise: float = 0.02) -> Scan:
    """Tissue with texture and noise in which something lies: dark on SWI (tissue 400), bright on QSM (tissue 0)."""
    tissue, _ = phantoms.brain(occupancy.shape, spacing, noise=noise, seed=1, margin_mm=-WIDE_MM)
    image = 1000 * tissue * (1 - 0.9 * occupancy) if modality.lesions_are_dark else tissue - 0.4 + 0.5 * occupancy
    return Scan(image.astype(np.float32), phantoms.affine(spacing), modality)


def ball(spacing: tuple[float, ...], diameter_mm: float, shift_mm: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    return phantoms.sphere(shape_of(spacing), spacing, middle_of(spacing) + shift_mm, diameter_mm)


def vessel(spacing: tuple[float, ...], diameter_mm: float, direction: tuple[float, ...]) -> np.ndarray:
    line = phantoms.straight_line(middle_of(spacing), direction, 3 * WIDE_MM)
    return phantoms.tube(shape_of(spacing), spacing, line, diameter_mm)


def in_scan(lesion: GrownLesion, scan: Scan) -> np.ndarray:
    whole = np.zeros(scan.array.shape, bool)
    whole[lesion.box] = lesion.mask
    return whole


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@BOTH
@pytest.mark.parametrize("spacing", GRIDS, ids=str)
@pytest.mark.parametrize("diameter_mm", [3.0, 4.0])
def test_a_sphere_is_found_whole_from_a_point_beside_its_center(spacing, diameter_mm, modality):
    occupancy = ball(spacing, diameter_mm)
    scan = scan_of(occupancy, spacing, modality)
    lesion = grow_at_voxel(scan, np.add(middle_of(spacing), (0.8, -0.6, 0.2)) / spacing)
    assert lesion.found
    assert GrowthFlag.VESSEL not in lesion.flags
    assert dice(in_scan(lesion, scan), occupancy > 0.3) >= 0.7
    assert lesion.volume_mm3 == pytest.approx(lesion.mask.sum() * np.prod(spacing))
    assert lesion.contrast_to_noise > 4


@BOTH
@pytest.mark.parametrize("spacing", GRIDS, ids=str)
def test_the_largest_microbleed_does_not_exceed_the_caps_and_says_so(spacing, modality):
    scan = scan_of(ball(spacing, 9.8), spacing, modality)
    lesion = grow_at_voxel(scan, middle_of(spacing) / spacing, GrowthSettings(in_plane_vox=5, through_plane_vox=3))
    i, j, k = lesion.mask.shape
    assert max(i, j) <= 11
    assert k <= 7
    assert lesion.mask.any()
    assert GrowthFlag.CAPPED in lesion.flags


@BOTH
@pytest.mark.parametrize("spacing", [(0.3, 0.3, 1.0), (0.4, 0.4, 1.0)], ids=str)
def test_a_large_microbleed_on_small_pixels_is_no_vessel_because_its_caps_are_higher_than_wide(spacing, modality):
    lesion = grow_at_voxel(scan_of(ball(spacing, 8.0), spacing, modality), middle_of(spacing) / spacing)
    assert lesion.found
    assert lesion.flags == (GrowthFlag.CAPPED,)
    assert lesion.mask.shape == (11, 11, 7)


def test_the_caps_lie_across_the_thick_slices_whatever_axis_they_are_on():
    spacing = (3.0, 0.8, 0.8)
    scan = scan_of(ball(spacing, 9.0), spacing, Modality.SWI)
    lesion = grow_at_voxel(scan, middle_of(spacing) / spacing, GrowthSettings(in_plane_vox=4, through_plane_vox=1))
    assert slice_axis(spacing) == 0
    assert lesion.mask.shape[0] == 3
    assert max(lesion.mask.shape[1:]) == 9


@BOTH
@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (0.5, 0.5, 0.5)], ids=str)
def test_a_region_that_leaks_into_a_vessel_is_cut_back_to_the_lesion_and_flagged(spacing, modality):
    lesion_alone = ball(spacing, 3.0)
    scan = scan_of(np.maximum(lesion_alone, vessel(spacing, 1.5, (1, 0.3, 0))), spacing, modality)
    lesion = grow_at_voxel(scan, middle_of(spacing) / spacing)
    assert GrowthFlag.VESSEL in lesion.flags
    assert max(lesion.mask.shape) * spacing[0] <= 6.0
    assert dice(in_scan(lesion, scan), lesion_alone > 0.3) >= 0.75


@BOTH
@pytest.mark.parametrize("direction", [(1, 0.3, 0), (0, 0, 1)], ids=["in plane", "through plane"])
@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (0.45, 0.45, 1.0), (0.9, 0.9, 5.0)], ids=str)
def test_a_point_on_a_vessel_without_lesion_is_flagged(spacing, direction, modality):
    scan = scan_of(vessel(spacing, 2.5, direction), spacing, modality)
    lesion = grow_at_voxel(scan, middle_of(spacing) / spacing)
    assert set(lesion.flags) & {GrowthFlag.VESSEL, GrowthFlag.NO_LESION}


@BOTH
@pytest.mark.parametrize("spacing", GRIDS, ids=str)
def test_plain_tissue_holds_no_lesion(spacing, modality):
    scan = scan_of(np.zeros(shape_of(spacing), np.float32), spacing, modality)
    lesions = [grow_at_voxel(scan, (middle_of(spacing) + shift) / spacing) for shift in (-6, -3, 0, 3, 6)]
    assert sum(lesion.found for lesion in lesions) == 0
    assert all(lesion.flags == (GrowthFlag.NO_LESION,) and not lesion.mask.any() for lesion in lesions)
    assert all(lesion.volume_mm3 == lesion.diameter_mm == 0 for lesion in lesions)


def test_the_seed_moves_to_a_lesion_within_2_mm_and_not_to_one_farther_away():
    spacing = (0.8, 0.8, 1.6)
    scan = scan_of(ball(spacing, 3.0), spacing, Modality.SWI)
    middle_mm = to_world(scan.affine, middle_of(spacing) / spacing)
    assert grow_lesion(scan, np.add(middle_mm, (1.7, 0, 0))).found
    assert np.linalg.norm(grow_lesion(scan, np.add(middle_mm, (1.7, 0, 0))).position_mm - middle_mm) < 1.5
    assert not grow_lesion(scan, np.add(middle_mm, (5, 0, 0))).found
    assert grow_lesion(scan, np.add(middle_mm, (5, 0, 0)), GrowthSettings(snap_mm=5)).found


def test_a_faint_lesion_is_not_left_for_a_stronger_one_next_to_it():
    spacing = (0.8, 0.8, 0.8)
    faint, strong = ball(spacing, 3.0), ball(spacing, 4.0, (4.6, 0, 0))
    scan = scan_of(np.maximum(0.6 * faint, strong), spacing, Modality.SWI)
    lesion = in_scan(grow_at_voxel(scan, middle_of(spacing) / spacing), scan)
    assert dice(lesion, faint > 0.3) >= 0.75
    assert not (lesion & (strong > 0.5)).any()


@BOTH
def test_units_do_not_matter(modality):
    spacing = (0.8, 0.8, 2.0)
    scan = scan_of(ball(spacing, 4.0), spacing, modality)
    other = replace(scan, array=scan.array * np.float32(1000))
    one, same = (grow_at_voxel(item, middle_of(spacing) / spacing) for item in (scan, other))
    assert np.array_equal(one.mask, same.mask)
    assert one.box == same.box
    assert same.contrast == pytest.approx(1000 * one.contrast, rel=1e-3)


@pytest.mark.parametrize("left_handed", [False, True])
def test_points_are_millimetres_of_the_world_however_the_scan_is_turned(left_handed):
    spacing = (0.8, 0.8, 2.0)
    occupancy = ball(spacing, 4.0)
    place = phantoms.affine(spacing, rotation_deg=(10, -20, 30), left_handed=left_handed)
    scan = replace(scan_of(occupancy, spacing, Modality.SWI), affine=place)
    lesion = grow_lesion(scan, to_world(place, middle_of(spacing) / spacing))
    assert dice(in_scan(lesion, scan), occupancy > 0.3) >= 0.8


def test_a_lesion_at_the_edge_of_a_stripped_brain_does_not_grow_out_of_it():
    spacing = (0.8, 0.8, 2.0)
    occupancy = ball(spacing, 4.0)
    scan = scan_of(occupancy, spacing, Modality.SWI)
    outside = np.arange(shape_of(spacing)[0]) * spacing[0] > middle_of(spacing)[0] + 2.2
    scan.array[outside] = 0
    lesion = in_scan(grow_at_voxel(scan, middle_of(spacing) / spacing), scan)
    assert not lesion[outside].any()
    assert dice(lesion, occupancy > 0.3) >= 0.8


def test_a_bright_center_is_filled():
    spacing = (0.5, 0.5, 0.5)
    whole = ball(spacing, 4.0)
    scan = scan_of(whole - ball(spacing, 1.0), spacing, Modality.SWI)
    center = tuple(np.rint(middle_of(spacing) / spacing).astype(int))
    assert scan.array[center] > 200
    assert in_scan(grow_at_voxel(scan, center), scan)[center]


def test_a_higher_tolerance_gives_a_larger_region():
    spacing = (0.5, 0.5, 1.0)
    scan = scan_of(ball(spacing, 3.0), spacing, Modality.SWI)
    sizes = [
        grow_at_voxel(scan, middle_of(spacing) / spacing, GrowthSettings(tolerance=value)).mask.sum()
        for value in (0.6, 1.0, 1.6)
    ]
    assert sizes[0] < sizes[1] < sizes[2]


def test_only_the_neighborhood_is_looked_at():
    spacing = (0.8, 0.8, 2.0)
    scan = scan_of(ball(spacing, 4.0), spacing, Modality.SWI)
    before = grow_at_voxel(scan, middle_of(spacing) / spacing)
    scan.array[:8] = scan.array[-8:] = np.nan
    after = grow_at_voxel(scan, middle_of(spacing) / spacing)
    assert before.found
    assert np.array_equal(before.mask, after.mask)


@pytest.mark.parametrize("position", [(-1, 10, 3), (10, 10, 18), (np.nan, 10, 3)])
def test_a_point_outside_the_scan_is_an_error_of_one_line(position):
    spacing = (0.8, 0.8, 2.0)
    scan = scan_of(np.zeros(shape_of(spacing), np.float32), spacing, Modality.SWI)
    with pytest.raises(InputError, match=r"is outside the scan$"):
        grow_at_voxel(scan, position)


@pytest.mark.parametrize("position", [(0, 0, 0), (44, 44, 17)])
def test_a_point_in_a_corner_of_the_scan_is_fine(position):
    spacing = (0.8, 0.8, 2.0)
    scan = scan_of(np.zeros(shape_of(spacing), np.float32), spacing, Modality.SWI)
    assert scan.array.shape == (45, 45, 18)
    assert not grow_at_voxel(scan, position).found


def test_a_scan_of_zeros_around_the_point_holds_no_lesion():
    scan = Scan(np.zeros((30, 30, 10), np.float32), phantoms.affine((1, 1, 3)), Modality.SWI)
    lesion = grow_at_voxel(scan, (15, 15, 5))
    assert lesion.flags == (GrowthFlag.NO_LESION,)
    assert lesion.contrast == 0


def test_simulated_lesions_on_thin_and_thick_slices_are_outlined():
    rng = np.random.default_rng(4)
    source = PatchSource(size=(40, 40, 40), anatomy_share=0.0, lesion_free_share=0.0)
    overlaps, slices = [], []
    for number in range(60):
        patch = source.draw(rng, list(Modality)[number % 3])
        scan = Scan(patch.image.astype(np.float32), patch.grid.affine, patch.modality)
        for record in patch.truth.records:
            truth = patch.truth.microbleeds == int(record.id[-4:])
            if record.kind != "microbleed" or not record.visible or not truth.any():
                continue
            click = np.argwhere(truth).mean(axis=0) + rng.uniform(-0.7, 0.7, 3) / scan.spacing_mm
            lesion = grow_at_voxel(scan, click)
            assert max(lesion.mask.shape[:2]) <= 11
            assert lesion.mask.shape[2] <= 7
            overlaps.append(dice(in_scan(lesion, scan), truth))
            slices.append(scan.spacing_mm[2])
    assert len(overlaps) >= 30
    assert min(slices) < 1.2
    assert max(slices) > 4.0
    assert np.mean(np.array(overlaps) > 0) >= 0.8
    assert np.median(overlaps) >= 0.75
