"""What the module offers beside its panel: sample data, detection for scripts, the self-test."""

import json
import sys
from pathlib import Path

import pytest
import slicer

from CMMDetectLib.candidates import Stage, at_stage
from CMMDetectLib.errors import InputError


def test_the_sample_scan_is_registered_and_loads_without_network(panel):
    import SampleData

    source = SampleData.SampleDataLogic.registered[-1]
    assert source.sampleName == "CMMDetectSample"
    node = SampleData.SampleDataLogic().downloadSample("CMMDetectSample")
    assert node.GetImageData().GetDimensions() == (192, 224, 56)


def test_scripts_detect_without_the_panel(panel, volume):
    found = panel.logic.process(volume, method="classical")
    final = at_stage(found.candidates, Stage.FINAL)
    assert len(final) >= 3
    assert found.points["final"].GetNumberOfControlPoints() == len(final)


def test_scripts_run_the_best_method_that_can_with_the_model_in_use(panel, volume, monkeypatch, tmp_path):
    jobs = []

    def keep(path):
        jobs.append(json.loads(path.read_text()))
        raise InputError("kept")

    monkeypatch.setattr(sys.modules[type(panel).__module__], "runBlocking", keep)
    monkeypatch.setattr("CMMDetectWidgets.inputs.networksReady", lambda: True)
    monkeypatch.setattr("CMMDetectWidgets.inputs.modelFolder", lambda chosen: Path(chosen or tmp_path / "in-use"))
    for options in ({}, {"model": str(tmp_path / "other")}, {"method": "classical"}):
        with pytest.raises(InputError, match="kept"):
            panel.logic.process(volume, **options)
    monkeypatch.setattr("CMMDetectWidgets.inputs.networksReady", lambda: False)
    with pytest.raises(InputError, match="kept"):
        panel.logic.process(volume)
    assert [job["method"] for job in jobs] == ["paper", "paper", "classical", "classical"]
    assert [job.get("model") for job in jobs] == [str(tmp_path / "in-use"), str(tmp_path / "other"), None, None]


def test_the_self_test_of_the_module_passes(panel):
    slicer.modules.CMMDetectInstance.runTest()
