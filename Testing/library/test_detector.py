"""The detector: candidates and label map of whole scans, by both methods."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

import phantoms
from CMMDetectLib.bundle import write_bundle
from CMMDetectLib.candidates import Stage, at_stage, read_table
from CMMDetectLib.classical_method import ClassicalMethod
from CMMDetectLib.detector import Detector
from CMMDetectLib.devices import choose_compute
from CMMDetectLib.errors import CancelledError
from CMMDetectLib.methods import Settings
from CMMDetectLib.networks import Student
from CMMDetectLib.paper_method import PaperMethod
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectLib.progress import STEPS, Progress
from CMMDetectLib.results import write_results
from CMMDetectLib.scan import Modality, Scan, read_scan, to_voxel
from known_networks import thresholding_detector
from small_scans import LESIONS_MM, SPACING_MM, lesion_positions, stripped_brain


def positions(candidates) -> np.ndarray:
    return np.array([[item.x, item.y, item.z] for item in candidates])


def distances(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance of every true position to the nearest found one."""
    return np.linalg.norm(truth[:, None] - found[None], axis=-1).min(axis=1)


@pytest.fixture(scope="module")
def scan() -> Scan:
    affine = phantoms.affine(SPACING_MM, rotation_deg=(8, -5, 12), left_handed=True)
    return Scan(stripped_brain(), affine, Modality.SWI, "sub-01_swi")


@pytest.fixture(scope="module")
def result(scan):
    return Detector(ClassicalMethod()).detect(scan)


def test_the_classical_method_finds_the_microbleeds_of_an_oblique_left_handed_scan_at_their_ras_place(scan, result):
    final = positions(at_stage(result.candidates, Stage.FINAL))
    assert len(final) == len(LESIONS_MM)
    assert distances(final, lesion_positions(scan.affine)).max() < 0.5


def test_candidates_come_most_suspicious_first_and_are_named_so(result):
    assert [item.id for item in result.candidates] == [f"cmb-{n + 1:04d}" for n in range(len(result.candidates))]
    stages = [list(Stage).index(item.stage) for item in result.candidates]
    assert stages == sorted(stages, reverse=True)


def test_the_label_map_holds_each_final_candidate_under_its_number_on_the_scans_grid(scan, result):
    assert result.microbleeds.shape == scan.array.shape
    final = at_stage(result.candidates, Stage.FINAL)
    assert set(np.unique(result.microbleeds)) == {0, *(int(item.id[-4:]) for item in final)}
    for item in final:
        voxel = np.rint(to_voxel(scan.affine, [item.x, item.y, item.z])).astype(int)
        assert result.microbleeds[tuple(voxel)] == int(item.id[-4:])
        volume = np.count_nonzero(result.microbleeds == int(item.id[-4:])) * np.prod(SPACING_MM)
        assert item.volume_mm3 == pytest.approx(volume)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)], ids=["as stored", "flipped"])
def test_the_clusters_of_all_candidates_hold_those_of_the_final_ones(scan, flips):
    method = ClassicalMethod(Settings(0.3, 0.3, CutOffs(min_volume_mm3=20)))
    result = Detector(method).detect(replace(scan, affine=scan.affine @ np.diag([*flips, 1.0])))
    final = [number for number, item in enumerate(result.candidates, 1) if item.stage is Stage.FINAL]
    assert 0 < len(final) < len(result.candidates)
    assert np.array_equal(np.where(np.isin(result.clusters, final), result.clusters, 0), result.microbleeds)
    volume = np.bincount(result.clusters.ravel(), minlength=len(result.candidates) + 1)[1:] * np.prod(SPACING_MM)
    assert volume == pytest.approx([item.volume_mm3 for item in result.candidates])


def test_the_probability_map_shows_each_candidates_probability_at_its_place(scan, result):
    for item in at_stage(result.candidates, Stage.FINAL):
        inside = result.microbleeds == int(item.id[-4:])
        assert result.probability[inside].max() == pytest.approx(item.p_detection, abs=1e-6)
    assert result.probability.shape == scan.array.shape
    assert 0 <= result.probability.min() <= result.probability.max() <= 1


def test_every_candidate_that_goes_no_further_says_why(result):
    for item in result.candidates:
        assert (item.rejected_by is None) == (item.stage is Stage.FINAL)


@pytest.mark.parametrize("axes", [[[0, -1], [1, 1], [2, 1]], [[1, 1], [0, -1], [2, 1]], [[2, -1], [0, 1], [1, -1]]])
@pytest.mark.parametrize("method", ["classical", "paper"])
def test_a_mirrored_or_rotated_file_gives_the_same_candidates(scan, result, small_bundle, axes, method):
    chosen = ClassicalMethod() if method == "classical" else PaperMethod(small_bundle, choose_compute("cpu"))
    expected = result if method == "classical" else Detector(chosen).detect(scan)
    turned = nib.Nifti1Image(scan.array, scan.affine).as_reoriented(np.array(axes))
    other = Scan(np.ascontiguousarray(turned.dataobj), turned.affine, scan.modality, scan.name)
    found = Detector(chosen).detect(other)
    assert expected.candidates
    assert [item.id for item in found.candidates] == [item.id for item in expected.candidates]
    assert np.allclose(positions(found.candidates), positions(expected.candidates), atol=1e-3)
    back = nib.Nifti1Image(found.microbleeds, other.affine)
    same_way = back.as_reoriented(nib.io_orientation(np.linalg.inv(scan.affine) @ other.affine))
    assert np.array_equal(np.asarray(same_way.dataobj), expected.microbleeds)


def test_the_intensity_scale_of_the_file_does_not_matter(scan, result):
    other = Detector(ClassicalMethod()).detect(replace(scan, array=scan.array * 0.01))
    assert np.allclose(positions(other.candidates), positions(result.candidates), atol=0.01)


