"""Every pipeline runs against a server: three rows in, rows out, nothing called again on a second start."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.pipelines import pipeline_names
from llamafactory_hind.pipelines.runner.run import run_synth
from shared.openai_server import Behaviour, OpenAIServer, answer, digest_of
from shared.synth import read_lines, write_dataset


ROWS = [
    {
        "id": "a",
        "images": ["a.png"],
        "question": "What swims here?",
        "answer": "fish",
        "answers": ["fish", "fish", "cod"],
    },
    {"id": "b", "question": "Which is red?", "answer": "apple", "choices": ["apple", "leaf"]},
    {"id": "c", "question": "What barks?", "answer": "dog", "topic": "animals"},
]
HINDSIGHT = "Reasoning:\n1. It lives in water.\n2. So it is a {answer}.\n\nKnowledge:\n1. Such things are often seen.\n\nAnswer: {answer}"


def write_hindsight(body: dict[str, Any], number: int) -> str:
    """Answer in the form that our prompt asks for."""
    asked = json.dumps(body["messages"])
    return HINDSIGHT.format(answer=next(row["answer"] for row in ROWS if row["question"] in asked))


def write_hint(body: dict[str, Any], number: int) -> str:
    """Answer in the form that our prompt asks for."""
    return f"<hint>Look at the {digest_of(json.dumps(body['messages'])).hex()[:4]}th part of it.</hint>"


def write_reasoning(body: dict[str, Any], number: int) -> str:
    """Answer in the form that our prompt asks for."""
    return f"There are {digest_of(json.dumps(body['messages'])).hex()[:4]} of them. One is red.\nAnswer: A"


def write_triple(body: dict[str, Any], number: int) -> str:
    """Answer in the form that our prompts ask for, whatever the language."""
    return "Question: What is it?\nAnswer: a thing\nRationale: it looks like one"


# A pipeline's keys beside those of every run, and the server's answers; a new pipeline enters itself here.
RUNS: dict[str, dict[str, Any]] = {
    "answer": {"keys": {}, "answer": answer, "file": "o.jsonl", "rows": 3},
    "external": {"keys": {}, "answer": answer, "file": "o.jsonl", "rows": 3, "formatting": "rollout"},
    "hindsight": {"keys": {}, "answer": write_hindsight, "file": "o.jsonl", "rows": 3},
    "hints": {"keys": {}, "answer": write_hint, "file": "o.jsonl", "rows": 3, "formatting": "rollout"},
    "localized": {
        "keys": {"num_triples": 1},
        "answer": write_triple,
        "file": "o.jsonl",
        "rows": 3,
        "formatting": "region",
        "each": "/0",
    },
    "knowledge": {"keys": {"helpful_by": "outcome"}, "answer": answer, "file": "o.samples.jsonl", "rows": 3},
    "video_reasoning": {
        "keys": {"refine_by_model": "true"},
        "answer": write_reasoning,
        "file": "o.jsonl",
        "rows": 3,
        "formatting": "video_reasoning",
    },
}


LOCAL = {"rank"}  # those that no server can do have a test with a local model: `test_<name>.py`


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", sorted(RUNS))
def test_runs_with_a_server(tmp_path: Path, name: str, language: str) -> None:
    run = RUNS[name]
    write_dataset(tmp_path, ROWS)
    if "formatting" in run:
        columns = {"columns": {"prompt": "question"}} if run["formatting"] == "rollout" else {}
        info = {"d": {"file_name": "d.json", "formatting": run["formatting"], **columns}}
        (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    Image.new("RGB", (32, 32), "blue").save(tmp_path / "a.png")
    given = {
        "pipeline": name,
        "engine": "openai",
        "language": language,
        "model": "test",
        "dataset_dir": tmp_path,
        "dataset": "d",
        "output": tmp_path / "out" / "o.jsonl",
        **run["keys"],
    }
    with OpenAIServer(Behaviour(answer=run["answer"])) as server:
        argv = [f"{key}={value}" for key, value in (given | {"base_url": server.url}).items()]
        run_synth(argv)
        calls = server.calls
        assert calls >= 3
        assert any("image_url" in json.dumps(body["messages"]) for body in server.bodies)
        before = (tmp_path / "out" / run["file"]).read_bytes()
        run_synth(argv)
        assert server.calls == calls
    rows = read_lines(tmp_path / "out" / run["file"])
    assert (tmp_path / "out" / run["file"]).read_bytes() == before
    assert [row["id"] for row in rows] == [name + run.get("each", "") for name in ["a", "b", "c"][: run["rows"]]]
    for row in rows:
        assert row["provenance"]["source_id"] + run.get("each", "") == row["id"]
        assert row["provenance"]["pipeline"] == name
        assert row["provenance"]["engine"] == "openai"
        assert row["provenance"]["model"] == "test"
        assert len(row["provenance"]["prompt_version"]) == 12
        assert row["provenance"]["parameters"]["seed"] == 42
    assert not (tmp_path / "out" / "o.failures.jsonl").exists()


def test_every_pipeline_is_tried() -> None:
    assert set(RUNS) | LOCAL == set(pipeline_names())
