"""A model bundle: a folder with ``model.json`` and the weights of the networks as safetensors.

Weights are numbers only (no pickle is ever loaded) and every file must have the checksum that ``model.json`` names.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .calibration import Burden, Calibration
from .candidates import write_json
from .channels import CHANNELS, PAPER_CHANNELS
from .errors import InputError, OutputError
from .methods import Settings
from .network_grid import NetworkVoxel
from .postprocessing import CutOffs
from .resources import shipped_folder
from .results import all_or_none
from .scan import Modality

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .networks import CandidateDetector, Student, Teacher

Network = TypeVar("Network", bound="nn.Module")

DESCRIPTION_FILE = "model.json"
ARCHITECTURE = "shallow-unet-3d"
FIRST_LAYER, FULL_LAYER = "extractor.project.weight", "extractor.at_full.0.weight"
NETWORKS = ("detector", "student", "teacher")
REQUIRED = ("detector", "student")
WIDTHS = (2, 1024)
"""Widths that networks can have: the last layer of the student has half as many nodes."""
LENGTHS_MM = (0.1, 20.0)
"""Voxels that the grid of the networks can have."""
SHIPPED_BUNDLE = shipped_folder("CMMDetect-model", "model")


@dataclass(frozen=True, kw_only=True)
class BundleDescription:
    """What ``model.json`` says of a model, beside the checksums."""

    name: str
    version: str
    created: str
    license: str
    width: int
    modality: tuple[Modality, ...]
    trained_on: str
    th_detection: float
    th_discrimination: float
    cutoffs: CutOffs
    calibration: Calibration = field(default_factory=Calibration)
    """Calibration of the student's probability, to which `th_discrimination` refers; older bundles have none."""
    student_width: int | None = None
    """Filters of the student at full resolution; None, as in older bundles, for `width`."""
    pixel_mm: float | None = None
    """Pixel size of the networks' grid (`network_grid`), mm; None, as in older bundles, for the scan's own."""
    slice_mm: float | None = None
    """Slice distance of that grid, mm; None, as in older bundles, for the scan's own."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Measured performance with confidence intervals and what it was measured on."""

    @property
    def width_of_student(self) -> int:
        """Number of filters of the student at full resolution."""
        return self.student_width or self.width

    @property
    def voxel(self) -> NetworkVoxel:
        """Voxel size of the networks' grid."""
        return NetworkVoxel(self.pixel_mm, self.slice_mm)


@dataclass(frozen=True)
class ModelBundle:
    """A bundle whose files were checked; each network is read on demand."""

    folder: Path
    description: BundleDescription
    sha256: Mapping[str, str]
    """File name to checksum."""

    @property
    def settings(self) -> Settings:
        """Thresholds and cut-offs that were chosen for this model."""
        described = self.description
        return Settings(described.th_detection, described.th_discrimination, described.cutoffs)

    def detector(self) -> CandidateDetector:
        """Read the network of stage 1."""
        from .networks import CandidateDetector

        return self._filled("detector", CandidateDetector, self.description.width)

    def student(self) -> Student:
        """Read the network of stage 2."""
        from .networks import Student

        return self._filled("student", Student, self.description.width_of_student)

    def teacher(self) -> Teacher:
        """Read the network that the student was distilled from, for further distillation.

        Raises
        ------
        InputError
            If the bundle was made without it.
        """
        from .networks import Teacher

        if weights_name("teacher") not in self.sha256:
            raise InputError(f"{self.folder}: the bundle has no teacher; train one or use another bundle")
        return self._filled("teacher", Teacher, self.description.width)

    def _filled(self, name: str, kind: Callable[[int], Network], width: int) -> Network:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.folder / weights_name(name)
        try:
            weights = _for_all_channels(load_file(path))
            # before a network is made of the width in model.json, which may be larger than the memory
            if len(weights[FULL_LAYER]) != width:
                raise KeyError(FULL_LAYER)
            network = kind(width)
            network.load_state_dict(weights)
        except (SafetensorError, RuntimeError, KeyError, IndexError):
            raise InputError(f"{path}: these are not the weights of a {name} of width {width}") from None
        return network


