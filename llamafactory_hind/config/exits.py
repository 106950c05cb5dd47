"""How a command ends where a configuration or rows are wrong: our message alone, once, and exit status 2."""

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn


DEBUG = "LLAMAFACTORY_HIND_DEBUG"  # 1: the traceback, too
ONCE = (
    "LLAMAFACTORY_HIND_ERROR_FILE"  # set by our launcher for the processes of one run: it prints what they write there
)
REFUSED = 2  # exit status; as of `argparse`, and unlike 1 of an error that nobody foresaw


class Refused(SystemExit):
    """The end of a command whose message is printed already; its text is that message."""

    def __init__(self, message: str, status: int = REFUSED) -> None:
        """Keep the message; the interpreter prints nothing for a status that is a number."""
        super().__init__(message)
        self.code = status


def stop(command: str, error: BaseException, *, status: int = REFUSED) -> NoReturn:
    """Print an error's message and end the command; under LLAMAFACTORY_HIND_DEBUG=1 let the error go on.

    Args:
        command: as the user typed it, before the message.
        error: one whose message says all.
        status: of the process.

    Raises:
        Refused: always, but under LLAMAFACTORY_HIND_DEBUG=1.
    """
    if is_debugging(os.environ):
        raise error
    message = f"{command}: {error}"
    if speaks(os.environ, message):
        print(wrapped(message), file=sys.stderr, flush=True)
    raise Refused(message, status) from None


def is_debugging(environ: Mapping[str, str]) -> bool:
    """Tell whether tracebacks are asked for."""
    return environ.get(DEBUG, "0").lower() in ("1", "true", "y", "yes", "on")


def speaks(environ: Mapping[str, str], message: str) -> bool:
    """Tell whether this process prints the message: of the processes of one run, one does.

    They share a file that can be created once. Our launcher prints what is in its own. Beside the error files of a `torchrun`
    that was started by hand it only says who is first. Where there is neither, each process prints: a message is never lost.
    """
    elastic = environ.get("TORCHELASTIC_ERROR_FILE")  # <run>/attempt_0/<local rank>/error.json
    file = environ.get(ONCE) or (str(Path(elastic).parents[1] / "llamafactory_hind_error") if elastic else None)
    if file is None:
        return True
    try:
        with open(file, "x", encoding="utf-8", errors="backslashreplace") as written:
            written.write(message)
    except FileExistsError:
        return False
    except OSError:
        return True
    return ONCE not in environ


def wrapped(message: str) -> str:
    """Return a message wrapped to the terminal; a file or a pipe gets it as it is, unless COLUMNS says how wide it is."""
    if not (sys.stderr.isatty() or os.environ.get("COLUMNS", "").isdigit()):
        return message
    width = max(shutil.get_terminal_size().columns, 20)
    return "\n".join(_fill(line, width) for line in message.split("\n"))


def _fill(line: str, width: int) -> str:
    body = line.lstrip(" ")
    indent = " " * (len(line) - len(body))
    hanging = indent + "  " if body.startswith("- ") else indent
    return textwrap.fill(
        body, width, initial_indent=indent, subsequent_indent=hanging, break_on_hyphens=False, break_long_words=False
    )
