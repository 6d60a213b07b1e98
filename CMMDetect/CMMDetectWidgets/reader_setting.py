"""The name of the reader, which both modules remember for the next time."""

import qt
import slicer

READER_SETTING = "CMMDetect/Reader"


def rememberedReader():
    """Give the name that was given last, "" without one."""
    return slicer.util.settingsValue(READER_SETTING, "")


def rememberReader(name):
    """Remember a name."""
    qt.QSettings().setValue(READER_SETTING, name)
