"""A recording `slicer.packaging`. Slicer 5.8 has none, so the host has none unless a test asks for it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import slicer


@contextmanager
def recording_packaging(refuse: bool = False) -> Iterator[list[list[str]]]:
    """Provide the module of Slicer 5.12; yields the requirements that were asked for.

    Parameters
    ----------
    refuse
        Answer as a user who declines: `pip_ensure` raises RuntimeError.
    """
    asked: list[list[str]] = []

    def load_requirements(path):
        lines = (line.split("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line]

    def pip_ensure(requirements, requester=None, **options):
        asked.append([str(each) for each in requirements])
        if refuse:
            raise RuntimeError("User declined to install packages")

    def pip_check(requirements, **options):
        return False

    module = ModuleType("slicer.packaging", __doc__)
    module.load_requirements = load_requirements
    module.pip_ensure = pip_ensure
    module.pip_check = pip_check
    sys.modules[module.__name__] = slicer.packaging = module
    try:
        yield asked
    finally:
        del sys.modules[module.__name__], slicer.packaging
