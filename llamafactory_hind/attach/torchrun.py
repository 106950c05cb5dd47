"""`torchrun` as a child of our launcher: Ctrl-C and SIGTERM reach it once, through the launcher, which waits for its end.

The host's `subprocess.run` kills `torchrun` a quarter of a second after Ctrl-C, while its processes are still saying what is saved;
and a terminal sends Ctrl-C to all of them at once, besides what `torchrun` hands on.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any


SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stopped(Exception):
    """`torchrun` has ended after a signal."""

    def __init__(self, number: int) -> None:
        """Keep the first signal."""
        super().__init__(f"Stopped by {SIGNALS[signal.Signals(number)]}.")
        self.status = 128 + number  # as a shell reports it


@contextmanager
def stopped_once() -> Iterator[None]:
    """Let the host's launcher start `torchrun` in our way; whatever else it starts is started as ever."""
    host_run = subprocess.run

    def run(words: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(words, list) and words[:1] == ["torchrun"] and _can_listen():
            return run_torchrun(words, *args, **kwargs)
        return host_run(words, *args, **kwargs)

    subprocess.run = run  # type: ignore[assignment]
    try:
        yield
    finally:
        subprocess.run = host_run


def _can_listen() -> bool:
    return os.name == "posix" and threading.current_thread() is threading.main_thread()


def run_torchrun(words: Sequence[str], *, check: bool = False, **kwargs: Any) -> "subprocess.CompletedProcess[bytes]":
    """Do what `subprocess.run` does; signals are handed on, and the end is waited for.

    Raises:
        Stopped: it has ended after a signal.
        CalledProcessError: it failed, with `check`.
    """
    heard: list[int] = []
    process = subprocess.Popen(
        words, start_new_session=True, **kwargs
    )  # a terminal's Ctrl-C reaches this process alone

    def hand_on(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        process.send_signal(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # `nohup` and background jobs of scripts do not listen
            signal.signal(number, hand_on)
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        raise Stopped(heard[0])
    if check and status:
        raise subprocess.CalledProcessError(status, list(words))
    return subprocess.CompletedProcess(list(words), status)
