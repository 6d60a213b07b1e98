"""What each part of the calibration contributes on subjects that it was not fitted to.

    python Testing/benchmarks/default_model/calibration_parts.py DETECTED ...

DETECTED is a folder of records with the student's own probability, as ``release.py`` leaves them beside the trained
bundle: ``<BUNDLE>.training/training-0.03`` and ``calibration-0.03``. The subjects are parted in ten; each tenth is
judged by a calibration that was fitted to the others. Microbleeds count from an apparent diameter of 2 mm or 2 pixels
on; matching is one to one. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from release import NO_CUTOFFS
from targets import FALSE_A_SCAN, swept_scores

from CMMDetectLib.calibration import Calibration
from CMMDetectLib.candidates import Stage
from CMMDetectLib.methods import Settings
from CMMDetectTrainLib.calibration import fit_calibration, measured_calibration, reclassified
from CMMDetectTrainLib.evaluation import read_record
from CMMDetectTrainLib.metrics import ScanRecord, count
from CMMDetectTrainLib.thresholds import froc, tpr_at

PARTS = 10
EVERY = Settings(0.0, 0.0, NO_CUTOFFS)


def nowhere(record: ScanRecord) -> ScanRecord:
    """Forget where the candidates of a scan lie."""
    findings = (replace(item, candidate=replace(item.candidate, skull_distance_mm=None)) for item in record.findings)
    return replace(record, brain=None, findings=tuple(findings))


def networks_alone(records: Sequence[ScanRecord]) -> Calibration:
    """Fit what the networks say."""
    return replace(fit_calibration([nowhere(record) for record in records]), burden=None)


def and_location(records: Sequence[ScanRecord]) -> Calibration:
    """Fit what the networks say, and where a candidate lies."""
    return replace(fit_calibration(records), burden=None)


FITS: dict[str, Callable[[Sequence[ScanRecord]], Calibration]] = {
    "the networks": networks_alone,
    "and where the candidate lies": and_location,
    "and what else the scan holds": fit_calibration,
}


def judged_by_others(records: Sequence[ScanRecord], fit: Callable[..., Calibration]) -> list[ScanRecord]:
    """Judge the candidates of each part of the subjects by a calibration fitted to the other parts."""
    subjects = sorted({record.subject for record in records})
    part = {subject: number % PARTS for number, subject in enumerate(subjects)}
    fitted = [fit([item for item in records if part[item.subject] != number]) for number in range(PARTS)]
    return [reclassified(record, EVERY, fitted[part[record.subject]]) for record in records]


def row(name: str, records: Sequence[ScanRecord]) -> str:
    """Give a row of the table."""
    scores = swept_scores(records, Stage.DISCRIMINATION)
    curve, measured = froc(scores), measured_calibration(records)
    if curve is None or measured is None:
        raise SystemExit("no microbleed was found: nothing can be compared")
    tpr = ", ".join(f"{tpr_at(curve, fp_avg):.2f}" for fp_avg in FALSE_A_SCAN)
    threshold = np.append(np.inf, curve.threshold)[np.searchsorted(curve.fp_avg, FALSE_A_SCAN[0], side="right")]
    clean = [item for item, record in zip(scores, records, strict=True) if not record.counted_lesions]
    numbers = f"{count(clean, threshold).false.mean():.2f} | {measured.brier:.4f} | {measured.error:.4f}"
    return f"| {name} | {tpr} | {numbers} |"


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DETECTED")
    records = [
        replace(record, subject=f"{folder}/{record.subject}")
        for folder in parser.parse_args().folders
        for record in map(read_record, sorted((folder / "scans").glob("*.json")))
    ]
    rates = "TPR at 0.5, 1, 2 false positives per scan | at 0.5: those without"
    print(f"| the probability weighs | {rates} | Brier | error |")
    print("|---|---|---|---|---|")
    for name, fit in FITS.items():
        print(row(name, judged_by_others(records, fit)))


if __name__ == "__main__":
    main()
