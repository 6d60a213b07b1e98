"""Detection as a child process: ``python -m CMMDetectLib.worker JOB.json``.

The job file holds the fields of `DetectionJob`. The process prints one JSON object a line,
``{"stage": "detection", "progress": 0.42, "message": "..."}``; everything else on its output is log. The last object
has the stage ``done`` (with the written files), ``cancelled`` or ``error``. A file beside the job file, named like it
with ``.cancel`` added, ends the run at its next step and leaves nothing behind.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .errors import CancelledError, CMMDetectError
from .job import read_job, run_job

EXIT_DONE = 0
EXIT_UNEXPECTED = 1
EXIT_INPUT = 2
EXIT_CANCELLED = 3


def main(arguments: list[str] | None = None) -> int:
    """Run the job whose file is the only argument; the exit status is one of the constants above."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        say("error", 0.0, "one argument is needed: the path of a job file")
        return EXIT_INPUT
    path = Path(arguments[0])
    cancel = path.with_name(path.name + ".cancel")

    def listen(stage: str, progress: float, message: str) -> None:
        if cancel.exists():
            raise CancelledError
        say(stage, progress, message)

    try:
        result = run_job(read_job(path), listen)
    except CancelledError:
        say("cancelled", 1.0, "cancelled")
        return EXIT_CANCELLED
    except CMMDetectError as error:
        say("error", 1.0, str(error))
        return EXIT_INPUT
    except Exception as error:
        say("error", 1.0, f"unexpected {type(error).__name__}: {error}")
        raise
    files = {kind: str(file) for kind, file in result.files.items()}
    say("done", 1.0, "done", files=files)
    return EXIT_DONE


def say(stage: str, progress: float, message: str, **more: Any) -> None:
    """Print one line of news for the parent process."""
    line = json.dumps({"stage": stage, "progress": round(progress, 4), "message": message, **more})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
