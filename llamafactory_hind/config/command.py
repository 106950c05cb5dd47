"""Keys of our own commands: `X.yaml key=value ...` to a mapping, and the help that lists them.

Serves `synth`, `score` and `check`. omegaconf reads both, as the host does; nothing else here needs more than the standard library.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .problem import ConfigError, Problem


def read_settings(argv: Sequence[str], *, usage: str, plain: Collection[str] = ()) -> dict[str, Any]:
    """Return key -> value of `X.yaml key=value ...`; words come before the file.

    Args:
        argv: the words after the command.
        usage: of the command, for errors.
        plain: keys whose value is text to its last character, such as a pattern, and never YAML.

    Raises:
        ConfigError: the file is missing or unreadable, or a word is not `key=value`.
    """
    words, problems = list(argv), []
    settings: Any = {}
    # `predictions=x.json` ends like a file, too.
    if words and words[0].endswith((".yaml", ".yml", ".json")) and not re.match(r"\w+=", words[0]):
        path = Path(words.pop(0))
        try:
            text = path.read_text(encoding="utf-8")
            settings = OmegaConf.create(json.loads(text) if path.suffix == ".json" else text)
        except (OSError, ValueError, OmegaConfBaseException) as error:
            problems.append(Problem(str(path), str(error), "a readable YAML or JSON file", usage))
    for word in [word for word in words if "=" not in word or word.startswith("-")]:
        problems.append(Problem(word, word, "key=value", usage))
    if problems:
        raise ConfigError(problems)
    # A pattern is text to the last character; as YAML its braces, colons and brackets would mean something else.
    texts = {
        key: value for key, _, value in (word.partition("=") for word in words) if key in plain and value != "null"
    }
    other = OmegaConf.from_cli([word for word in words if word.partition("=")[0] not in texts])
    merged: Any = OmegaConf.to_container(OmegaConf.merge(settings, other), resolve=True)
    if not isinstance(merged, dict):
        raise ConfigError([Problem(argv[0], merged, "a mapping of keys to values", usage)])
    return merged | texts


def join_lists(settings: dict[str, Any], keys: Collection[str] | None = None) -> dict[str, Any]:
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
