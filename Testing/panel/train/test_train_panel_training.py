"""Training and Models: from cases to the model that CMMDetect uses."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import qt
import slicer
from train_steps import (
    choose,
    click,
    rows_of,
    start_tiny_training,
    wait_for_epoch,
    wait_for_training,
)

import slicer_host
from CMMDetectLib.bundle import read_bundle
from CMMDetectTrainLib.case_list import CaseStatus, read_cases, set_status
from CMMDetectTrainLib.training_job import TrainingJob, unfinished_jobs, write_job
from training_sets import write_training_set

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def dataset(folders) -> Path:
    """Three cases; the scan of `marked` is a fourth."""
    return write_training_set(folders.dataset, (2, 2, 2, 2))


@pytest.fixture
def ready(dataset, panel, known_model) -> object:
    """The panel with cases and a model to start from."""
    panel.ui.importPathLineEdit.currentPath = str(known_model)
    click(panel.ui.importButton)
    assert panel.ui.modelMessageLabel.text.endswith("was imported.")
    return panel


def model_that_cmmdetect_uses(open_module) -> str | None:
    """What the panel of CMMDetect would hand to its worker."""
    detect = open_module(ROOT / "CMMDetect" / "CMMDetect.py")
    from CMMDetectWidgets.inputs import jobOptions

    detect.ui.methodComboBox.setCurrentIndex(1)
    return jobOptions(detect.parameters()).get("model")


def test_from_points_to_a_model_that_cmmdetect_uses(panel, marked, folders, known_model, open_module):
    """The whole way: label a scan beside three others, fine-tune, compare, choose."""
    write_training_set(folders.dataset, (0, 2, 2, 2))
    for name in ("sub-01_swi.nii.gz", "sub-01_swi_microbleeds.nii.gz"):
        (folders.dataset / name).unlink()
    panel.dataset.refresh()
    choose(panel, marked.volume, marked.points)
    click(panel.ui.saveCaseButton)
    assert [case.microbleeds for case in read_cases(folders.dataset)] == [2, 2, 2, 2]
    panel.ui.importPathLineEdit.currentPath = str(known_model)
    click(panel.ui.importButton)
    panel.ui.modelTable.setCurrentCell(0, 0)
    click(panel.ui.useButton)
    start_tiny_training(panel, "our site", start=folders.models / "known")
    assert panel.ui.pauseButton.isEnabled() and not panel.ui.startButton.isEnabled()
    wait_for_training(panel)
    assert panel.ui.trainingStepLabel.text == "Done: our-site."
    model = folders.models / "our-site"
    assert read_bundle(model).description.name == "our-site"
    assert "Too few data to tell whether our-site is better than known" in panel.ui.sentenceLabel.text
    assert rows_of(panel.ui.comparisonTable)[0][0].startswith("Found (TPR)")
    assert panel.ui.comparisonTable.horizontalHeaderItem(1).text() == "known"
    click(panel.ui.useButton)
    assert [row[0] for row in rows_of(panel.ui.modelTable)] == ["known", "our-site"]
    assert panel.ui.modelTable.item(1, 0).font().bold() and not panel.ui.modelTable.item(0, 0).font().bold()
    assert unfinished_jobs(folders.models) == [] and not list(folders.models.glob("*.training"))
    assert model_that_cmmdetect_uses(open_module) == str(model)


def test_loss_curves_are_plots_that_closing_the_scene_does_not_end(ready, folders):
    ready.ui.networksComboBox.setCurrentIndex(1)
    start_tiny_training(ready, "curves", start=folders.models / "known")
    ready.ui.curvesButton.setChecked(True)
    wait_for_epoch(ready)
    slicer.mrmlScene.Clear(0)
    wait_for_training(ready)
    assert ready.ui.trainingStepLabel.text == "Done: curves."
    series = {node.GetName(): node for node in slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")}
    assert set(series) == {"stage 1, training", "stage 1, validation"}
    assert series["stage 1, validation"].GetTableNode().GetNumberOfRows() == 2
    plots = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView
    assert slicer.app.layoutManager().layout == plots
    ready.ui.curvesButton.setChecked(False)
    assert slicer.app.layoutManager().layout != plots
    ready.ui.frocButton.setChecked(True)
    assert slicer.app.layoutManager().layout == plots
    charts = {node.GetName(): node for node in slicer.util.getNodesByClass("vtkMRMLPlotChartNode")}
    assert charts["FROC curves"].GetXAxisRange() == (0, 10) and not charts["FROC curves"].GetXAxisRangeAuto()
    ready.ui.frocButton.setChecked(False)


def test_the_time_is_estimated_before_anything_starts(ready, folders):
    for widget, value in {"epochs": 2, "batch": 4, "patches": 8, "width": 2}.items():
        getattr(ready.ui, f"{widget}SpinBox").setValue(value)
    ready.ui.modelNameLineEdit.setText("site")
    click(ready.ui.estimateButton)
    assert ready.training.running and not ready.ui.pauseButton.isEnabled()
    wait_for_training(ready)
    text = ready.ui.estimateLabel.text
    assert "minute" in text and "Subjects to learn from: 2 (microbleeds: 4)" in text
    assert "to choose thresholds on: 1, to compare on: 1." in text
    assert [path.name for path in folders.models.iterdir()] == ["known"]


def test_an_estimate_goes_when_something_else_would_be_trained(ready, folders):
    for widget, value in {"epochs": 2, "batch": 4, "patches": 8, "width": 2}.items():
        getattr(ready.ui, f"{widget}SpinBox").setValue(value)
    ready.ui.modelNameLineEdit.setText("site")
    click(ready.ui.estimateButton)
    wait_for_training(ready)
    ready.ui.modelNameLineEdit.setText("another site")
    ready.refresh()
    assert "Subjects to learn from" in ready.ui.estimateLabel.text
    ready.ui.epochsSpinBox.setValue(3)
    assert ready.ui.estimateLabel.text == ""


def test_the_time_is_estimated_after_slicers_temporary_folder_was_cleared_away(ready, monkeypatch, tmp_path):
    monkeypatch.setattr(type(slicer.app), "temporaryPath", str(tmp_path / "cleared" / "away"))
    ready.ui.modelNameLineEdit.setText("site")
    click(ready.ui.estimateButton)
    assert ready.training.running
    ready.training.close()


def test_a_paused_training_goes_on_after_slicer_was_closed_and_stops_with_the_best(ready, folders, module):
    ready.ui.networksComboBox.setCurrentIndex(1)
    start_tiny_training(ready, "long", start=folders.models / "known", epochs=900, patience=900)
    wait_for_epoch(ready)
    click(ready.ui.pauseButton)
    wait_for_training(ready)
    assert ready.ui.trainingStepLabel.text.startswith("Paused.")
    module.end()
    again = module.start()
    assert again.ui.unfinishedComboBox.currentText == "long" and again.ui.resumeButton.isVisibleTo(again.parent)
    click(again.ui.resumeButton)
    known = len(again.training._epochs)
    assert known >= 1
    wait_for_epoch(again, number=known + 1)
    click(again.ui.stopButton)
    wait_for_training(again)
    assert again.ui.trainingStepLabel.text == "Done: long."
    assert not again.ui.resumeButton.isVisibleTo(again.parent)
    assert read_bundle(folders.models / "long").description.name == "long"


def test_leaving_slicer_pauses_a_training(ready, folders, module, confirmed):
    ready.ui.networksComboBox.setCurrentIndex(1)
    start_tiny_training(ready, "left", start=folders.models / "known", epochs=900, patience=900)
    wait_for_epoch(ready)
    module.end()
    assert [Path(job.output).name for job in unfinished_jobs(folders.models)] == ["left"]
    again = module.start()
    click(again.ui.discardButton)
    assert confirmed == ["Delete the unfinished training of left and its working files?"]
    assert unfinished_jobs(folders.models) == [] and not (folders.models / "left.training").exists()


def test_the_training_that_was_just_paused_is_the_one_to_go_on_with(ready, folders):
    write_job(TrainingJob(dataset=str(folders.dataset), output=str(folders.models / "another")))
    ready.refresh()
    assert ready.ui.unfinishedComboBox.currentText == "another"
    start_tiny_training(ready, "paused", start=folders.models / "known")
    click(ready.ui.pauseButton)
    wait_for_training(ready)
    assert ready.ui.unfinishedComboBox.currentText == "paused"
    ready.refresh()
    assert ready.ui.unfinishedComboBox.currentText == "paused"


def test_a_training_goes_on_with_its_data_set_where_that_was_moved_to(ready, folders, dataset):
    ready.ui.networksComboBox.setCurrentIndex(1)
    start_tiny_training(ready, "long", start=folders.models / "known", epochs=900, patience=900)
    wait_for_epoch(ready)
    click(ready.ui.pauseButton)
    wait_for_training(ready)
    shutil.move(dataset, folders.other / "elsewhere")
    ready.ui.datasetPathLineEdit.currentPath = str(folders.other / "elsewhere")
    told = len(ready.training._epochs)
    click(ready.ui.resumeButton)
    wait_for_epoch(ready, number=told + 1)
    click(ready.ui.pauseButton)
    wait_for_training(ready)


def test_a_training_whose_data_set_has_changed_is_refused_in_words_of_the_panel(ready, folders):
    ready.ui.networksComboBox.setCurrentIndex(1)
    start_tiny_training(ready, "long", start=folders.models / "known", epochs=900, patience=900)
    wait_for_epoch(ready)
    click(ready.ui.pauseButton)
    wait_for_training(ready)
    set_status(folders.dataset, read_cases(folders.dataset)[0].name, CaseStatus.TO_CHECK)
    click(ready.ui.resumeButton)
    wait_for_training(ready)
    assert ready.ui.trainingStepLabel.text.endswith("discard it, or choose another name")


TELLING = """
import json, pathlib, sys, time
def say(stage, message, **more):
    print(json.dumps({"stage": stage, "progress": 0.3, "message": message, **more}), flush=True)
