"""`qt.QUiLoader` of the host: refuses what Slicer could not load, and connects signals as the .ui file says."""

import re
import xml.etree.ElementTree as ET
from typing import ClassVar

from PySide6 import QtUiTools
from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QObject
from PySide6.QtWidgets import QWidget

from .qt_shim import loading

NOT_WIDGETS = {"Line", "QWidget"}
"""Classes that Designer writes but the loader does not list."""
ONLY_IN_DESIGNER = {"buddy"}
SCOPED_ENUM = re.compile(r"\w+::\w+::\w+")


class UiError(RuntimeError):
    """A .ui file that Slicer would not load, or load without telling what is wrong."""


class UiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file strictly: known classes and properties, enums as Qt 5 writes them, existing connections."""

    stand_ins: ClassVar[dict[str, type[QWidget]]] = {}

    def __init__(self, parent: QObject | None = None):
        super().__init__(parent)
        for cls in self.stand_ins.values():
            self.registerCustomWidget(cls)

    def load(self, device: QIODevice, parent: QWidget | None = None) -> QWidget:
        root = ET.fromstring(bytes(device.readAll().data()))
        self._check_classes(root)
        _check_enums(root)
        flags = _take_flags(root, self.stand_ins)
        connections = _take_connections(root)
        widget = self._load_xml(root, parent)
        objects = {each.objectName: each for each in [widget, *widget.findChildren(QObject)] if each.objectName}
        _check_properties(root, objects)
        for name, attribute, value in flags:
            setattr(objects[name], attribute, value)
        for sender, signal, receiver, slot in connections:
            _named(objects, sender).connect(signal, _named(objects, receiver), slot)
        return widget

    def _check_classes(self, root: ET.Element) -> None:
        known = {*self.availableWidgets(), *self.stand_ins, *NOT_WIDGETS}
        unknown = {each.get("class") for each in root.iter("widget")} - known
        if unknown:
            raise UiError(f"the host has no widget {', '.join(sorted(unknown))}")

    def _load_xml(self, root: ET.Element, parent: QWidget | None) -> QWidget:
        buffer = QBuffer()
        buffer.setData(QByteArray(ET.tostring(root)))
        buffer.open(QIODevice.ReadOnly)
        with loading():
            widget = super().load(buffer, parent)
        if widget is None:
            raise UiError(self.errorString())
        return widget


def _check_enums(root: ET.Element) -> None:
    """Qt 5 understands Qt::AlignLeft but not Qt::AlignmentFlag::AlignLeft, which new Designers write."""
    for each in [*root.iter("enum"), *root.iter("set")]:
        if SCOPED_ENUM.search(each.text or ""):
            raise UiError(f"Qt 5 does not know {each.text}: write the enum without its scope")


def _take_flags(root: ET.Element, stand_ins: dict[str, type]) -> list[tuple[str, str, list[str]]]:
    """Remove the flags of stand-ins, which have no C++ enum, and return widget, property and names."""
    taken = []
    for widget in root.iter("widget"):
        for found in widget.findall("property"):
            flags = found.find("set")
            ours = hasattr(stand_ins.get(widget.get("class")), found.get("name"))
            if flags is not None and ours and (flags.text or "").startswith(widget.get("class")):
                taken.append((widget.get("name"), found.get("name"), flags.text.split("|")))
                widget.remove(found)
    return taken


def _take_connections(root: ET.Element) -> list[tuple[str, ...]]:
    """Remove all connections, because Qt knows neither vtkMRMLScene nor the stand-ins' slots, and return them."""
    found = [
        tuple(each.findtext(part, "") for part in ("sender", "signal", "receiver", "slot"))
        for each in root.iter("connection")
    ]
    for each in root.findall("connections"):
        root.remove(each)
    return found


def _check_properties(root: ET.Element, objects: dict[str, QObject]) -> None:
    """Qt makes a dynamic property of a name that it does not know; in the application it would have no effect."""
    for widget in root.iter("widget"):
        if widget.get("class") == "Line":
            continue
        known = objects[widget.get("name")].metaObject()
        for found in widget.findall("property"):
            name = found.get("name")
            if found.get("stdset") != "0" and name not in ONLY_IN_DESIGNER and known.indexOfProperty(name) < 0:
                raise UiError(f"{widget.get('class')} {widget.get('name')} has no property {name}")


def _named(objects: dict[str, QObject], name: str) -> QObject:
    if name not in objects:
        raise UiError(f"a connection names {name}, which does not exist")
    return objects[name]