def test_a_qsm_with_the_same_lesions_bright_gives_the_same_candidates(scan):
    brain = scan.array != 0
    ppm = np.where(brain, (450 - scan.array) / 1000, 0).astype(np.float32)
    found = Detector(ClassicalMethod()).detect(replace(scan, array=ppm, modality=Modality.QSM))
    final = positions(at_stage(found.candidates, Stage.FINAL))
    assert distances(final, lesion_positions(scan.affine)).max() < 0.5


def test_the_paper_method_runs_all_its_stages_and_tells_them_apart(scan, small_bundle):
    found = Detector(PaperMethod(small_bundle, choose_compute("cpu"))).detect(scan)
    assert found.candidates
    assert all(item.p_detection is not None and item.p_discrimination is not None for item in found.candidates)
    assert found.provenance["bundle"]["name"] == "test"
    assert set(found.provenance["bundle"]["sha256"]) >= {"detector.safetensors", "student.safetensors"}


def test_a_scan_without_candidates_gives_an_empty_list(small_bundle):
    array, mask = phantoms.brain((60, 70, 30), (2, 2, 2), noise=0, texture=0)
    scan = Scan(np.where(mask, 1000 * array, 0).astype(np.float32), np.diag([2.0, 2, 2, 1]), Modality.T2STAR)
    settings = replace(small_bundle.settings, th_detection=0.999)
    for method in (ClassicalMethod(), PaperMethod(small_bundle, choose_compute("cpu"), settings)):
        found = Detector(method).detect(scan)
        assert found.candidates == []
        assert not found.microbleeds.any()


def test_a_volume_smaller_than_a_patch_works(small_bundle):
    rng = np.random.default_rng(0)
    scan = Scan(rng.normal(100, 5, (9, 11, 4)).astype(np.float32), np.diag([1.0, 1, 2, 1]), Modality.SWI)
    mask = np.ones(scan.array.shape, bool)
    for method in (ClassicalMethod(), PaperMethod(small_bundle, choose_compute("cpu"))):
        assert Detector(method).detect(scan, mask).probability.shape == (9, 11, 4)


class SureOfOneSlice(ClassicalMethod):
    """Marks one of the two slices that a lesion lies in, and is unsure of the other."""

    def detect(self, channels, prepared, tick):
        share = np.where(np.arange(prepared.image.shape[2]) % 2 == 0, np.float32(1), np.float32(0.1))
        return np.clip(3 * (prepared.image - 0.3), 0, 0.9) * share


def test_a_microbleed_between_two_thick_slices_is_marked_there_even_if_one_slice_alone_is_seen():
    spacing, place_mm = (0.9, 0.9, 5.0), (18.0, 22.5, 22.5)
    lesion = phantoms.sphere((44, 48, 10), spacing, place_mm, 4.0)
    texture = np.random.default_rng(0).normal(0, 1, lesion.shape)
    scan = Scan((100 - 80 * lesion + texture).astype(np.float32), np.diag([*spacing, 1.0]), Modality.T2STAR)
    found = Detector(SureOfOneSlice()).detect(scan, np.ones(lesion.shape, bool))
    slices_marked = np.unique(np.argwhere(found.clusters)[:, 2])
    assert len(found.candidates) == len(slices_marked) == 1
    assert np.abs(positions(found.candidates)[0] - place_mm)[:2].max() < 0.3
    assert np.abs(positions(found.candidates)[0] - place_mm)[2] < 1.5 < np.abs(slices_marked * 5.0 - place_mm[2])


def test_progress_rises_through_all_steps_in_order(scan):
    news = []
    Detector(ClassicalMethod()).detect(scan, progress=Progress(lambda *item: news.append(item)))
    steps = list(dict.fromkeys(step for step, _, _ in news))
    assert steps == [step for step in STEPS if step not in ("reading", "writing")]
    fractions = [fraction for _, fraction, _ in news]
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1


@pytest.mark.parametrize("step", ["preprocessing", "frst", "detection", "postprocessing"])
def test_a_run_can_be_cancelled_at_every_step(scan, step):
    def listen(now: str, fraction: float, message: str) -> None:
        if now == step:
            raise CancelledError

    with pytest.raises(CancelledError):
        Detector(ClassicalMethod()).detect(scan, progress=Progress(listen))


def test_the_scan_that_is_given_is_not_changed(scan, result):
    assert np.array_equal(scan.array, stripped_brain())


def test_a_scan_from_a_file_names_its_checksum(stripped_scan):
    found = Detector(ClassicalMethod()).detect(read_scan(stripped_scan))
    assert len(found.provenance["input"]["sha256"]) == 64
    assert set(found.provenance["seconds"]) >= {"preprocessing", "vessels", "frst", "detection"}


def test_five_thousand_candidates_are_no_problem(small_bundle, tmp_path):
    spots = np.zeros((100, 100, 32), np.float32)
    spots[2::4, 2::4, 2::4] = 1
    texture = np.random.default_rng(0).normal(0, 0.02, spots.shape)
    scan = Scan((spots + texture).astype(np.float32), np.diag([1.5, 1.5, 1.5, 1]), Modality.QSM)
    networks = {"detector": thresholding_detector(2, level=0.6), "student": Student(2)}
    description = replace(small_bundle.description, width=2, cutoffs=CutOffs(0, 1, 0))
    bundle = write_bundle(tmp_path / "many", description, networks)
    found = Detector(PaperMethod(bundle, choose_compute("cpu"))).detect(scan, np.ones(spots.shape, bool))
    assert len(found.candidates) == 5000
    assert len({item.id for item in found.candidates}) == 5000
    written = write_results(found, tmp_path / "out")
    assert len(read_table(written["candidates"])) == 5000
