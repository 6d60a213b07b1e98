"""Progress of a run, and the time that its steps took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

Listener = Callable[[str, float, str], None]
"""Called with (step, fraction of the whole run, message). It ends the run by raising `CancelledError`."""
Tick = Callable[[float], None]
"""Called with the finished fraction of the current step."""
Report = Callable[[float, str], None]
"""Called with (finished fraction, message) by a run without named steps."""


class StepTick(Protocol):
    """Called with the finished fraction of the current step and, if there is more to say of it, a detail."""

    def __call__(self, fraction: float, detail: str = "") -> None:
        """Report the fraction and the detail."""


STEPS = {
    "reading": ("Reading the scan", 0.5),
    "preprocessing": ("Finding the brain, evening out intensities", 4.0),
    "vessels": ("Removing vessels", 3.0),
    "frst": ("Radial symmetry", 1.5),
    "detection": ("Stage 1: detecting candidates", 15.0),
    "discrimination": ("Stage 2: discriminating candidates", 3.0),
    "postprocessing": ("Stage 3: post-processing", 0.2),
    "writing": ("Writing the results", 0.8),
}
"""The steps of a detection: their messages and their usual shares of the time."""


class Progress:
    """The steps of a run, in order, each with its usual share of the time.

    >>> steps = {"read": ("Reading", 1), "work": ("Working", 3)}
    >>> progress = Progress(lambda *news: print(*news), steps)
    >>> with progress.step("read"):
    ...     pass
    read 0.0 Reading
    >>> with progress.step("work") as tick:
    ...     tick(0.5)
    ...     tick(1.0, "last part")
    work 0.25 Working
    work 0.625 Working
    work 1.0 Working: last part
    >>> sorted(progress.seconds)
    ['read', 'work']
    """

    def __init__(self, listener: Listener | None = None, steps: Mapping[str, tuple[str, float]] = STEPS) -> None:
        self.seconds: dict[str, float] = {}
        """Time that each finished step took."""
        self._steps = steps
        self._listener = listener

    @contextmanager
    def step(self, name: str) -> Iterator[StepTick]:
        """Announce and time a step; yields the function that reports how much of it is done."""
        message, share = self._steps[name]
        whole = sum(other for _, other in self._steps.values())
        names = list(self._steps)
        before = sum(self._steps[other][1] for other in names[: names.index(name)])

        def tick(fraction: float, detail: str = "") -> None:
            if self._listener is not None:
                full = f"{message}: {detail}" if detail else message
                self._listener(name, (before + share * fraction) / whole, full)

        tick(0.0)
        start = time.perf_counter()
        yield tick
        self.seconds[name] = round(time.perf_counter() - start, 3)
