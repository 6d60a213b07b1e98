"""A model bundle: a folder with ``model.json`` and the weights of the networks as safetensors.

Weights are numbers only (no pickle is ever loaded) and every file must have the checksum that ``model.json`` names.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .calibration import Calibration
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
FIRST_LAYER = "extractor.project.weight"
NETWORKS = ("detector", "student", "teacher")
REQUIRED = ("detector", "student")
NOT_IN_OLDER = ("calibration", "pixel_mm", "slice_mm", "student_width")
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
    """Of the student's probability, to which `th_discrimination` belongs; none in older bundles."""
    student_width: int | None = None
    """Of the student; None, as in older bundles, for `width`."""
    pixel_mm: float | None = None
    """In-plane pixel size of the networks' grid (`network_grid`); None, as in older bundles, for the scan's own."""
    slice_mm: float | None = None
    """Distance of its slices; None, as in older bundles, for the scan's own."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Measured performance with confidence intervals and what it was measured on."""

    @property
    def width_of_student(self) -> int:
        """Give the filters of the student at full resolution."""
        return self.student_width or self.width

    @property
    def voxel(self) -> NetworkVoxel:
        """Give the voxel size of the networks' grid."""
        return NetworkVoxel(self.pixel_mm, self.slice_mm)


@dataclass(frozen=True)
class ModelBundle:
    """A bundle whose files were checked; the networks are read when they are asked for."""

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
            network = kind(width)
            network.load_state_dict(_for_all_channels(load_file(path)))
        except (SafetensorError, RuntimeError, KeyError, IndexError):
            raise InputError(f"{path}: these are not the weights of a {name} of width {width}") from None
        return network


def _for_all_channels(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of an older bundle, which has the paper's channels alone, to a network blind to the others."""
    from torch import cat

    project = weights[FIRST_LAYER]
    unknown = project.new_zeros((len(project), len(CHANNELS) - project.shape[1], *project.shape[2:]))
    return {**weights, FIRST_LAYER: cat([project, unknown], dim=1)}


def read_bundle(folder: Path | str) -> ModelBundle:
    """Read a bundle's description and check its files.

    Raises
    ------
    InputError
        If a file is missing, was changed or damaged, or the description is not one.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{folder}: no model bundle; a folder with {DESCRIPTION_FILE} is needed") from None
    except ValueError:
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
    """Write networks, named 'detector', 'student' and perhaps 'teacher', and their description; all of them or none.

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
        channels = tuple(content["input_channels"])
        if content["architecture"] != ARCHITECTURE or channels not in (CHANNELS, PAPER_CHANNELS):
            raise InputError(f"{path}: made for another architecture than this version of CMMDetect has")
        names = [item.name for item in fields(BundleDescription) if item.name not in NOT_IN_OLDER]
        values = {name: content[name] for name in names}
        values |= {name: _probability(name, content[name]) for name in ("th_detection", "th_discrimination")}
        values["modality"] = tuple(Modality(name) for name in content["modality"])
        values["cutoffs"] = CutOffs(**{name: _number(name, value) for name, value in content["cutoffs"].items()})
        values["calibration"] = _calibration(content.get("calibration", {}))
        values |= {name: _length(name, content.get(name)) for name in ("pixel_mm", "slice_mm")}
        values["width"] = _width("width", content["width"])
        own_width = content.get("student_width")
        values["student_width"] = None if own_width is None else _width("student_width", own_width)
        for item in fields(BundleDescription):
            if item.type == "str" and not isinstance(values[item.name], str):
                raise ValueError(f"{item.name} must be a text")
        if not isinstance(values["metrics"], Mapping):
            raise ValueError("metrics must be an object")
        return BundleDescription(**values), dict(content["sha256"])
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: not a complete description of a model ({error})") from None


def _length(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if not 0 < (length_mm := float(value)) < math.inf:
        raise ValueError(f"{name} must be above 0")
    return length_mm


def _calibration(content: Any) -> Calibration:
    for name, value in dict(content).items():
        if name in ("calcium_slopes", "edge_slopes") or (name == "burden" and value is not None):
            for key, item in dict(value).items():
                _number(f"{name} {key}", item)
        elif name != "burden":
            _number(name, value)
    return Calibration.from_json(content)


def _probability(name: str, value: Any) -> float:
    if not 0 <= _number(name, value) <= 1:
        raise ValueError(f"{name} must lie between 0 and 1")
    return float(value)


def _width(name: str, value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number above 0")
    return value


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number")
    return value
