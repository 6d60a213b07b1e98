"""The training in a separate process."""

import os
from pathlib import Path

from CMMDetectTrainLib.training_job import STOP, beside
from CMMDetectWidgets.worker_process import WorkerProcess, environment, pythonInterpreter

WORKER_MODULE = "CMMDetectTrainLib.training_worker"
SOURCES = Path(__file__).resolve().parent.parent
LONGEST_PAUSING_MS = 120000
"""Wide networks take long for a step on a CPU, and a checkpoint can be written only after it."""
LONGEST_CLOSING_MS = 8000
"""Time to pause when Slicer is closed; if it is too short, training resumes from the last checkpoint."""


class TrainingProcess(WorkerProcess):
    """Runs a training, or the estimate of one, and reports complete messages."""

    graceMs = LONGEST_PAUSING_MS

    @property
    def lastNews(self):
        """Last message of the worker, None before the first."""
        return self._last

    def stopAndKeepBest(self):
        """Ask the worker to end the training with the best networks so far."""
        beside(self._job, STOP).touch()

    def close(self):
        """Pause the training, and kill the worker if that takes too long."""
        if self.running:
            self.cancel()
            self._onEnd = lambda *_outcome: None
            self._process.waitForFinished(LONGEST_CLOSING_MS)
            self.stop()

    def _command(self):
        return pythonInterpreter(), ["-m", WORKER_MODULE, str(self._job)]

    def _environment(self):
        whole = environment()
        return {**whole, "PYTHONPATH": os.pathsep.join([whole["PYTHONPATH"], str(SOURCES)])}

    def _tell(self, news):
        self._onNews(news)
