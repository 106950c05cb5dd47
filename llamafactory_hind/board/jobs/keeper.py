"""`python -m llamafactory_hind.board.jobs.keeper FOLDER`: runs the command of a job, and writes down how it ended.

It is a process of its own, so that the end of a job is known though the Board was closed meanwhile. Standard library alone.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from ...storage.atomic import write_json


JOB, LOG, ENDED = "job.json", "log.txt", "ended.json"
PATIENCE = 30.0  # [ours] seconds that a command has to end after SIGTERM


def keep(folder: Path) -> int:
    """Run the command of a job, its output in the log; return its exit status.

    Args:
        folder: with `job.json`: `argv` and `cwd`.
    """
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    started, asked = time.monotonic(), False
    environment = {**os.environ, "COLUMNS": "110", "PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(
        job["argv"], cwd=job["cwd"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        child.terminate()
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, lambda number, frame: child.kill())
    code = child.wait()
    os.close(log)
    write_json(folder / ENDED, {"code": code, "stopped": asked, "seconds": round(time.monotonic() - started, 3)})
    return code


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
