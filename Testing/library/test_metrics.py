"""Metrics of an evaluation and their bootstrap intervals."""

import numpy as np
import pytest

from CMMDetectLib.candidates import Candidate, Stage
from CMMDetectLib.methods import Settings
from CMMDetectLib.postprocessing import CutOffs, postprocess
from CMMDetectTrainLib import metrics, thresholds
from CMMDetectTrainLib.metrics import Finding, Lesion, Rule, ScanRecord, Scores
from CMMDetectTrainLib.report_figures import density, density_grid
from CMMDetectTrainLib.summary import summarize


def lesion(number: int, x: float, counted: bool = True, **known) -> Lesion:
    values = {"diameter_mm": 4.0, "volume_mm3": 20.0, "counted": counted} | known
    return Lesion(id=f"cmb-{number:04d}", x=x, y=0.0, z=0.0, **values)


def finding(x: float, p: float = 0.9, touches: tuple[int, ...] = (), stage: Stage = Stage.FINAL, **known) -> Finding:
    values = {"p_detection": p, "p_discrimination": p, "stage": stage} | known
    ids = tuple(f"cmb-{number:04d}" for number in touches)
    return Finding(candidate=Candidate(id="cmb", x=x, y=0.0, z=0.0, **values), touches=ids)


def scan(name: str, lesions: list[Lesion], findings: list[Finding], **groups: str) -> ScanRecord:
    return ScanRecord(name=name, subject=name, groups=groups, lesions=tuple(lesions), findings=tuple(findings))


@pytest.fixture
def records() -> list[ScanRecord]:
    """Three scans: one of two lesions found twice over, one missed, one clean; two false positives in all."""
    one = scan(
        "sub-1",
        [lesion(1, 0), lesion(2, 50)],
        [finding(0.0, 0.9, (1,)), finding(2.0, 0.8, (1,)), finding(100.0, 0.7)],
        protocol="a",
    )
    two = scan("sub-2", [lesion(1, 0)], [finding(1.0, 0.6, (1,), Stage.DETECTION)], protocol="a")
    three = scan("sub-3", [], [finding(70.0, 0.5)], protocol="b")
    return [one, two, three]


def values(records: list[ScanRecord], rule: Rule, stage: Stage) -> dict[str, float | None]:
    counts = metrics.stage_counts(records, rule, stage)
    return {name: item.value for name, item in metrics.estimates(counts, np.zeros((0, len(records)))).items()}


def test_metrics_by_the_papers_rule(records):
    final = values(records, Rule.OVERLAP, Stage.FINAL)
    assert final["tpr"] == pytest.approx(1 / 3)
    assert final["fp_avg"] == pytest.approx(2 / 3)
    assert final["precision"] == pytest.approx(1 / 3)
    assert final["f1"] == pytest.approx(1 / 3)
    assert final["macro_tpr"] == pytest.approx((1 / 2 + 0) / 2)
    assert final["macro_precision"] == pytest.approx((1 / 2 + 0) / 2)
    assert final["macro_f1"] == pytest.approx((2 / 4 + 0 + 0) / 3)


def test_an_earlier_stage_counts_what_a_later_one_rejected(records):
    assert values(records, Rule.OVERLAP, Stage.DETECTION)["tpr"] == pytest.approx(2 / 3)


def test_by_the_center_rule_the_second_detection_of_a_lesion_is_false(records):
    final = values(records, Rule.CENTER, Stage.FINAL)
    assert (final["tpr"], final["fp_avg"]) == (pytest.approx(1 / 3), pytest.approx(1.0))


def test_the_papers_table_2_follows_from_its_counts():
    """UKBB: 78 subjects with 186 CMBs, TPR .93 with 1.5 false positives each make a precision of about .59."""
    counts = metrics.Counts(np.array([173.0]), np.array([186.0]), np.array([117.0]))
    made = {name: item.value for name, item in metrics.estimates(counts, np.zeros((0, 1))).items()}
    assert (round(made["tpr"], 2), round(made["precision"], 2)) == (0.93, 0.60)


