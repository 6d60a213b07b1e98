"""Make the bundle that CMMDetect comes with out of a trained one.

    python Testing/benchmarks/default_model/release.py BUNDLE DATASET -o TARGET --version 10 --start NAME
        --th-detection 0.1 --th-discrimination 0.3

The working files of BUNDLE's training must be there still: TARGET has the given thresholds and no cut-offs in stage 3,
and the calibration and the metrics that the validation subjects, as they were detected there, have with these. The
subjects of DATASET, which are detected now, count as they do: how the candidates of a scan go together takes more
scans to tell than how one looks. The thresholds that a training chooses are those at the knees of the curves; that of
stage 1 may lose lesions of another look that stage 2 would keep, that of stage 2 may mean more false positives than a
reader likes; and a volume of 4 mm3 that no microbleed of validation falls below may be that of one on another scanner.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

from CMMDetectLib.bundle import ModelBundle, read_bundle, write_bundle
from CMMDetectLib.calibration import Calibration
from CMMDetectLib.devices import choose_compute
from CMMDetectLib.errors import CMMDetectError, InputError
from CMMDetectLib.methods import Settings
from CMMDetectLib.paper_method import PaperMethod
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectTrainLib.bundle_training import work_folder
from CMMDetectTrainLib.calibration import fit_calibration, judged_anew
from CMMDetectTrainLib.evaluation import evaluate_dataset, read_record
from CMMDetectTrainLib.evaluation_set import find_scans
from CMMDetectTrainLib.metrics import ScanRecord
from CMMDetectTrainLib.summary import summarize
from CMMDetectTrainLib.validation import calibration_errors, stage_metrics

NO_CUTOFFS = CutOffs(min_volume_mm3=0.0, max_ellipticity=1.0, min_skull_distance_mm=0.0)


def detected_in_training(trained: ModelBundle, th_detection: float) -> list[ScanRecord]:
    """Read what the trained networks found in the validation subjects."""
    name = f"validation-*/detected-{th_detection:g}"
    evaluations = sorted(work_folder(trained.folder).glob(name))
    if len(evaluations) != 1:
        raise InputError(f"{work_folder(trained.folder)}: {len(evaluations)} folders {name}, where one is needed")
    return [read_record(path) for path in sorted((evaluations[0] / "scans").glob("*.json"))]


def detected_now(trained: ModelBundle, dataset: Path, settings: Settings) -> list[ScanRecord]:
    """Detect in more subjects, with the student's own probability as in the validation subjects."""
    described = replace(trained.description, calibration=Calibration())
    method = PaperMethod(replace(trained, description=described), choose_compute(), settings)
    output = work_folder(trained.folder) / f"{dataset.name}-{settings.th_detection:g}"
    found = evaluate_dataset(find_scans(dataset), method, output)
    return [replace(record, subject=f"{dataset.name}/{record.subject}") for record in found]


def release(trained: ModelBundle, options: argparse.Namespace) -> ModelBundle:
    """Write the bundle to ship."""
    described = trained.description
    settings = Settings(options.th_detection, options.th_discrimination, NO_CUTOFFS)
    found = [
        *detected_in_training(trained, options.th_detection),
        *detected_now(trained, options.dataset, replace(settings, th_discrimination=0.0)),
    ]
    calibration = fit_calibration(found)
    records = [judged_anew(record, settings, calibration) for record in found]
    measured = {
        "measured_on": f"the validation subjects and {options.dataset.name}, by which the probability was calibrated",
        **stage_metrics(summarize(records, settings)),
        "calibration": calibration_errors(found, records),
    }
    described = replace(
        described,
        name="CMMDetect-model",
        version=options.version,
        **{item.name: getattr(settings, item.name) for item in fields(Settings)},
        calibration=calibration,
        trained_on=described.trained_on.split("; fine-tuned")[0] + f"; fine-tuned from {options.start}",
        metrics=measured,
    )
    networks = {"detector": trained.detector(), "student": trained.student(), "teacher": trained.teacher()}
    return write_bundle(options.output, described, networks)


def main() -> None:
    """Release, and say what the validation subjects get."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("dataset", type=Path, metavar="DATASET")
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
