"""Files and words as users write them: a mapping, or a problem with file and line; never an error of a parser."""

import math
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.config.command import read_settings
from llamafactory_hind.config.problem import ConfigError


def read(folder: Path, content: str | bytes, *words: str, suffix: str = ".yaml") -> dict[str, Any]:
    file = folder / f"c{suffix}"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_settings([str(file), *words], usage="Do so.")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ("\ufeffa: 1\n", {"a": 1}),
        ("a: 1e-4\nb: .nan\n", {"a": 1e-4, "b": math.nan}),
        ("a: &x [1]\nb: *x\n", {"a": [1], "b": [1]}),
        ("a: 1\r\nb: '${a}'\r\n", {"a": 1, "b": 1}),
    ],
)
def test_what_is_read(tmp_path: Path, content: str, expected: dict[str, Any]) -> None:
    assert repr(read(tmp_path, content)) == repr(expected)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: \xff\n", "byte 0xff in line 1, expected text in UTF-8"),
        ("x: 1\n1: 2\n", "1 in line 2, expected a key that is text"),
        ("on: 2\n", "on in line 1, expected a key that is text"),
        ("[a, b]: 2\n", "a sequence in line 1, expected a key that is text"),
        ("a: 1\nb: 2\na: 3\n", "`a` again in line 3, expected each key once"),
        ("- a\n", "a sequence in line 1, expected a mapping"),
        ("text\n", "a scalar in line 1, expected a mapping"),
        ("a: &a [*a]\n", "an alias that contains itself"),
        ("a:\n\tb: 1\n", "line 2"),
        ("a: [\n", "expected the node content"),
        ("a: " + "[" * 3000, "deeper than 50"),
        ("a: !!python/object:os.x {}\n", "could not determine a constructor"),
        ("a: " + "9" * 5000, "limit"),
        ("a: ${b}\n", "Interpolation"),
        ("a: 1\n---\nb: 1\n", "expected a single document"),
    ],
)
def test_what_is_refused_and_where(tmp_path: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, content)
    assert says in str(error.value)
    assert "1 problem in" in str(error.value)


def test_aliases_of_aliases_are_counted_before_they_are_written_out(tmp_path: Path) -> None:
    """Nine levels of nine: l8 alone stands for 9**9 = 387,420,489 texts."""
    levels = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match=r"values, aliases written out, expected at most 100000"):
        read(tmp_path, "\n".join(levels))


@pytest.mark.parametrize(
    ("content", "says"), [('{"a": 1, "a": 2}', "`a` twice"), ("[1]", "a list"), ("{", "Expecting"), ("", "Expecting")]
)
def test_json_is_refused(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(tmp_path, content, suffix=".json")


def test_a_byte_order_mark_is_no_part_of_json(tmp_path: Path) -> None:
    assert read(tmp_path, '\ufeff{"a": 1}', suffix=".json") == {"a": 1}


def test_file_and_all_words_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, "- a\n", "=1", "a=[", "--x", "b=2")
    assert [problem.key for problem in error.value.problems] == [str(tmp_path / "c.yaml"), "=1", "--x", "a"] or [
        problem.key for problem in error.value.problems
    ] == [str(tmp_path / "c.yaml"), "=1", "a", "--x"]


def test_words_that_do_not_fit_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="configuration: got"):
        read(tmp_path, "a: ${b}\n", "c=1")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: got \[Errno 2\].*Do so\."):
        read_settings(["absent.yaml"], usage="Do so.")
