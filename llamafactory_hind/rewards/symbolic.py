"""Equality as mathematics by math-verify, in a process of its own: `9^(9^(9^9))` must not stop the training.

math-verify's own limit is a signal, which only the main thread can take and which no computation in C hears.
"""

import atexit
import json
import logging
import os
import re
import subprocess
import sys
import threading
from decimal import Decimal
from functools import lru_cache
from typing import Any

from ..config.problem import shorten
from .gold import compare, read_gold


logger = logging.getLogger("llamafactory.hind.rewards")

SECONDS = 5.0  # of the processor; math-verify's own default, by the clock
# not `-m`, which warns of a module that its own package has imported
START = "import sys; from llamafactory_hind.rewards import symbolic_worker; symbolic_worker.main(float(sys.argv[1]))"
REMEMBERED = 65536
DELIMITED = re.compile(r"\$|\\\(|\\\[|\\boxed")
LATEX = re.compile(r"[\\^_{}]|^[(\[]")
COMMAND = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}|\\[A-Za-z]+")
SIGN = re.compile(r"^\s*\+(?=[\d.])")  # math-verify finds no number in +3
SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d+)?[eE][-+]?\d{1,2}")
WORD = re.compile(r"[A-Za-z]{2}|\n")


@lru_cache(maxsize=REMEMBERED)
def is_equal(gold: str, prediction: str) -> bool | None:
    """Say whether two texts are the same mathematics; None, with a warning, where that takes five seconds of the processor.

    A gold text is read whole, by a rule of its kind (`gold.read_gold`) or by math-verify. LaTeX without dollar signs and without
    words is read as LaTeX. From a longer answer, what has the form of the gold text is taken.

    Raises:
        RuntimeError: math-verify cannot be started.
    """
    read = read_gold(gold)
    if read.kind != "mathematics":
        return compare(read, prediction, _equal_parts)
    return _as_mathematics(gold, prediction)


def _equal_parts(gold: str, prediction: str) -> bool | None:
    """Compare two entries of a list, or two numbers: each is one text."""
    return True if gold.split() == prediction.split() else is_equal(gold, prediction)


def _as_mathematics(gold: str, prediction: str) -> bool | None:
    equal = _WORKER.ask(_delimit(gold), _delimit(prediction))
    if equal is None:
        texts = f"{shorten(prediction)} with {shorten(gold)}"
        logger.warning(
            f"math-verify had no result after {SECONDS:g} s of computing, comparing {texts}: the reward does not apply."
        )
    return equal


def _delimit(text: str) -> str:
    text = SIGN.sub("", text)
    if SCIENTIFIC.fullmatch(text.strip()):  # math-verify takes e for Euler's number
        return f"{Decimal(text.strip()):f}"
    is_bare = LATEX.search(text) and not DELIMITED.search(text) and not WORD.search(COMMAND.sub(" ", text))
    return f"${text}$" if is_bare else text


class _Worker:
    """A process that compares; it ends itself where a comparison takes too long, and the next question starts another."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def ask(self, gold: str, prediction: str) -> bool | None:
        """Return the answer, None where the process ended before it had one."""
        with self._lock:
            if self._process is None or self._owner != os.getpid():  # a forked child leaves its parent's process alone
                self._start()
            try:
                answer = self._send({"gold": gold, "prediction": prediction})
            except BaseException:  # interrupted: what comes next would be the answer to this question
                self.stop()
                raise
            if answer is None:
                self.stop()
            return None if answer is None else bool(answer["equal"])

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _start(self) -> None:
        command = [sys.executable, "-c", START, str(SECONDS)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._owner = os.getpid()
        ready = self._receive()
        if ready is None or "error" in ready:
            self.stop()
            reason = ready["error"] if ready else "its process ended at the start; see its output"
            raise RuntimeError(f"math-verify cannot be started: {reason}. Install the package `math-verify`.")

    def _send(self, question: dict[str, str]) -> dict[str, Any] | None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        return self._receive()

    def _receive(self) -> dict[str, Any] | None:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None


_WORKER = _Worker()
atexit.register(_WORKER.stop)
