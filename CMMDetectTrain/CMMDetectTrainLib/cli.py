"""The ``cmmdetect`` command: the detector's commands and those that make and measure models."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from CMMDetectLib.cli import make_parser, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``cmmdetect``; the exit status is 0 on success and 2 for an input or option that cannot be used."""
    parser, _ = make_parser()
    return run_command(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
