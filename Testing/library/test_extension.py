"""Consistency that the build and Slicer need: CMake lists, .ui files, imports, metadata."""

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = [name for name in ("CMMDetect", "CMMDetectTrain") if (ROOT / name / f"{name}.py").is_file()]
SHIPPED_WITH_SLICER = {"slicer", "vtk", "qt", "ctk", "SimpleITK", "numpy", "scipy"}
NEEDS_INSTALLATION = ("torch", "safetensors", "skimage", "nibabel", "rich", "matplotlib", "nilearn", "pandas")
WIDGETS_FOR = {
    "bool": {"QCheckBox", "QPushButton"},
    "int": {"QSpinBox", "QSlider"},
    "float": {"QDoubleSpinBox", "ctkSliderWidget"},
    "str": {"QLineEdit", "QTextEdit"},
    "Path": {"ctkPathLineEdit", "ctkDirectoryButton"},
    "node": {"qMRMLNodeComboBox"},
    "enum": {"QComboBox"},
    "choice": {"QComboBox"},
}
"""Kind of a parameter and the classes of .ui widgets that Slicer 5.8 binds to it."""


def sources(module: str) -> dict[Path, ast.Module]:
    paths = sorted((ROOT / module).rglob("*.py"))
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def panel_sources(module: str) -> dict[Path, ast.Module]:
    """The module's own file and the parts of its panel, without its library."""
    return {path: tree for path, tree in sources(module).items() if not in_library(path)}


def in_library(path: Path) -> bool:
    return any(part.endswith("Lib") for part in path.relative_to(ROOT).parts[:-1])


def own_packages() -> set[str]:
    return {
        path.parent.name
        for module in ("CMMDetect", "CMMDetectTrain")
        for path in (ROOT / module).glob("*/__init__.py")
    }


def parameters(module: str) -> dict[str, str]:
    """Name and kind of every field of the module's parameter node."""
    found = {}
    for tree in panel_sources(module).values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and "parameterNodeWrapper" in map(ast.unparse, node.decorator_list):
                fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
                found |= {each.target.id: kind_of(ast.unparse(each.annotation)) for each in fields}
    return found


def kind_of(annotation: str) -> str:
    """
    >>> kind_of("Annotated[float, WithinRange(0, 1)]"), kind_of("Annotated[str, Choice(['a'])]"), kind_of("Modality")
    ('float', 'choice', 'enum')
    """
    if "Choice(" in annotation:
        return "choice"
    kind = re.sub(r"^Annotated\[([\w.]+).*", r"\1", annotation).rpartition(".")[2]
    if kind.startswith("vtkMRML"):
        return "node"
    return kind if kind in WIDGETS_FOR else "enum"


def ui_widgets(module: str) -> dict[str, ET.Element]:
    files = (ROOT / module / "Resources" / "UI").glob("*.ui")
    return {each.get("name"): each for file in files for each in ET.parse(file).getroot().iter("widget")}


def parameter_name(widget: ET.Element) -> str | None:
    found = [each for each in widget.findall("property") if each.get("name") == "SlicerParameterName"]
    return found[0].findtext("string") if found else None


def cmake_lists(path: Path) -> dict[str, list[str]]:
    """The values of each `set(NAME ...)`, without comments."""
    text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
    found = {name: re.findall(r'"[^"]*"|\S+', values) for name, values in re.findall(r"\bset\((\w+)([^)]*)\)", text)}
    module_name = found.get("MODULE_NAME", [""])[0]
    return {
        name: [each.strip('"').replace("${MODULE_NAME}", module_name) for each in values]
        for name, values in found.items()
    }


def shipped_files(folder: Path, pattern: str) -> set[str]:
    files = [path for path in folder.glob(pattern) if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix() for path in files if not path.name.startswith(".")}


@pytest.mark.parametrize("module", MODULES)
def test_every_bound_widget_fits_a_parameter(module):
    known = parameters(module)
    bound = {name: widget for name, widget in ui_widgets(module).items() if parameter_name(widget) is not None}
    assert known
    assert bound
    for name, widget in bound.items():
        kind = known.get(parameter_name(widget))
        assert widget.get("class") in WIDGETS_FOR.get(kind, ()), (
            f"{name} is bound to {parameter_name(widget)} ({kind})"
        )


@pytest.mark.parametrize("module", MODULES)
def test_every_widget_that_the_code_names_is_in_the_ui_file(module):
    nodes = [
        node for tree in panel_sources(module).values() for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    ]
    used = {node.attr for node in nodes if getattr(node.value, "attr", getattr(node.value, "id", "")) in ("ui", "_ui")}
    assert used
    assert not used - set(ui_widgets(module))


