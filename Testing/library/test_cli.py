"""The command line: files, messages and exit status of each command."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from CMMDetectLib import job
from CMMDetectLib.candidates import Stage, at_stage, read_table
from CMMDetectLib.cli import EXIT_INPUT, EXIT_INTERRUPTED, make_parser, progress_bar, run_command, tell
from CMMDetectLib.errors import OutputError
from CMMDetectLib.results import prepare_results
from CMMDetectTrainLib.cli import main
from CMMDetectTrainLib.simulation.protocols import PRESETS
from head_phantom import head
from small_disk import run_limited
from small_scans import LESIONS_MM, SHAPE


def outputs(stem: str) -> set[str]:
    files = ["candidates.tsv", "candidates.json", "microbleeds.nii.gz", "probability.nii.gz"]
    files += [f"stage-{stage}.mrk.json" for stage in ("detection", "discrimination", "final")]
    return {f"{stem}_{file}" for file in files}


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_detect_writes_the_agreed_files_and_a_summary(stripped_scan, tmp_path, capsys):
    assert main(["detect", str(stripped_scan), "-o", str(tmp_path / "out")]) == 0
    assert names(tmp_path / "out") == outputs("sub-01_swi")
    printed = capsys.readouterr().out
    final = at_stage(read_table(tmp_path / "out" / "sub-01_swi_candidates.tsv"), Stage.FINAL)
    assert len(final) == len(LESIONS_MM)
    assert f"-> {len(final)}" in printed
    assert all(item.id in printed for item in final)


def test_maps_lie_on_the_scans_own_grid(stripped_scan, tmp_path):
    main(["detect", str(stripped_scan), "-o", str(tmp_path / "out")])
    scan = nib.load(stripped_scan)
    for kind in ("microbleeds", "probability"):
        image = nib.load(tmp_path / "out" / f"sub-01_swi_{kind}.nii.gz")
        assert image.shape == scan.shape
        assert np.allclose(image.affine, scan.affine, atol=1e-4)


def test_the_paper_method_runs_from_a_bundle(stripped_scan, small_bundle, tmp_path):
    command = ["detect", str(stripped_scan), "-o", str(tmp_path / "out"), "--model", str(small_bundle.folder)]
    assert main(command) == 0
    sidecar = json.loads((tmp_path / "out" / "sub-01_swi_candidates.json").read_text())
    assert sidecar["provenance"]["method"] == "paper"
    assert sidecar["provenance"]["settings"]["th_detection"] == 0.3


def test_thresholds_and_cut_offs_can_be_set(stripped_scan, tmp_path):
    command = ["detect", str(stripped_scan), "-o", str(tmp_path / "out"), "--min-volume-mm3", "50"]
    assert main([*command, "--th-detection", "0.2", "--method", "classical"]) == 0
    candidates = read_table(tmp_path / "out" / "sub-01_swi_candidates.tsv")
    assert {item.rejected_by for item in candidates if (item.volume_mm3 or 0) < 50} >= {"volume"}
    assert all((item.volume_mm3 or 0) >= 50 for item in at_stage(candidates, Stage.FINAL))


def test_a_users_mask_decides_where_microbleeds_are_looked_for(stripped_scan, tmp_path):
    scan = nib.load(stripped_scan)
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, :, 20:] = np.asarray(scan.dataobj)[:, :, 20:] != 0
    nib.save(nib.Nifti1Image(mask, scan.affine), tmp_path / "mask.nii.gz")
    assert main(["detect", str(stripped_scan), "-o", str(tmp_path), "--mask", str(tmp_path / "mask.nii.gz")]) == 0
    probability = np.asarray(nib.load(tmp_path / "sub-01_swi_probability.nii.gz").dataobj)
    assert not probability[:, :, :19].any()


@pytest.mark.parametrize("folder", ["run[final]", "a[/b]", ":smile:", "[bold]"])
def test_the_printed_path_is_the_one_written_to_whatever_its_name(stripped_scan, tmp_path, capsys, folder):
    assert main(["detect", str(stripped_scan), "-o", str(tmp_path / folder), "--method", "classical"]) == 0
    written = capsys.readouterr().out.split("Written: ")[1].removesuffix("\n")
    assert written == str(tmp_path / folder / "sub-01_swi_candidates.tsv")
    assert Path(written).is_file()


def test_a_name_that_the_terminal_cannot_show_is_told_in_other_letters(monkeypatch):
    written = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", written)
    tell("Written: 脑_swi_candidates.tsv")
    written.flush()
    assert written.buffer.getvalue().decode("cp1252").strip() == r"Written: \u8111_swi_candidates.tsv"


def test_steps_named_like_markup_are_shown_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar() as listener:
        listener("detection", 0.5, "run[final] a[/b]")
    assert "run[final] a[/b]" in capsys.readouterr().err


def test_no_time_left_is_guessed_where_steps_take_unlike_times(capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    message = "Training the teacher: epoch 14 of up to 100, at most 999 min more"
    with progress_bar(steady=False) as listener:
        listener("teacher", 0.5, message)
    shown = capsys.readouterr().err
    assert f"{message} " in shown and "0:00:0" in shown
    assert "left" not in shown and "%" not in shown


def cmmdetect(*options: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "CMMDetectTrainLib.cli", *options]
    return subprocess.run(command, text=True, stderr=subprocess.PIPE, check=False, **streams)


def test_results_that_cannot_be_told_end_in_one_line(stripped_scan, tmp_path):
    with Path("/dev/full").open("w") as full:
        ended = cmmdetect("detect", str(stripped_scan), "-o", str(tmp_path), "--method", "classical", stdout=full)
    assert ended.returncode == EXIT_INPUT
    assert ended.stderr == "cmmdetect: the standard output cannot be written (No space left on device)\n"
    assert names(tmp_path) >= outputs("sub-01_swi")


def test_without_standard_outputs_a_run_ends_as_it_does_with_them(stripped_scan, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["detect", str(stripped_scan), "-o", str(tmp_path / "out"), "--method", "classical"]) == 0
    assert main(["detect", str(tmp_path / "nowhere_swi.nii"), "-o", str(tmp_path / "out")]) == EXIT_INPUT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_wrong_input_is_told_by_the_exit_status_where_the_log_of_errors_is_full(tmp_path):
    command = [sys.executable, "-m", "CMMDetectTrainLib.cli", "detect", str(tmp_path / "nowhere_swi.nii"), "-o", "x"]
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(command, stderr=full, check=False).returncode == EXIT_INPUT


def test_a_run_leaves_no_line_in_a_log_of_errors(stripped_scan, tmp_path):
    ended = cmmdetect("detect", str(stripped_scan), "-o", str(tmp_path), stdout=subprocess.DEVNULL)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_run_over_earlier_results_replaces_them(stripped_scan, tmp_path):
    for _ in range(2):
        assert main(["detect", str(stripped_scan), "-o", str(tmp_path / "out")]) == 0
    assert names(tmp_path / "out") == outputs("sub-01_swi")


def test_strange_names_work(write_stripped_scan, tmp_path):
    path = write_stripped_scan("größe & 'quote' $HOME [x].nii.gz")
    assert main(["detect", str(path), "-o", str(tmp_path / "öut put"), "--modality", "swi"]) == 0
    assert names(tmp_path / "öut put") == outputs("größe & 'quote' $HOME [x]")


def refused(capsys: pytest.CaptureFixture[str], command: list[str]) -> str:
    """Run a command that must be refused and give its one line."""
    try:
        status = main(command)
    except SystemExit as ended:
        status = ended.code
    line = capsys.readouterr().err.strip()
    assert status == EXIT_INPUT
    assert "\n" not in line
    assert line.startswith("cmmdetect: ")
    return line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--modality", "flair"], "unknown modality 'flair'"),
        (["--method", "magic"], "choose from"),
        (["--model", "nowhere"], "nowhere: no model bundle"),
        (["--mask", "nowhere.nii"], "nowhere.nii: no such file"),
        (["--echo", "2"], "there is no echo 2"),
        (["--series", "2"], "--series is for a folder of DICOM files"),
        (["--th-detection", "1.5"], "--th-detection 1.5: must lie above 0 and not above 1"),
        (["--min-volume-mm3", "-1"], "--min-volume-mm3 -1: must not be negative"),
        (["--max-ellipticity", "inf"], "--max-ellipticity inf: must not be negative, nor infinite"),
        (["--min-skull-distance-mm", "nan"], "--min-skull-distance-mm nan: must not be negative"),
        (["--th-discrimination", "high"], "invalid float value"),
        (["--device", "tpu"], "choose from"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(stripped_scan, tmp_path, capsys, options, expected):
    line = refused(capsys, ["detect", str(stripped_scan), "-o", str(tmp_path / "out"), *options])
    assert expected in line
    assert not (tmp_path / "out").exists()


def test_the_papers_method_without_any_model_is_refused_in_one_line(stripped_scan, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(job, "SHIPPED_BUNDLE", tmp_path / "none")
    line = refused(capsys, ["detect", str(stripped_scan), "-o", str(tmp_path / "out"), "--method", "paper"])
    assert "give one with --model" in line
    assert not (tmp_path / "out").exists()


def test_packages_that_the_networks_miss_are_named(stripped_scan, small_bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(job, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    command = ["detect", str(stripped_scan), "-o", str(tmp_path / "out"), "--model", str(small_bundle.folder)]
    assert "the networks need torch: install what is missing, or --method classical" in refused(capsys, command)
    assert not (tmp_path / "out").exists()


def test_a_model_for_another_modality_is_refused(stripped_scan, small_bundle, tmp_path, capsys):
    description = json.loads((small_bundle.folder / "model.json").read_text())
    (small_bundle.folder / "model.json").write_text(json.dumps({**description, "modality": ["qsm"]}))
    command = ["detect", str(stripped_scan), "-o", str(tmp_path / "out"), "--model", str(small_bundle.folder)]
    assert "made for qsm, the scan is swi" in refused(capsys, command)


NOT_UTF_8 = os.fsdecode(b"b\xff")


@pytest.mark.parametrize(
    "options", [[NOT_UTF_8], ["SCAN", "--mask", NOT_UTF_8], ["SCAN", "-o", NOT_UTF_8], ["SCAN", "--model", NOT_UTF_8]]
)
def test_a_name_that_is_not_utf_8_is_refused_in_one_line(stripped_scan, tmp_path, capsys, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    shutil.copy(stripped_scan, NOT_UTF_8)
    command = [str(stripped_scan) if text == "SCAN" else text for text in options]
    line = refused(capsys, ["detect", "-o", "out", "--modality", "swi", *command])
    assert line == r"cmmdetect: b\udcff: the name is not valid UTF-8; give it another one"
    assert not Path("out").exists()


def test_a_line_break_in_a_name_does_not_break_the_line(tmp_path, capsys):
    assert r"a\nb.nii: no such file" in refused(capsys, ["detect", str(tmp_path / "a\nb.nii"), "-o", str(tmp_path)])


@pytest.mark.parametrize("options", [["NAME"], ["SCAN", "--mask", "NAME"], ["SCAN", "-o", "NAME"]])
def test_a_name_that_is_too_long_is_refused_in_one_line(stripped_scan, tmp_path, capsys, options):
    paths = {"SCAN": str(stripped_scan), "NAME": str(tmp_path / ("a" * 256))}
    command = [paths.get(text, text) for text in options]
    assert "too long" in refused(capsys, ["detect", "-o", str(tmp_path / "out"), *command])


def test_a_folder_too_deep_for_the_results_is_told_before_the_work(tmp_path):
    longest, deepest = f".{8 * 'x'}-a_swi_stage-discrimination.mrk.json", os.pathconf(tmp_path, "PC_PATH_MAX") - 1
    folder = tmp_path
    while (left := deepest - len(f"{folder}//{longest}")) > 10:
        folder /= "a" * min(left - 8, 200)
    (folder).mkdir(parents=True)
    (folder / longest).touch()  # there is room for the files, but not for the folder in which they wait
    with pytest.raises(OutputError, match="too long"):
        prepare_results(folder, "a_swi")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_microbleeds_that_somebody_marked_are_never_taken_for_an_old_result(stripped_scan, tmp_path, capsys, ending):
    truth = tmp_path / f"sub-01_swi_microbleeds{ending}"
    truth.write_text("days of work")
    command = ["detect", str(stripped_scan), "-o", str(tmp_path), "--method", "classical"]
    assert f"{truth}: exists already and is not the result of a detection" in refused(capsys, command)
    assert truth.read_text() == "days of work"
    (tmp_path / "sub-01_swi_candidates.tsv").touch()  # beside which it is an earlier detection
    prepare_results(tmp_path, "sub-01_swi")


@pytest.mark.parametrize(
    "options",
    [
        ["evaluate", "NAME", "-o", "OUT"],
        ["train", "NAME", "-o", "OUT"],
        ["simulate", "-o", "NAME"],
        ["demo", "-o", "NAME"],
    ],
)
def test_a_folder_whose_name_is_too_long_is_refused_in_one_line(tmp_path, capsys, options):
    paths = {"NAME": str(tmp_path / ("a" * 256)), "OUT": str(tmp_path / "out")}
    assert "too long" in refused(capsys, [paths.get(text, text) for text in options])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_a_data_set_that_is_not_there_is_refused_in_one_line(tmp_path, capsys, command):
    line = refused(capsys, [command, str(tmp_path / "none"), "-o", str(tmp_path / "out")])
    assert line.endswith("none: no such folder")


def test_a_scan_whose_name_leaves_no_room_for_those_of_the_results_is_refused_before_the_work(
    write_stripped_scan, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(job, "Detector", None)
    path = write_stripped_scan("a" * 220 + "_swi.nii.gz")
    line = refused(capsys, ["detect", str(path), "-o", str(tmp_path / "out"), "--method", "classical"])
    assert line.endswith("give the scan a shorter name")
    assert not names(tmp_path / "out")


def test_a_mask_without_signal_under_it_is_refused_with_the_name_of_the_scan(stripped_scan, tmp_path, capsys):
    scan = nib.load(stripped_scan)
    outside = (np.asarray(scan.dataobj) == 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(outside * (np.indices(SHAPE)[0] < 4), scan.affine), tmp_path / "mask.nii.gz")
    command = ["detect", str(stripped_scan), "-o", str(tmp_path), "--mask", str(tmp_path / "mask.nii.gz")]
    assert f"{stripped_scan}: the brain mask holds no signal" in refused(capsys, command)


@pytest.mark.skipif(find_spec("HD_BET") is not None, reason="HD-BET is installed here")
def test_where_hd_bet_is_missing_its_installation_is_named(tmp_path, capsys):
    phantom = head(spacing_mm=(3.0, 3.0, 4.0))
    nib.save(nib.Nifti1Image(phantom.signal, np.diag([3.0, 3, 4, 1])), tmp_path / "a_swi.nii.gz")
    command = ["detect", str(tmp_path / "a_swi.nii.gz"), "-o", str(tmp_path / "out")]
    assert "hd-bet" in refused(capsys, [*command, "--brain-extraction", "hd-bet"]).lower()


def test_an_output_folder_that_cannot_be_made_is_refused_before_the_work(stripped_scan, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    line = refused(capsys, ["detect", str(stripped_scan), "-o", str(tmp_path / "file" / "out")])
    assert "cannot write here" in line


def test_a_full_disk_ends_in_one_line_and_leaves_earlier_results_whole(stripped_scan, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "sub-01_swi_candidates.tsv").write_text("earlier")
    command = [sys.executable, "-m", "CMMDetectTrainLib.cli", "detect", str(stripped_scan), "-o", str(folder)]
    ended = run_limited(command, 2000)
    assert ended.returncode == EXIT_INPUT, ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert f"{folder}{os.sep}sub-01_swi_" in ended.stderr
    assert "cannot be written" in ended.stderr
    assert names(folder) == {"sub-01_swi_candidates.tsv"}
    assert (folder / "sub-01_swi_candidates.tsv").read_text() == "earlier"


def test_ctrl_c_ends_without_a_traceback(capsys):
    parser, commands = make_parser()

    def interrupted(options: object) -> None:
        raise KeyboardInterrupt

    commands.add_parser("wait").set_defaults(run=interrupted)
    assert run_command(parser, ["wait"]) == EXIT_INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


def test_ctrl_c_while_libraries_are_loaded_ends_without_a_traceback(capsys, monkeypatch):
    class Interrupted:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "CMMDetectTrainLib.commands":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "CMMDetectTrainLib.commands", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    assert main(["demo"]) == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "cmmdetect: interrupted\n"


def test_without_a_command_the_help_is_named(capsys):
    assert "--help" in refused(capsys, [])


def test_the_help_says_what_a_protocol_may_be_what_model_and_cutoffs_do_and_what_files_hold(capsys):
    told = {}
    for command in ("simulate", "detect", "masks", "train", "evaluate"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        told[command] = " ".join(capsys.readouterr().out.split())
    assert ", ".join(PRESETS) in told["simulate"] and "number of subjects" in told["simulate"]
    assert "the one that comes with CMMDetect" in told["detect"]
    assert "x, y, z (RAS mm) or i, j, k (voxel indices from 0" in told["masks"]
    for command in ("train", "evaluate"):
        assert "<scan>.nii.gz and <scan>_microbleeds.nii.gz, in folders of any depth" in told[command]
    assert "which echo of a 4D file or DICOM series" in told["detect"] and "sub-01_echo-2_T2starw" in told["detect"]
    for output in outputs("<scan>"):
        assert output in told["detect"] or output.startswith("<scan>_stage-")
    assert told["detect"].count("that stage 3 keeps") == 3 and "cut-off of stage 3" not in told["detect"]


def test_the_readmes_demo_finds_half_of_its_microbleeds_and_hardly_anything_else(tmp_path, capsys):
    assert main(["demo", "-o", str(tmp_path)]) == 0
    said = re.search(r"Found (\d+) of (\d+) microbleeds, (\d+) false", capsys.readouterr().out)
    found, microbleeds, false = map(int, said.groups())
    assert found >= microbleeds / 2
    assert false <= 2
    assert (tmp_path / "demo_swi.png").stat().st_size > 10_000


@pytest.mark.parametrize(("option", "value"), [("--model", "nowhere"), ("--seed", "-1")])
def test_a_demo_that_cannot_be_is_refused_before_it_simulates(tmp_path, capsys, option, value):
    assert value in refused(capsys, ["demo", "-o", str(tmp_path / "demo"), option, value])
    assert not (tmp_path / "demo").exists()


def test_a_command_that_lacks_its_packages_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "CMMDetectTrainLib.evaluation", raising=False)
    monkeypatch.delitem(sys.modules, "CMMDetectTrainLib.report", raising=False)
    monkeypatch.delitem(sys.modules, "CMMDetectTrainLib.report_figures", raising=False)
    line = refused(capsys, ["evaluate", str(tmp_path), "-o", str(tmp_path)])
    assert "pip install 'cmmdetect[train]'" in line


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--protocol", "mrx", "mrx"),
        ("-n", "0", "at least 1"),
        ("--microbleeds", "-3", "cannot have -3"),
        ("--microbleeds", "many", "neither a number nor random"),
    ],
)
def test_what_cannot_be_simulated_is_refused(tmp_path, capsys, option, value, expected):
    assert expected in refused(capsys, ["simulate", "-o", str(tmp_path / "set"), option, value])
