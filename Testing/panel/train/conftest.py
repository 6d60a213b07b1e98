"""The panel for training with empty folders, and a small scan with marked microbleeds."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import qt
import slicer

import slicer_host

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "Testing" / "library"))


@pytest.fixture
def confirmed(monkeypatch) -> list[str]:
    """The questions that were asked; each is answered with OK."""
    asked: list[str] = []

    def confirm(text: str) -> bool:
        asked.append(text)
        return True

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
    return asked


@pytest.fixture
def folders(tmp_path) -> SimpleNamespace:
    """Where data set and models go in this test; nothing of another test is remembered."""
    settings = qt.QSettings()
    settings.setValue("CMMDetectTrain/Dataset", str(tmp_path / "dataset"))
    settings.setValue("CMMDetect/ModelsFolder", str(tmp_path / "models"))
    settings.remove("CMMDetect/Reader")
    return SimpleNamespace(dataset=tmp_path / "dataset", models=tmp_path / "models", other=tmp_path)


@pytest.fixture
def module(folders, host) -> Iterator[SimpleNamespace]:
    """Opens and closes the module, as starting and ending Slicer does."""
    opened: list[Any] = []

    def start() -> Any:
        opened.append(slicer_host.load_module(ROOT / "CMMDetectTrain" / "CMMDetectTrain.py"))
        return opened[-1]

    def end() -> None:
        slicer_host.unload_module(opened.pop())

    host.main_window.show()
    yield SimpleNamespace(start=start, end=end)
    if opened:
        end()


@pytest.fixture
def panel(module) -> Any:
    """The panel of CMMDetectTrain."""
    return module.start()


@pytest.fixture(scope="session")
def known_model(tmp_path_factory) -> Path:
    """A bundle whose stage 1 finds what is dark."""
    from training_sets import known_bundle

    return known_bundle(tmp_path_factory.mktemp("known")).folder


@pytest.fixture
def marked(host) -> SimpleNamespace:
    """A scan in the scene with a point at each of its two microbleeds."""
    from train_steps import add_points, add_volume

    from training_sets import small_scan

    scan, labels, positions = small_scan("sub-01_swi", 2, 1)
    return SimpleNamespace(
        scan=scan, labels=labels, positions=positions, volume=add_volume(scan), points=add_points(positions)
    )


@pytest.fixture
def labeled(panel, marked) -> Any:
    """The panel with the scan and its points chosen, and the regions grown."""
    from train_steps import choose

    choose(panel, marked.volume, marked.points)
    assert np.count_nonzero(panel.labels._nodes.labels(marked.volume))
    assert slicer.mrmlScene.IsNodePresent(marked.points)
    return panel
