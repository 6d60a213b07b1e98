"""ITK on one thread, where several would sum in an order that varies between computers or runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk


@contextmanager
def one_thread() -> Iterator[None]:
    """Run ITK on one thread: a difference in the last digit can grow into a different candidate.

    >>> with one_thread():
    ...     sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    1
    """
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
