"""Failures that a user can correct."""


class CMMDetectError(Exception):
    """A failure described in one plain line: what is wrong with which file, and what to do about it."""


class InputError(CMMDetectError):
    """An input (scan, mask, bundle, option) cannot be used as it is."""


class OutputError(CMMDetectError):
    """The results cannot be written."""


class CancelledError(CMMDetectError):
    """The user asked to stop."""
