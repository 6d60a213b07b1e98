"""Folder of the user's own models, which CMMDetectTrain writes and CMMDetect uses."""

from pathlib import Path

import qt
import slicer

MODELS_SETTING = "CMMDetect/ModelsFolder"


def modelsFolder():
    """Return the folder of the user's own models; it need not exist."""
    chosen = slicer.util.settingsValue(MODELS_SETTING, "")
    if chosen:
        return Path(chosen)
    return Path(qt.QStandardPaths.writableLocation(qt.QStandardPaths.AppDataLocation)) / "CMMDetect-models"


def setModelsFolder(path):
    """Set the folder of the models; "" for the default one."""
    qt.QSettings().setValue(MODELS_SETTING, path)
