"""Rules that find panel code which works in PySide6 but not in PythonQt, or the other way round.

The rules see the syntax of one file without types, so they rely on names: items and models must be named as such.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PROPERTIES = {
    "checkable", "checked", "collapsed", "currentIndex", "currentNodeID", "currentPath", "currentText", "columnCount",
    "directory", "enabled", "maximum", "minimum", "nodeTypes", "noneEnabled", "objectName", "placeholderText",
    "plainText", "readOnly", "rowCount", "singleStep", "text", "toolTip", "value", "visible", "windowTitle",
}  # fmt: skip
METHODS = {"isChecked", "isEnabled", "isVisible", "isHidden", "currentRow", "currentNode", "toPlainText"}
HAVE_METHODS_INSTEAD = ("item", "model", "settings", "process")
"""In names of objects whose `text()`, `rowCount()` or `value()` are methods in PythonQt."""
DIALOGS = {"QMessageBox", "QFileDialog", "QInputDialog", "ctkMessageBox", "ctkFileDialog"}
HAND_MADE_BINDING = {
    "addParameterEditWidgetConnections", "updateGUIFromParameterNode", "updateParameterNodeFromGUI",
    "updateParameterEditWidgetsFromNode", "updateNodeFromParameterEditWidgets",
}  # fmt: skip
FORBIDDEN_IN_LIBRARIES = {"qt", "ctk", "slicer.ScriptedLoadableModule", "slicer.parameterNodeWrapper"}


@dataclass(frozen=True)
class Rule:
    """`finds` says for one node of a file whether it breaks the rule."""

    number: int
    name: str
    message: str
    finds: Callable[[ast.AST, "File"], bool]


@dataclass(frozen=True)
class File:
    """What a rule may need to know beside the node."""

    called: frozenset[int]
    is_library: bool


def problems(source: str, is_library: bool = False) -> list[str]:
    """Return one line a broken rule: line number, name of the rule, what to do."""
    tree = ast.parse(source)
    file = File(frozenset(id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)), is_library)
    found = [(getattr(node, "lineno", 0), rule) for node in ast.walk(tree) for rule in RULES if rule.finds(node, file)]
    return [f"line {line}: {rule.name}: {rule.message}" for line, rule in sorted(found, key=lambda each: each[0])]


def _chain(node: ast.AST) -> list[str]:
    """`qt.Qt.AlignLeft` as its parts; empty for anything that is no plain chain of names."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        before = _chain(node.value)
        return [*before, node.attr] if before else []
    return []


def _is_qt_class(node: ast.AST) -> bool:
    chain = _chain(node)
    return len(chain) == 2 and (chain[0] in ("qt", "ctk") or (chain[0] == "slicer" and chain[1].startswith("q")))


def _receiver_name(node: ast.Attribute) -> str:
    """The last name before the attribute: `item` of `self.table.item(0, 1).text`."""
    value = node.value.func if isinstance(node.value, ast.Call) else node.value
    return getattr(value, "attr", getattr(value, "id", "")).lower()


def _property_called(node: ast.AST, file: File) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)) or node.args or node.keywords:
        return False
    has_method = any(word in _receiver_name(node.func) for word in HAVE_METHODS_INSTEAD)
    return node.func.attr in PROPERTIES and not has_method


def _method_not_called(node: ast.AST, file: File) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in METHODS and id(node) not in file.called


def _connections(node: ast.AST) -> Iterator[ast.expr]:
    """The arguments of a call of connect or disconnect."""
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("connect", "disconnect"):
        yield from node.args


def _signature_missing(node: ast.AST, file: File) -> bool:
    texts = [each.value for each in _connections(node) if isinstance(each, ast.Constant)]
    return any(isinstance(text, str) and not text.endswith(")") for text in texts[:1])


def _partial_connected(node: ast.AST, file: File) -> bool:
    return any(isinstance(each, ast.Call) and _chain(each.func)[-1:] == ["partial"] for each in _connections(node))


