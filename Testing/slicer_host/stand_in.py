"""What the stand-ins for ctk and qMRML widgets share: where they are published, how properties are made."""

from collections.abc import Callable
from itertools import count
from types import ModuleType

from PySide6.QtCore import Property
from PySide6.QtWidgets import QWidget

from .ui_loader import UiLoader

_numbers = count()


def publish(module: ModuleType) -> Callable[[type[QWidget]], type[QWidget]]:
    """Class decorator: make the class an attribute of `ctk` or `slicer`, and known to .ui files."""

    def decorate(cls: type[QWidget]) -> type[QWidget]:
        setattr(module, cls.__name__, cls)
        UiLoader.stand_ins[cls.__name__] = cls
        return cls

    return decorate


def stored(kind: type | str, default, changed: str = "") -> Property:
    """Make a Qt property that only keeps its value, and calls the method `changed` after a new one."""
    attribute = f"_stored_{next(_numbers)}"

    def read(self):
        return getattr(self, attribute, default)

    def write(self, value):
        setattr(self, attribute, value)
        if changed:
            getattr(self, changed)()

    return Property(kind, read, write)


def delegated(kind: type | str, inner: str, name: str) -> Property:
    """Make a Qt property of a widget that is the property of the widget inside it."""

    def read(self):
        return getattr(getattr(self, inner), name)

    def write(self, value):
        setattr(getattr(self, inner), name, value)

    return Property(kind, read, write)
