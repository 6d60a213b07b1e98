"""Pineal gland and choroid plexus are located in any whole brain; candidates there and at its edge are less likely."""

from dataclasses import replace

import numpy as np
import pytest
from nilearn.datasets import load_mni152_brain_mask
from scipy import ndimage
from scipy.spatial import cKDTree

from CMMDetectLib.bundle import write_bundle
from CMMDetectLib.calibration import Calibration, log_odds
from CMMDetectLib.candidates import Candidate
from CMMDetectLib.detector import Detector
from CMMDetectLib.devices import choose_compute
from CMMDetectLib.location import (
    CHOROID_PLEXUS_MM,
    MNI_CENTER_MM,
    MNI_SPREAD_MM,
    PINEAL_GLAND_MM,
    BrainFrame,
    Location,
)
from CMMDetectLib.orientation import Turn
from CMMDetectLib.paper_method import PaperMethod
from CMMDetectLib.preprocessing import prepare
from CMMDetectLib.scan import Modality, Scan, to_voxel, to_world
from known_networks import thresholding_detector

PLACE = Calibration(calcium_slopes={"t2star": -4.0})
SITES_MM = np.array([PINEAL_GLAND_MM, CHOROID_PLEXUS_MM, np.multiply(CHOROID_PLEXUS_MM, (-1, 1, 1))])


@pytest.fixture(scope="module")
def brain():
    """MNI152's brain mask, every 3 mm."""
    image = load_mni152_brain_mask(resolution=3)
    return np.asarray(image.dataobj) > 0, np.asarray(image.affine, np.float64)


def prepared_of(mask, affine):
    """A prepared scan whose tissue has this mask."""
    texture = np.random.default_rng(0).normal(100.0, 2.0, mask.shape)
    return prepare(Scan((mask * texture).astype(np.float32), affine, Modality.T2STAR, "sub-01"), mask)


def frame_of(mask, affine):
    """The frame of that scan."""
    return BrainFrame.of(prepared_of(mask, affine))


def test_the_brain_that_the_sites_belong_to_is_that_of_mni152(brain):
    frame = frame_of(*brain)
    assert frame.center_mm == pytest.approx(MNI_CENTER_MM, abs=0.5)
    assert frame.spread_mm == pytest.approx(MNI_SPREAD_MM, abs=0.5)
    assert frame.closeness_to_calcium(SITES_MM) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    "change",
    [
        np.diag([0.9, 0.9, 0.9, 1]),
        np.array([[1.1, 0, 0, 30], [0, 0.95, 0, -40], [0, 0, 1, 55], [0, 0, 0, 1]]),
        np.array([[1, 0, 0, 0], [0, 0.966, -0.259, 12], [0, 0.259, 0.966, -9], [0, 0, 0, 1]]),
    ],
    ids=["smaller", "elsewhere and of other proportions", "nodding by 15 degrees"],
)
def test_the_sites_go_with_the_head(brain, change):
    mask, affine = brain
    moved = to_world(change, SITES_MM)
    assert frame_of(mask, change @ affine).closeness_to_calcium(moved).min() > 0.5
    assert frame_of(mask, change @ affine).closeness_to_calcium(to_world(change, [(30, 20, 30)]))[0] < 1e-3


def test_the_order_of_the_axes_changes_nothing(brain):
    mask, affine = brain
    turn = Turn((1, 2, 0), (True, False, True))
    turned = frame_of(turn.apply(mask), turn.affine(affine, mask.shape))
    assert turned.center_mm == pytest.approx(MNI_CENTER_MM, abs=0.5)
    assert turned.closeness_to_calcium(SITES_MM).min() > 0.99


def test_a_mask_that_is_6_mm_too_wide_or_too_narrow_hardly_matters(brain):
    mask, affine = brain
    for other in (ndimage.binary_dilation(mask, iterations=2), ndimage.binary_erosion(mask, iterations=2)):
        assert frame_of(other, affine).closeness_to_calcium(SITES_MM).min() > 0.9


def test_center_and_spread_are_those_of_the_voxels_of_a_mask_in_an_oblique_scan(brain):
    mask, affine = brain
    oblique = np.array([[0.9, -0.4, 0.1, 5], [0.4, 0.9, -0.2, -7], [0.0, 0.2, 1.0, 3], [0, 0, 0, 1]]) @ affine
    prepared = prepared_of(mask, oblique)
    position_mm = to_world(prepared.affine, np.argwhere(prepared.mask))
    frame = BrainFrame.of(prepared)
    assert frame.center_mm == pytest.approx(position_mm.mean(axis=0), abs=0.01)
    assert frame.spread_mm == pytest.approx(position_mm.std(axis=0), abs=0.01)


@pytest.mark.parametrize("part", [np.s_[:, :, 20:32], np.s_[:32], np.s_[20:40, 20:40, 20:40]])
def test_a_slab_half_a_brain_or_a_piece_has_no_frame(brain, part):
    mask, affine = brain
    kept = np.zeros_like(mask)
    kept[part] = mask[part]
    assert frame_of(kept, affine) is None


def test_a_field_of_view_within_the_brain_has_no_frame():
    texture = np.random.default_rng(0).normal(100.0, 2.0, (50, 56, 42)).astype(np.float32)
    prepared = prepare(Scan(texture, np.diag([2.4, 2.4, 2.4, 1.0]), Modality.T2STAR, "sub-01"))
    assert prepared.mask_source == "tissue"
    assert BrainFrame.of(prepared) is None


def test_on_magnitude_the_detector_believes_a_dark_spot_in_the_choroid_plexus_less(brain, small_bundle):
    mask, affine = brain
    array = np.where(mask, np.random.default_rng(0).normal(100.0, 1.0, mask.shape), 0.0)
    elsewhere_mm = np.array([(30.0, 20.0, 30.0), (-30.0, 10.0, 25.0)])
    spots_mm = np.concatenate([SITES_MM, elsewhere_mm])
    for voxel in np.rint(to_voxel(affine, spots_mm)).astype(int):
        array[tuple(slice(at, at + 2) for at in voxel)] = 5.0
    networks = {"detector": thresholding_detector(4, 0.6), "student": small_bundle.student()}
    plain = write_bundle(small_bundle.folder, small_bundle.description, networks)
    place = replace(plain, description=replace(plain.description, calibration=PLACE))

    def shown(bundle, modality):
        scan = Scan(array.astype(np.float32), affine, modality, "sub-01")
        found = Detector(PaperMethod(bundle, choose_compute("cpu"))).detect(scan, mask)
        position = np.array([(item.x, item.y, item.z) for item in found.candidates])
        away_mm, spot = cKDTree(position).query(spots_mm)
        assert away_mm.max() < 5
        return log_odds([found.candidates[n].p_discrimination for n in spot])

    lost = shown(plain, Modality.T2STAR) - shown(place, Modality.T2STAR)
    assert lost[:3].min() > 3 and np.abs(lost[3:]).max() < 0.01
    assert np.array_equal(shown(plain, Modality.SWI), shown(place, Modality.SWI))


def test_depth_counts_from_the_edge_of_the_mask_and_not_in_a_piece_of_tissue():
    depths = (0.0, 5.0, 40.0, None)
    candidates = [Candidate(id="a", x=0, y=0, z=0, skull_distance_mm=depth) for depth in depths]
    location = Location.of(candidates, None, Modality.SWI)
    assert location.edge == pytest.approx([1.0, np.exp(-1), 0.0, 0.0], abs=1e-3)
    assert not location.calcium.any()
    assert Location.of([], None, None).edge.shape == (0,)
