"""The detection in a separate process: the panel stays responsive, and a crash loses nothing."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from CMMDetectLib.errors import InputError

from .panel_message import panelMessage

WORKER_MODULE = "CMMDetectLib.worker"
GRACE_MS = 5000
"""Time that a cancelled worker has to end at its next step before it is killed."""
# on Windows, where there is no SIGKILL, any signal ends a process at once
AT_ONCE = getattr(signal, "SIGKILL", signal.SIGTERM)
SOURCES = Path(__file__).resolve().parent.parent


def pythonInterpreter():
    """Path of the Python interpreter for the worker: PythonSlicer, else that of the application."""
    home = Path(slicer.app.slicerHome) / "bin" if hasattr(slicer.app, "slicerHome") else None
    found = shutil.which("PythonSlicer") or (home and shutil.which("PythonSlicer", path=str(home)))
    if found:
        return found
    # if Python is embedded, sys.executable may be the application itself, or empty
    if re.fullmatch(r"python[\d.]*(-real)?(\.exe)?", Path(sys.executable or "").name.lower()):
        return sys.executable
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return shutil.which(name, path=str(Path(sys.base_prefix) / "bin")) or shutil.which(name) or ""


def command(jobPath):
    """Program and arguments of the worker for a job."""
    return pythonInterpreter(), ["-m", WORKER_MODULE, str(jobPath)]


def environment():
    """Environment variables of the worker, in addition to the application's."""
    # the packages of an embedded Python may be in folders that the interpreter alone does not search
    here = (
        []
        if Path(pythonInterpreter()).stem == "PythonSlicer"
        else [path for path in sys.path if path and Path(path).is_dir()]
    )
    paths = [str(SOURCES), os.environ.get("PYTHONPATH", ""), *here]
    return {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        # Slicer's own ITK plugins are incompatible with SimpleITK and would fill the log with warnings
        "ITK_AUTOLOAD_PATH": "",
    }


def runBlocking(jobPath):
    """Run a job while the caller waits; return the written files by kind.

    Raises
    ------
    InputError
        If the job fails; the message is one line.
    """
    program, arguments = command(jobPath)
    ended = subprocess.run(
        [program, *arguments], env={**os.environ, **environment()}, capture_output=True, encoding="utf-8", check=False
    )
    news = [item for item in map(parseLine, ended.stdout.splitlines()) if item]
    if news and news[-1]["stage"] == "done":
        return news[-1]["files"]
    if news and news[-1]["stage"] == "error":
        raise InputError(panelMessage(news[-1]["message"], Path(jobPath).parent))
    raise InputError(f"the detection ended unexpectedly (exit status {ended.returncode}): {ended.stderr[-300:]}")


def parseLine(line):
    """Return the progress message in a line of the worker's output, None if the line is log.

    >>> parseLine('{"stage": "detection", "progress": 0.4, "message": "Stage 1"}')["progress"]
    0.4
    >>> parseLine("some library says hello") is None
    True
    """
    if not line.startswith("{"):
        return None
    try:
        news = json.loads(line)
    except ValueError:
        return None
    return news if {"stage", "progress", "message"} <= news.keys() else None


class WorkerProcess:
    """Runs one job in a separate process and reports its progress.

    Parameters
    ----------
    onNews : called with the message of each step and the finished fraction of the run
    onLog : called with every line of the log
    onEnd : called with the outcome ('done', 'cancelled' or 'error'), a line for the user, and the written files by
        kind
    """

    def __init__(self, onNews, onLog, onEnd):
        self._onNews = onNews
        self._onLog = onLog
        self._onEnd = onEnd
        self._process = None
        self._job = None
        self._last = None
        self._pid = None
        self._rest = ""
        self._running = False
        self._started = False
        self._cancelling = False
        self._grace = qt.QTimer()
        self._grace.setSingleShot(True)
        self._grace.connect("timeout()", self._kill)

    graceMs = GRACE_MS

    @property
    def running(self):
        """Whether a job is running."""
        return self._running

    @property
    def cancelling(self):
        """Whether the worker was asked to stop; it may finish before it notices."""
        return self._cancelling

    def start(self, jobPath):
        """Start the job of a job file."""
        self._job, self._last, self._pid, self._rest = Path(jobPath), None, None, ""
        self._running, self._started, self._cancelling = True, False, False
        self._process = qt.QProcess()
        self._process.setProcessChannelMode(qt.QProcess.MergedChannels)
        whole = qt.QProcessEnvironment.systemEnvironment()
        for name, value in self._environment().items():
            whole.insert(name, value)
        self._process.setProcessEnvironment(whole)
        self._process.connect("started()", self._onStarted)
        self._process.connect("readyReadStandardOutput()", self._onOutput)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._onError)
        self._process.start(*self._command())

    def cancel(self):
        """Ask the worker to stop at its next step, and kill it if it does not."""
        if self.running and not self._cancelling:
            self._cancelling = True
            self._ask()
            self._grace.start(self.graceMs)

    def stop(self):
        """End the worker now, without reporting an outcome."""
        if self.running:
            self._onEnd = lambda *_outcome: None
            # a worker that has not yet reported its process id can only be asked
            self._ask()
            self._kill()
            self._process.waitForFinished(1000)

    def _ask(self):
        """Ask the worker to end at its next step."""
        try:
            self._job.with_name(self._job.name + ".cancel").touch()
        except OSError as error:
            # a worker whose job file is gone ends as well
            logging.debug(f"CMMDetect: the worker cannot be asked to end ({error})")

    def _command(self):
        return command(self._job)

    def _environment(self):
        return environment()

    def _tell(self, news):
        self._onNews(news["message"], news["progress"])

    def _onOutput(self):
        data = self._process.readAllStandardOutput().data()
        text = self._rest + (data if isinstance(data, str) else bytes(data).decode("utf-8", "replace"))
        *lines, self._rest = text.split("\n")
        for line in lines:
            self._onLine(line.rstrip("\r"))

    def _onLine(self, line):
        news = parseLine(line)
        if news is None:
            self._onLog(line)
            return
        self._last = news
        self._pid = news.get("pid", self._pid)
        if news["stage"] not in ("done", "cancelled", "error"):
            self._tell(news)

    def _onStarted(self):
        self._started = True

    def _onError(self, _error=None):
        # the end of a process that ran is reported by finished()
        if self.running and not self._started:
            self._end("error", _("The process could not be started: no Python interpreter was found."))

    def _onFinished(self, _exitCode=0, _exitStatus=0):
        if not self.running:
            return
        self._onOutput()
        if self._rest:
            self._onLine(self._rest)
        last = self._last or {}
        stage = last.get("stage")
        if self._cancelling and stage != "done":
            self._end("cancelled", _("Cancelled."))
        elif stage in ("done", "error"):
            self._end(stage, panelMessage(last["message"], Path(self._job).parent), last.get("files"))
        else:
            text = _("The process ended unexpectedly (exit status {status}); the log may say why.")
            self._end("error", text.format(status=self._process.exitCode()))

    def _end(self, outcome, message, files=None):
        self._grace.stop()
        # the process object is kept, because it emitted the signal that is being handled
        self._running = False
        self._onEnd(outcome, message, files or {})

    def _kill(self):
        """Kill the worker and its launcher: PythonSlicer starts another process, which would go on without it."""
        if not self.running:
            return
        if self._pid is not None:
            try:
                os.kill(self._pid, AT_ONCE)
            except OSError as error:
                logging.debug(f"CMMDetect: the worker was gone already ({error})")
        self._process.kill()
