"""Stands in for `slicer.parameterNodeWrapper`: typed attributes in a parameter node, bound to widgets."""

import sys
import typing
from types import ModuleType
from typing import ClassVar

import qt
import slicer
import vtk
from shiboken6 import Shiboken

from . import annotations
from .annotations import Field, field
from .gui_connectors import connector
from .observing import observe

PROPERTY_NAME = "SlicerParameterName"


def install() -> None:
    """Put the module where `from slicer.parameterNodeWrapper import ...` finds it."""
    module = ModuleType("slicer.parameterNodeWrapper", __doc__)
    for name in ("Choice", "Decimals", "Default", "Maximum", "Minimum", "SingleStep", "Validator", "WithinRange"):
        setattr(module, name, getattr(annotations, name))
    module.parameterNodeWrapper = parameterNodeWrapper
    module.SlicerParameterNamePropertyName = PROPERTY_NAME
    slicer.parameterNodeWrapper = module
    sys.modules[module.__name__] = module


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: every annotated name becomes an attribute that lives in the parameter node."""
    fields = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        if hasattr(ParameterNodeWrapper, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        kind, *extra = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        fields[name] = field(name, kind, tuple(extra), getattr(cls, name, None))
    own = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    attributes = {name: _attribute(each) for name, each in fields.items()}
    return type(cls.__name__, (ParameterNodeWrapper, *cls.__bases__), {**own, **attributes, "allParameters": fields})


def _attribute(each: Field) -> property:
    return property(lambda self: self._read(each), lambda self, value: self._write(each, value))


class ParameterNodeWrapper:
    """Reads and writes one vtkMRMLScriptedModuleNode; defaults are written where it has no value.

    As Slicer 5.8 it looks for the nodes that are referred to only when the parameter node is modified: one that is
    loaded from a scene file before them refers to none.
    """

    allParameters: ClassVar[dict[str, Field]] = {}

    def __init__(self, parameterNode, prefix: str | None = None):
        self.parameterNode = parameterNode
        self._prefix = prefix or ""
        self._connected: dict[int, dict[str, object]] = {}
        self._next_tag = 0
        self._showing = False
        self._nodes: dict[str, object] = {}
        for each in self.allParameters.values():
            self._keep_default(each)
        self._find_nodes()
        observe(parameterNode, vtk.vtkCommand.ModifiedEvent, self._show)

    def getValue(self, name: str):
        return self._read(self._field(name))

    def setValue(self, name: str, value) -> None:
        self._write(self._field(name), value)

    def default(self, name: str):
        return annotations.Default(self._field(name).default)

    def dataType(self, name: str) -> type:
        return self._field(name).kind

    def isCached(self, name: str) -> bool:
        return name in self.allParameters

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, was_modified):
        return self.parameterNode.EndModify(was_modified)

    def AddObserver(self, event, callback, priority: float = 0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        return self.parameterNode.Modified()

    def connectGui(self, gui) -> None:
        """Bind the widgets of a `ui` object, or below a widget, whose SlicerParameterName names a parameter.

        Slicer gives no tag here, so such a binding lasts as long as the widgets; `connectParametersToGui` gives one.
        """
        below = gui.findChildren(qt.QWidget) if hasattr(gui, "findChildren") else vars(gui).values()
        named = {each.property(PROPERTY_NAME): each for each in below if each.property(PROPERTY_NAME)}
        self.connectParametersToGui(named)

    def connectParametersToGui(self, mapping: dict[str, object]) -> int:
        """Bind parameters to widgets by name; the tag is for `disconnectGui`."""
        connectors = {name: connector(widget, self._field(name)) for name, widget in mapping.items()}
        tag = self._next_tag
        self._next_tag += 1
        self._connected[tag] = connectors
        for name, each in connectors.items():
            each.write(self.getValue(name))
            each.listen(self._widget_handler(name, each))
        return tag

    def disconnectGui(self, tag: int) -> None:
        """End a binding; an unknown tag is ignored, as in Slicer."""
        for each in self._connected.pop(tag, {}).values():
            each.stop()

    def _field(self, name: str) -> Field:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}; found {sorted(self.allParameters)}")
        return self.allParameters[name]

    def _keep_default(self, each: Field) -> None:
        if not self.parameterNode.HasParameter(self._prefix + each.name):
            self._write(each, each.default)

    def _read(self, each: Field):
        self._keep_default(each)
        name = self._prefix + each.name
        if each.is_node:
            return self._nodes.get(each.name)
        return each.from_text(self.parameterNode.GetParameter(name))

    def _write(self, each: Field, value) -> None:
        each.check(value)
        name = self._prefix + each.name
        if each.is_node:
            with slicer.util.NodeModify(self.parameterNode):
                self.parameterNode.SetParameter(name, "")
                self.parameterNode.SetNodeReferenceID(name, value.GetID() if value is not None else None)
                self._find_nodes()
        else:
            self.parameterNode.SetParameter(name, each.to_text(value))

    def _widget_handler(self, name: str, source):
        def on_changed():
            if not self._showing:
                with slicer.util.NodeModify(self):
                    self.setValue(name, source.read())

        return on_changed

    def _find_nodes(self) -> None:
        node, nodes = self.parameterNode, [each for each in self.allParameters.values() if each.is_node]
        self._nodes = {each.name: node.GetNodeReference(self._prefix + each.name) for each in nodes}

    def _show(self, caller, event) -> None:
        self._find_nodes()
        if self._showing:
            return
        self._showing = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in list(self._connected.values()):
                    for name, each in connectors.items():
                        if Shiboken.isValid(each.widget):
                            each.write(self.getValue(name))
        finally:
            self._showing = False
