"""Make the bundle that comes with CMMDetect from a trained one.

    python Testing/benchmarks/default_model/release.py BUNDLE TRAINING CALIBRATION -o TARGET --version N --start NAME
        --th-detection 0.03 --th-discrimination 0.3

TARGET has the given thresholds and no cut-offs in stage 3, and the calibration and the metrics that the validation
subjects of the data set TRAINING have with these, together with the subjects of CALIBRATION: how the candidates of a
scan go together takes more scans to tell than how one looks. The thresholds that a training chooses are those at the
knees of the curves; that of stage 1 may lose lesions of another look that stage 2 would keep, that of stage 2 may mean
more false positives than a reader likes; and a volume of 4 mm3 that no microbleed of validation falls below may be
that of one on another scanner. What was detected stays in the folder of BUNDLE's training, and is not detected again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from CMMDetectLib.bundle import ModelBundle, read_bundle, write_bundle
from CMMDetectLib.calibration import Calibration
from CMMDetectLib.devices import choose_compute
from CMMDetectLib.errors import CMMDetectError, InputError
from CMMDetectLib.methods import Settings
from CMMDetectLib.paper_method import PaperMethod
from CMMDetectLib.postprocessing import CutOffs
from CMMDetectTrainLib.calibration import fit_calibration, reclassified
from CMMDetectTrainLib.evaluation import evaluate_dataset
from CMMDetectTrainLib.evaluation_set import find_scans
from CMMDetectTrainLib.metrics import ScanRecord
from CMMDetectTrainLib.summary import summarize
from CMMDetectTrainLib.training_job import work_folder
from CMMDetectTrainLib.validation import calibration_errors, stage_metrics

SUBJECTS_FILE = "training.json"
NO_CUTOFFS = CutOffs(min_volume_mm3=0.0, max_ellipticity=1.0, min_skull_distance_mm=0.0)


def validation_subjects(trained: ModelBundle) -> list[str]:
    """Read whom a training has learnt nothing from."""
    path = trained.folder / SUBJECTS_FILE
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["validation_subjects"])
    except (OSError, ValueError, KeyError):
        raise InputError(f"{path}: does not say which subjects validated; give a bundle that was trained") from None


def detected(trained: ModelBundle, dataset: Path, subjects: Sequence[str], settings: Settings) -> list[ScanRecord]:
    """Detect in the subjects of a data set, all if there are none, with the student's own probability."""
    described = replace(trained.description, calibration=Calibration())
    method = PaperMethod(replace(trained, description=described), choose_compute(), settings)
    output = work_folder(trained.folder) / f"{dataset.name}-{settings.th_detection:g}"
    found = evaluate_dataset(find_scans(dataset, subjects=subjects), method, output)
    return [replace(record, subject=f"{dataset.name}/{record.subject}") for record in found]


def release(trained: ModelBundle, options: argparse.Namespace) -> ModelBundle:
    """Write the bundle to ship."""
    described = trained.description
    settings = Settings(options.th_detection, options.th_discrimination, NO_CUTOFFS)
    sets = {options.training: validation_subjects(trained), options.calibration: ()}
    every = replace(settings, th_discrimination=0.0)
    found = [record for folder, subjects in sets.items() for record in detected(trained, folder, subjects, every)]
    calibration = fit_calibration(found)
    records = [reclassified(record, settings, calibration) for record in found]
    measured = {
        "measured_on": "the validation and calibration subjects, by which the probability was calibrated",
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
    parser.add_argument("training", type=Path, metavar="TRAINING")
    parser.add_argument("calibration", type=Path, metavar="CALIBRATION")
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
    print(f"{bundle.folder}: TPR {final['tpr']['value']:.2f}, {final['fp_avg']['value']:.2f} false positives per scan")


if __name__ == "__main__":
    main()
