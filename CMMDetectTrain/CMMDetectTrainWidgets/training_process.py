"""The training in a process of its own."""

import os
from pathlib import Path

from CMMDetectTrainLib.training_job import STOP, beside
from CMMDetectWidgets.worker_process import WorkerProcess, environment, pythonInterpreter

WORKER_MODULE = "CMMDetectTrainLib.training_worker"
SOURCES = Path(__file__).resolve().parent.parent
LONGEST_PAUSING_MS = 120000
"""A step of wide networks takes long on a processor; until it is over nothing can be written."""
LONGEST_CLOSING_MS = 8000
"""Slicer is being closed: what this does not suffice for is done again from the last checkpoint."""


class TrainingProcess(WorkerProcess):
    """Runs a training, or the estimate of one, and tells every news whole."""

    graceMs = LONGEST_PAUSING_MS

    @property
    def lastNews(self):
        """What the worker said last, None before it said anything."""
        return self._last

    def stopAndKeepBest(self):
        """Ask the worker to end the training with the best networks so far."""
        beside(self._job, STOP).touch()

    def close(self):
        """Pause, and end the worker if it takes too long."""
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
