"""The model that comes with CMMDetect, which is used by default."""

from collections.abc import Sequence

import numpy as np
import pytest

import phantoms
from CMMDetectLib.bundle import SHIPPED_BUNDLE, read_bundle
from CMMDetectLib.candidates import Candidate, Stage, at_stage
from CMMDetectLib.detector import Detector
from CMMDetectLib.job import DetectionJob, choose_method
from CMMDetectLib.orientation import Turn
from CMMDetectLib.paper_method import PaperMethod
from CMMDetectLib.scan import Modality, Scan
from small_scans import LESIONS_MM, SHAPE, SPACING_MM, lesion_positions, stripped_brain

LARGEST_BYTES = 16 * 2**20
AFFINE = np.diag([*SPACING_MM, 1.0])


def small_scan() -> Scan:
    return Scan(stripped_brain(), AFFINE, Modality.SWI, "small")


def detect(scan: Scan) -> list[Candidate]:
    method = choose_method(DetectionJob(scan="", output="", precision="float32"), scan.modality)
    return Detector(method).detect(scan).candidates


@pytest.fixture(scope="module")
def found() -> list[Candidate]:
    return detect(small_scan())


def test_the_bundle_is_whole_small_and_for_every_modality():
    bundle = read_bundle(SHIPPED_BUNDLE)
    assert set(bundle.description.modality) == set(Modality)
    assert {"detector.safetensors", "student.safetensors", "teacher.safetensors"} == set(bundle.sha256)
    assert sum(path.stat().st_size for path in SHIPPED_BUNDLE.iterdir()) < LARGEST_BYTES


def test_its_card_tells_what_it_was_trained_on_and_what_it_is_not():
    card = (SHIPPED_BUNDLE / "README.md").read_text(encoding="utf-8")
    for words in ("simulated", "not a medical device", "Apache-2.0", "## Limits"):
        assert words in card
    assert read_bundle(SHIPPED_BUNDLE).description.license == "Apache-2.0"


def test_it_is_the_default():
    assert isinstance(choose_method(DetectionJob(scan="", output=""), Modality.SWI), PaperMethod)


def test_it_finds_clear_microbleeds(found):
    centers = np.array([(item.x, item.y, item.z) for item in at_stage(found, Stage.FINAL)])
    away_mm = np.linalg.norm(centers[:, None] - lesion_positions(AFFINE), axis=2)
    assert away_mm.min(axis=0) == pytest.approx(0, abs=2.0)
    assert len(centers) <= len(LESIONS_MM) + 1


def fading_ball(
    shape: Sequence[int], spacing_mm: phantoms.Triple, center_mm: phantoms.Triple, width_mm: float
) -> phantoms.Volume:
    """One that fades out, as wide as given where half of it is left."""
    axes = zip(phantoms.grid_mm(shape, spacing_mm), center_mm, strict=True)
    square = sum((axis - middle) ** 2 for axis, middle in axes)
    return np.exp2(-4 * square / width_mm**2).astype(np.float32)


@pytest.mark.parametrize(
    ("shape_of", "width_mm"), [(phantoms.sphere, 7.0), (phantoms.sphere, 9.0), (fading_ball, 7.0)]
)
def test_it_finds_a_large_one_that_no_reader_would_miss(shape_of, width_mm):
    center_mm = np.array([70.0, 44.0, 56.0])
    ball = shape_of(SHAPE, SPACING_MM, tuple(center_mm), width_mm)
    large = Scan(stripped_brain() * np.float32(1 - 0.9 * ball), AFFINE, Modality.SWI, "large")
    centers = np.array([(item.x, item.y, item.z) for item in at_stage(detect(large), Stage.FINAL)])
    assert np.linalg.norm(centers - center_mm, axis=1).min() == pytest.approx(0, abs=1.0)


def test_the_order_in_which_voxels_are_stored_does_not_matter(found):
    turned = detect(small_scan().turned(Turn((1, 2, 0), (True, False, True))))
    assert [item.stage for item in turned] == [item.stage for item in found]
    for one, other in zip(found, turned, strict=True):
        assert (other.x, other.y, other.z) == pytest.approx((one.x, one.y, one.z), abs=0.01)
        assert other.p_detection == pytest.approx(one.p_detection, abs=1e-4)


@pytest.mark.parametrize("modality", [Modality.SWI, Modality.T2STAR])
def test_it_finds_microbleeds_in_coronal_slices(modality):
    spacing_mm = (1.0, 2.0, 1.0)
    tissue, mask = phantoms.brain((104, 60, 100), spacing_mm, noise=0.01, seed=3)
    places_mm = np.array(LESIONS_MM)[:, :3]
    for place_mm in places_mm:
        drawn_out_mm = 5.0 if modality is Modality.SWI else 0.1  # along the main field, which phase alone does
        ends = phantoms.straight_line(tuple(place_mm), (0, 0, 1), drawn_out_mm)
        tissue *= 1 - 0.9 * phantoms.tube(mask.shape, spacing_mm, ends, 3.0)
    signal = np.where(mask, 1250 * tissue, 0).astype(np.float32)
    found = at_stage(detect(Scan(signal, np.diag([*spacing_mm, 1.0]), modality, "coronal")), Stage.FINAL)
    away_mm = np.linalg.norm([(item.x, item.y, item.z) for item in found] - places_mm[:, None], axis=2)
    assert away_mm.min(axis=1) == pytest.approx(0, abs=1.0)
