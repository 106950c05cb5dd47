"""Our commands beside the host's, and one clear line under the host's next engine (USE_V1=1)."""

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from types import ModuleType

from .. import config
from .commands import COMMANDS
from .errors import one_message


WIDTH = 68  # of the host's usage box, without its bars


def extend_launch(launcher: ModuleType) -> None:
    """Run our commands; everything else is the host's."""
    host_launch: Callable[[], None] = launcher.launch

    @wraps(host_launch)
    def launch() -> None:
        if sys.argv[1:2] == ["train"] and config.stage_of_file(sys.argv[2:]) in config.STAGES:
            with one_message():
                return host_launch()
        if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
            return host_launch()
        command = sys.argv.pop(1)
        module, function = COMMANDS[command].run.split(":")
        getattr(import_module(module), function)(sys.argv[1:])

    launcher.launch = launch


def extend_usage(launcher: ModuleType) -> None:
    """Put one line for each of our commands into the host's usage box, before its closing hint."""
    lines = [
        f"|   llamafactory-cli {name} {command.takes}: {command.summary}".ljust(WIDTH + 1) + "|\n"
        for name, command in COMMANDS.items()
    ]
    head, hint, tail = launcher.USAGE.partition("| Hint:")
    launcher.USAGE = head + "".join(lines) + hint + tail


def refuse_v1(launcher: ModuleType) -> None:
    """Say that our commands and stages need the default engine; everything else is the host's."""
    host_launch: Callable[[], None] = launcher.launch

    @wraps(host_launch)
    def launch() -> None:
        command = sys.argv[1] if len(sys.argv) > 1 else "help"
        stage = config.stage_of_file(sys.argv[2:])
        name = f"`{command}`" if command in COMMANDS else f"`stage: {stage}`" if stage in config.STAGES else None
        if name is not None:
            raise SystemExit(f"llamafactory_hind: {name} needs LLaMA-Factory's default engine: unset USE_V1.")
        host_launch()

    launcher.launch = launch
