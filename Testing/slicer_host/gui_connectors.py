"""The types of parameters that each class of widget can show, as in Slicer 5.8 and later.

As in Slicer, a widget must be of exactly that class, not of a subclass.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ctk
import qt
import slicer

from .annotations import Choice, Decimals, Field, SingleStep


@dataclass
class Connector:
    """One parameter on one widget."""

    widget: object
    signal: str
    read: Callable
    write: Callable

    def listen(self, handler: Callable[[], None]) -> None:
        self._handler = handler
        self.widget.connect(self.signal, handler)

    def stop(self) -> None:
        self.widget.disconnect(self.signal, self._handler)


def connector(widget, field: Field) -> Connector:
    """Return the connector of a widget for a parameter, and give the widget its range, steps or choices."""
    for kind, widgets, make in PAIRS:
        if issubclass(field.kind, kind) and type(widget) in widgets and (kind is not int or field.kind is int):
            return make(widget, field)
    raise RuntimeError(f"no {type(widget).__name__} can show {field.name}, which is a {field.kind.__name__}")


def _attribute(
    widget, name: str, signal: str, kind: Callable = lambda value: value, shown: Callable | None = None
) -> Connector:
    """Connect to a Qt property; `kind` makes the parameter of the property, `shown` the property of the parameter."""

    def write(value):
        setattr(widget, name, value if shown is None else shown(value))

    return Connector(widget, signal, lambda: kind(getattr(widget, name)), write)


def _check_box(widget, field: Field) -> Connector:
    return _attribute(widget, "checked", "toggled(bool)")


def _button(widget, field: Field) -> Connector:
    widget.checkable = True
    return _attribute(widget, "checked", "toggled(bool)")


def _number(widget, field: Field) -> Connector:
    minimum, maximum = field.limits()
    if type(widget) in (qt.QSlider, ctk.ctkSliderWidget) and None in (minimum, maximum):
        raise RuntimeError(f"{field.name} has no limits, but a slider needs both")
    for annotation, name in ((Decimals, "decimals"), (SingleStep, "singleStep")):
        found = field.annotation(annotation)
        if found is not None:
            setattr(widget, name, found.value)
    largest = 2**31 - 1 if field.kind is int else float("inf")
    widget.minimum = -largest if minimum is None else minimum
    widget.maximum = largest if maximum is None else maximum
    return _attribute(widget, "value", "valueChanged(int)" if field.kind is int else "valueChanged(double)")


def _choice(widget, field: Field) -> Connector:
    choice = field.annotation(Choice)
    if choice is None:
        raise RuntimeError(f"{field.name} is shown in a QComboBox but has no Choice")
    return _listed(widget, [(str(each), each) for each in choice.choices])


def _enum(widget, field: Field) -> Connector:
    label = getattr(field.kind, "label", lambda member: member.name)
    return _listed(widget, [(label(member), member) for member in field.kind])


def _listed(widget, entries: list[tuple[str, object]]) -> Connector:
    values = [value for _, value in entries]
    widget.clear()
    for text, _ in entries:
        widget.addItem(text)
    return _attribute(widget, "currentIndex", "currentIndexChanged(int)", values.__getitem__, values.index)


def _line(widget, field: Field) -> Connector:
    return _attribute(widget, "text", "textChanged(QString)")


def _text(widget, field: Field) -> Connector:
    return Connector(widget, "textChanged()", widget.toPlainText, widget.setPlainText)


def _path(widget, field: Field) -> Connector:
    return _attribute(widget, "currentPath", "currentPathChanged(QString)", Path, str)


def _folder(widget, field: Field) -> Connector:
    return _attribute(widget, "directory", "directoryChanged(QString)", Path, str)


def _node(widget, field: Field) -> Connector:
    widget.nodeTypes = [field.kind.__name__]
    return Connector(widget, "currentNodeChanged(vtkMRMLNode*)", widget.currentNode, widget.setCurrentNode)


PAIRS = (
    (bool, (qt.QCheckBox,), _check_box),
    (bool, (qt.QPushButton,), _button),
    (int, (qt.QSlider, qt.QSpinBox), _number),
    (float, (qt.QDoubleSpinBox, ctk.ctkSliderWidget), _number),
    (enum.Enum, (qt.QComboBox,), _enum),
    ((str, int, float), (qt.QComboBox,), _choice),
    (str, (qt.QLineEdit,), _line),
    (str, (qt.QTextEdit,), _text),
    (Path, (ctk.ctkPathLineEdit,), _path),
    (Path, (ctk.ctkDirectoryButton,), _folder),
    (slicer.vtkMRMLNode, (slicer.qMRMLNodeComboBox,), _node),
)
"""Type of the parameter, classes of the widget, maker of the connector; the first that fits is taken."""