@pytest.mark.parametrize("module", MODULES)
def test_cmake_installs_every_file_and_names_no_other(module):
    folder = ROOT / module
    lists = cmake_lists(folder / "CMakeLists.txt")
    assert set(lists["MODULE_PYTHON_SCRIPTS"]) == shipped_files(folder, "**/*.py")
    assert set(lists["MODULE_PYTHON_RESOURCES"]) == shipped_files(folder, "Resources/**/*")


@pytest.mark.parametrize("module", MODULES)
def test_a_panel_imports_at_file_scope_only_what_slicer_brings(module):
    allowed = set(sys.stdlib_module_names) | SHIPPED_WITH_SLICER | own_packages()
    for path, tree in panel_sources(module).items():
        absolute = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level == 0]
        names = {node.module for node in absolute}
        names |= {each.name for node in tree.body if isinstance(node, ast.Import) for each in node.names}
        assert {name.split(".")[0] for name in names} <= allowed, path


@pytest.mark.skipif(find_spec("slicer_core") is None, reason="the scene part of the library needs slicer-core")
@pytest.mark.parametrize("module", MODULES)
def test_what_a_panel_imports_of_the_libraries_needs_no_installation(module):
    nodes = [node for tree in panel_sources(module).values() for node in tree.body if isinstance(node, ast.ImportFrom)]
    libraries = sorted({node.module for node in nodes if (node.module or "").split(".")[0].endswith("Lib")})
    assert libraries
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({NEEDS_INSTALLATION!r})); "
        f"import importlib; [importlib.import_module(name) for name in {libraries!r}]"
    )
    search = {"PYTHONPATH": f"{ROOT / 'CMMDetect'}:{ROOT / 'CMMDetectTrain'}"}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=search, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("module", MODULES)
def test_translated_texts_are_put_together_after_translation(module):
    for path, tree in panel_sources(module).items():
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "_"]
        for call in calls:
            put_together = [each for each in ast.walk(call.args[0]) if isinstance(each, ast.JoinedStr | ast.BinOp)]
            assert not put_together, f"{path}, line {call.lineno}: format the text after _()"


@pytest.mark.parametrize("module", MODULES)
def test_every_translated_text_is_a_literal_that_lupdate_can_find(module):
    for path, tree in panel_sources(module).items():
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "_"]
        for call in calls:
            assert isinstance(call.args[0], ast.Constant), f"{path}, line {call.lineno}: give _() a literal"


def test_no_name_is_used_by_both_modules():
    resources = [
        {path.name for path in (ROOT / module / "Resources").rglob("*") if path.is_file() and path.name[0] != "."}
        for module in ("CMMDetect", "CMMDetectTrain")
    ]
    packages = [
        {path.parent.name for path in (ROOT / module).glob("*/__init__.py")}
        for module in ("CMMDetect", "CMMDetectTrain")
    ]
    assert not resources[0] & resources[1]
    assert not packages[0] & packages[1]


@pytest.mark.parametrize("module", MODULES)
def test_requirements_pin_no_version(module):
    for path in (ROOT / module / "Resources").glob("*requirements*.txt"):
        assert "==" not in path.read_text(encoding="utf-8")


@pytest.mark.skipif(not (ROOT / "CMakeLists.txt").is_file(), reason="the extension has no CMakeLists.txt yet")
class TestExtensionDescription:
    """What the Extensions Index reads of the root CMakeLists.txt, line by line."""

    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8") if (ROOT / "CMakeLists.txt").is_file() else ""

    def value(self, name: str) -> str:
        found = re.findall(rf'^set\({name} "(.+)"\)$', self.text, flags=re.MULTILINE)
        assert len(found) == 1, f"{name} must be set once, on one line"
        return found[0]

    def test_the_project_is_called_cmmdetect(self):
        assert re.findall(r"^project\((\w+)\)", self.text, flags=re.MULTILINE) == ["CMMDetect"]

    @pytest.mark.parametrize("name", ["HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS"])
    def test_a_line_says(self, name):
        assert self.value(f"EXTENSION_{name}")

    def test_it_depends_on_the_pytorch_extension(self):
        assert self.value("EXTENSION_DEPENDS") == "PyTorch"

    def test_icon_and_screenshots_are_in_the_repository(self):
        addresses = f"{self.value('EXTENSION_ICONURL')} {self.value('EXTENSION_SCREENSHOTURLS')}".split()
        for address in addresses:
            path = re.fullmatch(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[^/]+/(.+)", address)
            assert path, f"{address} is not served raw"
            assert (ROOT / path[1]).is_file(), f"{path[1]} is missing"

    def test_the_package_carries_our_license_and_readme(self):
        before = self.text[: self.text.index("find_package(Slicer")]
        assert "EXTENSION_LICENSE_FILE" in before
        assert "EXTENSION_README_FILE" in before
