"""Where results go when no folder was chosen: beside the file of the scene."""

from pathlib import Path

import slicer

from CMMDetectLib.file_signature import signature_of


class SceneFile:
    """Knows whether the scene is that of the file whose path it has.

    A scene that a script clears keeps the path of the one that was in it, where the next patient's results have no
    business. Once that file is written or loaded again it is the scene's.
    """

    def __init__(self):
        self._left = None

    def leave(self):
        """The scene was closed."""
        self._left = _stateOf(slicer.mrmlScene.GetURL())

    def enter(self):
        """A scene was loaded."""
        self._left = None

    def defaultFolder(self):
        """Give the folder of the scene's file, else one in the user's documents."""
        url = slicer.mrmlScene.GetURL()
        if url and Path(url).parent.is_dir() and _stateOf(url) != self._left:
            return Path(url).parent
        return Path(getattr(slicer.app, "defaultScenePath", "") or Path.home() / "Documents") / "CMMDetect"


def _stateOf(url):
    """Return what tells the files of scenes, and the contents of one file, apart."""
    return url, signature_of(Path(url))
