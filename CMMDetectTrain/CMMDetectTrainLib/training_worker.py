"""Training as a child process: ``python -m CMMDetectTrainLib.training_worker JOB.json``.

The job file holds the fields of `TrainingJob`. The process prints one JSON object per line, as `CMMDetectLib.worker`
does: ``{"stage": "detector", "progress": 0.42, "message": "..."}``; any other output is log. A finished epoch has the
stage ``epoch`` and adds ``network``, ``epoch`` (from 1), ``training_loss``, ``validation_loss`` and
``seconds_left``. The last object has the stage ``done``, ``cancelled`` or ``error``; ``done`` adds the ``files`` of a
training, or the ``low_seconds``, ``high_seconds`` and numbers of cases of an estimate.

A file with the name of the job file plus ``.cancel`` pauses the training: a checkpoint is written, from which the same
job resumes. One with ``.stop`` ends the training with the best weights so far.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CMMDetectLib.errors import CancelledError
from CMMDetectLib.worker import answer, say

from .training_job import COMPARISON_FILE, EPOCHS, ESTIMATE, PAUSE, STOP, TrainingJob, beside, read_job

if TYPE_CHECKING:
    from .training import EpochRecord


def main(arguments: list[str] | None = None) -> int:
    """Run the job file given as the only argument; the exit status is as in `CMMDetectLib.worker`."""
    return answer(arguments, _do, cancelled="paused")


def _do(path: Path) -> dict[str, Any]:
    job = read_job(path)
    return _estimate(job, path) if job.task == ESTIMATE else _train(job, path)


def _train(job: TrainingJob, path: Path) -> dict[str, Any]:
    from .training_run import run_training

    reporter = _Reporter(path)
    result = run_training(job, reporter.listen, reporter.report, beside(path, STOP).exists, reporter.note)
    files = {"bundle": str(result.bundle), "report": str(result.bundle / "validation" / "report.html")}
    if result.comparison is None:
        return {"files": files}
    return {"files": {**files, "comparison": str(result.bundle / COMPARISON_FILE)}}


def _estimate(job: TrainingJob, path: Path) -> dict[str, Any]:
    from .training_run import estimate_job

    estimate, prepared = estimate_job(job, _Reporter(path).listen)
    return {
        "low_seconds": estimate.low_seconds,
        "high_seconds": estimate.high_seconds,
        "subjects": {role: len(getattr(prepared.roles, role)) for role in ("training", "validation", "test")},
        "training_microbleeds": prepared.training_microbleeds,
        "without_microbleeds": prepared.without_microbleeds,
    }


class _Reporter:
    """Print the progress, record the epochs, and cancel when the file to pause exists."""

    def __init__(self, path: Path) -> None:
        self._pause, self._epochs = beside(path, PAUSE), beside(path, EPOCHS)
        self._progress = 0.0

    def listen(self, stage: str, progress: float, message: str) -> None:
        if self._pause.exists():
            raise CancelledError
        self._progress = progress
        say(stage, progress, message)

    def note(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def report(self, network: str, record: EpochRecord, seconds_left: float) -> None:
        epoch = {
            "network": network,
            "epoch": record.epoch + 1,
            "training_loss": record.training_loss,
            "validation_loss": record.validation_loss,
        }
        with self._epochs.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(epoch) + "\n")
        message = f"{network}, epoch {record.epoch + 1}"
        say("epoch", self._progress, message, **epoch, seconds_left=round(seconds_left, 1))


if __name__ == "__main__":
    sys.exit(main())
