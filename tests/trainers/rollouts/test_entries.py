"""Records of completions: names of media, notes, boxes of row and model."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from llamafactory_hind.engines.interface import FinishReason
from llamafactory_hind.trainers.rollouts.entries import EntryMaker, relative_name
from llamafactory_hind.trainers.rollouts.records import Annotation, Rollout, Scores


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("/m/images/a.png", "images/a.png"),
        ("/m/v.mp4#t=1.0,7.5", "v.mp4#t=1.0,7.5"),
        ('/m/a.png#region={"crop":[0,0,1,1]}', 'a.png#region={"crop":[0,0,1,1]}'),
        ("/m/../m/a.png", "a.png"),
        ("/elsewhere/a.png", "/elsewhere/a.png"),
        ("/mm/a.png", "/mm/a.png"),
    ],
)
def test_names_are_relative_to_the_media_folder(name: str, told: str) -> None:
    assert relative_name(name, Path("/m")) == told


def test_a_name_relative_to_the_working_directory_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative_name("build/world/images/a.png", tmp_path / "build" / "world") == "images/a.png"


class Reader:
    def read(self, texts: Any, pictures: Any, columns: Any) -> list[list[Any]]:
        if "wrong" in columns:
            raise ValueError("a column of a row")
        return [
            [{"image": 0, "box": [0, 0, 1, 1], "label": None, "origin": "model"}] if "[" in text else []
            for text in texts
        ]


def records(columns: dict[str, Any], notes: Any = ()) -> list[dict[str, Any]]:
    feature = {
        "row_id": "r",
        "prompt_input_ids": [1],
        "images": ["/m/a.png"],
        "videos": [["/m/f/1.png", "/m/f/2.png"]],
        "columns": json.dumps(columns),
    }
    rollout = Rollout(feature, None, [[1], [2, 3]], ["[0]", "no"], [FinishReason.STOP] * 2, ["policy"] * 2)  # type: ignore[arg-type]
    scores = Scores(torch.tensor([[1.0, float("nan")]]), {}, {})
    maker = EntryMaker(SimpleNamespace(decode=lambda ids, **_: "q"), 3, Path("/m"), Reader())  # type: ignore[arg-type]
    return maker.of(Annotation([rollout], scores, torch.zeros(1, 2), notes=notes), first_group=5)


def test_a_record_says_what_a_reader_needs() -> None:
    one, other = records({"regions": [{"box": [1, 1, 2, 2]}]}, [{"hints": [{"hint": None, "fate": "failed: cut"}]}])
    assert (one["process"], one["group"], one["tokens"], other["tokens"]) == (3, 5, 1, 2)
    assert json.loads(one["media"]) == {"images": ["a.png"], "videos": [["f/1.png", "f/2.png"]], "audios": []}
    assert [box["origin"] for box in json.loads(one["boxes"])] == ["row", "model"]
    assert [box["origin"] for box in json.loads(other["boxes"])] == ["row"]
    assert json.loads(one["hints"]) == [{"hint": None, "fate": "failed: cut"}]
    assert other["reward"] is None


def test_a_box_that_cannot_be_read_ends_no_training() -> None:
    one, _ = records({"wrong": 1})
    assert one["boxes"] is None
    assert one["hints"] is None
