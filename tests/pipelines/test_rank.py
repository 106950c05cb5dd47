"""`pipeline: rank` with a local model: equal to one plain forward pass a choice, read by `score`, bad rows named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from llamafactory_hind.config import ConfigError
from llamafactory_hind.engines.interface import Request
from llamafactory_hind.engines.local.encoding import collate, encode
from llamafactory_hind.engines.local.scoring import plain_token_logprobs
from llamafactory_hind.engines.local.weights import load_weights
from llamafactory_hind.evaluation.score import run_score
from llamafactory_hind.pipelines.runner.command import build_arguments
from llamafactory_hind.pipelines.runner.run import run_synth
from shared.synth import read_lines


CHOICES = ["a dax eats moss", "bells", "the red ring is at the left of <region:0>", "it lives in caves"]
FIFTY = [f"it lives in place {number}" for number in range(50)]


@pytest.fixture(scope="module")
def ranked(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows of four and of fifty choices, of VCR's form, and a bad one; ranked once."""
    folder = tmp_path_factory.mktemp("rank")
    Image.new("RGB", (56, 56), "teal").save(folder / "a.png")
    base = {"images": ["a.png"], "regions": [{"box": [2, 3, 30, 28], "label": "thing"}]}
    base["question"] = "What is told of <region:0>?"
    rows = [
        {**base, "id": "four", "choices": CHOICES, "answer": "bells"},
        {**base, "id": "fifty", "choices": FIFTY, "num_gold": 2},
        {**base, "id": "vcr", "choices": CHOICES, "answer_label": 2, "rationale_choices": CHOICES[::-1], "rationale_label": 1},
        {**base, "id": "bad", "choices": ["one"]},
    ]  # fmt: skip
    (folder / "d.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"d": {"file_name": "d.json", "formatting": "region"}}))
    run_synth(words(folder, small_world, output=folder / "o.jsonl"))
    return folder


def words(folder: Path, world: Path, **more: Any) -> list[str]:
    given = {
        "pipeline": "rank", "model_name_or_path": world / "tiny", "template": "qwen2_vl_region", "dataset_dir": folder,
        "dataset": "d", "region_style": "both", "batch_size": 2, **more,
    }  # fmt: skip
    return [f"{key}={value}" for key, value in given.items()]


def test_equals_one_plain_pass_a_choice(ranked: Path, small_world: Path) -> None:
    """Full logits of each choice alone, written by hand here; the prompt is that of a student in training."""
    rows = {row["id"]: row for row in read_lines(ranked / "o.jsonl")}
    loaded = load_weights(str(small_world / "tiny"), settings={"template": "qwen2_vl_region"})
    box = "<box:0:2,3,30,28:thing>"
    drawn = str(ranked / "a.png") + '#region={"boxes":[[2.0,3.0,30.0,28.0]],"marks":"boxes","numbers":[0]}'
    request = Request([{"role": "user", "content": f"<image>What is told of [0] {box}?"}], images=[drawn])
    for name in ("four", "fifty"):
        for choice, score in zip(rows[name]["choices"], rows[name]["scores"], strict=True):
            prompt = encode(loaded, request, choice.replace("<region:0>", f"[0] {box}"))
            inputs, labels = collate(loaded, [prompt], padding_side="right")
            with torch.no_grad():
                logps = plain_token_logprobs(loaded.model, inputs, labels)
            assert score == pytest.approx(logps.sum().item() / len(prompt.answer_ids), abs=1e-5), choice


def test_what_score_reads(ranked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["id"]: row for row in read_lines(ranked / "o.jsonl")}
    assert rows["four"]["prediction"] == rows["four"]["choices"][max(range(4), key=rows["four"]["scores"].__getitem__)]
    assert len(rows["vcr"]["answer_scores"]) == len(rows["vcr"]["rationale_scores"]) == 4
    for name, metric in (("vcr", "vcr"), ("fifty", "acc_at_50")):
        part = ranked / f"{name}.jsonl"
        part.write_text(json.dumps(rows[name]))
        source = [row for row in json.loads((ranked / "d.json").read_text()) if row["id"] == name]
        (ranked / f"{name}_d.json").write_text(json.dumps(source))
        info = json.loads((ranked / "dataset_info.json").read_text())
        info[name] = {"file_name": f"{name}_d.json", "formatting": "region"}
        (ranked / "dataset_info.json").write_text(json.dumps(info))
        run_score([f"metric={metric}", f"dataset={name}", f"dataset_dir={ranked}", f"predictions={part}"])
        assert metric in capsys.readouterr().out


def test_bad_choices_are_a_failure_and_the_others_are_kept(ranked: Path) -> None:
    assert [row["id"] for row in read_lines(ranked / "o.jsonl")] == ["four", "fifty", "vcr"]
    (failure,) = read_lines(ranked / "o.failures.jsonl")
    assert "expected a list of two texts or more" in failure["reason"]
    report = json.loads((ranked / "o.report.json").read_text())
    assert report["with_gold_choice"] == 2
    assert set(report["accuracy_by_norm"]) == {"token", "sum", "char"}


def test_letters_and_pmi(ranked: Path, small_world: Path) -> None:
    """A letter needs one of 26: the row of fifty fails. `pmi` subtracts what the bare choice has."""
    run_synth(words(ranked, small_world, output=ranked / "letter.jsonl", choice_score="letter"))
    assert [row["id"] for row in read_lines(ranked / "letter.jsonl")] == ["four", "vcr"]
    run_synth(words(ranked, small_world, output=ranked / "pmi.jsonl", choice_norm="pmi", max_samples=1))
    (row,) = read_lines(ranked / "pmi.jsonl")
    assert len(set(row["scores"])) == 4
    assert "pmi" in json.loads((ranked / "pmi.report.json").read_text())["accuracy_by_norm"]


def test_a_server_is_refused_before_anything_is_called() -> None:
    given = {"pipeline": "rank", "engine": "openai", "model": "m", "base_url": "http://localhost:1/v1", "dataset": "d"}
    with pytest.raises(ConfigError, match="A server does not score given texts"):
        build_arguments({**given, "output": "o.jsonl"})
