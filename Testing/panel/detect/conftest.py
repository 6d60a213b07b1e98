"""A small scan with three microbleeds, its results, and the panel with a review of it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from detect_steps import take_run
from PySide6.QtTest import QTest

import slicer_host
from CMMDetectLib.job import DetectionJob, run_job
from CMMDetectLib.scan import to_world, write_image

sys.path.append(str(Path(__file__).resolve().parents[2] / "library"))
import phantoms

SPACING_MM = (1.0, 1.0, 2.0)
SHAPE = (104, 120, 50)
LESIONS_MM = ((40.0, 50.0, 40.0, 4.0), (66.0, 70.0, 60.0, 5.0), (52.0, 84.0, 44.0, 3.0))
"""Center in the grid's own millimetres and diameter of each microbleed."""
MIMICS_MM = ((30.0, 60.0, 22.0, 2.4), (52.0, 10.5, 50.0, 4.0), (60.0, 40.0, 70.0, 1.8), (70.0, 90.0, 30.0, 1.5))
"""The same of others that the detector takes for a candidate: two are faint, one lies at the skull."""


@pytest.fixture(autouse=True)
def the_users_own_documents_are_left_alone(tmp_path_factory, monkeypatch) -> None:
    """Without a results folder the panel writes there, and reads what another test has left."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@dataclass(frozen=True)
class SmallScan:
    """A stripped brain as SWI shows it."""

    array: np.ndarray
    affine: np.ndarray

    @property
    def lesions(self) -> np.ndarray:
        """RAS millimetres of the microbleeds."""
        return to_world(self.affine, np.array(LESIONS_MM)[:, :3] / SPACING_MM)


@pytest.fixture(scope="session")
def small_scan() -> SmallScan:
    tissue, mask = phantoms.brain(SHAPE, SPACING_MM, noise=0.01, seed=3)
    for *center, diameter in LESIONS_MM:
        tissue *= 1 - 0.9 * phantoms.sphere(SHAPE, SPACING_MM, tuple(center), diameter)
    for *center, diameter in MIMICS_MM:
        tissue *= 1 - 0.5 * phantoms.sphere(SHAPE, SPACING_MM, tuple(center), diameter)
    return SmallScan(np.where(mask, 1250 * tissue, 0).astype(np.float32), phantoms.affine(SPACING_MM))


@pytest.fixture(scope="session")
def found_files(small_scan, tmp_path_factory) -> dict[str, str]:
    """The files of one run on the scan; every candidate of stage 1 gets far."""
    folder = tmp_path_factory.mktemp("run")
    write_image(folder / "sub-01_swi.nii", small_scan.array, small_scan.affine)
    job = DetectionJob(
        scan=str(folder / "sub-01_swi.nii"), output=str(folder / "out"), method="classical", th_detection=0.1
    )
    return {kind: str(path) for kind, path in run_job(job).files.items()}


@pytest.fixture
def other_files(small_scan, tmp_path_factory) -> dict[str, str]:
    """What a run finds in the other patient."""
    folder = tmp_path_factory.mktemp("other")
    write_image(folder / "scan_swi.nii", np.ascontiguousarray(small_scan.array[:, ::-1]), small_scan.affine)
    job = DetectionJob(scan=str(folder / "scan_swi.nii"), output=str(folder / "out"), method="classical")
    return {kind: str(path) for kind, path in run_job(job).files.items()}


@pytest.fixture
def volume(host, small_scan) -> Any:
    """The scan as a volume of the scene."""
    array = np.ascontiguousarray(small_scan.array.T)
    return slicer.util.addVolumeFromArray(array, small_scan.affine, "sub-01_swi")


@pytest.fixture
def other_scan(small_scan) -> Any:
    """Another patient's scan, loaded beside the first; no results of it are known."""
    array = np.ascontiguousarray(small_scan.array.T[:, ::-1])
    return slicer.util.addVolumeFromArray(array, small_scan.affine, "sub-02_swi")


@pytest.fixture
def panel(volume, detect_panel, host, tmp_path) -> Any:
    """The panel with the scan chosen; results go into a folder of the test."""
    qt.QSettings().remove("CMMDetect/Reader")
    detect_panel.ui.readerLineEdit.setText("")
    (tmp_path / "results").mkdir()
    detect_panel.ui.resultsFolderPathLineEdit.currentPath = str(tmp_path / "results")
    host.main_window.show()
    host.main_window.activateWindow()
    # keys go nowhere before
    slicer_host.wait_until(lambda: host.main_window.isActiveWindow)
    return detect_panel


@pytest.fixture
def reviewed(panel, volume, found_files) -> Any:
    """The panel with the review of a run; all stages are listed."""
    take_run(panel, volume, found_files)
    panel.ui.detectionCheckBox.setChecked(True)
    return panel


@pytest.fixture
def press(host) -> Callable[..., None]:
    """Give a function that presses and releases a key while the main window has the keyboard."""

    def click(key: Any, modifier: Any = qt.Qt.NoModifier) -> None:
        QTest.keyClick(host.main_window, key, modifier)
        slicer_host.wait_until(lambda: True)

    return click
