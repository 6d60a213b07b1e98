"""The scene that the tests of `scene` and `panel` share; where slicer-core is missing both folders are skipped."""

from importlib.util import find_spec

import pytest

NEEDED = {
    "scene": {"slicer_core": "slicer-core"},
    "panel": {"slicer_core": "slicer-core", "PySide6": "PySide6-Essentials"},
}


class SkippedFolder(pytest.Dir):
    """A folder whose tests cannot run here."""

    missing = ""

    def collect(self):
        pytest.skip(f"Testing/{self.path.name} needs {self.missing} (pip install -e .[test])")


def pytest_collect_directory(path, parent):
    """Skip a folder as a whole, because its files cannot even be imported."""
    needed = NEEDED.get(path.name, {}) if path.parent.name == "Testing" else {}
    missing = [package for module, package in needed.items() if find_spec(module) is None]
    if not missing:
        return None
    folder = SkippedFolder.from_parent(parent, path=path)
    folder.missing = " and ".join(missing)
    return folder


@pytest.fixture
def scene():
    """`slicer.mrmlScene` as after File > Close."""
    from slicer_host.boot import empty_scene

    yield empty_scene()
    empty_scene()
