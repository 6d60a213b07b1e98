"""Starts the host once per process, opens and closes modules, and collects errors inside slots."""

import importlib.util
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType

import PySide6
import slicer
from PySide6 import QtCore

from . import qt_shim
from .boot import Core, Module, boot

FATAL_MESSAGES = (
    "QObject::connect",
    "QObject::disconnect",
    "QLayout:",
    "QFormLayout",
    "QMetaObject::",
    "QTimer",
    "QThread",
)
"""Beginnings of Qt's own warnings that mean a mistake of the panel."""


@dataclass
class Host:
    """The running host. `errors` holds what raised where no caller could see it."""

    core: Core
    application: object
    main_window: object
    errors: list[str] = field(default_factory=list)


@cache
def start() -> Host:
    """Boot the scene, then `qt`, `ctk`, `slicer.app` and everything else that a panel imports."""
    if sys.version_info < (3, 12) and PySide6.__version_info__ >= (6, 12):
        raise ImportError("PySide6 6.12 loses references to None before Python 3.12: install PySide6-Essentials<6.12")
    core = boot()
    qt = qt_shim.install()
    from . import application, sample_data, ui_loader, widgets_ctk, widgets_mrml  # after qt: they use what it patched

    qt.QUiLoader = ui_loader.UiLoader
    assert widgets_ctk.ctk is sys.modules["ctk"] and widgets_mrml
    started, window = application.start_application()
    from . import base_classes, parameter_node

    base_classes.install()
    parameter_node.install()
    sample_data.install()
    host = Host(core, started, window)
    _collect_errors(host)
    return host


def _collect_errors(host: Host) -> None:
    """Exceptions in slots and observers reach only `sys.excepthook`, mistakes in connections only Qt's log."""

    def on_exception(kind, error, trace):
        host.errors.append("".join(traceback.format_exception(kind, error, trace)))
        sys.__excepthook__(kind, error, trace)

    def on_message(kind, context, text):
        if text.startswith(FATAL_MESSAGES):
            host.errors.append(text)
        if kind == QtCore.QtMsgType.QtFatalMsg:
            sys.stderr.write(f"{text}\n")

    sys.excepthook = on_exception
    QtCore.qInstallMessageHandler(on_message)


def load_module(path: str | Path):
    """Load `<Name>.py` as the application does and return its panel, set up and entered.

    Raises
    ------
    AssertionError
        A widget got no scene: its .ui file lacks the connection mrmlSceneChanged -> setMRMLScene.
    """
    start()
    path = Path(path).resolve()
    name = path.stem
    module = _import(path)
    parent = Module(name, path=str(path))
    setattr(slicer.modules, name.lower(), parent)
    setattr(slicer.modules, f"{name}Instance", getattr(module, name)(parent))
    slicer.app.moduleManager().moduleLoaded.emit(name)
    _complete_startup()
    panel = _make_panel(module, name)
    slicer.util.selectModule(name)
    wait_until(lambda: True)
    return panel


def unload_module(panel) -> None:
    """Close a panel as the application does at its end."""
    name = panel.moduleName
    slicer.util.selectModule("")
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    slicer.util.mainWindow().removePanel(panel.parent)
    for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
        delattr(slicer.modules, attribute)
    sys.modules.pop(name)
    wait_until(lambda: True)


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Let timers, processes and deferred deletions run until the condition holds.

    Raises
    ------
    TimeoutError
        It did not hold in time.
    """
    end = time.monotonic() + timeout_s
    while True:
        slicer.app.processEvents()
        slicer.app.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
        if condition():
            return
        if time.monotonic() > end:
            raise TimeoutError(f"the condition did not hold within {timeout_s} s")
        time.sleep(0.01)


def _import(path: Path) -> ModuleType:
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _complete_startup() -> None:
    """Tell that the application has started, which each listener hears once."""
    slicer.app.startupCompleted.emit()
    if slicer.app.receivers(QtCore.SIGNAL("startupCompleted()")):
        slicer.app.startupCompleted.disconnect()


def _make_panel(module: ModuleType, name: str):
    import qt

    parent = slicer.qSlicerAbstractModuleWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    slicer.util.mainWindow().addPanel(parent)
    panel = getattr(module, f"{name}Widget")(parent)
    panel.setup()
    setattr(slicer.modules, f"{name}Widget", panel)
    without = [
        each.objectName
        for each in parent.findChildren(qt.QWidget)
        if each.objectName and hasattr(each, "mrmlScene") and each.mrmlScene() is None
    ]
    if without:
        panel.cleanup()  # a refused panel leaves no key and no observer behind
        raise AssertionError(f"no scene reached {', '.join(without)}")
    return panel
