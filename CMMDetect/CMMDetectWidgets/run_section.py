"""The Run section: one button to start and cancel, a progress bar, the log."""

import shutil
import tempfile
import time
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from CMMDetectLib.errors import CMMDetectError

from .worker_process import WorkerProcess

LOG_LINES = 2000
SHORTEST_TELLING_S = 2.0
"""Elapsed time before which the remaining time cannot be estimated."""


class RunSection:
    """Runs the worker and shows its progress.

    Parameters
    ----------
    ui : the panel's widgets
    prepare : writes the job into a folder and returns the path of its file
    onStarted : called when the worker runs
    onDone : called with the written files by kind, before their folder is deleted; returns the message to show
    onEnded : called with one line about how the run ended
    """

    def __init__(self, ui, prepare, onStarted, onDone, onEnded):
        self._ui = ui
        self._prepare = prepare
        self._onStarted = onStarted
        self._onDone = onDone
        self._onEnded = onEnded
        self._worker = None
        self._folder = None
        self._startedAt = 0.0
        ui.logTextEdit.setMaximumBlockCount(LOG_LINES)
        ui.logTextEdit.setVisible(False)
        ui.progressBar.setVisible(False)
        ui.logButton.connect("toggled(bool)", ui.logTextEdit.setVisible)

    @property
    def running(self):
        """Whether a detection is running."""
        return self._worker is not None and self._worker.running

    def start(self):
        """Write the inputs and start the worker."""
        Path(slicer.app.temporaryPath).mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.mkdtemp(prefix="cmmdetect-", dir=slicer.app.temporaryPath)
        try:
            job = self._prepare(self._folder)
        except CMMDetectError as error:
            self._finish(str(error))
            return
        except Exception:
            self._finish(_("The search could not be started; Slicer's error log says why."))
            raise
        self._ui.logTextEdit.clear()
        self._ui.progressBar.setValue(0)
        self._ui.progressBar.setVisible(True)
        self._showStep(_("Starting"))
        self._startedAt = time.monotonic()
        self._worker = WorkerProcess(self._onNews, self._onLog, self._onWorkerEnded)
        self._worker.start(job)
        self._onStarted()

    def cancel(self):
        """Ask the worker to stop."""
        if self.running:
            self._worker.cancel()
            self._showStep(_("Cancelling"))

    def stop(self):
        """End the worker now and forget the run, because the scene is closing."""
        if self.running:
            self._worker.stop()
            self._finish("")

    def _onNews(self, message, progress):
        self._ui.progressBar.setValue(round(1000 * progress))
        self._showStep(_("{step} {left}").format(step=message, left=self._timeLeft(progress)))

    def _timeLeft(self, progress):
        gone = time.monotonic() - self._startedAt
        if gone < SHORTEST_TELLING_S or progress < 0.05:
            return ""
        seconds = gone * (1 - progress) / progress
        if seconds < 90:
            return _("(about {seconds} s left)").format(seconds=5 * max(1, round(seconds / 5)))
        return _("(about {minutes} min left)").format(minutes=round(seconds / 60))

    def _onLog(self, line):
        self._ui.logTextEdit.appendPlainText(line)

    def _onWorkerEnded(self, outcome, message, files):
        if outcome == "done":
            self._finishDone(files)
        else:
            self._finish(message)

    def _finishDone(self, files):
        message = _("What was found could not be shown; Slicer's error log says why.")
        try:
            message = self._onDone(files)
            if self._worker.cancelling:
                message = _("The search was done before it could be stopped. {found}").format(found=message)
        except CMMDetectError as error:
            message = str(error)
        finally:
            # whatever went wrong, the next search must be possible
            self._finish(message)

    def _finish(self, message):
        shutil.rmtree(self._folder, ignore_errors=True)
        self._ui.progressBar.setVisible(False)
        self._showStep(message)
        self._onEnded(message)

    def _showStep(self, text):
        self._ui.stepLabel.setText(text)
