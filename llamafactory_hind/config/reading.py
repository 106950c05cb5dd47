"""A configuration as the user wrote it, a file and `key=value` words: a mapping with text for keys, or every reason why not.

Nothing that a user can write ends in an error of a parser: what a parser refuses is a `Problem` with file and line.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from .problem import ConfigError, Problem, Words


SUFFIXES = (".yaml", ".yml", ".json")
MOST_VALUES = (
    100_000  # [ours] of a file, aliases written out: a few lines of aliases to aliases can stand for billions
)
DEEPEST = 50  # [ours]


def is_file_name(word: str) -> bool:
    """Tell whether a word names a configuration file: `predictions=x.json` ends like one, too."""
    return word.endswith(SUFFIXES) and not re.match(r"\w+=", word)


def read_config(path: Path, *, remedy: str) -> DictConfig:
    """Return the content of a YAML or JSON file; an empty one is an empty mapping.

    Args:
        path: of the file; .json is JSON, anything else YAML.
        remedy: what to do, for errors.

    Raises:
        ConfigError: the file is missing, not UTF-8, not YAML or JSON, not a mapping, or has a key twice or one that is no text.
    """
    text = _read_text(path, remedy)
    lines = "a readable YAML or JSON file"
    try:
        problems = list(_json_problems(text) if path.suffix == ".json" else _yaml_problems(text))
        if not problems:
            content: Any = OmegaConf.create(json.loads(text) if path.suffix == ".json" else text)
            if not isinstance(content, DictConfig):
                raise TypeError(type(content).__name__)
    # The parsers end in errors of some twenty kinds, RecursionError and MemoryError among them.
    except Exception as error:
        problems = [(_one_line(error) or type(error).__name__, lines)]
    if problems:
        raise ConfigError([Problem(str(path), Words(got), expected, remedy) for got, expected in problems])
    assert isinstance(content, DictConfig)
    return content


def read_words(words: Sequence[str], *, remedy: str) -> DictConfig:
    """Return the keys of `key=value` words; values are YAML.

    Raises:
        ConfigError: a word is not `key=value`, or its value is no YAML.
    """
    merged: Any = OmegaConf.create()
    problems = []
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or not key or key.startswith("-"):
            problems.append(Problem(word, word, "key=value", remedy))
            continue
        try:
            merged = OmegaConf.merge(merged, OmegaConf.from_cli([word]))
        except Exception as error:  # as above
            problems.append(Problem(key, Words(_one_line(error)), "a value that YAML can read", f"It is {word!r}."))
    if problems:
        raise ConfigError(problems)
    assert isinstance(merged, DictConfig)
    return merged


def merge(file: DictConfig, words: DictConfig, *, resolve: bool, remedy: str) -> dict[str, Any]:
    """Return the keys of both, those of the words last.

    Args:
        file: of `read_config`.
        words: of `read_words`.
        resolve: replace `${...}` by what they name.
        remedy: what to do, for errors.

    Raises:
        ConfigError: they do not fit, as `a.b=1` beside `a: 1`, or a `${...}` names nothing.
    """
    try:
        merged: Any = OmegaConf.to_container(OmegaConf.merge(file, words), resolve=resolve)
    except Exception as error:  # as above
        expected = "keys and values that fit together"
        raise ConfigError([Problem("configuration", Words(_one_line(error)), expected, remedy)]) from None
    return dict(merged)


def _read_text(path: Path, remedy: str) -> str:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise ConfigError(
            [Problem(str(path), Words(_one_line(error)), "a readable YAML or JSON file", remedy)]
        ) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        got = Words(f"byte {data[error.start]:#04x} in line {line}")
        raise ConfigError([Problem(str(path), got, "text in UTF-8", "Save the file as UTF-8.")]) from None


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Composes nodes up to a depth: the time that brackets in brackets take grows with the square of their number."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, unless it is too deep."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.YAMLError(f"values in values, deeper than {DEEPEST}")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _yaml_problems(text: str) -> Iterator[tuple[str, str]]:
    """Find what YAML allows and a configuration does not: (got, expected)."""
    root = yaml.compose(text, Loader=_Loader)
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        yield f"a {root.id} in line {root.start_mark.line + 1}", "a mapping of keys to values"
        return
    seen: set[str] = set()
    for key, _ in root.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            shown = key.value if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
            yield f"{shown} in line {line}", "a key that is text (put it in quotes, or remove it)"
        elif key.value in seen:
            yield f"`{key.value}` again in line {line}", "each key once"
        else:
            seen.add(key.value)
    values = _count(root, {})
    if values is None:
        yield "an alias that contains itself", "values without end are none"
    elif values > MOST_VALUES:
        yield f"{values} values, aliases written out", f"at most {MOST_VALUES}"


def _count(node: yaml.Node, known: dict[int, int | None]) -> int | None:
    """Return how many values a node stands for, aliases written out; None where one contains itself."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = None  # until it is counted: whoever meets it before is inside it
    parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
    counts = [_count(part, known) for part in parts]
    known[id(node)] = None if None in counts else 1 + sum(count or 0 for count in counts)
    return known[id(node)]


def _json_problems(text: str) -> Iterator[tuple[str, str]]:
    twice: list[str] = []

    def pairs(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        twice.extend(key for key, count in Counter(key for key, _ in entries).items() if count > 1)
        return dict(entries)

    content = json.loads(text, object_pairs_hook=pairs)
    if not isinstance(content, dict):
        yield f"a {type(content).__name__}", "a mapping of keys to values"
    for key in twice:
        yield f"`{key}` twice", "each key once"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
