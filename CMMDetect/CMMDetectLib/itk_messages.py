"""ITK without its messages on standard error: the caller reports in one line what is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

ERROR_OUTPUT = 2
_one_at_a_time = RLock()


@contextmanager
def without_messages() -> Iterator[None]:
    """Discard what ITK prints to the process's standard error; its exceptions still pass.

    ITK's own switch silences its warnings only, not the bundled libraries that read NIfTI, MetaImage and matrices.
    """
    with _one_at_a_time, Path(os.devnull).open("wb") as nowhere:
        try:
            kept = os.dup(ERROR_OUTPUT)
        except OSError:  # a program that was started without standard error
            yield
            return
        os.dup2(nowhere.fileno(), ERROR_OUTPUT)
        try:
            yield
        finally:
            os.dup2(kept, ERROR_OUTPUT)
            os.close(kept)
