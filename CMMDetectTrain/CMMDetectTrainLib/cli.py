"""The ``cmmdetect`` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``cmmdetect``; the exit status is 0 on success and 2 for an input or option that cannot be used."""
    try:
        # here, because the libraries take a second, in which a user may already have thought better of it
        from .commands import run

        return run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("cmmdetect: interrupted\n")
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
