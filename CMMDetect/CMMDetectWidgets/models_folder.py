"""Where the user's own models are, which the module for training fills and this one detects with."""

from pathlib import Path

import qt
import slicer

MODELS_SETTING = "CMMDetect/ModelsFolder"


def modelsFolder():
    """Give the folder of the user's own models; it need not exist."""
    chosen = slicer.util.settingsValue(MODELS_SETTING, "")
    if chosen:
        return Path(chosen)
    return Path(qt.QStandardPaths.writableLocation(qt.QStandardPaths.AppDataLocation)) / "CMMDetect-models"


def setModelsFolder(path):
    """Keep the models in another folder from now on; "" for the usual one."""
    qt.QSettings().setValue(MODELS_SETTING, path)