@pytest.mark.parametrize("rule", Rule)
def test_a_lesion_that_the_scan_does_not_show_is_neither_missed_nor_a_false_positive(rule):
    hidden = [lesion(1, 0, counted=False), lesion(2, 40)]
    found = metrics.stage_counts(
        [scan("sub-1", hidden, [finding(0, touches=(1,)), finding(40, touches=(2,))])], rule, Stage.FINAL
    )
    assert (found.found.item(), found.lesions.item(), found.false.item()) == (1, 1, 0)


@pytest.mark.parametrize(
    ("diameter_mm", "diameter_vox", "large"),
    [(2.0, 1.5, True), (1.9, 2.0, True), (1.9, 1.9, False), (1.9, None, False)],
)
def test_a_lesion_is_large_from_2_mm_or_2_pixels(diameter_mm, diameter_vox, large):
    assert lesion(1, 0, diameter_mm=diameter_mm, diameter_vox=diameter_vox).is_large is large


@pytest.mark.parametrize("rule", Rule)
def test_metrics_of_large_lesions_neither_miss_nor_punish_small_ones(rule):
    lesions = [
        lesion(1, 0, diameter_mm=1.5),
        lesion(2, 40, diameter_mm=1.5),
        lesion(3, 80, counted=False),
        lesion(4, 99),
    ]
    found = [finding(0, touches=(1,)), finding(99, touches=(4,)), finding(200)]
    summary = summarize([scan("sub-1", lesions, found)], Settings(0.3, 0.3, CutOffs()))
    every, large = (stages[rule][Stage.FINAL] for stages in (summary["stages"], summary["large_lesions"]["stages"]))
    assert (every["tpr"]["value"], every["fp_avg"]["value"]) == (pytest.approx(2 / 3), 1)
    assert (large["tpr"]["value"], large["fp_avg"]["value"]) == (1, 1)
    assert (summary["lesions"], summary["large_lesions"]["lesions"]) == (3, 1)


def test_without_lesions_or_detections_a_ratio_is_not_defined():
    empty = values([scan("sub-1", [], [])], Rule.OVERLAP, Stage.FINAL)
    assert empty["tpr"] is None and empty["precision"] is None and empty["f1"] is None
    assert empty["fp_avg"] == 0


def test_scans_of_one_subject_are_drawn_together():
    weights = metrics.bootstrap_weights(["a", "b", "a", "c"], seed=1, draws=100)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(weights, axis=0)) > 3


def test_the_interval_is_that_of_a_proportion_and_repeats_with_the_seed():
    number = 400
    found, there = (np.arange(number) % 10 < 7).astype(float), np.ones(number)
    subjects = [str(index) for index in range(number)]
    first, again = (metrics.estimate(found, there, metrics.bootstrap_weights(subjects, seed=3)) for _ in range(2))
    half = 1.96 * np.sqrt(0.7 * 0.3 / number)
    assert first == again
    assert first.value == pytest.approx(0.7)
    assert (first.low, first.high) == (pytest.approx(0.7 - half, abs=0.01), pytest.approx(0.7 + half, abs=0.01))


