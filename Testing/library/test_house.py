"""The rules for all code: lint, types, length of files, and what may be imported where."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "CMMDetect" / "CMMDetectLib"
BENCHMARKS = ROOT / "Testing" / "benchmarks"
TRAINING = ROOT / "CMMDetectTrain" / "CMMDetectTrainLib"
PANELS = ["CMMDetect", "CMMDetectTrain"]
ONLY_WHERE_NETWORKS_RUN = {"networks.py", "inference.py"}
SLICER_HAS = {"numpy", "scipy", "SimpleITK", "vtk", "qt", "ctk", "slicer"}
"""Packages that a module may import before the user has agreed to install any."""


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "--no-cache", "."], ["ruff", "format", "--no-cache", "--check", "."], ["mypy"]],
    ids=["lint", "format", "types"],
)
def test_the_code_is_clean(command):
    ended = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def imported(path: Path, everywhere: bool) -> set[str]:
    """Top-level packages that a file imports: anywhere, or only when it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", sorted(LIBRARY.glob("*.py")), ids=lambda path: path.name)
def test_the_library_knows_no_gui_no_training_and_no_heavy_package_before_it_is_needed(path):
    assert not imported(path, everywhere=True) & {"qt", "ctk", "CMMDetectTrainLib", "matplotlib"}
    if path.name not in ONLY_WHERE_NETWORKS_RUN:
        assert not imported(path, everywhere=False) & {"torch", "skimage", "nibabel", "safetensors"}


def imported_files(path: Path) -> set[Path]:
    """Files of the project that are imported with a file, at once or by another of them."""
    found, waiting = {path}, [path]
    while waiting:
        new = _files_named_in(waiting.pop()) - found
        found |= new
        waiting += new
    return found


def _files_named_in(path: Path) -> set[Path]:
    named = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            named |= {Path(*alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1] if node.level else Path()
            module = folder.joinpath(*(node.module or "").split("."))
            named |= {module, *(module / alias.name for alias in node.names)}
    places = [ROOT / panel / name for panel in PANELS for name in named]
    return {file for place in places for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()}


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_opens_in_a_slicer_where_nothing_was_installed(panel):
    files = imported_files(ROOT / panel / f"{panel}.py")
    assert ROOT / "CMMDetect" / "CMMDetectLib" / "scan.py" in files
    needed = {file.name: imported(file, everywhere=False) for file in files}
    ours = {folder.name for name in PANELS for folder in (ROOT / name).iterdir()}
    allowed = SLICER_HAS | ours | sys.stdlib_module_names
    assert {name: packages - allowed for name, packages in needed.items() if packages - allowed} == {}


def test_the_classical_method_runs_without_torch(stripped_scan, tmp_path):
    program = (
        "import sys; sys.modules['torch'] = sys.modules['safetensors'] = None; "
        "from CMMDetectLib.job import DetectionJob, run_job; "
        f"run_job(DetectionJob(scan={str(stripped_scan)!r}, output={str(tmp_path)!r}, method='classical'))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "sub-01_swi_candidates.tsv").is_file()


@pytest.mark.parametrize("path", sorted(BENCHMARKS.rglob("*.py")), ids=lambda path: path.name)
def test_what_a_benchmark_takes_from_the_library_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("CMMDetectLib", "CMMDetectTrainLib")):
            exec(ast.unparse(node), {})


@pytest.mark.parametrize("path", sorted([*LIBRARY.rglob("*.py"), *TRAINING.rglob("*.py")]), ids=lambda path: path.name)
def test_a_file_can_be_read_at_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
