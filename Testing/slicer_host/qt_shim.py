"""The module `qt` of the host: PySide6 that behaves like PythonQt.

Properties are attributes, objects know their `name` and `className()`, new attributes on C++ objects are refused,
file dialogs return the path alone, and Signal, Slot and Property do not exist.
"""

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QObject
from shiboken6 import Shiboken

from . import connections

NOT_IN_PYTHONQT = {"Signal", "Slot", "Property", "SIGNAL", "SLOT", "ClassInfo", "QEnum", "QFlag"}
STAY_METHODS = {"sizeHint", "minimumSizeHint", "QProgressBar.text", "QTimer.singleShot"}
"""Qt properties that C++ also calls as virtual methods, and one that is hidden by a static method in PythonQt too."""
ITEMS = ("QTableWidgetItem", "QTreeWidgetItem", "QListWidgetItem", "QStandardItem")
RETURN_PATH_AND_FILTER = ("getOpenFileName", "getSaveFileName", "getOpenFileNames")

_set_attribute = Shiboken.Object.__setattr__  # the only one that CPython lets a patched subclass call
_patched: set[type] = set()
_loading: list[None] = []


@contextmanager
def loading() -> Iterator[None]:
    """PySide6's loader writes each child into an attribute of the top widget, which PythonQt's does not: ignore it."""
    _loading.append(None)
    yield
    _loading.pop()


def install() -> types.ModuleType:
    """Build `qt`, change the PySide6 classes in place and put the module where `import qt` finds it."""
    qt = types.ModuleType("qt", __doc__)
    for library in (QtCore, QtGui, QtWidgets):
        for name in dir(library):
            if not name.startswith("_") and name not in NOT_IN_PYTHONQT:
                setattr(qt, name, getattr(library, name))
    for each in list(vars(qt).values()):
        if isinstance(each, type) and issubclass(each, QObject):
            _give_properties(each)
    QObject.name = property(lambda self: self.objectName, lambda self, name: self.setObjectName(name))
    QObject.className = lambda self: self.metaObject().className()
    for name in ITEMS:
        _refuse_new_attributes(getattr(qt, name))
    for name in RETURN_PATH_AND_FILTER:
        _return_only_the_path(name)
    sys.modules["qt"] = qt
    return qt


class QtProperty(property):
    """An attribute on instances; on the class it stays the method that the property hides."""

    def __init__(self, getter, setter, hidden):
        super().__init__(getter, setter)
        self.hidden = hidden

    def __get__(self, instance, owner=None):
        return self.hidden if instance is None else super().__get__(instance, owner)


def _give_properties(cls: type) -> None:
    """Turn the Qt properties that a class adds to its bases into attributes."""
    if cls in _patched or not issubclass(cls, QObject):
        return
    for base in cls.__bases__:
        _give_properties(base)
    _patched.add(cls)
    _refuse_new_attributes(cls)
    connections.understand_text(cls)
    known = cls.staticMetaObject
    for index in range(known.propertyOffset(), known.propertyCount()):
        found = known.property(index)
        if not STAY_METHODS & {found.name(), f"{cls.__name__}.{found.name()}"}:
            setattr(cls, found.name(), _attribute(cls, found))


def _attribute(cls: type, found: QtCore.QMetaProperty) -> QtProperty:
    name = found.name()
    hidden = getattr(cls, name, None)
    setter = getattr(cls, f"set{name[0].upper()}{name[1:]}", None)

    def read(self):
        return hidden(self) if _is_getter(hidden) else self.property(name)

    def write(self, value):
        if setter is not None:
            setter(self, value)
        elif not self.setProperty(name, value):
            raise AttributeError(f"{type(self).__name__}.{name} cannot be set to {value!r}")

    return QtProperty(read, write if found.isWritable() else None, hidden)


def _is_getter(found) -> bool:
    """Whether a class attribute is a method of C++; its result is an enum where the property's is a number."""
    return type(found).__name__ == "method_descriptor"


def _refuse_new_attributes(cls: type) -> None:
    """PythonQt keeps attributes only on classes derived in Python; the stand-ins' own start with an underscore."""

    def set_attribute(self, name, value):
        kind = type(self)
        known = getattr(kind, name, None)
        if isinstance(known, QtCore.Property):
            known.fset(self, value)
            return
        ours = kind.__module__.startswith("slicer_host")
        guarded = kind.__module__.startswith("PySide6") or (ours and not name.startswith("_"))
        if guarded and not hasattr(kind, name):
            if _loading:
                return
            raise AttributeError(f"'{name}' does not exist on {kind.__name__}: C++ objects take no new attributes")
        _set_attribute(self, name, value)

    cls.__setattr__ = set_attribute


def _return_only_the_path(name: str) -> None:
    original = getattr(QtWidgets.QFileDialog, name)
    setattr(QtWidgets.QFileDialog, name, staticmethod(lambda *arguments: original(*arguments)[0]))
