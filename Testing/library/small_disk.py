"""A disk that is almost full: no file gets larger than a limit, where the system has such limits."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def limited_files(size: int) -> Iterator[None]:
    """Let no file of this process, nor of those that it starts meanwhile, get larger than so many bytes."""
    resource: Any = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def run_limited(command: Sequence[object], size: int) -> subprocess.CompletedProcess[str]:
    """Run a command whose files get no larger than so many bytes."""
    resource: Any = pytest.importorskip("resource")
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
