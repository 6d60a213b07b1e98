"""The seed of random numbers, as a user gives it."""

from __future__ import annotations

from CMMDetectLib.errors import InputError


def check_seed(seed: int) -> None:
    """Make sure that random numbers can be drawn from a seed.

    Raises
    ------
    InputError
        If it is negative.
    """
    if seed < 0:
        raise InputError(f"--seed {seed}: must not be negative")
