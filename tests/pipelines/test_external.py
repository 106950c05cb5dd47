"""`pipeline: external` against a real HTTP server whose model we wrote: entries, several models, selection, and training on them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer

from llamafactory_hind.pipelines.runner.run import run_synth
from shared.openai_server import Behaviour, OpenAIServer
from shared.synth import read_lines


RIGHT, WRONG, CUT = "<think>I count.</think><answer>2</answer>", "It is two.\nAnswer: 2", "<think>I count"
ROWS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "<image>How many things?", "images": ["images/0.png"], "answer": "2", "external": None},
    {"id": "b", "prompt": "How many red things?", "answer": "3", "external": [{"source": "old", "text": "3", "logprob": None}]},
    {
        "id": "c",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Count."},
            {"role": "assistant", "content": "What?"},
            {"role": "user", "content": "Discs. Write <answer> </answer>."},
        ],
        "answer": "2",
        "note": 7,
    },
]  # fmt: skip


@pytest.fixture
def folder(small_world: Path, tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    picture = sorted((small_world / "images").glob("*.png"))[0]
    (tmp_path / "images" / "0.png").write_bytes(picture.read_bytes())
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    info = {"rows": {"file_name": "rows.json", "formatting": "rollout"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    return tmp_path


def write(body: Mapping[str, Any], number: int) -> str:
    """One in the layout, one without it, one that was cut."""
    return [RIGHT, WRONG, CUT][number % 3]


def synth(folder: Path, server: OpenAIServer, output: str = "out.jsonl", **more: Any) -> list[dict[str, Any]]:
    given = {
        "pipeline": "external", "engine": "openai", "base_url": server.url, "model": "org/large", "dataset_dir": folder,
        "dataset": "rows", "output": folder / output, "num_samples": 3, **more,
    }  # fmt: skip
    run_synth([f"{key}={value}" for key, value in given.items()])
    return read_lines(folder / output)


def test_entries_are_appended_once_and_by_model(folder: Path) -> None:
    with OpenAIServer(Behaviour(answer=write)) as server:
        first = synth(folder, server)
        calls = server.calls
        assert synth(folder, server) == first
        assert server.calls == calls
        second = synth(folder, server, "both.jsonl", dataset="out", model="small", source="small one", num_samples=1)
        bodies = server.bodies
    assert [row["id"] for row in first] == ["a", "b", "c"]
    assert [[(entry["source"], entry["text"]) for entry in row["external"]] for row in first] == [
        [("large", RIGHT), ("large", WRONG)],
        [("old", "3"), ("large", RIGHT), ("large", WRONG)],
        [("large", RIGHT), ("large", WRONG)],
    ]
    assert all(entry["logprob"] < 0 for row in first for entry in row["external"] if entry["source"] == "large")
    assert [row["external"][-1]["source"] for row in second] == ["small one"] * 3
    assert [len(row["external"]) for row in second] == [3, 4, 3]
    assert second[2]["note"] == 7
    assert "question" not in second[0]
    report = json.loads((folder / "out.report.json").read_text())
    assert report["kept"] == 6
    assert report["dropped"] == {"cut at max_new_tokens": 3}
    assert report["without_layout"] == 3
    asked = {json.dumps(body["messages"]): body["messages"] for body in bodies}.values()
    image, plain, turns = sorted(asked, key=lambda messages: (len(messages), "image_url" not in json.dumps(messages)))
    assert "image_url" in json.dumps(image)
    assert "<image>" not in json.dumps(image)
    assert "<think> </think>" in json.dumps(plain)
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert "<think>" not in json.dumps(turns)  # the prompt asks for an answer in tags already


def test_rewards_select_what_sft_learns(folder: Path, small_world: Path) -> None:
    """Of rows a and c both texts are right, wrapped they differ; of row b only the entry that was there."""
    with OpenAIServer(Behaviour(answer=write)) as server:
        synth(folder, server, reward_funcs="accuracy")
    selected = json.loads((folder / "out.selected.json").read_text())
    wrapped = "<think>It is two.</think><answer>2</answer>"
    assert [(row["id"], row["action"], row["action_source"]) for row in selected] == [
        ("a#0", RIGHT, "large"),
        ("a#1", wrapped, "large"),
        ("b#0", "<think></think><answer>3</answer>", "old"),
        ("c#0", RIGHT, "large"),
        ("c#1", wrapped, "large"),
    ]
    report = json.loads((folder / "out.report.json").read_text())
    assert report["mean_reward"] == pytest.approx({"large": 4 / 6, "old": 1.0})
    arguments = get_train_args(
        {
            "stage": "sft", "do_train": True, "model_name_or_path": str(small_world / "tiny"), "template": "qwen2_vl",
            "dataset": "out_selected", "dataset_dir": str(folder), "media_dir": str(folder), "output_dir": str(folder / "x"),
            "use_cpu": True, "preprocessing_num_workers": 1, "mask_history": True,
        }
    )  # fmt: skip
    modules = load_tokenizer(arguments[0])
    template = get_template_and_fix_tokenizer(modules["tokenizer"], arguments[1])
    rows = get_dataset(template, *arguments[:3], stage="sft", **modules)["train_dataset"]
    learnt = [modules["tokenizer"].decode([token for token in row["labels"] if token >= 0]) for row in rows]
    assert [text.split("<|im_end|>")[0] for text in learnt] == [row["action"] for row in selected]


def test_selecting_alone_calls_nothing(folder: Path) -> None:
    with OpenAIServer(Behaviour(answer=write)) as server:
        rows = synth(folder, server, num_samples=0, reward_funcs="accuracy,format", min_reward=2.0)
        assert server.calls == 0
    assert [row.get("external") for row in rows] == [[], ROWS[1]["external"], []]
    assert [row["id"] for row in json.loads((folder / "out.selected.json").read_text())] == ["b#0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward_funcs": "acuracy"}, "Did you mean `accuracy`"),
        ({"num_samples": 0}, "There is nothing to do"),
        ({"source": "policy"}, "another name"),
        ({"temperature": 0}, "num_samples: got 3, expected at most 1 with temperature 0"),
        ({"min_rewards": 1}, "min_reward"),
    ],
)
def test_wrong_keys_stop_before_a_call(folder: Path, changes: dict[str, Any], message: str) -> None:
    with OpenAIServer(Behaviour(answer=write)) as server:
        with pytest.raises(SystemExit, match=message):
            synth(folder, server, **changes)
        assert server.calls == 0


def test_a_dataset_of_another_format_is_refused(folder: Path) -> None:
    info = {"rows": {"file_name": "rows.json", "formatting": "hindsight"}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with OpenAIServer(Behaviour(answer=write)) as server, pytest.raises(SystemExit, match="formatting: rollout"):
        synth(folder, server)
