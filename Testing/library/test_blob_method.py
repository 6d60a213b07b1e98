"""The baseline of the benchmarks finds round bright spots, including many that are not microbleeds."""

from dataclasses import replace

import numpy as np
import pytest

import phantoms
from CMMDetectLib.candidates import Stage, at_stage
from CMMDetectLib.detector import Detector
from CMMDetectLib.scan import read_scan
from CMMDetectTrainLib.blob_method import DIAMETERS_MM, BlobMethod, blob_strength
from small_scans import lesion_positions


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (0.8, 0.9, 1.4)])
@pytest.mark.parametrize("diameter", DIAMETERS_MM[1:])
def test_a_sphere_answers_at_its_center_and_most_at_its_own_scale(spacing, diameter):
    shape = tuple(round(24 / step) for step in spacing)
    center = phantoms.center_of(shape, spacing)
    image = 0.5 * phantoms.sphere(shape, spacing, center, diameter)
    answers = {scale: blob_strength(image, spacing, (0, 1, 2), scale) for scale in DIAMETERS_MM}
    own = answers[diameter]
    peak = np.array(np.unravel_index(own.argmax(), shape)) * spacing
    assert np.abs(peak - center).max() <= max(spacing)
    assert 0.3 < own.max() < 0.5
    if spacing[0] == 0.5:  # larger voxels blur small spheres to a larger size
        assert max(answers, key=lambda scale: answers[scale].max()) == diameter


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (1.0, 1.0, 2.0)])
def test_a_flat_image_has_no_blobs(spacing):
    flat = np.full((20, 20, 20), 0.5, np.float32)
    for diameter in DIAMETERS_MM:
        assert np.abs(blob_strength(flat, spacing, (0, 1, 2), diameter)).max() < 0.01


def test_thick_slices_are_searched_in_plane():
    shape, spacing = (40, 40, 6), (1.0, 1.0, 5.0)
    image = phantoms.tube(shape, spacing, [(20, 20, -20), (20, 20, 50)], 4.5)
    in_plane = blob_strength(image, spacing, (0, 1), 4.5)
    # the slices are alike, and each shows a disk
    assert np.ptp(in_plane[20, 20]) < 1e-5
    assert in_plane[20, 20, 3] > 0.6


def test_the_detector_runs_it_and_finds_the_microbleeds(stripped_scan):
    scan = read_scan(stripped_scan)
    found = Detector(BlobMethod()).detect(scan)
    positions = np.array([(item.x, item.y, item.z) for item in at_stage(found.candidates, Stage.DETECTION)])
    distance = np.linalg.norm(lesion_positions(scan.affine)[:, None] - positions, axis=2).min(axis=1)
    assert (distance < 1.5).all()
    assert all(0 < item.p_detection <= 1 and item.p_discrimination > 0 for item in found.candidates)
    assert found.provenance["method"] == "blob"


def test_it_has_one_threshold_only(stripped_scan):
    method = BlobMethod()
    strict = BlobMethod(replace(method.settings, th_discrimination=0.3))
    scan = read_scan(stripped_scan)
    many, few = Detector(method).detect(scan).candidates, Detector(strict).detect(scan).candidates
    assert len(many) == len(few)
    kept = {item.id for item in few if Stage.DISCRIMINATION.includes(item.stage)}
    assert kept == {item.id for item in few if item.p_detection >= 0.3}