def _for_all_channels(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Extend the weights of an older bundle, which has only the paper's channels, by zeros for the other channels."""
    from torch import cat

    project = weights[FIRST_LAYER]
    unknown = project.new_zeros((len(project), len(CHANNELS) - project.shape[1], *project.shape[2:]))
    return {**weights, FIRST_LAYER: cat([project, unknown], dim=1)}


def read_bundle(folder: Path | str) -> ModelBundle:
    """Read a bundle's description and check its files.

    Raises
    ------
    InputError
        If a file is missing, changed or damaged, or the description is incomplete.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{folder}: no model bundle; a folder with {DESCRIPTION_FILE} is needed") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: damaged; get the bundle again") from None
    description, sha256 = _parse(content, path)
    for name in REQUIRED:
        if weights_name(name) not in sha256:
            raise InputError(f"{path}: names no {weights_name(name)}; get the bundle again")
    for name, expected in sha256.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder}: {name} is missing; get the bundle again")
        if checksum(folder / name) != expected:
            raise InputError(f"{folder / name}: was changed or damaged (wrong checksum); get the bundle again")
    return ModelBundle(folder, description, sha256)


def write_bundle(folder: Path, description: BundleDescription, networks: Mapping[str, nn.Module]) -> ModelBundle:
    """Write networks ('detector', 'student' and optionally 'teacher') and their description; all files or none.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    sha256 = {}
    with all_or_none(folder) as beside:
        for name, network in networks.items():
            weights = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
            path = beside / weights_name(name)
            try:
                save_file(weights, path)
            except SafetensorError as error:
                raise OutputError(f"{path}: cannot be written ({error})") from None
            sha256[path.name] = checksum(path)
        content = {**asdict(description), "architecture": ARCHITECTURE, "input_channels": CHANNELS}
        write_json(beside / DESCRIPTION_FILE, {**content, "sha256": sha256})
    return ModelBundle(folder, description, sha256)


def weights_name(network: str) -> str:
    """File name of a network's weights.

    >>> weights_name("student")
    'student.safetensors'
    """
    return f"{network}.safetensors"


def checksum(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _parse(content: Any, path: Path) -> tuple[BundleDescription, dict[str, str]]:
    try:
        given = _Entries(content)
        channels = given["input_channels"]
        if given["architecture"] != ARCHITECTURE or channels not in (list(CHANNELS), list(PAPER_CHANNELS)):
            raise InputError(f"{path}: made for another architecture than this version of CMMDetect has")
        sha256 = given.entries("sha256")
        return _description(given), {name: sha256.text(name) for name in sha256}
    except ValueError as error:
        raise InputError(f"{path}: not a complete description of a model ({error}); get the bundle again") from None


def _description(given: _Entries) -> BundleDescription:
    cutoffs = given.entries("cutoffs")
    return BundleDescription(
        name=given.text("name"),
        version=given.text("version"),
        created=given.text("created"),
        license=given.text("license"),
        width=given.width("width"),
        modality=given.modality("modality"),
        trained_on=given.text("trained_on"),
        th_detection=given.number("th_detection", 0, 1),
        th_discrimination=given.number("th_discrimination", 0, 1),
        cutoffs=CutOffs(**{item.name: cutoffs.number(item.name, 0) for item in fields(CutOffs)}),
        calibration=_calibration(given.entries("calibration")) if "calibration" in given else Calibration(),
        student_width=given.width("student_width") if given.has("student_width") else None,
        pixel_mm=given.number("pixel_mm", *LENGTHS_MM) if given.has("pixel_mm") else None,
        slice_mm=given.number("slice_mm", *LENGTHS_MM) if given.has("slice_mm") else None,
        metrics=dict(given.entries("metrics")),
    )


def _calibration(given: _Entries) -> Calibration:
    """Read a calibration; an older one lacks what was not known in its time."""
    given.check_names([item.name for item in fields(Calibration)])
    known: dict[str, Any] = {
        name: given.number(name) for name in ("slope", "offset", "detection_slope") if name in given
    }
    for name in ("calcium_slopes", "edge_slopes"):
        if name in given:
            slopes = given.entries(name)
            slopes.check_names(Modality)
            known[name] = {modality: slopes.number(modality) for modality in slopes}
    return Calibration(**known, burden=_burden(given.entries("burden")) if given.has("burden") else None)


def _burden(given: _Entries) -> Burden:
    given.check_names([item.name for item in fields(Burden)])
    return replace(Burden(given.number("microbleed_slope")), **{name: given.number(name) for name in given})


class _Entries(dict[str, Any]):
    """The entries of an object in ``model.json``; raises ValueError that names the one that is not as it must be."""

    def __init__(self, content: Any, place: str = "") -> None:
        if not isinstance(content, dict):
            raise ValueError(f"{place or 'it'} must be an object")
        super().__init__(content)
        self._place = place

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"{self._full(name)} is missing")

    def has(self, name: str) -> bool:
        return self.get(name) is not None

    def check_names(self, known: Iterable[str]) -> None:
        if unknown := set(self) - set(known):
            raise ValueError(f"{self._full(min(unknown))} is unknown")

    def entries(self, name: str) -> _Entries:
        return _Entries(self[name], self._full(name))

    def text(self, name: str) -> str:
        text = self[name]
        # half of a character, which JSON can name, goes into no file
        if not isinstance(text, str) or text.encode(errors="replace").decode() != text:
            raise ValueError(f"{self._full(name)} must be a text")
        return text

    def number(self, name: str, least: float = -math.inf, most: float = math.inf) -> float:
        number = self[name]
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= sys.float_info.max:
            raise ValueError(f"{self._full(name)} must be a number")
        if not least <= number <= most:
            bounds = f"be at least {least:g}" if most == math.inf else f"lie between {least:g} and {most:g}"
            raise ValueError(f"{self._full(name)} must {bounds}")
        return float(number)

    def width(self, name: str) -> int:
        width = self[name]
        if isinstance(width, bool) or not isinstance(width, int) or not WIDTHS[0] <= width <= WIDTHS[1]:
            raise ValueError(f"{self._full(name)} must be a whole number from {WIDTHS[0]} to {WIDTHS[1]}")
        return width

    def modality(self, name: str) -> tuple[Modality, ...]:
        known, given = list(Modality), self[name]
        if not isinstance(given, list) or not given or not all(each in known for each in given):
            raise ValueError(f"{self._full(name)} must be a list of {', '.join(known)}")
        return tuple(Modality(each) for each in given)

    def _full(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name
