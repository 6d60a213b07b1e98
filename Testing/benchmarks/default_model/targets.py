"""The targets of the default model, compared with evaluations of it and of other methods.

    python Testing/benchmarks/default_model/targets.py EVALUATION ...

EVALUATION is a folder that ``cmmdetect evaluate`` or an experiment wrote; those of one method are taken together and
split by modality. Lesions count from an apparent diameter of 2 mm or 2 pixels on; matching is one to one. The
evaluations' own reports have all else: both rules, every stage, sizes, regions, FROC. A target is met by the value
itself; the interval beside it, of 95 % by subject, says how sure that is. Calcifications apart: candidates on them
count for nothing, since neither magnitude nor a reader of it tells them from microbleeds.
"""

from __future__ import annotations

import argparse
import json
import operator
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from CMMDetectLib.candidates import Stage
from CMMDetectLib.errors import InputError
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectLib.scan import Modality
from CMMDetectTrainLib import metrics
from CMMDetectTrainLib.evaluation import read_record
from CMMDetectTrainLib.metrics import Estimate, Rule, ScanRecord, Scores, score_scan
from CMMDetectTrainLib.thresholds import froc, score_swept, tpr_at, true_and_false

FINAL_TPR = {Modality.SWI: 0.93, Modality.T2STAR: 0.93, Modality.QSM: 0.90}
FINAL_FP_AVG = {Modality.SWI: 0.5, Modality.T2STAR: 0.5, Modality.QSM: 1.0}
STAGE_1_TPR, CLEAN_FP_AVG = 0.975, 0.3
LEAST_SCANS, CLEAN_SHARE = 20, 1 / 3
SHOWN_AS = (0.7, 0.9)
FALSE_A_SCAN = (0.5, 1.0, 2.0)
SIGNS = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Line:
    """One line of the table; without a sign there is no target."""

    what: str
    reached: Estimate
    sign: str = ""
    target: float = 0.0

    def cells(self) -> tuple[str, str, str, str]:
        """Give what, target, reached and whether it is met."""
        value, low, high = self.reached.value, self.reached.low, self.reached.high
        interval = "" if low is None or high is None else f" ({low:.3g} to {high:.3g})"
        reached = "-" if value is None else f"{value:.3g}{interval}"
        if not self.sign:
            return self.what, "", reached, ""
        met = "" if value is None else "yes" if SIGNS[self.sign](value, self.target) else "NO"
        return self.what, f"{self.sign} {self.target:.3g}", reached, met


def lines_of(records: Sequence[ScanRecord], modality: Modality) -> Iterator[Line]:
    """Measure the scans of one modality.

    A scan without microbleeds is one that shows none, however small.
    """
    weights = metrics.bootstrap_weights([record.subject for record in records])
    clean = [record for record in records if not record.counted_lesions]
    large = [metrics.counting_large(record) for record in records]
    yield Line("scans", Estimate(len(records), None, None), ">=", LEAST_SCANS)
    yield Line("share without microbleeds", Estimate(len(clean) / len(records), None, None), ">=", CLEAN_SHARE)
    yield Line("microbleeds", Estimate(sum(len(record.counted_lesions) for record in large), None, None))
    first, last = (
        metrics.estimates(metrics.stage_counts(large, Rule.CENTER, stage), weights)
        for stage in (Stage.DETECTION, Stage.FINAL)
    )
    yield Line("stage 1 TPR", first["tpr"], ">=", STAGE_1_TPR)
    yield Line("final TPR", last["tpr"], ">=", FINAL_TPR[modality])
    yield Line("final FPavg", last["fp_avg"], "<=", FINAL_FP_AVG[modality])
    yield Line("final FPavg, no microbleeds", _clean_fp_avg(clean), "<=", CLEAN_FP_AVG)
    apart = [_without_calcifications(record) for record in large]
    counted = metrics.stage_counts(apart, Rule.CENTER, Stage.FINAL)
    yield Line("final FPavg, calcifications apart", metrics.estimates(counted, weights)["fp_avg"])
    for name, those in (("", large), (", calcifications apart", apart)):
        curve = froc(swept_scores(those, Stage.DISCRIMINATION))
        for fp_avg in FALSE_A_SCAN if curve else ():
            yield Line(f"TPR of stage 2 at {fp_avg:g}{name}", Estimate(tpr_at(curve, fp_avg), None, None))
    shown, right = _calibration(records)
    yield Line("mean probability, shown as 0.7 to 0.9", shown)
    yield Line("share right, shown as 0.7 to 0.9", right)


