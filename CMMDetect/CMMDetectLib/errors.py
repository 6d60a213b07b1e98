"""What can go wrong in a way that a user can mend."""


class CMMDetectError(Exception):
    """A failure with one plain line for the user: what is wrong with which file and what would be right."""


class InputError(CMMDetectError):
    """An input (scan, mask, bundle, option) cannot be used as it is."""


class OutputError(CMMDetectError):
    """The results cannot be written."""


class CancelledError(CMMDetectError):
    """The user asked to stop."""
