"""Errors as users see them: an error of ours ends the command line with its message alone and status 2, any other as ever.

A process of the command line gets our `sys.excepthook`; an error travels as it is, so that nothing changes for whoever
imports the host. Under our launcher's `torchrun` the launcher prints it once, and `torchrun` adds nothing.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dis import opmap
from pathlib import Path
from types import TracebackType
from typing import Any

from ..config.exits import ONCE, REFUSED, Refused, is_debugging, stop, wrapped
from .torchrun import Stopped, stopped_once


PACKAGE = __package__.partition(".")[0]
SIGNALLED = re.compile("death signal|closing signal")  # what `torchrun` logs of a signal that it hands on
# of `torchrun`; and of a process that was still importing, whose stage has not begun to listen
ENDED_BY_SIGNAL = ("SignalException", "KeyboardInterrupt")
PLAIN = (ValueError, RuntimeError, FileNotFoundError, FileExistsError, NotADirectoryError)


def print_ours_alone(command: str) -> None:
    """Print the message of an error of ours without a traceback, should it end this process."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
        if is_ours(error, trace) and not is_debugging(os.environ):
            stop(f"llamafactory-cli {command}", error)
        return before(kind, error, trace)

    sys.excepthook = hook


def is_ours(error: BaseException, trace: TracebackType | None) -> bool:
    """Tell whether an error is a message for the user: of a class of ours, or raised by a `raise` of ours.

    A `TypeError`, or a `ValueError` of `int("x")` within our code, is a fault of ours: it keeps its traceback.
    """
    if getattr(error, "keeps_traceback", False):
        return False
    if any(base.__module__.partition(".")[0] == PACKAGE for base in type(error).__mro__):
        return True
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or type(error) not in PLAIN:
        return False
    name = str(trace.tb_frame.f_globals.get("__name__", ""))
    is_raise = trace.tb_frame.f_code.co_code[trace.tb_lasti] == opmap["RAISE_VARARGS"]
    return name.partition(".")[0] == PACKAGE and is_raise


@contextmanager
def one_message() -> Iterator[None]:
    """Let the processes that the host's launcher starts print one message together, and end with its status.

    Raises:
        Refused: they ended with a message of ours, or after a signal; it is printed here, when all of them have ended.
    """
    with tempfile.TemporaryDirectory(prefix="llamafactory_hind_") as folder:
        file = Path(folder) / "error"
        os.environ[ONCE] = str(file)
        try:
            with stopped_once():
                yield
        except Stopped as stopped:
            message = file.read_text(encoding="utf-8") if file.exists() else str(stopped)
            print(f"\n{wrapped(message.strip())}", file=sys.stderr, flush=True)
            raise Refused(message, stopped.status) from None
        except subprocess.CalledProcessError:
            if file.exists():
                message = file.read_text(encoding="utf-8")
                print(wrapped(message), file=sys.stderr, flush=True)
                raise Refused(message) from None
            raise
        finally:
            os.environ.pop(ONCE, None)


def quiet_torchrun() -> None:
    """Keep `torchrun` from adding its own report to our message: called where a process inherits `one_message`'s variable."""
    said = Path(os.environ[ONCE])
    for name in ("multiprocessing.api", "agent.server.api"):
        logger = logging.getLogger(f"torch.distributed.elastic.{name}")
        logger.addFilter(lambda record: not said.exists() and not SIGNALLED.search(record.getMessage()))
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
        if kind.__name__ == "ChildFailedError" and said.exists():
            raise SystemExit(REFUSED)
        if kind.__name__ in ENDED_BY_SIGNAL and not is_debugging(os.environ):  # the launcher says so
            raise SystemExit(128 + int(getattr(error, "sigval", signal.SIGINT)))
        return before(kind, error, trace)

    sys.excepthook = hook
