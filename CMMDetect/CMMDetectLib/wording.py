"""Words of messages and reports of the library, which are in English; what a panel translates says "Cases: 1"."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural.

    >>> counted(1, "microbleed"), counted(0, "false positive")
    ('1 microbleed', '0 false positives')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
