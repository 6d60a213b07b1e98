"""The probability that a reader sees is calibrated, and thresholds apply to it."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from CMMDetectLib.bundle import read_bundle, write_bundle
from CMMDetectLib.calibration import Burden, Calibration, log_odds
from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.detector import Detector
from CMMDetectLib.devices import choose_compute
from CMMDetectLib.location import CHOROID_PLEXUS_MM, MNI_CENTER_MM, MNI_SPREAD_MM, BrainFrame
from CMMDetectLib.methods import Settings
from CMMDetectLib.paper_method import PaperMethod
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectLib.scan import read_scan
from CMMDetectTrainLib.calibration import calibration_figure, fit_calibration, measured_calibration, reclassified
from CMMDetectTrainLib.metrics import Finding, Lesion, ScanRecord
from known_networks import thresholding_detector


def probability(odds: float) -> float:
    return float(1 / (1 + np.exp(-odds)))


def records(
    seed: int = 0, per_scan: int = 250, scans: int = 20, slope: float = 0.5, detection_slope: float = 0.0
) -> list[ScanRecord]:
    """Candidates whose true log odds are so many times those of student and detector, less 2."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(scans):
        student, detector = rng.normal(0, 4, per_scan), rng.normal(2, 2 if detection_slope else 0, per_scan)
        true = rng.random(per_scan) < 1 / (1 + np.exp(2 - slope * student - detection_slope * detector))
        made.append(record_of(number, student, detector, true))
    return made


def record_of(number: int, student: np.ndarray, detector: np.ndarray, true: np.ndarray) -> ScanRecord:
    """A scan whose candidates have these log odds, each true one on a lesion of its own."""
    findings, lesions = [], []
    for n, is_true in enumerate(true):
        p = {"p_detection": probability(detector[n]), "p_discrimination": probability(student[n])}
        candidate = Candidate(id=f"cmb-{n:04d}", x=0, y=0, z=0, **p)
        findings.append(Finding(candidate=candidate, touches=(f"lesion-{n}",) if is_true else ()))
        if is_true:
            lesions.append(Lesion(id=f"lesion-{n}", x=0, y=0, z=0, diameter_mm=3, volume_mm3=14))
    return ScanRecord(name=f"scan-{number}", subject=f"{number}", lesions=tuple(lesions), findings=tuple(findings))


def test_the_fit_finds_slope_and_offset_of_the_log_odds():
    fitted = fit_calibration(records())
    assert fitted.slope == pytest.approx(0.5, abs=0.05)
    assert fitted.offset == pytest.approx(-2, abs=0.15)
    assert fitted.detection_slope == 0


def test_what_stage_1_has_seen_counts_as_much_as_it_tells():
    fitted = fit_calibration(records(detection_slope=0.8))
    assert fitted.slope == pytest.approx(0.5, abs=0.05)
    assert fitted.detection_slope == pytest.approx(0.8, abs=0.1)
    assert fitted.offset == pytest.approx(-2, abs=0.25)


FRAME = BrainFrame(MNI_CENTER_MM, MNI_SPREAD_MM)


NEAR_CALCIUM = dict(zip("xyz", CHOROID_PLEXUS_MM, strict=True))
FAR_AWAY = {"x": 40.0, "y": 20.0, "z": 30.0, "skull_distance_mm": 100.0}


def located_records(near: dict[str, float], modality: str, weight: float, seed: int = 0) -> list[ScanRecord]:
    """Records of whose candidates a fifth lies near something: there a weight is added to the true log odds."""
    rng = np.random.default_rng(seed)
    made = []
    for record in records(seed):
        findings = []
        for item in record.findings:
            is_near = rng.random() < 0.2
            odds = 0.5 * log_odds(item.candidate.p_discrimination) - 2 + weight * is_near
            touches = ("lesion",) * bool(rng.random() < 1 / (1 + np.exp(-odds)))
            candidate = replace(item.candidate, **FAR_AWAY | (near if is_near else {}))
            findings.append(replace(item, candidate=candidate, touches=touches))
        lesions = (replace(record.lesions[0], id="lesion"),)
        located = replace(record, findings=tuple(findings), lesions=lesions)
        made.append(replace(located, groups={"modality": modality}, brain=FRAME))
    return made


def test_a_place_where_calcium_gathers_speaks_against_a_microbleed_in_the_modality_where_it_did():
    fitted = fit_calibration(
        located_records(NEAR_CALCIUM, "t2star", -3.0) + located_records(NEAR_CALCIUM, "qsm", 0.0, seed=1)
    )
    assert fitted.slope == pytest.approx(0.5, abs=0.05)
    assert fitted.calcium_slopes["t2star"] == pytest.approx(-3.0, abs=0.6)
    assert fitted.calcium_slopes.get("qsm", 0.0) == pytest.approx(0.0, abs=0.5)
    assert "swi" not in fitted.calcium_slopes


