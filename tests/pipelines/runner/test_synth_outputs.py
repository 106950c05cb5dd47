"""`synth` writes over nothing that it reads and nothing of others: refused before any call, by the file and not by its name."""

import json
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.pipelines.runner.run import run_synth
from shared.openai_server import OpenAIServer
from shared.synth import read_lines, text_rows, words, write_dataset


def refused(folder: Path, **given: Any) -> str:
    """Run with a server that must not be asked; return why it was refused. Nothing in the folder changes."""
    before = contents(folder)
    with OpenAIServer() as server:
        with pytest.raises(SystemExit) as error:
            run_synth(words(folder, server.url, **given))
        assert server.calls == 0
    assert contents(folder) == before
    return str(error.value)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("way", ["itself", "dots", "symlink", "hard link", "linked folder"])
def test_the_output_is_never_the_file_of_its_own_dataset(tmp_path: Path, way: str) -> None:
    folder = write_dataset(tmp_path, text_rows(3))
    source, output = folder / "d.json", folder / "other.json"
    if way == "itself":
        output = source
    elif way == "dots":
        (folder / "sub").mkdir()
        output = folder / "sub" / ".." / "d.json"
    elif way == "symlink":
        output.symlink_to("d.json")
    elif way == "hard link":
        output.hardlink_to(source)
    else:
        (folder / "link").symlink_to(folder)
        output = folder / "link" / "d.json"
    assert "`dataset: d` is read from it" in refused(folder, output=output)


def test_neither_files_nor_entries_of_others_are_taken(tmp_path: Path) -> None:
    folder = write_dataset(write_dataset(tmp_path, text_rows(3)), text_rows(2), name="e")
    (folder / "mine.json").write_text("[]")
    assert "expected a new file, or one that `synth answer` wrote" in refused(folder, output=folder / "mine.json")
    assert "belongs to" in refused(folder, output=folder / "o.json", output_dataset="e")
    (folder / "o.report.json").write_text("{}")
    assert "o.report.json" in refused(folder, output=folder / "o.json")
    (folder / "dataset_info.json").rename(folder / "info.json")
    (folder / "dataset_info.json").symlink_to("info.json")
    assert "dataset_info.json is read from it" in refused(folder, output=folder / "info.json")
    (folder / "p.journal.jsonl").write_text('{"my": "notes"}\n')
    assert "a log of `synth`" in refused(folder, output=folder / "p.json")


def test_the_same_command_may_write_again_until_somebody_edits_the_output(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, text_rows(3))
    output = folder / "out" / "o.jsonl"
    with OpenAIServer() as server:
        for _ in range(2):
            run_synth(words(folder, server.url))
            assert [row["id"] for row in read_lines(output)] == ["r0", "r1", "r2"]
        run_synth(words(folder, server.url, output=folder / "again" / "o.jsonl"))  # the entry follows
    info = json.loads((folder / "dataset_info.json").read_text())
    assert info["o"]["file_name"] == "again/o.jsonl"
    output.write_text(output.read_text().replace("r1", "corrected by hand"))
    assert "was changed since" in refused(folder)


def test_what_an_earlier_version_wrote_may_be_written_again(tmp_path: Path) -> None:
    """It noted nothing; its journal says whose the output is."""
    folder = write_dataset(tmp_path, text_rows(3))
    with OpenAIServer() as server:
        run_synth(words(folder, server.url))
        (folder / "out" / ".llamafactory_hind.json").unlink()
        run_synth(words(folder, server.url))
    assert len(read_lines(folder / "out" / "o.jsonl")) == 3
