"""The panels follow the rules without which they would work in the test host but not in Slicer."""

import ast
from pathlib import Path

import pytest

import panel_lint

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("CMMDetect", "CMMDetectTrain")

EXAMPLES = {
    "property-called": (
        "text = self.ui.readerLine.text()",
        "text = self.ui.readerLine.text + self.table.item(0, 0).text()",
    ),
    "method-not-called": ("on = self.ui.blindBox.isChecked", "on = self.ui.blindBox.isChecked()"),
    "signature-missing": ('b.connect("clicked", self.onApply)', 'b.connect("clicked(bool)", self.onApply)'),
    "partial-connected": ("b.clicked.connect(functools.partial(f, 1))", "b.clicked.connect(self.onApply)"),
    "lambda-needs-arguments": (
        "b.clicked.connect(lambda on: f(on))",
        "b.clicked.connect(lambda on=False, key=key: f(key))",
    ),
    "handler-takes-any": ("def onApply(self, *args): pass", "def onApply(self, checked=False): pass"),
    "keyword-in-constructor": ('label = qt.QLabel("a", wordWrap=True)', 'label = qt.QLabel("a")'),
    "isinstance-of-widget": (
        "isinstance(w, (int, qt.QWidget))",
        "isinstance(n, slicer.vtkMRMLNode); type(w) == qt.QLabel",
    ),
    "scoped-enum": ("a = qt.Qt.AlignmentFlag.AlignLeft", "a = qt.Qt.AlignLeft | qt.QAbstractItemView.SelectRows"),
    "signal-class": ("changed = qt.Signal(int)", "changed = slicer.vtkMRMLNode"),
    "bound-by-hand": ("def updateGUIFromParameterNode(self): pass", "self.node.connectGui(self.ui)"),
    "own-dialog": ('qt.QMessageBox.warning(None, "a", "b")', 'slicer.util.warningDisplay("a")'),
    "blocking-dialog": ("self.dialog.exec_()", "self.dialog.show()"),
    "gui-in-library": ("from slicer.ScriptedLoadableModule import *", "import slicer, vtk"),
    "single-shot-of-instance": (
        "self.timer.singleShot = True",
        "qt.QTimer.singleShot(0, f); self.timer.setSingleShot(True)",
    ),
}


def names_of(problems: list[str]) -> list[str]:
    return [each.split(": ")[1] for each in problems]


def uses_widgets(path: Path) -> bool:
    """Whether the rules for panels concern a file: a module, a part of its panel, or whatever imports qt."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    imported = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
    return path.stem in MODULES or path.parent.name.endswith("Widgets") or bool(imported & {"qt", "ctk"})


SOURCES = sorted(path for module in MODULES for path in (ROOT / module).rglob("*.py"))
PANELS = [path for path in SOURCES if uses_widgets(path)]
LIBRARIES = [path for path in SOURCES if path not in PANELS]


def test_every_rule_has_examples():
    assert {rule.name for rule in panel_lint.RULES} == set(EXAMPLES)
    assert {rule.number for rule in panel_lint.RULES} == {1, 2, 3, 4, 5, 6, 9, 11, 12, 13, 14}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_rule_finds_the_bad_and_leaves_the_good(name):
    bad, good = EXAMPLES[name]
    assert name in names_of(panel_lint.problems(bad, is_library=True))
    assert not panel_lint.problems(good, is_library=True)


@pytest.mark.parametrize("path", PANELS, ids=lambda path: str(path.relative_to(ROOT)))
def test_panels_keep_the_rules(path):
    assert not panel_lint.problems(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", LIBRARIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_import_no_gui(path):
    found = panel_lint.problems(path.read_text(encoding="utf-8"), is_library=True)
    assert "gui-in-library" not in names_of(found)