def _lambda_needs_arguments(node: ast.AST, file: File) -> bool:
    lambdas = [each.args for each in _connections(node) if isinstance(each, ast.Lambda)]
    return any(each.vararg or len(each.args) > len(each.defaults) for each in lambdas)


def _handler_takes_any(node: ast.AST, file: File) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name.startswith("on") and node.args.vararg is not None


def _keywords_in_constructor(node: ast.AST, file: File) -> bool:
    return isinstance(node, ast.Call) and _is_qt_class(node.func) and bool(node.keywords)


def _isinstance_of_widget(node: ast.AST, file: File) -> bool:
    if not (isinstance(node, ast.Call) and _chain(node.func) == ["isinstance"] and len(node.args) == 2):
        return False
    classes = node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
    return any(_is_qt_class(each) for each in classes)


def _scoped_enum(node: ast.AST, file: File) -> bool:
    chain = _chain(node)
    if len(chain) != 4 or chain[0] not in ("qt", "ctk"):
        return False
    return (chain[2][0].isupper() and chain[3][0].isupper()) or chain[3] in ("value", "name")


def _signal_class(node: ast.AST, file: File) -> bool:
    return _chain(node) in [["qt", name] for name in ("Signal", "Slot", "Property", "pyqtSignal", "pyqtSlot")]


def _bound_by_hand(node: ast.AST, file: File) -> bool:
    name = getattr(node, "name", getattr(node, "attr", None))
    return isinstance(node, ast.FunctionDef | ast.Attribute) and name in HAND_MADE_BINDING


def _own_dialog(node: ast.AST, file: File) -> bool:
    chain = _chain(node)
    return len(chain) == 2 and chain[0] in ("qt", "ctk") and chain[1] in DIALOGS


def _blocking_dialog(node: ast.AST, file: File) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("exec", "exec_")


def _gui_in_library(node: ast.AST, file: File) -> bool:
    if not file.is_library:
        return False
    if isinstance(node, ast.Import):
        return any(each.name in FORBIDDEN_IN_LIBRARIES for each in node.names)
    if isinstance(node, ast.ImportFrom):
        names = {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        return bool(names & FORBIDDEN_IN_LIBRARIES)
    return False


def _single_shot_of_instance(node: ast.AST, file: File) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "singleShot"
        and _chain(node) != ["qt", "QTimer", "singleShot"]
    )


RULES = (
    Rule(
        1, "property-called", "a Qt property is an attribute in PythonQt: leave out the parentheses", _property_called
    ),
    Rule(2, "method-not-called", "this is a method in PythonQt: call it", _method_not_called),
    Rule(3, "signature-missing", 'connect by the whole signature, as "clicked(bool)"', _signature_missing),
    Rule(3, "partial-connected", "PythonQt passes arguments to a partial: connect a bound method", _partial_connected),
    Rule(3, "lambda-needs-arguments", "give every parameter of a connected lambda a default", _lambda_needs_arguments),
    Rule(
        3, "handler-takes-any", "PySide6 passes nothing to *args: name the parameters of a handler", _handler_takes_any
    ),
    Rule(
        4,
        "keyword-in-constructor",
        "PythonQt constructors take no keywords: set the property",
        _keywords_in_constructor,
    ),
    Rule(
        5, "isinstance-of-widget", "isinstance is False in PythonQt: compare type() or the name", _isinstance_of_widget
    ),
    Rule(6, "scoped-enum", "write enums without their scope and without .value or .name", _scoped_enum),
    Rule(9, "signal-class", "PythonQt has no Signal, Slot or Property: use callbacks", _signal_class),
    Rule(11, "bound-by-hand", "bind by SlicerParameterName and connectGui", _bound_by_hand),
    Rule(12, "own-dialog", "ask through slicer.util, choose files through ctkPathLineEdit", _own_dialog),
    Rule(12, "blocking-dialog", "exec blocks tests: show the dialog, or ask through slicer.util", _blocking_dialog),
    Rule(13, "gui-in-library", "a library imports neither qt, ctk nor what imports them", _gui_in_library),
    Rule(14, "single-shot-of-instance", "use setSingleShot(True) and isSingleShot()", _single_shot_of_instance),
)
