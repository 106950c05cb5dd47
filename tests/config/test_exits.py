"""The end of a command: message, status, width, and one message for all processes of a run."""

import sys
from pathlib import Path

import pytest

from llamafactory_hind.config import exits
from llamafactory_hind.config.exits import Refused, speaks, stop, wrapped


def test_the_message_alone_and_status_2(capsys, monkeypatch) -> None:
    monkeypatch.delenv(exits.DEBUG, raising=False)
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    with pytest.raises(Refused) as stopped:
        stop("llamafactory-cli synth", ValueError("wrong"))
    assert stopped.value.code == 2
    assert str(stopped.value) == "llamafactory-cli synth: wrong"
    assert capsys.readouterr().err == "llamafactory-cli synth: wrong\n"


def test_the_error_itself_when_it_is_asked_for(capsys, monkeypatch) -> None:
    monkeypatch.setenv(exits.DEBUG, "1")
    with pytest.raises(ValueError, match="wrong"):
        stop("x", ValueError("wrong"))
    assert capsys.readouterr().err == ""


def test_lines_are_wrapped_below_their_point(monkeypatch) -> None:
    """30 columns: `  - ` and 26 letters a line; the next lines stand below the text of the point."""
    monkeypatch.setenv("COLUMNS", "30")
    text = "title\n  - key: got 1, expected a number above 0. Change it."
    lines = wrapped(text).split("\n")
    assert lines == ["title", "  - key: got 1, expected a", "    number above 0. Change it."]
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert wrapped(text) == text


def test_one_of_several_processes_speaks(tmp_path: Path) -> None:
    ours = {exits.ONCE: str(tmp_path / "said")}
    assert [speaks(ours, "a"), speaks(ours, "b")] == [False, False], "the launcher prints it"
    assert (tmp_path / "said").read_text() == "a"
    ranks = [tmp_path / "attempt_0" / str(rank) / "error.json" for rank in range(2)]
    for file in ranks:
        file.parent.mkdir(parents=True)
    assert [speaks({"TORCHELASTIC_ERROR_FILE": str(file)}, "b") for file in ranks] == [True, False]
    assert speaks({exits.ONCE: str(tmp_path / "no" / "folder")}, "c"), "a message is never lost"
