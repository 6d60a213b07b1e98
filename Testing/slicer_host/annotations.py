"""Annotations of parameters, as in `Annotated[type, ...]`, and the types that can be stored."""

import enum
from dataclasses import dataclass
from pathlib import Path

import slicer


@dataclass(frozen=True)
class Default:
    value: object


@dataclass(frozen=True)
class Decimals:
    value: int


@dataclass(frozen=True)
class SingleStep:
    value: float


class Validator:
    """Base of the annotations that refuse values."""

    def accepts(self, value) -> bool:
        raise NotImplementedError


@dataclass(frozen=True)
class WithinRange(Validator):
    minimum: float
    maximum: float

    def accepts(self, value) -> bool:
        return self.minimum <= value <= self.maximum


@dataclass(frozen=True)
class Minimum(Validator):
    minimum: float

    def accepts(self, value) -> bool:
        return value >= self.minimum


@dataclass(frozen=True)
class Maximum(Validator):
    maximum: float

    def accepts(self, value) -> bool:
        return value <= self.maximum


class Choice(Validator):
    def __init__(self, choices):
        self.choices = list(choices)

    def accepts(self, value) -> bool:
        return value in self.choices


PLAIN_DEFAULTS = {bool: False, int: 0, float: 0.0, str: "", Path: Path()}


@dataclass(frozen=True)
class Field:
    """One parameter: its name, type and annotations."""

    name: str
    kind: type
    annotations: tuple
    default: object

    def annotation(self, kind: type):
        return next((each for each in self.annotations if isinstance(each, kind)), None)

    def limits(self) -> tuple[float | None, float | None]:
        within, low, high = (self.annotation(kind) for kind in (WithinRange, Minimum, Maximum))
        if within is not None:
            return within.minimum, within.maximum
        return low.minimum if low else None, high.maximum if high else None

    def check(self, value) -> None:
        """Raise TypeError for a value of another type, ValueError for one that a validator refuses."""
        if value is None:
            if self.is_node:
                return
            raise ValueError(f"{self.name} cannot be None")
        fits = isinstance(value, self.kind) and (self.kind is bool or not isinstance(value, bool))
        if not fits:
            raise TypeError(f"{self.name} takes {self.kind.__name__}, not {type(value).__name__}")
        for each in self.annotations:
            if isinstance(each, Validator) and not each.accepts(value):
                raise ValueError(f"{self.name} cannot be {value!r}: {each}")

    @property
    def is_node(self) -> bool:
        return issubclass(self.kind, slicer.vtkMRMLNode)

    def to_text(self, value) -> str:
        return value.name if isinstance(value, enum.Enum) else str(value)

    def from_text(self, text: str):
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if issubclass(self.kind, enum.Enum) else self.kind(text)


def field(name: str, kind, annotations: tuple, given_default) -> Field:
    """Describe a parameter; types that our panels do not use are refused."""
    known = isinstance(kind, type) and (
        kind in PLAIN_DEFAULTS or issubclass(kind, enum.Enum) or issubclass(kind, slicer.vtkMRMLNode)
    )
    if not known:
        raise TypeError(f"the host keeps no parameter of type {kind} ({name})")
    unknown = [each for each in annotations if not isinstance(each, Default | Decimals | SingleStep | Validator)]
    if unknown:
        raise TypeError(f"the host does not know the annotation {unknown[0]} ({name})")
    default = given_default
    for each in annotations:
        if isinstance(each, Default):
            default = each.value
    if default is None:
        default = next(iter(kind)) if issubclass(kind, enum.Enum) else PLAIN_DEFAULTS.get(kind)
    return Field(name, kind, annotations, default)
