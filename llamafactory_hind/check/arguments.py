"""The words after `check`: a configuration of any command, and the keys of the check itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from ..config.command import help_lines, read_settings
from ..config.problem import ConfigError, Problem
from ..config.reading import is_file_name
from ..config.types import describe, fits


USAGE = "llamafactory-cli check X.yaml [key=value ...] [--json]   (a YAML of train, synth or score)"
JSON = "--json"


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    """The keys of the check; all others are those of the configuration."""

    check_rows: int | None = field(
        default=None, metadata={"help": "Look at this many rows of each dataset; null is all [ours]."}
    )
    check_calls: bool = field(
        default=False, metadata={"help": "Make one call of each server, of one token; it may cost money [ours]."}
    )
    check_processes: int = field(
        default=1, metadata={"help": "Processes of the run, for steps and what FSDP2 or ZeRO-2 splits [ours]."}
    )
    check_memory: float | None = field(
        default=None,
        metadata={"help": "GiB of one GPU: an estimate above it is a warning; null compares with nothing [ours]."},
    )


@dataclass(frozen=True)
class Request:
    """What is to be checked.

    Attributes:
        configuration: its name for the report.
        settings: the keys of the configuration.
        own: the keys of the check.
        as_json: print JSON, no table.
    """

    configuration: str
    settings: dict[str, Any]
    own: CheckArguments
    as_json: bool

    @property
    def kind(self) -> str:
        """Which command the configuration is for: `synth`, `score` or `train`."""
        if "pipeline" in self.settings:
            return "synth"
        return "score" if {"metric", "predictions"} & set(self.settings) else "train"


def read_request(argv: Sequence[str]) -> Request:
    """Read the words after `check`.

    Raises:
        ConfigError: the file or a word cannot be read, or a key of the check is wrong.
    """
    words = [word for word in argv if word != JSON]
    given = read_settings(words, usage=USAGE, resolve=False, plain={"answer_pattern"})
    types = get_type_hints(CheckArguments)
    problems = list(_wrong(given, types))
    if problems:
        raise ConfigError(problems)
    own = CheckArguments(**{key: given.pop(key) for key in types if key in given})
    return Request(name_of(argv), given, own, JSON in argv)


def name_of(argv: Sequence[str]) -> str:
    """Return the name of the configuration for the report: that of its file."""
    return argv[0] if argv and is_file_name(argv[0]) else "the words given"


def _wrong(given: Mapping[str, Any], types: Mapping[str, Any]) -> list[Problem]:
    wrong = [
        Problem(key, given[key], " or ".join(describe(types[key])), "Correct the value.")
        for key in types
        if key in given and not fits(given[key], types[key])
    ]
    if wrong:
        return wrong
    rows, memory, processes = given.get("check_rows"), given.get("check_memory"), given.get("check_processes", 1)
    if rows is not None and rows < 1:
        wrong.append(Problem("check_rows", rows, "1 or more", "null looks at all rows."))
    if memory is not None and not memory > 0:
        wrong.append(Problem("check_memory", memory, "above 0", "A GPU of 80 GB has about 79 GiB for a program."))
    if processes < 1:
        wrong.append(Problem("check_processes", processes, "1 or more", "Count those of all nodes."))
    return wrong


def help_text() -> str:
    """Return the help of `check`."""
    status = "Exit status: 0 nothing wrong, 1 warnings alone, 2 errors."
    return "\n".join(
        [f"usage: {USAGE}", "", "Keys beside those of the configuration:", *help_lines(CheckArguments), "", status]
    )
