"""The Training section: settings, control and progress of a training."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from CMMDetectLib.bundle import SHIPPED_BUNDLE
from CMMDetectLib.errors import CMMDetectError
from CMMDetectTrainLib.machine import readable_range
from CMMDetectTrainLib.training_job import ESTIMATE, JOB_FILE, TrainingJob, read_epochs, unfinished_jobs, write_job

from .parameters import NetworksChoice
from .plots import Plot
from .train_packages import installTraining, trainingReady
from .training_process import TrainingProcess

LOG_LINES = 2000
CURVES = {
    "detector": (_("stage 1"), (0.85, 0.25, 0.15)),
    "teacher": (_("teacher"), (0.2, 0.6, 0.3)),
    "student": (_("stage 2"), (0.17, 0.42, 0.72)),
}
"""Name of each network and color of its curves."""


class TrainingSection:
    """Starts, pauses, resumes and ends trainings, one at a time.

    Parameters
    ----------
    ui : the panel's widgets
    parameters : returns the parameter node
    dataset : the `DatasetSection`
    shelf : returns the `BundleShelf`
    onDone : called with the folder of a new model
    """

    def __init__(self, ui, parameters, dataset, shelf, onDone):
        self._ui = ui
        self._parameters = parameters
        self._dataset = dataset
        self._shelf = shelf
        self._onDone = onDone
        self._worker = None
        self._job = None
        self._folder = None
        self._unfinished = []
        self._epochs = []
        self._step = None
        self._secondsLeft = None
        self._estimated = None
        self._curves = Plot(_("Loss curves"), _("epoch"), _("loss"))
        ui.trainingLogTextEdit.setMaximumBlockCount(LOG_LINES)
        ui.trainingLogTextEdit.setVisible(False)
        ui.trainingProgressBar.setVisible(False)
        for name, handler in (
            ("installTrainingButton", self._onInstall),
            ("estimateButton", self._onEstimate),
            ("startButton", self._onStart),
            ("pauseButton", self._onPause),
            ("stopButton", self._onStop),
            ("resumeButton", self._onResume),
            ("discardButton", self._onDiscard),
        ):
            getattr(ui, name).connect("clicked(bool)", handler)
        ui.trainingLogButton.connect("toggled(bool)", ui.trainingLogTextEdit.setVisible)
        ui.curvesButton.connect("toggled(bool)", self._curves.show)
        ui.modelNameLineEdit.connect("textChanged(QString)", self._updateButtons)
        ui.startComboBox.connect("currentIndexChanged(int)", self._updateButtons)

    @property
    def running(self):
        """Whether a training or an estimate is running."""
        return self._worker is not None

    def close(self):
        """Pause a running training, because the module is being closed."""
        if self.running:
            self._worker.close()
            self._worker = None
        self._dropFolder()

    def refresh(self):
        """Update the lists of models to start from and of trainings to resume."""
        shelf, box = self._shelf(), self._ui.startComboBox
        chosen = box.itemData(box.currentIndex) if box.currentIndex >= 0 else None
        choices = [(bundle.name, str(bundle.folder)) for bundle in shelf.bundles() if bundle.problem is None]
        if SHIPPED_BUNDLE.is_dir():
            choices.insert(0, (_("CMMDetect's own model"), str(SHIPPED_BUNDLE)))
        choices.append((_("Nothing (untrained networks)"), ""))
        wanted = chosen if chosen is not None else str(shelf.in_use or choices[0][1])
        was = box.blockSignals(True)
        box.clear()
        for text, path in choices:
            box.addItem(text, path)
        paths = [path for _text, path in choices]
        box.setCurrentIndex(paths.index(wanted) if wanted in paths else 0)
        box.blockSignals(was)
        self._listUnfinished(shelf)
        self._updateButtons()

    def update(self):
        """Update the section from the parameters."""
        self._updateButtons()

    def _listUnfinished(self, shelf):
        box = self._ui.unfinishedComboBox
        chosen = box.itemData(box.currentIndex) if box.currentIndex >= 0 else None
        self._unfinished = unfinished_jobs(shelf.folder)
        box.clear()
        for job in self._unfinished:
            box.addItem(Path(job.output).name, job.output)
        self._chooseUnfinished(chosen)

    def _chooseUnfinished(self, output):
        outputs = [job.output for job in self._unfinished]
        if output in outputs:
            self._ui.unfinishedComboBox.setCurrentIndex(outputs.index(output))

    def _updateButtons(self, _value=None):
        ui, problem, training = self._ui, self._problem(), self._trains()
        ready, idle = trainingReady(), not self.running
        ui.installTrainingButton.setVisible(not ready)
        ui.estimateButton.setEnabled(idle and not problem)
        ui.startButton.setEnabled(idle and not problem)
        ui.startButton.setToolTip(problem or _("Train the new model in the background."))
        ui.pauseButton.setEnabled(training)
        ui.stopButton.setEnabled(training)
        for name in ("unfinishedComboBox", "resumeButton", "discardButton"):
            getattr(ui, name).setVisible(bool(self._unfinished) and idle)
        ui.resumeButton.setEnabled(ready)
        ui.fieldStrengthComboBox.setEnabled(ui.insertedSpinBox.value > 0)
        ui.widthSpinBox.setEnabled(not self._start())
        if problem and idle:
            ui.estimateLabel.setText(problem)
        elif ui.estimateLabel.text in self._problems or (idle and self._isOutdated()):
            ui.estimateLabel.setText("")

    _problems = (
        _("The training needs Python packages that are not installed."),
        _("Choose the folder of the data set first."),
        _("The data set has no cases that are ok."),
        _("Give the new model a name."),
        _("From nothing, both stages have to be trained."),
        _("The width under Advanced must be an even number."),
    )

    def _problem(self):
        """Return in one line why nothing can be started, "" if it can."""
        if not trainingReady():
            return self._problems[0]
        if self._dataset.folder is None:
            return self._problems[1]
        if not any(case.status == "ok" for case in self._dataset.cases):
            return self._problems[2]
        if not self._ui.modelNameLineEdit.text.strip():
            return self._problems[3]
        parameters = self._parameters()
        if parameters is None or self._start():
            return ""
        if parameters.networks != NetworksChoice.ALL:
            return self._problems[4]
        return self._problems[5] if parameters.width % 2 else ""

    def _isOutdated(self):
        """Whether settings or cases have changed since the estimate."""
        return self._estimated is not None and self._parameters() is not None and self._estimated != self._toTrain()

    def _toTrain(self):
        """Return the current settings and cases of a training, without the name of the model."""
        return replace(self._describedJob(task=ESTIMATE), output=""), tuple(self._dataset.cases)

    def _trains(self):
        return self.running and self._job.task != ESTIMATE

    def _start(self):
        box = self._ui.startComboBox
        return box.itemData(box.currentIndex) if box.currentIndex >= 0 else ""

    # ------------------------------------------------------------------ jobs

    def _newJob(self, **others):
        self._dataset.settle()
        return self._describedJob(**others)

    def _describedJob(self, **others):
        parameters, shelf = self._parameters(), self._shelf()
        name = self._ui.modelNameLineEdit.text.strip()
        old = shelf.in_use or (SHIPPED_BUNDLE if SHIPPED_BUNDLE.is_dir() else None)
        return TrainingJob(
            dataset=str(self._dataset.folder),
            output=str(shelf.path_for(name)),
            start=self._start() or None,
            old=str(old) if old else None,
            networks=parameters.networks.value,
            width=parameters.width,
            epochs=parameters.epochs,
            patience=parameters.patience,
            batch=parameters.batch,
            patches_an_epoch=parameters.patchesAnEpoch or None,
            inserted=parameters.inserted,
            field_t=parameters.fieldStrength.value,
            device=parameters.device.value,
            **others,
        )

    def _onEstimate(self, _checked=False):
        Path(slicer.app.temporaryPath).mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.mkdtemp(prefix="cmmdetect-", dir=slicer.app.temporaryPath)
        job = self._newJob(task=ESTIMATE)
        self._estimated = self._toTrain()
        self._run(job, lambda: write_job(job, Path(self._folder) / JOB_FILE), _("Estimating"))

    def _onStart(self, _checked=False):
        job = self._newJob()
        self._run(job, lambda: write_job(job), _("Starting"))

    def _onResume(self, _checked=False):
        self._dataset.settle()
        job, chosen = self._chosenUnfinished(), self._dataset.folder
        # the data set may have been moved; another one than that of the training is refused
        if chosen is not None and not Path(job.dataset).is_dir():
            job = replace(job, dataset=str(chosen))
        self._run(job, lambda: write_job(job), _("Resuming"))

    def _onDiscard(self, _checked=False):
        job = self._chosenUnfinished()
        question = _("Delete the unfinished training of {name} and its working files?")
        if slicer.util.confirmOkCancelDisplay(question.format(name=Path(job.output).name)):
            shutil.rmtree(job.work, ignore_errors=True)
            self.refresh()

    def _chosenUnfinished(self):
        return self._unfinished[max(0, self._ui.unfinishedComboBox.currentIndex)]

    def _run(self, job, written, text):
        """Start the worker on a job; ``written`` writes the job file and returns its path."""
        ui = self._ui
        try:
            path = written()
        except CMMDetectError as error:
            ui.trainingStepLabel.setText(str(error))
            self._dropFolder()
            return
        self._job, self._step, self._secondsLeft = job, None, None
        ui.trainingLogTextEdit.clear()
        ui.trainingProgressBar.setValue(0)
        ui.trainingProgressBar.setVisible(True)
        ui.trainingStepLabel.setText(text)
        if job.task != ESTIMATE:
            self._curves.clear()
            self._epochs = read_epochs(path)
            self._drawCurves()
        self._worker = TrainingProcess(self._onNews, self._onLog, self._onEnded)
        self._worker.start(path)
        self._updateButtons()

    def _onPause(self, _checked=False):
        self._worker.cancel()
        self._ui.pauseButton.setEnabled(False)
        self._ui.trainingStepLabel.setText(_("Pausing after this step"))

    def _onStop(self, _checked=False):
        self._worker.stopAndKeepBest()
        self._ui.stopButton.setEnabled(False)
        self._ui.trainingStepLabel.setText(_("Stopping, keeping the best networks so far"))

    # ------------------------------------------------------------------ news

    def _onNews(self, news):
        if news["stage"] == "epoch":
            known = [epoch for epoch in self._epochs if _identity(epoch) != _identity(news)]
            self._epochs = [*known, news]
            self._secondsLeft = news["seconds_left"]
            self._drawCurves(news["network"])
        elif news["stage"] != self._step:
            # the time left that was told before is not that of a network that ended early
            self._step, self._secondsLeft = news["stage"], None
        self._ui.trainingProgressBar.setValue(round(1000 * news["progress"]))
        text = news["message"]
        if self._secondsLeft:
            left = readable_range(self._secondsLeft, self._secondsLeft)
            text = _("{step} (all networks: at most {left})").format(step=text, left=left)
        self._ui.trainingStepLabel.setText(text)

    def _drawCurves(self, only=None):
        for network in [only] if only else CURVES:
            finished = sorted((each for each in self._epochs if each["network"] == network), key=_identity)
            if finished:
                name, color = CURVES[network]
                epochs = [each["epoch"] for each in finished]
                training, validation = (
                    [each[key] for each in finished] for key in ("training_loss", "validation_loss")
                )
                self._curves.draw(_("{network}, training").format(network=name), epochs, training, color, True)
                self._curves.draw(_("{network}, validation").format(network=name), epochs, validation, color)
        if self._ui.curvesButton.checked:
            self._curves.follow()

    def _onLog(self, line):
        self._ui.trainingLogTextEdit.appendPlainText(line)

    def _onEnded(self, outcome, message, _files):
        news, job = self._worker.lastNews or {}, self._job
        self._worker = None
        self._dropFolder()
        self._ui.trainingProgressBar.setVisible(False)
        if job.task == ESTIMATE:
            self._ui.trainingStepLabel.setText("")
            self._ui.estimateLabel.setText(_estimateText(news) if outcome == "done" else message)
        elif outcome == "cancelled" and not job.finished:
            self._ui.trainingStepLabel.setText(_("Paused. It can be resumed from here, even after Slicer was closed."))
        elif outcome == "error":
            self._ui.trainingStepLabel.setText(message)
        else:
            self._ui.trainingStepLabel.setText(_("Done: {name}.").format(name=Path(job.output).name))
            self._onDone(Path(job.output))
        self.refresh()
        # the training that was just paused is preselected for Resume
        self._chooseUnfinished(job.output)

    def _onInstall(self, _checked=False):
        try:
            installTraining()
        except (RuntimeError, CMMDetectError) as error:
            self._updateButtons()
            self._ui.estimateLabel.setText(str(error))
            return
        self._updateButtons()

    def _dropFolder(self):
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _identity(epoch):
    return epoch["network"], epoch["epoch"]


def _estimateText(news):
    """Describe how long a training will take, and on how many subjects the new model will be measured."""
    subjects = news["subjects"]
    text = _(
        "{time}. Subjects to learn from: {training} (microbleeds: {count}), to choose thresholds on: {validation}, to"
        " compare on: {test}."
    ).format(
        time=readable_range(news["low_seconds"], news["high_seconds"]).capitalize(),
        count=news["training_microbleeds"],
        **subjects,
    )
    if not subjects["test"]:
        few = _("Too few subjects with microbleeds to hold any back for a comparison: label a third.")
        return f"{text} {few}"
    return text
