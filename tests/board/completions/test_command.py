"""`llamafactory-cli browse`, its words; and the fields of the page."""

import socket
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.board.completions.command import HOST, check_folder, free_port, parser, prepare
from llamafactory_hind.board.completions.places import board_roots, is_loopback, who_reaches
from llamafactory_hind.board.completions.query import Query
from llamafactory_hind.config.problem import ConfigError


def test_this_machine_alone_reaches_the_page() -> None:
    given = parser().parse_args(["DIR"])
    assert given.host == HOST
    assert is_loopback(given.host)
    assert "this machine alone" in who_reaches(given.host, 7861)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_who_else_reaches_it_is_told(host: str) -> None:
    assert not is_loopback(host)
    assert "without a password" in who_reaches(host, 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "[::1]", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "DIR: got 'nowhere', expected a folder that is there"),
        (["--port", "7"], "the following arguments are required: DIR"),
        (["{here}", "--prot", "7"], "unrecognized arguments"),
        (["{here}", "--port", "x"], "invalid int value"),
        (["{here}", "--port", "700000"], "a free port"),
        (["{here}", "--media-dir", "gone"], "--media-dir: got 'gone'"),
        (["{here}", "--host", "192.0.2.1"], "an address of this machine"),
    ],
)
def test_wrong_words_are_told(tmp_path: Path, words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        prepare([word.format(here=tmp_path) for word in words])
    assert told in str(error.value)


def test_a_taken_port_is_told() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match="`--port`; 0 takes one that is free"):
            free_port("127.0.0.1", other.getsockname()[1])


def test_help() -> None:
    told = prepare(["--help"])
    assert told is not None
    assert "--media-dir" in told
    assert prepare([]) == told


def test_the_folder_of_completions_is_that_of_its_run(tmp_path: Path) -> None:
    (tmp_path / "completions").mkdir()
    (tmp_path / "o.jsonl").touch()
    for name in (".", "completions", "o.jsonl"):
        assert check_folder("DIR", tmp_path / name) == tmp_path.resolve()


def test_roots_of_the_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert board_roots({}) == [tmp_path]
    assert board_roots({"LLAMAFACTORY_HIND_ROOTS": "/a:/b"}) == [Path("/a"), Path("/b")]


FIRST = {"run": "r", "view": "groups", "order": "newest", "reward": "total", "page": "1", "boxes": True}


@pytest.mark.parametrize(
    ("given", "query"),
    [
        ({}, Query()),
        ({"step": " 12 ", "split": "eval"}, Query(step=12, split="eval")),
        (
            {"reward": "accuracy", "lowest": "0.5", "highest": "-inf"},
            Query(reward="accuracy", lowest=0.5, highest=float("-inf")),
        ),
        ({"row": " r1 ", "text": " as it stands "}, Query(row="r1", text=" as it stands ")),
        ({"source": None, "gate": "", "order": "unknown"}, Query()),
    ],
)
def test_fields_make_a_query(given: dict[str, Any], query: Query) -> None:
    from llamafactory_hind.board.completions.choosing import view_of

    view, wrong = view_of({**FIRST, **given})
    assert view.query == query
    assert wrong == ""


@pytest.mark.parametrize("name", ["step", "lowest", "highest", "page"])
def test_a_field_that_is_no_number_is_told(name: str) -> None:
    from llamafactory_hind.board.completions.choosing import view_of

    view, wrong = view_of({**FIRST, name: "<b>x"})
    assert "got '<b>x', expected a number" in wrong
    assert view.page == 1
