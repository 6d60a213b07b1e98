"""The packages of the ``train`` extra, which some commands need and an installation of the detector alone lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from CMMDetectLib.errors import InputError


@contextmanager
def training_packages(command: str) -> Iterator[None]:
    """Turn a missing package of the ``train`` extra into one line that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"cmmdetect {command} needs {error.name}, which is not installed: pip install 'cmmdetect[train]'"
        ) from None
