"""Keys of our own commands: `X.yaml key=value ...` to a mapping, and the help that lists them.

Serves `synth`, `score` and `check`. omegaconf reads both, as the host does; nothing else here needs more than the standard library.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from .problem import ConfigError
from .reading import is_file_name, merge, read_config, read_words


def read_settings(
    argv: Sequence[str], *, usage: str, plain: Collection[str] = (), resolve: bool = True
) -> dict[str, Any]:
    """Return key -> value of `X.yaml key=value ...`; words come before the file.

    Args:
        argv: the words after the command.
        usage: of the command, for errors.
        plain: keys whose value is text to its last character, such as a pattern, and never YAML.
        resolve: replace `${...}` by what they name.

    Raises:
        ConfigError: the file is missing or unreadable, or a word is not `key=value`; everything at once.
    """
    words, problems = list(argv), []
    file = given = OmegaConf.create()
    if words and is_file_name(words[0]):
        try:
            file = read_config(Path(words.pop(0)), remedy=usage)
        except ConfigError as error:
            problems += error.problems
    # A pattern is text to the last character; as YAML its braces, colons and brackets would mean something else.
    texts = {
        key: value for key, _, value in (word.partition("=") for word in words) if key in plain and value != "null"
    }
    try:
        given = read_words([word for word in words if word.partition("=")[0] not in texts], remedy=usage)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return merge(file, given, resolve=resolve, remedy=usage) | texts


def join_lists(settings: Mapping[str, Any], keys: Collection[str] | None = None) -> dict[str, Any]:
    """Return the settings with lists as texts separated by commas: of some keys, or of all."""
    return {
        key: ",".join(map(str, value)) if isinstance(value, list) and (keys is None or key in keys) else value
        for key, value in settings.items()
    }


def split_names(value: str | None) -> tuple[str, ...]:
    """Return names or paths separated by commas as a tuple."""
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def help_lines(arguments: type, *, leave_out: Collection[str] = ()) -> list[str]:
    """Return one line for each key of a dataclass: name, help, default, and the engine it belongs to."""
    return [_help_line(entry) for entry in fields(arguments) if entry.init and entry.name not in leave_out]


def _help_line(entry: Any) -> str:
    shown = [] if entry.default == "" else [f"default: {'null' if entry.default is None else entry.default}"]
    shown += [f"engine: {entry.metadata['engine']}"] if "engine" in entry.metadata else []
    return f"  {entry.name}: {entry.metadata['help']}" + (f" ({'; '.join(shown)})" if shown else "")
