"""The host that the panel tests share: started once, strict in every test."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

import slicer_host
from slicer_host.application import WINDOW_PX

ROOT = Path(__file__).resolve().parents[2]

collect_ignore = ["host_demo"]
if find_spec("slicer_core") and find_spec("PySide6"):
    slicer_host.start()  # the test files import qt


@pytest.fixture
def host(scene):
    """The running host with an empty scene; whatever raises in a slot, a timer or an observer fails the test."""
    running = slicer_host.start()
    running.errors.clear()
    # a test may have resized the window, and in a lower one the buttons that the next test clicks have no room
    running.main_window.resize(*WINDOW_PX)
    yield running
    slicer_host.wait_until(lambda: True)
    errors, running.errors = running.errors[:], []
    assert not errors, "\n".join(errors)


@pytest.fixture
def open_module(host):
    """Give a function that opens a module by its path and returns the panel; it is closed after the test."""
    opened = []

    def load(path: Path):
        opened.append(slicer_host.load_module(path))
        return opened[-1]

    yield load
    for panel in opened:
        slicer_host.unload_module(panel)


@pytest.fixture
def detect_panel(open_module):
    """The panel of CMMDetect, set up and entered."""
    return open_module(ROOT / "CMMDetect" / "CMMDetect.py")


@pytest.fixture
def train_panel(open_module):
    """The panel of CMMDetectTrain, set up and entered."""
    return open_module(ROOT / "CMMDetectTrain" / "CMMDetectTrain.py")


@pytest.fixture
def packaging(host) -> Iterator[list[list[str]]]:
    """`slicer.packaging` as in Slicer 5.12; holds the requirements that were asked for. Without it there is none."""
    from slicer_host.packaging import recording_packaging

    with recording_packaging() as asked:
        yield asked


@pytest.fixture
def questions(host, monkeypatch) -> SimpleNamespace:
    """What the panel asked, and the `answer` it gets (yes). Left alone, Slicer's testing mode answers no."""
    import slicer.util

    asked = SimpleNamespace(asked=[], answer=True)

    def reply(text, *arguments, **options):
        asked.asked.append(text)
        return asked.answer

    for name in ("confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay"):
        monkeypatch.setattr(slicer.util, name, reply)
    return asked
