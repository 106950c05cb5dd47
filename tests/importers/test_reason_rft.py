"""`importers.reason_rft`: the released form, what is refused, and rows that the `rollout` format loads and rewards score."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.importers.__main__ import main
from llamafactory_hind.importers.reading.entries import Entry, ImportRefused
from llamafactory_hind.importers.reading.media import place_images
from llamafactory_hind.importers.reason_rft import FORMATTING, GENERAL, TRANSFORMATION, add_arguments, read_entries
from llamafactory_hind.rewards import gather_columns, load_rewards
from shared.formats import FormatSetup, picture, write_rows


COUNTING = [
    {"id": 7, "image": "clevr/a.png", "problem": "How many {red} things?", "solution": "3"},
    {"id": "8", "image": ["clevr/b.png"], "problem": "<image>\nHow many balls?", "solution": 2, "level": "hard"},
]
TRANCE = [
    {
        "id": "t1",
        "image": [{"path": "clevr/a.png"}, "clevr/b.png"],
        "problem": "('0', 'cube', 'small', 'red', 'glass')",
        "cot": "<think>It grew.</think>",
        "answer": "change_size(0, large)",
    }
]


class Release:
    """A released file beside its pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "images" / "clevr").mkdir(parents=True)
        for name in ("a.png", "b.png"):
            picture(folder / "images" / "clevr" / name)

    def read(self, records: Any, *words: str) -> list[Entry]:
        """Write the file and read it with these options."""
        (self.folder / "r.json").write_text(json.dumps(records), encoding="utf-8")
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        parser.add_argument("--images", type=Path)
        files = ["--file", str(self.folder / "r.json"), "--images", str(self.folder / "images")]
        return read_entries(parser.parse_args([*files, *words]))

    def refusal(self, records: Any, *words: str) -> str:
        with pytest.raises(ImportRefused) as refused:
            self.read(records, *words)
        return str(refused.value)

    def rows(self, records: Any, *words: str) -> list[dict[str, Any]]:
        placed, skipped = place_images(self.read(records, *words), self.folder / "images", skip_missing=False)
        assert not skipped
        return [one.row for one in placed]


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def test_rows(release: Release) -> None:
    """Numbers become text, other columns stay, braces of a problem stay, its own placeholder goes (the format puts it)."""
    first, second = release.rows(COUNTING)
    assert first == {
        "id": "reason-rft-7",
        "images": ["clevr/a.png"],
        "prompt": GENERAL.replace("{problem}", "How many {red} things?"),
        "answer": "3",
        "problem": "How many {red} things?",
    }
    assert (second["answer"], second["level"], second["problem"]) == ("2", "hard", "How many balls?")
    assert second["prompt"].startswith("How many balls? Output the thinking process in <think>")


def test_the_files_with_thoughts_have_answer_for_solution(release: Release) -> None:
    (row,) = release.rows(TRANCE, "--task", "transformation")
    assert row["images"] == ["clevr/a.png", "clevr/b.png"]
    assert (row["answer"], row["cot"]) == ("change_size(0, large)", "<think>It grew.</think>")
    assert row["prompt"] == TRANSFORMATION.replace("{problem}", TRANCE[0]["problem"])


def test_a_template_of_ones_own(release: Release) -> None:
    (release.folder / "mine.txt").write_text("Count! {problem}\n")
    assert (
        release.rows(COUNTING, "--template", str(release.folder / "mine.txt"))[1]["prompt"] == "Count! How many balls?"
    )
    (release.folder / "mine.txt").write_text("Count!")
    assert "--template has no {problem}" in release.refusal(COUNTING, "--template", str(release.folder / "mine.txt"))
    assert "cannot be read" in release.refusal(COUNTING, "--template", str(release.folder / "gone.txt"))


def test_rows_load_and_their_answers_are_right(release: Release) -> None:
    """Through the host's loading and all checks of the format; one file of each task."""
    setup = FormatSetup(release.folder, media_dir=str(release.folder / "images"))
    rows = {"counting": release.rows(COUNTING), "trance": release.rows(TRANCE, "--task", "transformation")}
    for name, reward in (("counting", "accuracy"), ("trance", "trance")):
        write_rows(release.folder / f"{name}.json", rows[name])
        aligned = setup.align(None, file_name=f"{name}.json", formatting=FORMATTING)
        assert [row["_prompt"][0]["content"].count("<image>") for row in aligned] == [
            len(row["images"]) for row in rows[name]
        ]
        columns = gather_columns([json.loads(text) for text in aligned["_columns"]])
        completions = [f"<think>x</think><answer>{row['answer']}</answer>" for row in rows[name]]
        rewards = load_rewards([reward, "format"], None, timeout=60)
        assert rewards.score(completions, columns).total == [2.0] * len(completions)


def test_every_picture_of_a_row_must_be_there(release: Release) -> None:
    (release.folder / "images" / "clevr" / "b.png").unlink()
    with pytest.raises(ImportRefused, match=r"clevr/b\.png"):
        release.rows(TRANCE)
    placed, skipped = place_images(release.read(COUNTING), release.folder / "images", skip_missing=True)
    assert (len(placed), skipped) == (1, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"problem": ""}, "entry 1, field `problem`: got '', expected non-empty text"),
        ({"solution": None}, "entry 1, field `solution`: got nothing, expected non-empty text"),
        ({"solution": ["3"]}, "entry 1, field `solution`: got ['3']"),
        ({"id": None}, "entry 1, field `id`: got nothing"),
        ({"id": "7"}, "entry 1, field `id`: got 'reason-rft-7', which"),
        ({"image": None}, "entry 1, field `image`: got nothing, expected the name of a picture"),
        ({"image": []}, "entry 1, field `image`: got []"),
        ({"image": [3]}, "entry 1, field `image`: got [3]"),
    ],
)
def test_what_is_refused(release: Release, change: dict, said: str) -> None:
    assert said in release.refusal([COUNTING[0], COUNTING[1] | change])


def test_a_file_of_another_form_is_refused(release: Release) -> None:
    assert "expected a list at the top level" in release.refusal({"rows": []})
    assert "entry 0 (row 1, line 1): got 'row', expected an object" in release.refusal(["row"])


def test_the_command_writes_and_registers_rollout_rows(release: Release) -> None:
    rows = release.rows(COUNTING)
    files = ["--file", str(release.folder / "r.json"), "--images", str(release.folder / "images")]
    out = release.folder / "rows.jsonl"
    main(["reason_rft", *files, "--out", str(out), "--dataset-dir", str(release.folder), "--name", "counting"])
    assert [json.loads(line) for line in out.read_text().splitlines()] == rows
    info = json.loads((release.folder / "dataset_info.json").read_text())
    assert info == {"counting": {"file_name": "rows.jsonl", "formatting": "rollout"}}


def test_the_command_refuses_what_the_format_refuses(release: Release) -> None:
    release.read([COUNTING[0], COUNTING[1] | {"problem": "What is in <video>?"}])
    files = ["--file", str(release.folder / "r.json"), "--images", str(release.folder / "images")]
    with pytest.raises(SystemExit, match="entry 1, field `prompt`: got 1 <video> in the text"):
        main(["reason_rft", *files, "--out", str(release.folder / "rows.json")])
    assert not (release.folder / "rows.json").exists()
