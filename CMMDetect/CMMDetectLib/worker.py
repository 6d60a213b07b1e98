"""Detection as a child process: ``python -m CMMDetectLib.worker JOB.json``.

The job file holds the fields of `DetectionJob`. The process prints one JSON object per line,
``{"stage": "detection", "progress": 0.42, "message": "...", "pid": 4711}``; everything else on its output is log.
``pid`` is the id of this process, with which it can be killed: the process that was started may only be a launcher.
The last object has the stage ``done`` (with the written files), ``cancelled`` or ``error``. A file beside the job
file, with the same name and ``.cancel`` appended, ends the run at its next step and leaves nothing behind; so does
deleting the job file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import CancelledError, CMMDetectError
from .job import read_job, run_job

Work = Callable[[Path], Mapping[str, Any]]
EXIT_DONE = 0
EXIT_UNEXPECTED = 1
EXIT_INPUT = 2
EXIT_CANCELLED = 3


def main(arguments: list[str] | None = None) -> int:
    """Run the detection of the job file given as the only argument; return one of the exit statuses above."""
    return answer(arguments, _detect)


def answer(arguments: list[str] | None, work: Work, cancelled: str = "cancelled") -> int:
    """Do the work of the job file given as the only argument, and report how it ended.

    Parameters
    ----------
    arguments : None for those of the process
    work : takes the job file and returns what is added to the last object
    cancelled : message of a cancelled run

    Returns
    -------
    int
        The exit status, one of the constants above.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        say("error", 0.0, "one argument is needed: the path of a job file")
        return EXIT_INPUT
    try:
        more = work(Path(arguments[0]))
    except CancelledError:
        say("cancelled", 1.0, cancelled)
        return EXIT_CANCELLED
    except CMMDetectError as error:
        say("error", 1.0, str(error))
        return EXIT_INPUT
    except ModuleNotFoundError as error:
        say("error", 1.0, f"this needs the Python package {error.name}, which is not installed")
        return EXIT_INPUT
    except Exception as error:
        say("error", 1.0, f"unexpected {type(error).__name__}: {error}")
        raise
    say("done", 1.0, "done", **more)
    return EXIT_DONE


def _detect(path: Path) -> dict[str, Any]:
    cancel = path.with_name(path.name + ".cancel")

    def listen(stage: str, progress: float, message: str) -> None:
        # without a job file nobody is waiting for the results
        if cancel.exists() or not path.exists():
            raise CancelledError
        say(stage, progress, message)

    result = run_job(read_job(path), listen)
    return {"files": {kind: str(file) for kind, file in result.files.items()}}


def say(stage: str, progress: float, message: str, **more: Any) -> None:
    """Print one line of progress for the parent process."""
    news = {"stage": stage, "progress": round(progress, 4), "message": message, "pid": os.getpid(), **more}
    line = json.dumps(news)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
