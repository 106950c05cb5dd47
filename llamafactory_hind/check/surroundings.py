"""What a run needs around it: packages, disk, a fit output folder, servers that answer."""

import json
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from ..config.packages import missing_packages
from ..storage.checkpoints import find_whole
from ..storage.weights import missing_state, weights_alone
from .findings import Report


GIB = 2**30
CONNECT_SECONDS, CALL_SECONDS = 3.0, 60.0


def check_packages(settings: Mapping[str, Any], report: Report) -> None:
    """Report optional packages that are asked for and absent."""
    report.add_problems(list(missing_packages(settings)), "packages")


def check_disk(folder: str, needed: float | None, report: Report) -> None:
    """Report the free space where a run writes.

    Args:
        folder: of the output; it need not exist.
        needed: bytes that the run is thought to write, None where that is not known.
        report: takes what is found.
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    said = f"{free / GIB:.1f} GiB free"
    if not os.access(place, os.W_OK):
        report.add("error", "disk", str(place), "this folder cannot be written to; choose another one.")
    if needed is None:
        report.add("note", "disk", str(place), f"{said}.")
    elif needed > free:
        report.add("error", "disk", str(place), f"{said}, the run writes about {needed / GIB:.1f} GiB. Make room.")
    else:
        report.add("note", "disk", str(place), f"{said}, the run writes about {needed / GIB:.1f} GiB.")


def check_resumed(checkpoint: Path, report: Report) -> None:
    """Report a checkpoint that `resume_from_checkpoint` names and that holds weights alone."""
    if checkpoint.is_dir() and (missing := missing_state(checkpoint)):
        problem = weights_alone(checkpoint, missing, "resume_from_checkpoint")
        report.add("error", "keys", problem.key, str(problem).removeprefix(f"{problem.key}: "))


def check_output_folder(folder: Path, report: Report, *, exact: bool) -> None:
    """Report what is in an output folder already, and from where a run would go on.

    Args:
        folder: the output folder.
        report: takes what is found.
        exact: the stage is ours, and refuses to go on from weights alone.
    """
    steps = {path: path.name.rpartition("-")[2] for path in folder.glob("checkpoint-*") if path.is_dir()}
    numbered = sorted((path for path, step in steps.items() if step.isdigit()), key=lambda path: int(steps[path]))
    if not numbered:
        state = (
            "is not there yet" if not folder.exists() else "has no checkpoint" if any(folder.iterdir()) else "is empty"
        )
        report.add("note", "output", str(folder), f"the folder {state}: the run begins at step 0.")
        return
    newest = numbered[-1]
    missing = missing_state(newest)
    if exact and find_whole(folder).newest == newest and missing:
        problem = weights_alone(newest, missing, "output_dir")
        report.add("error", "output", str(newest), str(problem).removeprefix(f"{problem.key}: "))
    elif not missing:
        report.add("note", "output", str(newest), "the newest checkpoint; optimizer and states are there.")
    else:
        report.add(
            "warning", "output", str(newest), "the newest checkpoint has no optimizer: a run cannot go on exactly."
        )


def check_server(url: str, model: str | None, key_variable: str | None, call: bool, report: Report) -> None:
    """Report whether a server can be reached, and with `call` whether it answers one request of one token.

    Args:
        url: `http://host:port/v1`.
        model: its name there.
        key_variable: NAME of the environment variable that holds the key; its value is sent and never shown.
        call: make a call, which may cost money.
        report: takes what is found.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
    except OSError as error:
        report.add("error", "server", url, f"it cannot be reached: {error}. Start it, or correct the address.")
        return
    report.add(
        "note", "server", url, "it can be reached." + ("" if call else " No call was made (check_calls: true does).")
    )
    if not call:
        return
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    headers = {"Content-Type": "application/json"}
    if key_variable and os.environ.get(key_variable):
        headers["Authorization"] = f"Bearer {os.environ[key_variable]}"
    request = Request(f"{url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urlopen(request, timeout=CALL_SECONDS) as reply:
            json.loads(reply.read())
    except (URLError, OSError, ValueError) as error:
        report.add("error", "server", url, f"one call of `{model}` failed: {error}.")
    else:
        report.add("note", "server", url, f"one call of `{model}` was answered.")
