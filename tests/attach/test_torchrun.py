"""A signal to our launcher: `torchrun` hears it once and is waited for; one message, the status of a shell, no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llamafactory_hind.attach import torchrun


PROGRAM = """
import signal, subprocess, sys
from llamafactory_hind.attach.errors import one_message
with one_message():
    subprocess.run(["torchrun", *sys.argv[1:]], check=True)
"""
FAKE = """#!{python}
import os, pathlib, signal, sys, time
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(2))
signal.signal(signal.SIGTERM, lambda *_: heard.append(15))
folder = pathlib.Path(sys.argv[1])
(folder / "ready").write_text("x")
while not heard:
    time.sleep(0.02)
time.sleep(0.6)  # longer than `subprocess.run` waits after Ctrl-C
if sys.argv[2] == "says":
    pathlib.Path(os.environ["LLAMAFACTORY_HIND_ERROR_FILE"]).write_text("Stopped by a signal. checkpoint-2 is saved.")
(folder / "heard").write_text(" ".join(map(str, heard)))
sys.exit(1)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("number", "to_group", "says", "line"),
    [
        (signal.SIGINT, True, "says", "Stopped by a signal. checkpoint-2 is saved."),
        (signal.SIGTERM, False, "says", "Stopped by a signal. checkpoint-2 is saved."),
        (signal.SIGINT, False, "nothing", "Stopped by Ctrl-C."),
    ],
)
def test_one_message_after_a_signal(tmp_path: Path, number: int, to_group: bool, says: str, line: str) -> None:
    """A terminal sends Ctrl-C to the whole group; `kill` to one process."""
    fake = tmp_path / "torchrun"
    fake.write_text(FAKE.format(python=sys.executable))
    fake.chmod(0o755)
    words = [sys.executable, "-c", PROGRAM, str(tmp_path), says]
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    process = subprocess.Popen(
        words, env=os.environ | {"PATH": path}, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < until:
        time.sleep(0.02)
    (os.killpg if to_group else os.kill)(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert said.split("\n") == ["", line, ""]
    assert process.returncode == 128 + number
    assert (tmp_path / "heard").read_text() == str(int(number)), "once, and it was waited for"


def test_other_programs_are_started_as_ever() -> None:
    before = subprocess.run
    with torchrun.stopped_once():
        done = subprocess.run([sys.executable, "-c", "print(7)"], capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"
    assert subprocess.run is before


def test_a_failure_without_a_signal_is_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        torchrun.run_torchrun([sys.executable, "-c", "raise SystemExit(3)"], check=True)
    assert torchrun.run_torchrun([sys.executable, "-c", "pass"]).returncode == 0
