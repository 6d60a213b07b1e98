"""The packages of the ``train`` extra: wanted by some commands, missing where only the detector was installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from CMMDetectLib.errors import InputError


@contextmanager
def training_packages(command: str) -> Iterator[None]:
    """Turn the lack of a package of the ``train`` extra into a line that says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"cmmdetect {command} needs {error.name}, which is not installed: pip install 'cmmdetect[train]'"
        ) from None
