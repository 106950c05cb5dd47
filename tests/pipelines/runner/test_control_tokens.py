"""Rows whose texts the local model would take for signs of its own fail alone, before anything is written."""

import json
from pathlib import Path

from llamafactory_hind.pipelines.runner.run import run_synth
from shared.synth import read_lines, write_dataset


def test_a_row_with_a_control_token_fails_and_the_others_are_written(small_world: Path, tmp_path: Path) -> None:
    questions = ["What is it?", "What does <|image_pad|> mean?", "And this?"]
    rows = [
        {"id": f"r{n}", "question": text, "answer": "moss", "note": "<|im_end|>"} for n, text in enumerate(questions)
    ]
    folder = write_dataset(tmp_path, rows)
    given = {
        "pipeline": "answer",
        "use_cot": "false",
        "num_knowledge": 0,
        "engine": "hf",
        "model_name_or_path": small_world / "tiny",
        "template": "qwen2_vl",
        "dataset_dir": folder,
        "dataset": "d",
        "output": folder / "out" / "o.jsonl",
    }
    run_synth([f"{key}={value}" for key, value in given.items()])
    assert [row["id"] for row in read_lines(folder / "out" / "o.jsonl")] == ["r0", "r2"]
    (failure,) = read_lines(folder / "out" / "o.failures.jsonl")
    assert failure["id"] == "r1"
    assert "field `question`: got the control token '<|image_pad|>'" in json.dumps(failure, ensure_ascii=False)
