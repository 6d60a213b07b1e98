"""The name of the reader, which both modules remember between sessions."""

import qt
import slicer

READER_SETTING = "CMMDetect/Reader"


def rememberedReader():
    """Return the name that was entered last, "" without one."""
    return slicer.util.settingsValue(READER_SETTING, "")


def rememberReader(name):
    """Remember the name of the reader."""
    qt.QSettings().setValue(READER_SETTING, name)