def swept_scores(records: Sequence[ScanRecord], stage: Stage) -> list[Scores]:
    """Score the candidates that a stage has judged by its probability, one to one with the large microbleeds."""
    score = score_swept(stage, CutOffs())
    return [score_scan(metrics.counting_large(record), Rule.CENTER, score) for record in records]


def _without_calcifications(record: ScanRecord) -> ScanRecord:
    kept = (item for item in record.findings if item.touches or item.mimic != "calcification")
    return replace(record, findings=tuple(kept))


def _clean_fp_avg(clean: Sequence[ScanRecord]) -> Estimate:
    counts = metrics.stage_counts(clean, Rule.CENTER, Stage.FINAL)
    weights = metrics.bootstrap_weights([record.subject for record in clean])
    return metrics.estimate(counts.false, np.ones_like(counts.false), weights)


def _calibration(records: Sequence[ScanRecord]) -> tuple[Estimate, Estimate]:
    """Give mean probability and share of microbleeds of the candidates that are shown as about 0.8."""
    true, false = (
        np.array([item.p_discrimination for item in items if item.p_discrimination is not None])
        for items in true_and_false(records, Stage.DETECTION)
    )
    p, truth = np.concatenate([true, false]), np.arange(len(true) + len(false)) < len(true)
    some = (p >= SHOWN_AS[0]) & (p < SHOWN_AS[1])
    measured = metrics.reliability(p[some], truth[some], bins=1)
    if measured is None:
        return Estimate(None, None, None), Estimate(None, None, None)
    low, high = float(measured.low[0]), float(measured.high[0])
    return Estimate(float(measured.mean[0]), None, None), Estimate(float(measured.share[0]), low, high)


def read_evaluations(folders: Sequence[Path]) -> Mapping[tuple[str, Modality], list[ScanRecord]]:
    """Read the scans' records of evaluations by method and modality.

    Every cohort has a sub-01: a scan or a subject of another folder is another one, whatever its name.

    Raises
    ------
    InputError
        If a method has evaluated the same scan twice: it would count double.
    """
    found: dict[tuple[str, Modality], list[ScanRecord]] = defaultdict(list)
    read: dict[tuple[object, ...], Path] = {}
    for folder in folders:
        method = json.loads((folder / "run.json").read_text(encoding="utf-8"))["method"]
        for path in sorted((folder / "scans").glob("*.json")):
            record = read_record(path)
            modality = Modality(record.groups["modality"])
            first = read.setdefault((method, modality, record.name, *sorted(record.sha256.items())), path)
            if first is not path:
                raise InputError(f"{path}: the same scan as in {first}; give the evaluations of one model")
            found[method, modality].append(replace(record, subject=f"{folder}/{record.subject}"))
    return found


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluations", nargs="+", type=Path, metavar="EVALUATION")
    measured = read_evaluations(parser.parse_args().evaluations)
    print(f"| method | modality | {'what':38} | target | {'reached':24} | met |")
    print("|---|---|---|---|---|---|")
    for (method, modality), records in measured.items():
        for line in lines_of(records, modality):
            what, target, reached, met = line.cells()
            print(f"| {method} | {modality} | {what:38} | {target:8} | {reached:24} | {met} |")


if __name__ == "__main__":
    main()
