"""One line at Ctrl-C, SIGTERM or a full disk: what is saved, and how to go on."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..config.exits import speaks
from ..storage.atomic import refusal_of
from ..storage.checkpoints import find_whole


INTERRUPTED, TERMINATED = 130, 143  # what a shell reports for the two signals


class Terminated(KeyboardInterrupt):
    """SIGTERM: unwinds the same way as Ctrl-C."""


@contextmanager
def one_line_when_stopped(output: Path, *, main: bool, catch_terminate: bool = True) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and a disk that refuses into one line and an exit status; other errors pass.

    Args:
        output: folder of the run.
        main: this process may speak; the others end without a word.
        catch_terminate: False leaves SIGTERM as it is, where the Trainer saves at it (`enable_jit_checkpoint`).

    Raises:
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM, with the line where the disk refused.
    """
    before = _listen() if catch_terminate else None
    try:
        yield
    except KeyboardInterrupt as stop:
        name, status = ("SIGTERM", TERMINATED) if isinstance(stop, Terminated) else ("Ctrl-C", INTERRUPTED)
        if main:
            tell(f"Stopped by {name}. {saved(output)}")
        raise SystemExit(status) from None
    except Exception as error:
        reason = refusal_of(error)
        if reason is None:
            raise
        line = str(error) if reason == str(error) else f"{output}: {reason} ({error})."
        raise SystemExit(f"{' '.join(line.split())} {saved(output)}") from None
    finally:
        if before is not None:
            with suppress(ValueError):
                signal.signal(signal.SIGTERM, before)


def tell(line: str) -> None:
    """Print a line; among the processes of a `torchrun` that our launcher started, leave it to the launcher."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or speaks(os.environ, line):
        print(f"\n{line}", file=sys.stderr, flush=True)


def saved(output: Path) -> str:
    """Return what of a run is on the disk, in one sentence or two."""
    newest = find_whole(output).newest
    if newest is None:
        return f"No checkpoint was saved in {output}: the same command begins anew."
    return f"{newest} is saved, whole: the same command goes on from it."


def _listen() -> Any:
    """Let SIGTERM unwind the program; return what was there before, None outside the main thread."""

    def stop(number: int, frame: Any) -> None:
        raise Terminated

    try:
        return signal.signal(signal.SIGTERM, stop)
    except ValueError:  # Ray runs stages in another thread
        return None
