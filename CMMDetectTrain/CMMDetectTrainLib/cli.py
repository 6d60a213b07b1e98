"""The ``cmmdetect`` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``cmmdetect``; return the exit status, 0 on success and 2 for an unusable input or option."""
    try:
        # imported here, because loading the libraries takes a second, in which the user may interrupt
        from .commands import run

        return run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("cmmdetect: interrupted\n")
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