losses = {"training_loss": 1.0, "validation_loss": 1.0}
print("Training: 2 scans", flush=True)
say("detector", "Training stage 1: epoch 1 of up to 9")
say("epoch", "detector, epoch 1", network="detector", epoch=1, seconds_left=600.0, **losses)
say("detector", "Training stage 1: epoch 2 of up to 9")
asked, wanted = pathlib.Path(sys.argv[1] + ".stop"), pathlib.Path(sys.argv[1] + ".cancel")
while not wanted.exists():
    if asked.exists():
        asked.unlink()
        say("validation", "Choosing thresholds")
    time.sleep(0.01)
"""
"""A worker that trains stage 1 until it is asked to stop, and then chooses thresholds."""


def test_the_time_left_of_networks_goes_with_their_training(ready, folders, monkeypatch):
    from CMMDetectTrainWidgets.training_process import TrainingProcess

    monkeypatch.setattr(TrainingProcess, "_command", lambda self: (sys.executable, ["-c", TELLING, str(self._job)]))
    start_tiny_training(ready, "told", start=folders.models / "known")
    label = ready.ui.trainingStepLabel
    whole = "Training stage 1: epoch 2 of up to 9 (all networks: at most about 10 minutes)"
    slicer_host.wait_until(lambda: label.text == whole)
    assert "Training: 2 scans" in ready.ui.trainingLogTextEdit.toPlainText()
    click(ready.ui.stopButton)
    slicer_host.wait_until(lambda: label.text == "Choosing thresholds")
    click(ready.ui.pauseButton)
    wait_for_training(ready)


def test_too_few_cases_are_told_in_one_line(ready, folders):
    for case in read_cases(folders.dataset)[1:]:
        set_status(folders.dataset, case.name, CaseStatus.TO_CHECK)
    start_tiny_training(ready, "few", start=folders.models / "known")
    wait_for_training(ready)
    text = ready.ui.trainingStepLabel.text
    assert "at least 2 subjects with microbleeds" in text and "here 1 of 1 have any" in text


def test_a_models_folder_that_cannot_be_written_is_told_in_one_line(ready, folders):
    (folders.other / "file").touch()
    ready.ui.modelsPathLineEdit.currentPath = str(folders.other / "file")
    ready.ui.modelNameLineEdit.setText("site")
    click(ready.ui.startButton)
    assert not ready.training.running
    assert "cannot write here" in ready.ui.trainingStepLabel.text


def test_a_crashed_worker_is_told_in_one_line_and_can_be_resumed(ready, folders, monkeypatch):
    from CMMDetectTrainWidgets.training_process import TrainingProcess

    crash = (sys.executable, ["-c", "import os; print('about to die', flush=True); os.abort()"])
    monkeypatch.setattr(TrainingProcess, "_command", lambda _self: crash)
    start_tiny_training(ready, "crashing", start=folders.models / "known")
    wait_for_training(ready)
    assert "ended unexpectedly" in ready.ui.trainingStepLabel.text
    assert "about to die" in ready.ui.trainingLogTextEdit.toPlainText()
    assert ready.ui.unfinishedComboBox.currentText == "crashing"


def test_what_is_missing_is_said_before_anything_is_started(panel, folders):
    panel.ui.datasetPathLineEdit.currentPath = ""
    assert panel.ui.estimateLabel.text == "Choose the folder of the data set first."
    panel.ui.datasetPathLineEdit.currentPath = str(folders.dataset)
    assert panel.ui.estimateLabel.text == "The data set has no cases that are ok."
    write_training_set(folders.dataset, (1,))
    panel.refresh()
    assert panel.ui.estimateLabel.text == "Give the new model a name."
    panel.ui.modelNameLineEdit.setText("site")
    panel.ui.startComboBox.setCurrentIndex(panel.ui.startComboBox.findData(""))
    panel.ui.networksComboBox.setCurrentIndex(1)
    assert panel.ui.estimateLabel.text == "From nothing, both stages have to be trained."
    panel.ui.networksComboBox.setCurrentIndex(0)
    panel.ui.widthSpinBox.setValue(17)
    assert panel.ui.estimateLabel.text == "The width under Advanced must be an even number."
    panel.ui.widthSpinBox.setValue(16)
    assert panel.ui.estimateLabel.text == "" and panel.ui.startButton.isEnabled()


def test_without_the_packages_there_is_a_button_to_install_them(panel, folders, monkeypatch):
    write_training_set(folders.dataset, (1,))
    monkeypatch.setattr("CMMDetectTrainWidgets.training_section.trainingReady", lambda: False)
    panel.refresh()
    assert panel.ui.installTrainingButton.isVisibleTo(panel.parent) and not panel.ui.startButton.isEnabled()
    assert "Python packages" in panel.ui.estimateLabel.text


def test_models_are_imported_exported_and_removed(ready, folders, confirmed):
    ready.ui.modelTable.setCurrentCell(0, 0)
    target = folders.other / "given.zip"
    ready.ui.exportPathLineEdit.currentPath = str(target)
    click(ready.ui.exportModelButton)
    assert target.is_file()
    ready.ui.importPathLineEdit.currentPath = str(target)
    click(ready.ui.importButton)
    assert [row[0] for row in rows_of(ready.ui.modelTable)] == ["known", "known-2"]
    assert "was not compared" in ready.ui.sentenceLabel.text and not ready.ui.comparisonTable.isVisibleTo(ready.parent)
    click(ready.ui.removeModelButton)
    assert confirmed == ["Delete the model known-2?"]
    assert [row[0] for row in rows_of(ready.ui.modelTable)] == ["known"]
    ready.ui.importPathLineEdit.currentPath = str(folders.other / "nowhere")
    click(ready.ui.importButton)
    assert "no model bundle" in ready.ui.modelMessageLabel.text


@pytest.mark.parametrize("button", ["importButton", "exportModelButton"])
def test_a_model_goes_nowhere_before_a_place_is_chosen(ready, button):
    ready.ui.modelTable.setCurrentCell(0, 0)
    ready.ui.importPathLineEdit.currentPath = ""
    click(getattr(ready.ui, button))
    assert ready.ui.modelMessageLabel.text == "Choose a file or a folder for the model first."


def test_cmmdetect_goes_back_to_its_own(ready, folders, open_module):
    ready.ui.modelTable.setCurrentCell(0, 0)
    click(ready.ui.useButton)
    assert json.loads((folders.models / "in-use.json").read_text()) == {"bundle": "known"}
    click(ready.ui.useShippedButton)
    assert not ready.ui.useShippedButton.isEnabled()
    assert not ready.ui.modelTable.item(0, 0).font().bold()
    assert qt.QSettings().value("CMMDetect/ModelsFolder") == str(folders.models)
