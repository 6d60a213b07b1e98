"""Detection in a child process: progress, cancelling, errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from CMMDetectLib import worker
from CMMDetectLib.job import DetectionJob, read_job


def write_job(folder: Path, **fields: object) -> Path:
    path = folder / "job.json"
    path.write_text(json.dumps(fields))
    return path


def news_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_a_child_process_tells_its_progress_and_then_the_files(stripped_scan, tmp_path):
    job = write_job(tmp_path, scan=str(stripped_scan), output=str(tmp_path / "out"))
    command = [sys.executable, "-m", "CMMDetectLib.worker", str(job)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    news = news_of(ended.stdout)
    assert all({"stage", "progress", "message"} <= set(item) for item in news)
    fractions = [item["progress"] for item in news]
    assert fractions == sorted(fractions)
    assert [item["stage"] for item in news[:2]] == ["reading", "preprocessing"]
    assert news[-1]["stage"] == "done"
    assert Path(news[-1]["files"]["candidates"]).is_file()


def test_cancelling_ends_the_run_and_leaves_nothing(stripped_scan, tmp_path, capsys, monkeypatch):
    job = write_job(tmp_path, scan=str(stripped_scan), output=str(tmp_path / "out"))
    say = worker.say

    def say_and_cancel(stage: str, *more: object, **others: object) -> None:
        if stage == "vessels":
            (tmp_path / "job.json.cancel").touch()
        say(stage, *more, **others)

    monkeypatch.setattr(worker, "say", say_and_cancel)
    assert worker.main([str(job)]) == worker.EXIT_CANCELLED
    assert news_of(capsys.readouterr().out)[-1]["stage"] == "cancelled"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_run_whose_job_file_is_deleted_ends_and_leaves_nothing(stripped_scan, tmp_path, capsys, monkeypatch):
    job = write_job(tmp_path, scan=str(stripped_scan), output=str(tmp_path / "out"))
    say = worker.say

    def say_and_delete(stage: str, *more: object, **others: object) -> None:
        if stage == "vessels":
            job.unlink(missing_ok=True)
        say(stage, *more, **others)

    monkeypatch.setattr(worker, "say", say_and_delete)
    assert worker.main([str(job)]) == worker.EXIT_CANCELLED
    assert news_of(capsys.readouterr().out)[-1]["stage"] == "cancelled"
    assert list((tmp_path / "out").iterdir()) == []


def test_the_worker_tells_its_number_from_its_first_message_on(tmp_path, capsys):
    worker.main([str(tmp_path / "none.json")])
    assert [item["pid"] for item in news_of(capsys.readouterr().out)] == [os.getpid()]


@pytest.mark.parametrize(
    "fields",
    [{}, {"scan": "nowhere.nii.gz", "output": "out"}, {"scan": "a", "output": "b", "colour": "red"}],
)
def test_a_job_that_cannot_be_done_ends_with_an_error_message(tmp_path, capsys, fields):
    assert worker.main([str(write_job(tmp_path, **fields))]) == worker.EXIT_INPUT
    last = news_of(capsys.readouterr().out)[-1]
    assert last["stage"] == "error"
    assert last["message"]


def test_a_missing_job_file_or_argument_is_an_error_message(tmp_path, capsys):
    assert worker.main([str(tmp_path / "none.json")]) == worker.EXIT_INPUT
    assert worker.main([]) == worker.EXIT_INPUT
    assert all(item["stage"] == "error" for item in news_of(capsys.readouterr().out))


def test_an_unexpected_failure_is_told_and_logged(stripped_scan, tmp_path, capsys, monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("so it goes")

    monkeypatch.setattr(worker, "run_job", fail)
    job = write_job(tmp_path, scan=str(stripped_scan), output=str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        worker.main([str(job)])
    assert "unexpected ZeroDivisionError" in news_of(capsys.readouterr().out)[-1]["message"]


def test_a_package_that_is_not_installed_is_named(stripped_scan, tmp_path, capsys, monkeypatch):
    def fail(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'skimage'", name="skimage")

    monkeypatch.setattr(worker, "run_job", fail)
    assert worker.main([str(write_job(tmp_path, scan=str(stripped_scan), output=str(tmp_path)))]) == worker.EXIT_INPUT
    assert "skimage, which is not installed" in news_of(capsys.readouterr().out)[-1]["message"]


def test_a_job_file_holds_the_options_of_the_command_line(tmp_path):
    path = write_job(tmp_path, scan="a.nii", output="out", th_detection=0.4)
    assert read_job(path) == DetectionJob(scan="a.nii", output="out", th_detection=0.4)
