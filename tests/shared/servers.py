"""Servers of ours in processes of their own; `shared.board` has the Chromium that opens them."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


WAIT = 180.0  # seconds until a server answers; nearly all of it are imports


@contextmanager
def served(words: list[str], folder: Path, address: str = "127.0.0.1") -> Iterator[str]:
    """Start `llamafactory-cli` with words, `{port}` filled in, and give the address of its page."""
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("llamafactory-cli")), *(word.format(port=port) for word in words)]
    environment = os.environ | {"GRADIO_SERVER_NAME": address, "GRADIO_SERVER_PORT": str(port)}
    log = folder / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
        try:
            yield _wait_for(f"http://{address}:{port}", process, log)
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> str:
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.3)
        else:
            return url
    raise AssertionError(f"The page did not answer within {WAIT:.0f} s: {log.read_text()[-2000:]}")
