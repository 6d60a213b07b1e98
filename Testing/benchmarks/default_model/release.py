"""Make the bundle that CMMDetect comes with out of a trained one.

    python Testing/benchmarks/default_model/release.py BUNDLE -o TARGET --version 9 --start NAME
        --th-detection 0.1 --th-discrimination 0.25

The working files of BUNDLE's training must be there still: TARGET has the given thresholds and no cut-offs in stage 3,
and the calibration and the metrics that the validation subjects, as they were detected there, have with these. The
thresholds that a training chooses are those at the knees of the curves; that of stage 1 may lose lesions of another
look that stage 2 would keep, that of stage 2 may mean more false positives than a reader likes; and a volume of 4 mm3
that no microbleed of validation falls below may be that of one on another scanner.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from CMMDetectLib.bundle import ModelBundle, read_bundle, write_bundle
from CMMDetectLib.errors import CMMDetectError, InputError
from CMMDetectLib.methods import Settings
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectTrainLib.bundle_training import work_folder
from CMMDetectTrainLib.calibration import fit_calibration, judged_anew
from CMMDetectTrainLib.evaluation import read_record
from CMMDetectTrainLib.summary import summarize
from CMMDetectTrainLib.validation import stage_metrics

NO_CUTOFFS = CutOffs(min_volume_mm3=0.0, max_ellipticity=1.0, min_skull_distance_mm=0.0)


def release(trained: ModelBundle, options: argparse.Namespace) -> ModelBundle:
    """Write the bundle to ship."""
    described = trained.description
    detected = f"validation-*/detected-{options.th_detection:g}"
    evaluations = sorted(work_folder(trained.folder).glob(detected))
    if len(evaluations) != 1:
        raise InputError(f"{work_folder(trained.folder)}: {len(evaluations)} folders {detected}, where one is needed")
    settings = Settings(options.th_detection, options.th_discrimination, NO_CUTOFFS)
    found = [read_record(path) for path in sorted((evaluations[0] / "scans").glob("*.json"))]
    calibration = fit_calibration(found)
    records = [judged_anew(record, settings, calibration) for record in found]
    measured = stage_metrics(summarize(records, settings))
    described = replace(
        described,
        name="CMMDetect-model",
        version=options.version,
        th_detection=options.th_detection,
        th_discrimination=options.th_discrimination,
        calibration=calibration,
        cutoffs=NO_CUTOFFS,
        trained_on=described.trained_on.split("; fine-tuned")[0] + f"; fine-tuned from {options.start}",
        metrics={**described.metrics, **measured},
    )
    networks = {"detector": trained.detector(), "student": trained.student(), "teacher": trained.teacher()}
    return write_bundle(options.output, described, networks)


def main() -> None:
    """Release, and say what the validation subjects get."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--start", required=True, metavar="NAME", help="the bundle that was gone on from")
    parser.add_argument("--th-detection", type=float, required=True, metavar="P")
    parser.add_argument("--th-discrimination", type=float, required=True, metavar="P")
    options = parser.parse_args()
    try:
        bundle = release(read_bundle(options.bundle), options)
    except CMMDetectError as error:
        raise SystemExit(f"{error}") from None
    final = bundle.description.metrics["center"]["final"]
    print(f"{bundle.folder}: TPR {final['tpr']['value']:.2f}, {final['fp_avg']['value']:.2f} false positives a scan")


if __name__ == "__main__":
    main()