def test_subjects_that_differ_widen_the_interval_more_than_their_scans_would():
    found, there = np.repeat([1.0, 0.0], 50), np.ones(100)
    alone = metrics.estimate(found, there, metrics.bootstrap_weights([str(n) for n in range(100)]))
    grouped = metrics.estimate(found, there, metrics.bootstrap_weights([str(n // 10) for n in range(100)]))
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_one_subject_gives_no_interval():
    only = metrics.estimate(np.ones(2), np.ones(2), metrics.bootstrap_weights(["a", "a"]))
    assert (only.value, only.low, only.high) == (1.0, None, None)
    others_have_none = np.array([2.0, 0.0, 0.0])
    only = metrics.estimate(others_have_none / 2, others_have_none, metrics.bootstrap_weights(["a", "b", "c"]))
    assert (only.value, only.low, only.high) == (0.5, None, None)


def test_lesions_are_grouped_by_size():
    records = [
        scan("sub-1", [lesion(1, 0, diameter_mm=2.5), lesion(2, 50, diameter_mm=6.0)], [finding(50, touches=(2,))]),
        scan("sub-2", [lesion(1, 0, diameter_mm=2.9)], []),
    ]
    scores = [metrics.score_scan(record, Rule.OVERLAP, metrics.score_at(Stage.FINAL)) for record in records]

    def label(item: Lesion) -> str:
        return metrics.binned(item.diameter_mm, (3, 5, 10), "mm")

    strata = metrics.lesion_strata(records, scores, label, np.zeros((0, 2)))
    assert {name: (number, tpr.value) for name, (number, tpr) in strata.items()} == {
        "0-3 mm": (2, 0.0),
        "5-10 mm": (1, 1.0),
    }


def test_the_froc_curve_by_hand():
    scores = [
        Scores(np.array([0.9, 0.4]), np.array([0.8, 0.3])),
        Scores(np.array([0.7, -np.inf]), np.array([0.75, 0.5, 0.1])),
    ]
    curve = thresholds.froc(scores)
    assert curve.threshold.tolist() == [0.9, 0.7, 0.4, 0.1]
    assert curve.tpr.tolist() == [0.25, 0.5, 0.75, 0.75]
    assert curve.fp_avg.tolist() == [0, 1, 1.5, 2.5]
    assert curve.f1.tolist() == pytest.approx([2 / 5, 4 / 8, 6 / 10, 6 / 12])
    assert (thresholds.tpr_at(curve, 1.2), thresholds.fp_at(curve, 0.6)) == (0.5, 1.5)
    assert thresholds.fp_at(curve, 0.95) is None
    assert thresholds.best_f1_point(curve) == 2


@pytest.mark.parametrize("rule", Rule)
def test_every_point_of_the_froc_is_what_matching_at_its_threshold_gives(rule):
    rng = np.random.default_rng(4)
    records = [
        scan(
            f"sub-{number}",
            [lesion(1, 0), lesion(2, 4), lesion(3, 30)],
            [
                finding(x, p, tuple(n for n, at in ((1, 0), (2, 4), (3, 30)) if abs(x - at) < 2))
                for x, p in zip(rng.uniform(-4, 40, 12), rng.uniform(0, 1, 12), strict=True)
            ],
        )
        for number in range(6)
    ]
    score = thresholds.score_swept(Stage.DISCRIMINATION, CutOffs())
    curve = thresholds.froc([metrics.score_scan(record, rule, score) for record in records])
    assert len(curve.threshold) > 5
    for threshold, tpr, fp_avg in zip(curve.threshold, curve.tpr, curve.fp_avg, strict=True):
        kept = [
            scan(item.name, item.lesions, [f for f in item.findings if f.candidate.p_detection >= threshold])
            for item in records
        ]
        made = values(kept, rule, Stage.FINAL)
        assert (made["tpr"], made["fp_avg"]) == (pytest.approx(tpr), pytest.approx(fp_avg))


def test_the_band_surrounds_the_curve_and_narrows_with_more_subjects():
    rng = np.random.default_rng(0)

    def width(number: int) -> float:
        scores = [Scores(rng.uniform(0.2, 1, 3), rng.uniform(0, 0.8, 5)) for _ in range(number)]
        curve, grid = thresholds.froc(scores), np.array([0.5, 1.0, 2.0])
        weights = metrics.bootstrap_weights([str(n) for n in range(number)], draws=300)
        low, high = thresholds.froc_band(scores, weights, grid)
        middle = np.array([thresholds.tpr_at(curve, fp) for fp in grid])
        assert (low <= middle).all() and (middle <= high).all()
        return float(np.mean(high - low))

    assert width(160) < 0.5 * width(20)


def test_the_final_froc_sweeps_only_candidates_within_the_cut_offs():
    score = thresholds.score_swept(Stage.FINAL, CutOffs(min_volume_mm3=5))
    small, large = (finding(0, 0.3, stage=Stage.DETECTION, volume_mm3=v).candidate for v in (4.0, 6.0))
    assert (score(small), score(large)) == (None, 0.3)


def test_calibration_by_hand():
    measured = metrics.reliability([0.05, 0.05, 0.95, 0.95], [False, True, True, True])
    assert measured.mean.tolist() == pytest.approx([0.05, 0.95])
    assert measured.share.tolist() == [0.5, 1.0]
    assert measured.count.tolist() == [2, 2]
    assert measured.brier == pytest.approx((0.05**2 + 3 * 0.95**2 - 2 * 0.95**2 + 2 * 0.05**2) / 4)
    assert measured.error == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)
    assert (measured.low < measured.share).all() and (measured.high >= measured.share - 1e-12).all()


def test_true_probabilities_are_calibrated():
    rng = np.random.default_rng(2)
    p = rng.uniform(size=20000)
    assert metrics.reliability(p, rng.uniform(size=20000) < p).error < 0.02
    assert metrics.reliability(p, rng.uniform(size=20000) < p**3).error > 0.1


def test_the_knee_needs_no_false_positive_to_exist():
    curve = thresholds.froc([Scores(np.array([0.9, 0.5]), np.zeros(0))])
    assert thresholds.knee_point(curve) == 1


def test_thresholds_stand_at_the_knees_of_both_stages():
    def record(number: int) -> ScanRecord:
        true = [finding(0, touches=(1,), p_detection=0.8, p_discrimination=0.7)]
        vessels = [finding(9 + n, p_detection=0.6 + n / 100, p_discrimination=0.2 + n / 100) for n in range(5)]
        noise = [finding(40 + n, p_detection=0.1 + n / 1000, p_discrimination=0.01) for n in range(50)]
        faint = [finding(20, touches=(2,), p_detection=0.55, p_discrimination=0.6)]
        return scan(f"sub-{number}", [lesion(1, 0), lesion(2, 20)], [*true, *vessels, *noise, *faint])

    records = [record(n) for n in range(4)]
    assert thresholds.choose_detection_threshold(records) == pytest.approx(0.55)
    assert thresholds.choose_discrimination_threshold(records) == pytest.approx(0.6)


def test_however_much_stage_one_hands_on_stage_two_is_not_made_to_let_it_pass():
    def chosen(junk: int) -> float:
        sure = [finding(20 * n, p_discrimination=0.8, touches=(n,)) for n in range(1, 11)]
        hidden = [finding(20 * n, p_discrimination=0.05, touches=(n,)) for n in range(11, 16)]
        false = [finding(5000 + n, p_discrimination=0.06) for n in range(12)]
        noise = [finding(9000 + n, p_discrimination=0.01) for n in range(junk)]
        found = [*sure, *hidden, *false, *noise, finding(20 * 16, p_discrimination=0.005, touches=(16,))]
        return thresholds.choose_discrimination_threshold(
            [scan("sub-1", [lesion(n, 20 * n) for n in range(1, 17)], found)]
        )

    assert chosen(5) == chosen(500) == pytest.approx(0.8)


def test_stage_one_gives_up_no_more_than_2_percent_of_the_lesions():
    many = [finding(n, 0.9, (n,)) for n in range(1, 95)] + [finding(n, 0.3, (n,)) for n in range(95, 101)]
    false = [finding(1000 + n, 0.5) for n in range(500)]
    record = scan("sub-1", [lesion(n, n) for n in range(1, 101)], [*many, *false])
    assert thresholds.choose_detection_threshold([record]) == pytest.approx(0.3)


def test_no_threshold_can_be_chosen_where_nothing_was_found():
    for choose in (thresholds.choose_detection_threshold, thresholds.choose_discrimination_threshold):
        with pytest.raises(ValueError, match="no lesion was found"):
            choose([scan("sub-1", [lesion(1, 0)], [finding(50)])])


def candidates(volume_mm3, ellipticity, skull_distance_mm) -> list[Candidate]:
    return [
        finding(0, stage=Stage.DISCRIMINATION, volume_mm3=v, ellipticity=e, skull_distance_mm=d).candidate
        for v, e, d in zip(volume_mm3, ellipticity, skull_distance_mm, strict=True)
    ]


def test_cut_offs_remove_false_candidates_and_keep_true_ones():
    rng = np.random.default_rng(1)
    true = candidates(rng.lognormal(2.5, 0.4, 200), rng.uniform(0, 0.3, 200), rng.uniform(6, 40, 200))
    specks = candidates(rng.lognormal(0, 0.4, 100), rng.uniform(0, 0.3, 100), rng.uniform(6, 40, 100))
    sulci = candidates(rng.lognormal(2.5, 0.4, 100), rng.uniform(0, 0.3, 100), rng.uniform(0, 4, 100))
    tubes = candidates(rng.lognormal(2.5, 0.4, 100), rng.uniform(0.5, 0.9, 100), rng.uniform(6, 40, 100))
    chosen = thresholds.choose_cutoffs(true, [*specks, *sulci, *tubes])
    assert 2 < chosen.min_volume_mm3 < 6
    assert 0.29 < chosen.max_ellipticity < 0.5
    assert 4 < chosen.min_skull_distance_mm < 7.5
    kept = [postprocess(item, chosen).stage is Stage.FINAL for item in [*true, *specks, *sulci, *tubes]]
    assert sum(kept[:200]) >= 188 and sum(kept[200:]) <= 10


def test_the_cut_off_of_the_volume_keeps_a_microbleed_of_2_mm_even_if_all_seen_were_large():
    rng = np.random.default_rng(3)
    true = candidates(rng.uniform(100, 300, 60), rng.uniform(0, 0.3, 60), rng.uniform(6, 40, 60))
    false = candidates(rng.uniform(8, 30, 60), rng.uniform(0, 0.3, 60), rng.uniform(6, 40, 60))
    assert thresholds.choose_cutoffs(true, false).min_volume_mm3 == pytest.approx(np.pi / 6 * 2**3, abs=1e-3)


def test_a_cut_off_stands_halfway_between_what_it_keeps_and_rejects():
    true, false = np.linspace(8, 20, 50), np.linspace(0, 2, 50)
    volume, ellipticity, _ = thresholds.ATTRIBUTES
    assert thresholds.choose_cutoff(true, false, volume) == 5
    assert thresholds.choose_cutoff(false / 20, true / 20, ellipticity) == 0.25


def test_attributes_that_tell_nothing_cut_nothing():
    rng = np.random.default_rng(1)
    alike = [
        candidates(rng.lognormal(2.5, 0.4, 500), rng.uniform(0, 0.3, 500), rng.uniform(0, 40, 500)) for _ in range(2)
    ]
    chosen = thresholds.choose_cutoffs(*alike)
    assert chosen == CutOffs(min_volume_mm3=0, max_ellipticity=1, min_skull_distance_mm=0)


def test_too_few_candidates_leave_the_papers_cut_offs():
    few = candidates([50.0] * 49, [0.1] * 49, [30.0] * 49)
    many = candidates([1.0] * 90, [0.9] * 90, [1.0] * 90)
    assert thresholds.choose_cutoffs(few, many) == CutOffs()


def test_where_candidates_are_few_a_cut_off_of_the_paper_goes_that_would_lose_microbleeds():
    near_the_skull = candidates([50.0] * 40, [0.1] * 40, [30.0] * 35 + [3.0] * 5)
    false = candidates([50.0] * 19, [0.1] * 19, [30.0] * 19)
    assert thresholds.choose_cutoffs(near_the_skull, false) == CutOffs(min_skull_distance_mm=0.0)


def test_a_density_sums_to_one_and_stays_on_its_axis():
    attribute = thresholds.ATTRIBUTES[1]
    some = np.array([0.0, 0.0, 0.01, 0.2, 0.4])
    grid = density_grid(some, attribute)
    made = density(some, grid, attribute)
    assert made.sum() == pytest.approx(1)
    assert grid[0] == 0 and made[0] > made[-1]


def test_the_summary_tells_clean_scans_and_groups_apart(records):
    summary = summarize(records, Settings(0.3, 0.3, CutOffs()))
    assert (summary["scans"], summary["lesions"], summary["scans_without_microbleeds"]) == (3, 3, 1)
    assert summary["clean_scans"][Stage.FINAL]["fp_avg"]["value"] == 1
    assert summary["clean_scans"][Stage.FINAL]["without_any"]["value"] == 0
    protocols = summary["groups_of_scans"]["protocol"]
    assert {name: (item["scans"], item["fp_avg"]["value"]) for name, item in protocols.items()} == {
        "a": (2, 0.5),
        "b": (1, 1.0),
    }
    point = summary["froc"][Rule.OVERLAP][Stage.DISCRIMINATION]["points"]["used"]
    assert (point["tpr"], point["fp_avg"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
