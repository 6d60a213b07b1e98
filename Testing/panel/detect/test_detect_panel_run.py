"""Run: what the user sees before, during and after a detection."""

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import slicer
from detect_steps import apply, centers_of_views, shown_volumes, take_run, wait_for_the_end

import slicer_host
from CMMDetectLib.candidates import Stage, at_stage
from CMMDetectLib.errors import InputError
from CMMDetectWidgets import worker_process


def test_a_run_finds_the_microbleeds_and_shows_every_stage(panel, volume, small_scan, tmp_path):
    assert panel.ui.modalityComboBox.currentText == "SWI"
    assert panel.ui.modalityHintLabel.text == "from the name"
    apply(panel)
    assert panel.ui.applyButton.text == "Cancel"
    assert not panel.ui.inputsCollapsibleButton.isEnabled()
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 0 or not panel.run.running, 30)
    wait_for_the_end(panel)
    assert panel.ui.applyButton.text == "Apply"
    session = panel.keeper.session
    final = at_stage(session.candidates, Stage.FINAL)
    assert panel.ui.stepLabel.text.endswith(f"{len(final)}.")
    assert volume.GetName() in panel.ui.stepLabel.text
    distances = np.linalg.norm(small_scan.lesions[:, None] - [[c.x, c.y, c.z] for c in final], axis=-1)
    assert (distances.min(axis=1) < 2).all()
    for stage in Stage:
        node = panel.keeper.markings.points(stage.value)
        assert node.GetNumberOfControlPoints() == len(at_stage(session.candidates, stage))
    assert (tmp_path / "results" / "sub-01_swi_candidates.tsv").is_file()
    assert (tmp_path / "results" / "sub-01_swi_review.json").is_file()
    assert not list(Path(slicer.app.temporaryPath).glob("cmmdetect-*"))


def test_cancelling_in_the_middle_leaves_nothing(panel, tmp_path):
    apply(panel)
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 0, 30)
    apply(panel)
    assert panel.ui.stepLabel.text == "Cancelling"
    wait_for_the_end(panel)
    assert panel.ui.stepLabel.text == "Cancelled."
    assert panel.ui.applyButton.text == "Apply" and panel.ui.applyButton.isEnabled()
    assert panel.keeper.session is None
    assert not list((tmp_path / "results").iterdir())


DONE_ALL_THE_SAME = """
import json, sys, time
from pathlib import Path
files, cancel = json.loads(sys.argv[1]), Path(sys.argv[2] + ".cancel")
news = {"stage": "writing", "progress": 0.9, "message": "writing"}
print(json.dumps(news), flush=True)
while not cancel.exists():
    time.sleep(0.05)
print(json.dumps({**news, "stage": "done", "files": files}), flush=True)
"""


def test_a_run_that_is_done_before_it_can_be_cancelled_is_shown_and_says_so(panel, found_files, monkeypatch):
    arguments = ["-c", DONE_ALL_THE_SAME, json.dumps(found_files)]
    monkeypatch.setattr(
        worker_process, "command", lambda job: (worker_process.pythonInterpreter(), [*arguments, str(job)])
    )
    apply(panel)
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 0, 30)
    apply(panel)
    wait_for_the_end(panel)
    assert panel.ui.stepLabel.text.startswith("The search was done before it could be stopped. Candidates")
    assert panel.keeper.session.candidates


@pytest.mark.parametrize("moment", ["_prepare", "_onDone"])
def test_after_a_surprise_the_button_starts_the_next_run_and_nothing_is_left(
    panel, found_files, monkeypatch, host, moment
):
    arguments = ["-c", DONE_ALL_THE_SAME, json.dumps(found_files)]

    def command(job):
        Path(f"{job}.cancel").touch()
        return worker_process.pythonInterpreter(), [*arguments, str(job)]

    def surprise(*_arguments):
        raise ZeroDivisionError("so it goes")

    monkeypatch.setattr(worker_process, "command", command)
    monkeypatch.setattr(panel.run, moment, surprise)
    apply(panel)
    wait_for_the_end(panel)
    assert "so it goes" in host.errors.pop()
    assert panel.ui.stepLabel.text.endswith("error log says why.")
    assert panel.ui.applyButton.text == "Apply" and panel.ui.applyButton.isEnabled()
    assert not list(Path(slicer.app.temporaryPath).glob("cmmdetect-*"))


LONG_STEP = """
import os, time
print('{"stage": "a", "progress": 0.1, "message": "a long step", "pid": %d}' % os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def launcher(monkeypatch, tmp_path):
    """Have the worker started as PythonSlicer does: by a process of its own that waits for it.

    Give a function that takes the arguments of the interpreter, or the usual ones.
    """
    path, number = tmp_path / "PythonLauncher", tmp_path / "number"
    path.write_text(f'#!/bin/sh\n"{worker_process.pythonInterpreter()}" "$@" &\necho $! > "{number}"\nwait $!\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    usual = worker_process.command

    def launch(arguments=None):
        monkeypatch.setattr(worker_process, "command", lambda job: (str(path), arguments or usual(job)[1]))
        return lambda: lives(int(number.read_text()))

    return launch


def lives(pid):
    """Whether a process runs; one that has ended and that nobody waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.is_file() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(os.name == "nt", reason="the launcher is a shell script")