def test_a_place_where_calcium_gathers_never_speaks_for_a_microbleed():
    assert fit_calibration(located_records(NEAR_CALCIUM, "t2star", 3.0)).calcium_slopes == {}


def test_the_edge_of_the_brain_speaks_against_a_microbleed_as_much_as_it_did_and_never_for_one():
    against, without = (
        fit_calibration(located_records({"skull_distance_mm": 0.0}, "swi", weight)) for weight in (-2.0, 2.0)
    )
    assert against.edge_slopes["swi"] == pytest.approx(-2.0, abs=0.3) and against.calcium_slopes == {}
    assert against.offset == pytest.approx(-2, abs=0.2)
    assert without.edge_slopes == {}


EVERY = Settings(0.1, 0.0, CutOffs())


def burdened_records(seed: int, scans: int = 60, mimics: int = 15, most: int = 20) -> list[ScanRecord]:
    """Half the scans have no microbleed, the others up to so many; all have as many mimics, which look much alike."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(scans):
        true = np.arange(mimics + number % 2 * rng.integers(1, most)) >= mimics
        student = rng.normal(np.where(true, 1.5, -1.5), 1.5)
        made.append(record_of(number, student, np.full(len(true), 2.2), true))
    return made


def error_in_scans_without(found: list[ScanRecord]) -> float:
    """How much too high the candidates of scans without microbleeds are believed."""
    clean = [record for record in found if not record.lesions]
    return float(np.mean([item.candidate.p_discrimination for record in clean for item in record.findings]))


def test_an_uncertain_candidate_is_believed_more_beside_sure_ones_and_less_among_mimics():
    burden = Calibration(burden=Burden(2.0, -0.5, 1.0, -1.0))
    alone, among_mimics, in_company = (
        burden.apply([0.5, *others], [0.9] * (1 + len(others)))[0] for others in ([], [1e-6] * 30, [0.999] * 10)
    )
    assert alone == pytest.approx(probability(-1.0))
    assert among_mimics == pytest.approx(probability(-0.5 * np.log(31) - 1.0), abs=1e-4)
    assert in_company == pytest.approx(probability(2 * np.log(11) - 1.0), abs=1e-3)


def test_the_fit_learns_how_candidates_of_a_scan_go_together_and_other_scans_gain_by_it():
    calibration = fit_calibration(burdened_records(seed=0))
    assert calibration.burden is not None and calibration.burden.microbleed_slope > 0.3
    found = burdened_records(seed=1)
    alone, together = (
        [reclassified(record, EVERY, item) for record in found]
        for item in (replace(calibration, burden=None), calibration)
    )
    assert measured_calibration(together).brier < 0.9 * measured_calibration(alone).brier
    assert error_in_scans_without(together) < 0.6 * error_in_scans_without(alone)


def test_candidates_of_one_scan_say_nothing_of_another():
    calibration = fit_calibration(burdened_records(seed=0))
    found = burdened_records(seed=1, scans=4)
    together = [reclassified(record, EVERY, calibration) for record in found]
    assert together[2] == reclassified(found[2], EVERY, calibration)


def test_too_few_scans_with_or_without_microbleeds_tell_nothing_of_how_candidates_go_together():
    found = burdened_records(seed=0)
    some, none = found[1::2], found[::2]
    assert fit_calibration(some + none[:9]).burden is None
    assert fit_calibration(some[:9] + none).burden is None
    assert fit_calibration(some[:10] + none[:10]).burden is not None


def test_candidates_judged_anew_get_the_probability_of_their_place_and_modality():
    place = Calibration(calcium_slopes={"t2star": -3.0})
    for modality, weight in (("t2star", -3.0), ("qsm", 0.0)):
        record = located_records(NEAR_CALCIUM, modality, 0.0)[0]
        for before, after in zip(record.findings, reclassified(record, EVERY, place).findings, strict=True):
            odds = log_odds(before.candidate.p_discrimination) + weight * (before.candidate.x < 30)
            assert after.candidate.p_discrimination == pytest.approx(probability(odds), abs=1e-5)
    nowhere = replace(record, groups={"modality": "t2star"}, brain=None)
    assert reclassified(nowhere, EVERY, place).findings == reclassified(nowhere, EVERY).findings


def test_candidates_judged_anew_get_the_probability_of_their_depth():
    depth = Calibration(edge_slopes={"swi": -2.0})
    record = located_records({"skull_distance_mm": 5.0}, "swi", 0.0)[0]
    judged = reclassified(record, EVERY, depth)
    for before, after in zip(record.findings, judged.findings, strict=True):
        odds = log_odds(before.candidate.p_discrimination) - 2.0 * np.exp(-before.candidate.skull_distance_mm / 5.0)
        assert after.candidate.p_discrimination == pytest.approx(probability(odds), abs=1e-5)


def test_calibration_mends_the_probability_of_other_scans_too():
    calibration = fit_calibration(records(seed=0))
    found = records(seed=1)
    before = measured_calibration(found)
    after = measured_calibration([reclassified(record, EVERY, calibration) for record in found])
    assert before.error > 0.15 and after.error < 0.02
    assert after.brier < before.brier


def test_perfectly_separated_candidates_make_no_certainty():
    sure = [
        replace(
            record,
            findings=tuple(
                replace(item, candidate=replace(item.candidate, p_discrimination=0.99 if item.touches else 0.01))
                for item in record.findings
            ),
        )
        for record in records(scans=1)
    ]
    fitted = fit_calibration(sure)
    true = sum(bool(item.touches) for item in sure[0].findings)
    p = fitted.apply(0.99, probability(2))
    assert p == pytest.approx((true + 1) / (true + 2), abs=0.003)
    assert p < 1


def test_few_or_misleading_candidates_leave_the_probability_as_it_is():
    assert fit_calibration(records(scans=1, per_scan=30)) == Calibration()
    assert fit_calibration(records(slope=-0.5)) == Calibration()
    assert fit_calibration([]) == Calibration()


def test_calibration_keeps_the_order_and_its_two_ends():
    p = np.array([0, 1e-9, 0.01, 0.5, 0.99, 1 - 1e-9, 1])
    out = Calibration(0.5, -2, 0.3).apply(p, p)
    assert (np.diff(out) >= 0).all() and out[0] > 0 and out[-1] < 1
    assert log_odds([0.5]) == pytest.approx(0)
    assert np.array_equal(Calibration().apply(p, p), p.astype(np.float32))


def test_candidates_are_judged_anew_by_all_stages():
    def judge(p: float, **settings: float) -> Candidate:
        scores = {"p_detection": 0.9, "p_discrimination": p}
        candidate = Candidate(id="a", x=0, y=0, z=0, **scores, volume_mm3=4.0, rejected_by="discrimination")
        record = ScanRecord(name="a", subject="a", findings=(Finding(candidate=candidate),))
        cutoffs = CutOffs(min_volume_mm3=settings.get("volume", 2.5))
        return reclassified(record, Settings(0.1, 0.3, cutoffs), Calibration(offset=-2)).findings[0].candidate

    assert judge(0.5).p_discrimination == pytest.approx(1 / (1 + np.exp(2)))
    assert (judge(0.5).stage, judge(0.5).rejected_by) == (Stage.DETECTION, "discrimination")
    assert (judge(0.9).stage, judge(0.9).rejected_by) == (Stage.FINAL, None)
    assert (judge(0.9, volume=5.0).stage, judge(0.9, volume=5.0).rejected_by) == (Stage.DISCRIMINATION, "volume")


def test_the_figure_shows_both_lines_and_needs_candidates():
    found = records(scans=3)
    figure = calibration_figure(found, [reclassified(item, EVERY) for item in found])
    assert figure is not None
    assert "<svg" in figure.svg and "calibrated Brier" in figure.caption
    assert ". As the network gives it Brier" in figure.caption
    assert calibration_figure([], []) is None


def test_a_bundle_carries_its_calibration_and_one_without_reads_too(small_bundle, tmp_path):
    calibration = Calibration(0.7, -1.5, 0.2, {"t2star": -3.0}, {"swi": -2.0}, Burden(1.5, -0.7, 1.1, -0.3))
    networks = {"detector": small_bundle.detector(), "student": small_bundle.student()}
    description = replace(small_bundle.description, calibration=calibration)
    bundle = write_bundle(tmp_path / "calibrated", description, networks)
    assert read_bundle(bundle.folder).description.calibration == calibration
    path = bundle.folder / "model.json"
    content = json.loads(path.read_text())
    assert content.pop("calibration") == asdict(calibration)
    path.write_text(json.dumps(content))
    assert read_bundle(bundle.folder).description.calibration == Calibration()


def test_the_detector_shows_the_calibrated_probability(small_bundle, stripped_scan, tmp_path):
    scan, compute = read_scan(stripped_scan), choose_compute("cpu")
    calibration = Calibration(0.5, -1.0, 0.2, burden=Burden(1.0, -0.5, 1.1, -1.0))
    networks = {"detector": thresholding_detector(4, 0.9), "student": small_bundle.student()}
    plain = write_bundle(tmp_path / "plain", small_bundle.description, networks)
    calibrated = replace(plain, description=replace(plain.description, calibration=calibration))
    before, after = (Detector(PaperMethod(bundle, compute)).detect(scan) for bundle in (plain, calibrated))
    raw = {(item.x, item.y, item.z): item.p_discrimination for item in before.candidates}
    assert len(raw) > 1
    student = [raw[item.x, item.y, item.z] for item in after.candidates]
    expected = calibration.apply(student, [item.p_detection for item in after.candidates])
    assert [item.p_discrimination for item in after.candidates] == pytest.approx(expected, abs=1e-5)
    assert after.provenance["calibration"] == asdict(calibration)
