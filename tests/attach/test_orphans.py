"""`torchrun` and its processes end with the command that started them; any other process is left alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llamafactory_hind.attach.orphans import is_of_torchrun
from llamafactory_hind.config.exits import ONCE


SLEEPS = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(100)"
STARTS = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])"


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux alone tells of a parent's end")
@pytest.mark.parametrize(("name", "ends"), [("torchrun", True), ("worker.py", False)])
def test_it_ends_when_its_parent_is_killed(tmp_path: Path, name: str, ends: bool) -> None:
    script, told = tmp_path / name, tmp_path / "pid"
    script.write_text(SLEEPS)
    words = [sys.executable, "-c", STARTS, str(script), str(told)]
    parent = subprocess.Popen(words, env=os.environ | {ONCE: str(tmp_path / "error")})
    while not told.is_file() or not told.read_text():
        time.sleep(0.02)
    child = int(told.read_text())
    parent.kill()
    parent.wait()
    until = time.monotonic() + (60 if ends else 0.5)
    while alive(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert alive(child) != ends
    if not ends:
        os.kill(child, signal.SIGKILL)


def test_which_processes_are_meant() -> None:
    assert is_of_torchrun(["/x/bin/python", "/x/bin/torchrun", "--nnodes", "1"])
    assert is_of_torchrun(["/x/bin/python", "-u", "/x/site-packages/llamafactory/launcher.py", "a.yaml"])
    assert not is_of_torchrun(["python", "-c", "from x import y", "torchrun"])
    assert not is_of_torchrun(["python", "/x/bin/llamafactory-cli", "train", "a.yaml"])
    assert not is_of_torchrun(["python"])