def test_a_cancelled_run_in_a_long_step_is_ended_behind_its_launcher(panel, launcher, monkeypatch):
    monkeypatch.setattr(worker_process.WorkerProcess, "graceMs", 300)
    worker_lives = launcher(["-c", LONG_STEP])
    apply(panel)
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 0, 30)
    assert worker_lives()
    apply(panel)
    wait_for_the_end(panel)
    slicer_host.wait_until(lambda: not worker_lives(), 5)
    assert panel.ui.stepLabel.text == "Cancelled."


@pytest.mark.skipif(os.name == "nt", reason="the launcher is a shell script")
def test_closing_the_scene_ends_a_run_in_a_long_step_at_once(panel, launcher):
    worker_lives = launcher(["-c", LONG_STEP])
    apply(panel)
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 0, 30)
    assert worker_lives()
    slicer.mrmlScene.Clear(0)
    slicer_host.wait_until(lambda: not worker_lives(), 2)


@pytest.mark.skipif(os.name == "nt", reason="the launcher is a shell script")
def test_closing_the_scene_ends_the_run_behind_its_launcher_and_nothing_is_written(panel, launcher, tmp_path):
    worker_lives = launcher()
    apply(panel)
    slicer_host.wait_until(lambda: panel.ui.progressBar.value > 0, 30)
    assert worker_lives()
    slicer.mrmlScene.Clear(0)
    slicer_host.wait_until(lambda: not worker_lives(), 5)
    assert not list((tmp_path / "results").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="the launcher is a shell script")
def test_closing_the_scene_before_the_worker_said_anything_ends_it_too(panel, launcher, tmp_path):
    worker_lives = launcher()
    apply(panel)
    slicer_host.wait_until(lambda: (tmp_path / "number").is_file() and (tmp_path / "number").read_text(), 10)
    assert panel.ui.progressBar.value == 0
    slicer.mrmlScene.Clear(0)
    slicer_host.wait_until(lambda: not worker_lives(), 30)
    assert not list((tmp_path / "results").iterdir())


def test_a_crashed_worker_is_told_in_one_line(panel, monkeypatch):
    crash = ["-c", "import os; print('about to die', flush=True); os.abort()"]
    monkeypatch.setattr(worker_process, "command", lambda _job: (worker_process.pythonInterpreter(), crash))
    apply(panel)
    wait_for_the_end(panel)
    assert "ended unexpectedly" in panel.ui.stepLabel.text
    assert "\n" not in panel.ui.stepLabel.text
    assert "about to die" in panel.ui.logTextEdit.toPlainText()


def test_a_missing_interpreter_is_told_in_one_line(panel, monkeypatch):
    monkeypatch.setattr(worker_process, "command", lambda _job: ("/nowhere/python", []))
    apply(panel)
    wait_for_the_end(panel)
    assert "could not be started" in panel.ui.stepLabel.text


def test_what_the_worker_refuses_is_told_in_its_words(panel, monkeypatch, tmp_path):
    (tmp_path / "results").rmdir()
    (tmp_path / "results").write_text("a file where the folder should be")
    apply(panel)
    wait_for_the_end(panel)
    assert "cannot write here" in panel.ui.stepLabel.text


REFUSED = """
import json, sys
from pathlib import Path
scan = json.loads(Path(sys.argv[1]).read_text())["scan"]
message = f"{scan}: 6 % is below 0; say --modality qsm"
print(json.dumps({"stage": "error", "progress": 1.0, "message": message}), flush=True)
"""


@pytest.mark.parametrize("script", [False, True])
def test_what_is_wrong_with_a_scan_is_told_as_the_panel_speaks(panel, volume, monkeypatch, script):
    worker = worker_process.pythonInterpreter(), ["-c", REFUSED]
    monkeypatch.setattr(worker_process, "command", lambda job: (worker[0], [*worker[1], str(job)]))
    if script:
        with pytest.raises(InputError) as refused:
            panel.logic.process(volume, "swi", method="classical")
        told = str(refused.value)
    else:
        apply(panel)
        wait_for_the_end(panel)
        told = panel.ui.stepLabel.text
    assert told == 'sub-01_swi.nii: 6 % is below 0; choose the contrast "QSM, susceptibility map"'


def test_leaving_the_module_does_not_stop_a_run_but_closing_the_scene_does(panel):
    apply(panel)
    slicer.util.selectModule("Data")
    assert panel.run.running
    slicer.mrmlScene.Clear(0)
    assert not panel.run.running
    assert not list(Path(slicer.app.temporaryPath).glob("cmmdetect-*"))


def test_a_run_that_ends_leaves_the_views_to_the_module_that_is_shown(panel, volume, small_scan, found_files):
    other = slicer.util.addVolumeFromArray(np.ascontiguousarray(small_scan.array.T), small_scan.affine, "T1")
    slicer.util.selectModule("Data")
    slicer.util.setSliceViewerLayers(background=other)
    before = centers_of_views()
    take_run(panel, volume, found_files)
    assert np.array_equal(centers_of_views(), before)
    assert shown_volumes() == {other.GetID()}
    slicer.util.selectModule("CMMDetect")
    assert shown_volumes() == {volume.GetID()}
    chosen = panel.keeper.session[panel.review.current]
    assert np.allclose(centers_of_views(), (chosen.x, chosen.y, chosen.z), atol=0.01)


def test_after_reload_the_views_follow_at_once(panel, volume, found_files):
    panel.cleanup()
    again = type(panel)(panel.parent)
    again.setup()
    take_run(again, volume, found_files)
    chosen = again.keeper.session[again.review.current]
    assert np.allclose(centers_of_views(), (chosen.x, chosen.y, chosen.z), atol=0.01)
