"""Packages that cannot be installed: the user reads why in one line, in both panels."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import qt
import slicer
from PySide6.QtTest import QTest

ROOT = Path(__file__).resolve().parents[2]


def fail_as_pip_offline(*_arguments: Any, **_options: Any) -> None:
    raise subprocess.CalledProcessError(1, ["PythonSlicer", "-m", "pip", "install"])


@pytest.fixture
def offline(packaging, questions, monkeypatch) -> None:
    """PyTorch is there, the small packages are not, and pip reaches no index."""
    monkeypatch.setattr("CMMDetectWidgets.installation.torchVersion", lambda: "2.6")
    monkeypatch.setattr(slicer.packaging, "pip_ensure", fail_as_pip_offline)


def is_one_line_about_the_internet(text: str) -> bool:
    return "could not be downloaded" in text and "internet" in text and "\n" not in text


def test_without_internet_the_packages_of_the_networks_are_refused_in_one_line(open_module, offline, monkeypatch):
    panel = open_module(ROOT / "CMMDetect" / "CMMDetect.py")
    monkeypatch.setattr("CMMDetectWidgets.input_section.networksReady", lambda: False)
    panel.update()
    QTest.mouseClick(panel.ui.installButton, qt.Qt.LeftButton)
    assert is_one_line_about_the_internet(panel.ui.inputProblemLabel.text)


def test_without_internet_the_packages_of_the_training_are_refused_in_one_line(open_module, offline, monkeypatch):
    panel = open_module(ROOT / "CMMDetectTrain" / "CMMDetectTrain.py")
    for module in ("training_section", "train_packages"):
        monkeypatch.setattr(f"CMMDetectTrainWidgets.{module}.trainingReady", lambda: False)
    monkeypatch.setattr("CMMDetectTrainWidgets.train_packages.networksReady", lambda: True)
    panel.refresh()
    QTest.mouseClick(panel.ui.installTrainingButton, qt.Qt.LeftButton)
    assert is_one_line_about_the_internet(panel.ui.estimateLabel.text)


def test_without_internet_an_older_slicer_refuses_in_one_line_too(questions, host, monkeypatch):
    from CMMDetectTrainWidgets import train_packages

    monkeypatch.setattr(train_packages, "networksReady", lambda: True)
    monkeypatch.setattr(train_packages, "trainingReady", lambda: False)
    monkeypatch.setattr(slicer.util, "pip_install", fail_as_pip_offline)
    with pytest.raises(RuntimeError) as refused:
        train_packages.installTraining()
    assert is_one_line_about_the_internet(str(refused.value))
    assert len(questions.asked) == 1


def test_the_training_offers_packages_and_does_not_promise_to_train_without_them(open_module, questions, monkeypatch):
    panel = open_module(ROOT / "CMMDetectTrain" / "CMMDetectTrain.py")
    for module in ("training_section", "train_packages"):
        monkeypatch.setattr(f"CMMDetectTrainWidgets.{module}.trainingReady", lambda: False)
    monkeypatch.setattr("CMMDetectTrainWidgets.train_packages.networksReady", lambda: False)
    monkeypatch.setattr("CMMDetectWidgets.installation.torchVersion", lambda: None)
    panel.refresh()
    assert panel.ui.installTrainingButton.text == "Install the packages..."
    QTest.mouseClick(panel.ui.installTrainingButton, qt.Qt.LeftButton)
    assert panel.ui.estimateLabel.text.endswith("Detection with the classical method works without it.")
