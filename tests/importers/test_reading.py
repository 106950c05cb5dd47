"""`importers.reading`: entries come from disk one after the other, and damaged ones are named or left out."""

import argparse
import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.importers.__main__ import main
from llamafactory_hind.importers.reading.entries import Entry, ImportRefused, Reader, read_json
from llamafactory_hind.importers.reading.faults import bad_places, collecting
from llamafactory_hind.importers.star import read_entries


def question(number: int, **changes: Any) -> dict[str, Any]:
    """An entry of STAR."""
    choices = [{"choice_id": index, "choice": text} for index, text in enumerate(("The bag.", "The cup."))]
    return {
        **{"question_id": f"Interaction_T1_{number}", "question": "Which object?", "video_id": "ABCDE"},
        **{"start": 1.0, "end": 9.5, "answer": "The cup.", "choices": choices, **changes},
    }


# Each is a way in which an entry of a release was damaged; the text of the third of five entries.
DAMAGES = {
    "repeated_key": (
        '{"question_id": "a", "question_id": "b"}',
        "field `question_id`: got the key 'question_id' more than",
    ),
    "syntax": ('{"question_id": "a" "question": "b"}', "expected JSON; correct the syntax"),
    "no_object": ("17", "got 17, expected an object with the fields of a row"),
    "half_character": ('{"question_id": "\\ud83d"}', "expected whole characters"),
}


class Release:
    """Files of STAR, and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.out = folder, folder / "s.json", folder / "out.json"
        (folder / "videos").mkdir()
        (folder / "videos" / "ABCDE.mp4").write_bytes(b"video")

    def write(self, texts: list[str]) -> None:
        self.file.write_text("\ufeff[\n" + ",\n".join(texts) + "\n]\n", encoding="utf-8")

    def run(self, *words: str) -> list[str]:
        """Import, and return the ids."""
        main(
            ["star", "--file", str(self.file), "--videos", str(self.folder / "videos"), "--out", str(self.out), *words]
        )
        return [row["id"] for row in json.loads(self.out.read_text())]


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def five(third: str | dict[str, Any]) -> list[str]:
    texts = [json.dumps(question(number)) for number in range(5)]
    texts[2] = third if isinstance(third, str) else json.dumps(third)
    return texts


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_entry_is_named_together_with_other_problems(release: Release, name: str) -> None:
    text, said = DAMAGES[name]
    texts = five(text)
    texts[4] = json.dumps(question(4, answer="The fork."))
    release.write(texts)
    with pytest.raises(SystemExit) as stopped:
        release.run()
    message = str(stopped.value)
    assert f"{release.file}, entry 2 (row 3, line 4)" in message
    assert said in message
    assert "entry 4, field `answer`: got 'The fork.'" in message, "entries behind a damaged one keep their numbers"
    assert not release.out.exists()


@pytest.mark.parametrize(
    "third", [*(text for text, _ in DAMAGES.values()), question(2, answer="x"), question(2, question="<image>?")]
)
def test_bad_entries_are_left_out_by_order_and_named(
    release: Release, third: str | dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    release.write(five(third))
    assert release.run("--bad-rows", "skip") == [f"star-Interaction_T1_{number}" for number in (0, 1, 3, 4)]
    assert "entry 2" in " ".join(capsys.readouterr().err.split())


def test_nothing_is_written_where_every_question_is_bad(release: Release) -> None:
    release.write(["1", "2"])
    with pytest.raises(SystemExit, match="questions are bad"):
        release.run("--bad-rows", "skip")
    assert not release.out.exists()


def test_a_damaged_file_cannot_be_skipped(release: Release) -> None:
    release.file.write_text(json.dumps([question(0)])[:-1])
    with pytest.raises(SystemExit, match="the end of the file within the list"):
        release.run("--bad-rows", "skip")


@pytest.mark.parametrize("name", ["s.jsonl", "s.json.gz", "s.jsonl.gz"])
def test_the_other_ways_to_write_rows(release: Release, name: str) -> None:
    rows = [question(0), question(1)]
    lines = "\n".join(map(json.dumps, rows)) if "jsonl" in name else json.dumps(rows, indent=1)
    release.file = release.folder / name
    opened: Callable[..., Any] = gzip.open if name.endswith(".gz") else open
    with opened(release.file, "wt", encoding="utf-8") as file:
        file.write(lines)
    assert len(release.run()) == 2


def test_a_row_that_an_importer_passes_over_is_refused(release: Release) -> None:
    """An importer that takes objects alone and no field of the others would lose a damaged row without a word."""
    release.write(five('{"a": 1, "a": 2}'))
    with pytest.raises(ImportRefused, match=r"row 3 \(line 4\), field `a`"), collecting(skip=True):
        assert len([record for record in read_json(release.file, list) if isinstance(record, dict)]) == 4


def test_a_problem_of_no_single_question_is_refused() -> None:
    places = {"f, entry 1", "f, entry 12"}
    problems = ["f, entry 12, field `x`: got 1", "f, entry 1 (row 2, line 9): got 1", "f, entry 12: got 3"]
    assert bad_places(problems[:1], places) == {"f, entry 12"}
    assert bad_places(problems, places) == places
    with pytest.raises(ImportRefused, match="1 problem of no single question"):
        bad_places([*problems, "f, entry 123, field `x`: got 1"], places)


def test_entries_are_read_in_a_stream_and_kept_small(tmp_path: Path) -> None:
    """20,000 entries of 230 bytes: 4.6 MB of text, 17 MB as rows of Python objects.

    Going over them needs a block of the file and its arrays, 7 MB for a file of any size. Entries that are kept, with their
    places and the names of their media, need less than the rows alone as objects.
    """
    file = tmp_path / "s.json"
    file.write_text(json.dumps([question(number) for number in range(20_000)]))
    tracemalloc.start()
    assert sum(1 for _ in read_json(file, list)) == 20_000
    assert tracemalloc.get_traced_memory()[1] < 10e6
    entries = read_entries(argparse.Namespace(file=file))
    held = tracemalloc.get_traced_memory()[0]
    rows = [entry.row for entry in entries]
    as_objects = tracemalloc.get_traced_memory()[0] - held
    tracemalloc.stop()
    assert len(rows) == 20_000
    assert held < as_objects


def test_a_row_is_what_was_given_and_cannot_be_changed_by_accident() -> None:
    row = {"id": "a", "values": [1, 2**70, 0.5, None, True, "\ud83d"], "of": {"b": {}}}
    entry = Entry("f, entry 0", row, ("a.jpg",))
    assert entry.row == row
    entry.row["id"] = "b"
    assert entry.row["id"] == "a"


def test_a_reader_alone_still_raises(tmp_path: Path) -> None:
    """Without the command, as in a test of an importer, everything is an error."""
    (tmp_path / "s.json").write_text('[{"a": 1, "a": 2}]')
    reader = Reader()
    for number, record in enumerate(read_json(tmp_path / "s.json", list)):
        reader.take(record, "a", int, f"s.json, entry {number}")
        reader.take(record, "b", int, f"s.json, entry {number}")
    with pytest.raises(ImportRefused, match="1 problem in the released files"):
        reader.finish()
