"""`pipeline: rank` with the heads of `stage: lskd`: equal to one plain pass a choice over the tokens that training reads."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from llamafactory.data.processor import SupervisedDatasetProcessor
from PIL import Image
from torch.nn import functional

from llamafactory_hind.config import ConfigError
from llamafactory_hind.engines.interface import Prompt, Request
from llamafactory_hind.engines.local.encoding import collate
from llamafactory_hind.engines.local.matching.heads import MatchingHeads
from llamafactory_hind.engines.local.weights import LoadedModel, load_weights
from llamafactory_hind.evaluation.score import run_score
from llamafactory_hind.pipelines.runner.command import build_arguments
from llamafactory_hind.pipelines.runner.run import run_synth
from shared.synth import read_lines


CHOICES = ["a dax eats moss", "bells", "the red ring is at the left of <region:0>", "it lives in caves"]
WIDTH = 128
BOX = "<box:0:2,3,30,28:thing>"


@pytest.fixture(scope="module")
def student(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with heads beside it."""
    folder = tmp_path_factory.mktemp("student") / "model"
    shutil.copytree(small_world / "tiny", folder)
    torch.manual_seed(2)
    MatchingHeads(WIDTH).save(folder)
    return folder


@pytest.fixture(scope="module")
def ranked(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of four choices, one of them of VCR's form, ranked by match and by contrast."""
    folder = tmp_path_factory.mktemp("rank")
    Image.new("RGB", (56, 56), "teal").save(folder / "a.png")
    base = {"images": ["a.png"], "regions": [{"box": [2, 3, 30, 28], "label": "thing"}]}
    base |= {"question": "What is told of <region:0>?", "choices": CHOICES}
    rows = [
        {**base, "id": "four", "answer": "bells"},
        {**base, "id": "vcr", "answer_label": 2, "rationale_choices": CHOICES[::-1], "rationale_label": 1},
        {**base, "id": "bad", "choices": ["one"]},
    ]
    (folder / "d.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"d": {"file_name": "d.json", "formatting": "region"}}))
    for kind in ("itm", "itc"):
        run_synth(words(folder, student, choice_score=kind, output=folder / f"{kind}.jsonl", choice_batch_size=3))
    return folder


def words(folder: Path, model: Path, **more: Any) -> list[str]:
    given = {
        "pipeline": "rank", "model_name_or_path": model, "template": "qwen2_vl_region", "dataset_dir": folder,
        "dataset": "d", "region_style": "both", "batch_size": 2, **more,
    }  # fmt: skip
    return [f"{key}={value}" for key, value in given.items()]


@torch.no_grad()
def plain(loaded: LoadedModel, heads: MatchingHeads, folder: Path, texts: list[str]) -> dict[str, list[float]]:
    """Scores from whole forward passes, of the tokens that `stage: lskd` trains on."""
    drawn = str(folder / "a.png") + '#region={"boxes":[[2.0,3.0,30.0,28.0]],"marks":"boxes","numbers":[0]}'
    data_args = SimpleNamespace(cutoff_len=10**6, mask_history=False, train_on_prompt=False)
    processor = SupervisedDatasetProcessor(loaded.template, loaded.tokenizer, loaded.processor, data_args)
    pad, start, end = loaded.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|vision_start|>", "<|vision_end|>"])
    found: dict[str, list[float]] = {"itm": [], "itc": []}

    def states(ids: list[int], images: list[str]) -> torch.Tensor:
        inputs, _ = collate(loaded, [Prompt(ids, [], Request([], images=images))], padding_side="right")
        return loaded.model(**inputs, output_hidden_states=True).hidden_states[-1][0, : len(ids)]

    for text in texts:
        turn = {"role": "user", "content": f"<image>What is told of [0] {BOX}?"}
        ids, _ = processor._encode_data_example(
            [turn], [{"role": "assistant", "content": text}], "", "", [drawn], [], []
        )
        seen = states(ids, [drawn])
        logits = heads.match(seen[-1])
        image = heads.image(seen[max(place for place, token in enumerate(ids) if token == pad)])
        alone = heads.text(states([token for token in ids if token not in (pad, start, end)], [])[-1])
        found["itm"].append((logits[1] - logits[0]).item())
        found["itc"].append(functional.cosine_similarity(image, alone, dim=0).item())
    return found


def test_equals_one_plain_pass_a_choice(ranked: Path, student: Path) -> None:
    loaded = load_weights(str(student), settings={"template": "qwen2_vl_region"})
    heads = MatchingHeads.load(student)
    answers = [choice.replace("<region:0>", f"[0] {BOX}") for choice in CHOICES]
    rationales = [f"{answers[2]}\nRationale: {choice}" for choice in answers[::-1]]
    expected = [plain(loaded, heads, ranked, texts) for texts in (answers, rationales)]
    for kind in ("itm", "itc"):
        rows = {row["id"]: row for row in read_lines(ranked / f"{kind}.jsonl")}
        assert rows["four"]["scores"] == pytest.approx(expected[0][kind], abs=1e-5)
        assert rows["vcr"]["rationale_scores"] == pytest.approx(expected[1][kind], abs=1e-5)
        assert len(set(rows["four"]["scores"])) == 4
        assert rows["four"]["prediction"] == CHOICES[max(range(4), key=rows["four"]["scores"].__getitem__)]


def test_score_reads_it_and_bad_rows_are_named(ranked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["id"]: row for row in read_lines(ranked / "itm.jsonl")}
    (ranked / "vcr.jsonl").write_text(json.dumps(rows["vcr"]))
    source = [row for row in json.loads((ranked / "d.json").read_text()) if row["id"] == "vcr"]
    (ranked / "vcr_d.json").write_text(json.dumps(source))
    info = {"vcr": {"file_name": "vcr_d.json", "formatting": "region"}}
    (ranked / "dataset_info.json").write_text(
        json.dumps(info | json.loads((ranked / "dataset_info.json").read_text()))
    )
    run_score(["metric=vcr", "dataset=vcr", f"dataset_dir={ranked}", f"predictions={ranked / 'vcr.jsonl'}"])
    assert "vcr" in capsys.readouterr().out
    (failure,) = read_lines(ranked / "itm.failures.jsonl")
    assert "expected a list of two texts or more" in failure["reason"]
    report = json.loads((ranked / "itm.report.json").read_text())
    assert report["with_gold_choice"] == 2
    assert 0 <= report["accuracy"] <= 1
    assert "accuracy_by_norm" not in report


def test_heads_are_needed_and_norms_are_of_likelihoods(ranked: Path, small_world: Path) -> None:
    with pytest.raises(ValueError, match=r"without lskd_heads.safetensors.*`stage: lskd`"):
        run_synth(words(ranked, small_world / "tiny", choice_score="itm", output=ranked / "none.jsonl"))
    given = {
        "pipeline": "rank",
        "model_name_or_path": "m",
        "template": "qwen2_vl",
        "dataset": "d",
        "output": "o.jsonl",
    }
    with pytest.raises(ConfigError, match="It is no likelihood"):
        build_arguments({**given, "choice_score": "itc", "choice_norm": "sum"})
