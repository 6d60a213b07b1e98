"""`slicer.app` with Qt: it is the QApplication, as qSlicerApplication is; and the main window around the panels."""

import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import slicer
from PySide6.QtCore import QCoreApplication, QObject, QSettings, Signal
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QLayoutItem,
    QMainWindow,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from .boot import ApplicationServices
from .views import layout_manager

WINDOW_PX = (520, 900)


class ModuleManager(QObject):
    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)

    def module(self, name: str):
        return getattr(slicer.modules, name.lower(), None)


class ModuleSelector(QWidget):
    """Opens modules: leaves the one that is open, enters the next and brings its panel to the front."""

    def __init__(self, window: "MainWindow"):
        super().__init__(window)
        self._window = window
        self._selected = ""

    @property
    def selectedModule(self) -> str:
        return self._selected

    def selectModule(self, name: str) -> None:
        for change, module in (("exit", self._selected), ("enter", name)):
            panel = getattr(slicer.modules, f"{module}Widget", None)
            if panel is not None:
                panel.parent.isEntered = change == "enter"
                getattr(panel, change)()
                if change == "exit":
                    self._window.leavePanel(panel.parent)
                self._window.showPanel(panel.parent)
        self._selected = name


class MainWindow(QMainWindow):
    """The window around the panels: its shortcuts reach them, its status bar shows their messages."""

    def __init__(self):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._panels = QStackedWidget()
        self.setCentralWidget(self._panels)
        self._areas: dict[QWidget, QScrollArea] = {}
        self._left: dict[QWidget, list[QLayoutItem]] = {}
        self._selector = ModuleSelector(self)
        self._selector.hide()

    def moduleSelector(self) -> ModuleSelector:
        return self._selector

    def addPanel(self, panel: QWidget) -> None:
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.NoFrame)
        contents = QWidget()
        layout = QVBoxLayout(contents)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(panel)
        area.setWidget(contents)
        self._areas[panel], self._left[panel] = area, []
        self._panels.addWidget(area)

    def leavePanel(self, panel: QWidget) -> None:
        """Lay a panel out anew, as the application does when it is shown again, and as there the old item is left."""
        layout = self._areas[panel].widget().layout()
        self._left[panel].append(layout.takeAt(0))
        layout.addWidget(panel)

    def showPanel(self, panel: QWidget) -> None:
        self._panels.setCurrentWidget(self._areas[panel])

    def removePanel(self, panel: QWidget) -> None:
        """Destroy a panel with all its widgets."""
        area, _items = self._areas.pop(panel), self._left.pop(panel)
        self._panels.removeWidget(area)
        area.deleteLater()


class Application(QApplication, ApplicationServices):
    """Services without Qt come from the booted scene; what no panel uses is an AttributeError."""

    startupCompleted = Signal()

    def __init__(self):
        super().__init__(["Slicer"])
        self._module_manager = ModuleManager()

    def moduleManager(self) -> ModuleManager:
        return self._module_manager

    def settings(self) -> QSettings:
        return QSettings()

    userSettings = settings

    def commandOptions(self):
        return SimpleNamespace(testingEnabled=True, noMainWindow=False)

    def startupEnvironment(self):
        return os.environ.copy()


def start_application() -> tuple[Application, MainWindow]:
    """Make the QApplication and its main window; settings go into a temporary folder."""
    folder = Path(ApplicationServices.temporaryPath)
    QCoreApplication.setOrganizationName("slicer-host")
    QSettings.setDefaultFormat(QSettings.IniFormat)
    QSettings.setPath(QSettings.IniFormat, QSettings.UserScope, str(folder / "settings"))
    application = Application()
    application.setApplicationName("Slicer")
    window = MainWindow()
    window.resize(*WINDOW_PX)
    window.show()
    window.activateWindow()
    _provide_python_slicer(folder / "bin")
    slicer.app = application
    layout_manager()
    return application, window


def _provide_python_slicer(folder: Path) -> None:
    """Put the program PythonSlicer, here this very Python, on the path."""
    folder.mkdir(exist_ok=True)
    script = folder / "PythonSlicer"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
