"""The default results folder: that of the scene's file."""

from pathlib import Path

import slicer

from CMMDetectLib.file_signature import signature_of


class SceneFile:
    """Tracks whether the path that the scene has is that of its own file.

    When a script clears the scene, the path of the earlier file remains, and the next patient's results must not go
    there. The path counts again once that file is saved or loaded.
    """

    def __init__(self):
        self._left = None

    def leave(self):
        """Note that the scene was closed."""
        self._left = _stateOf(slicer.mrmlScene.GetURL())

    def enter(self):
        """Note that a scene was loaded."""
        self._left = None

    def defaultFolder(self):
        """Return the folder of the scene's file, else one in the user's documents."""
        url = slicer.mrmlScene.GetURL()
        if url and Path(url).parent.is_dir() and _stateOf(url) != self._left:
            return Path(url).parent
        return Path(getattr(slicer.app, "defaultScenePath", "") or Path.home() / "Documents") / "CMMDetect"


def _stateOf(url):
    """Return the path of a scene's file and a signature of its content."""
    return url, signature_of(Path(url))
