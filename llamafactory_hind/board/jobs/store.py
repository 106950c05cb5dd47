"""The jobs of a Board: started, listed by name, stopped."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from ...storage.atomic import write_json, write_text
from ..speech import tr
from .keeper import JOB
from .state import KEEPER, JobState, is_alive, read_json, read_state


FOLDER = "llamaboard_jobs"  # beside the host's llamaboard_cache and llamaboard_config
SETTINGS = "settings.yaml"
MOST = 100  # [ours] jobs in the list


class Jobs:
    """Jobs are shared by all who look at a Board; each says who started it.

    Args:
        root: folder of all jobs.
    """

    def __init__(self, root: Path) -> None:
        """Look at nothing yet."""
        self.root = root
        self._children: list[subprocess.Popen[bytes]] = []

    def names(self) -> list[str]:
        """Return the names of all jobs, the newest first."""
        if not self.root.is_dir():
            return []
        found = [entry.name for entry in os.scandir(self.root) if entry.is_dir(follow_symlinks=False)]
        return sorted((name for name in found if (self.root / name / JOB).is_file()), reverse=True)[:MOST]

    def state(self, name: str | None) -> JobState | None:
        """Return the state of a job; None for a name that is not in the list, whatever it says."""
        self._children = [child for child in self._children if child.poll() is None]  # none is left a zombie
        return read_state(self.root / name) if name in self.names() else None

    def start(self, command: str, settings: Mapping[str, Any], *, title: str, by: str) -> str:
        """Start `llamafactory-cli command settings.yaml` as a process that outlives the Board; return the job's name.

        Args:
            command: `synth` or `score`.
            settings: keys of the command.
            title: for the list.
            by: which session of a browser asks for it.
        """
        folder = self._new_folder(title)
        write_text(folder / SETTINGS, yaml.safe_dump(dict(settings), allow_unicode=True, sort_keys=False))
        argv = [cli(), command, str((folder / SETTINGS).resolve())]
        job = {"argv": argv, "cwd": os.getcwd(), "title": title, "by": by, "settings": dict(settings)}
        write_json(folder / JOB, job)
        keeper = [sys.executable, "-m", f"{__package__}.keeper", str(folder.resolve())]
        child = subprocess.Popen(
            keeper,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # neither Ctrl-C of the Board nor its end reaches it
        )
        with suppress(psutil.Error):
            write_json(folder / KEEPER, {"pid": child.pid, "created": psutil.Process(child.pid).create_time()})
        self._children.append(child)
        return folder.name

    def stop(self, name: str | None) -> bool:
        """Send SIGTERM to a job that runs; return whether there was one."""
        if name not in self.names():
            return False
        keeper = read_json(self.root / name / KEEPER)
        if keeper is None or not is_alive(keeper):
            return False
        os.kill(keeper["pid"], signal.SIGTERM)
        return True

    def _new_folder(self, title: str) -> Path:
        stamp = time.strftime("%Y-%m-%d-%H-%M-%S")
        words = re.sub(r"[^\w-]+", "-", title).strip("-")
        number = 1
        while True:
            folder = self.root / (f"{stamp}-{words}" + (f"-{number}" if number > 1 else ""))
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                number += 1
            else:
                return folder


def cli() -> str:
    """Return the host's command of this environment."""
    beside = Path(sys.executable).with_name("llamafactory-cli")
    return str(beside) if beside.is_file() else "llamafactory-cli"


def titles(jobs: Jobs, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return (what the menu shows, name) of jobs: when, what, and how it stands."""
    found = []
    for name in names:
        state = jobs.state(name)
        if state is not None:
            found.append((f"{name[:10]} {name[11:19].replace('-', ':')} · {state.title} · {tr(state.phase)}", name))
    return found
