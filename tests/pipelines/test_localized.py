"""`pipeline: localized` against a server and, with a critic, with local models: descriptors, triples, scores, report."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from llamafactory_hind.config import ConfigError
from llamafactory_hind.engines.local.critic import CriticHeads
from llamafactory_hind.formats.datasets import open_datasets
from llamafactory_hind.pipelines.runner.command import build_arguments
from llamafactory_hind.pipelines.runner.run import run_synth
from shared.openai_server import Behaviour, OpenAIServer
from shared.synth import read_lines


TRIPLES = """Question: Why is [0] sad, number {number}?
Answer: The cake is gone.
Rationale: [1] holds an empty plate.
Question: Who is [7]?
Answer: Nobody.
Rationale: There is no such region.
Question: Where are they?
Answer: In a kitchen.
Rationale: There is an oven behind [0].
"""


def write(body: dict[str, Any], number: int) -> str:
    """Answer each kind of prompt in its form."""
    asked = json.dumps(body["messages"])
    if "Rationale" in asked:
        return TRIPLES.format(number="one")
    if "short questions" in asked:
        return "What is on the table?\nWho stands there?"
    return "a kitchen, a table" if "separated by commas" in asked else "A person stands there."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one with two regions and one without."""
    for name, color in (("a", "blue"), ("b", "red")):
        Image.new("RGB", (64, 48), color).save(tmp_path / f"{name}.png")
    regions = [{"box": [2, 3, 30, 28], "label": "person"}, {"image": 0, "box": [32, 4, 60, 40]}]
    rows = [{"id": "a", "images": ["a.png"], "regions": regions}, {"id": "b", "images": ["b.png"]}]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"d": {"file_name": "d.json", "formatting": "region"}}))
    return tmp_path


def words(folder: Path, url: str, **more: Any) -> list[str]:
    given = {
        "pipeline": "localized", "engine": "openai", "model": "test", "base_url": url, "dataset_dir": folder,
        "dataset": "d", "output": folder / "out" / "o.jsonl", "num_questions": 2, **more,
    }  # fmt: skip
    return [f"{key}={value}" for key, value in given.items()]


def test_rows_reasons_and_what_is_paid_again(folder: Path) -> None:
    """Row a gives two triples, row b only what mentions no region; another QAR prompt asks for no descriptor again."""
    with OpenAIServer(Behaviour(answer=write)) as server:
        run_synth(words(folder, server.url))
        # concepts, narrative, questions and two answers a row, two captions, a text of triples a row
        assert server.calls == 2 * 5 + 2 + 2
        rows = read_lines(folder / "out" / "o.jsonl")
        assert [row["id"] for row in rows] == ["a/0", "a/2"]
        assert rows[0]["question"] == "Why is <region:0> sad, number one?"
        assert rows[0]["regions"][1]["box"] == [32, 4, 60, 40]
        report = json.loads((folder / "out" / "o.report.json").read_text())
        assert report["reasons"] == {"a region that is not there": 4, "kept": 2}
        assert report["kept_share"] == pytest.approx(1 / 3)
        run_synth(words(folder, server.url))
        assert server.calls == 14
        other = folder / "triples.jinja"
        other.write_text("Say it otherwise: {{ described | length }} regions.\nQuestion, Answer, Rationale:")
        run_synth(words(folder, server.url, triples_prompt=other))
        assert server.calls == 16
        assert "region_style" not in json.loads((folder / "dataset_info.json").read_text())["o"]
        run_synth(words(folder, server.url, triples_prompt=other, region_style="marks", prefix_cut=True))
        assert server.calls == 16  # how learners are shown the rows costs nothing
        run_synth(words(folder, server.url, region_style="marks", prefix_cut=True))
    (dataset,), problems = open_datasets(["o"], dataset_dir=str(folder))
    assert not problems
    assert dataset.options.target == "answer_rationale"
    assert (dataset.options.region_style, dataset.options.prefix_cut) == ("marks", True)
    for row in dataset.rows():
        assert list(dataset.format.find_problems(dataset.fields(row), dataset.options)) == []


def test_families_that_are_off_are_not_asked_and_each_may_have_its_own_engine(folder: Path) -> None:
    with OpenAIServer(Behaviour(answer=write)) as server, OpenAIServer(Behaviour(answer=write)) as other:
        (folder / "x.yaml").write_text(
            json.dumps(
                {
                    "concepts": False,
                    "num_questions": 0,
                    "descriptor_engines": {"regions": {"base_url": other.url, "model": "captioner"}},
                }
            )
        )
        given = [word for word in words(folder, server.url) if not word.startswith("num_questions")]
        run_synth([str(folder / "x.yaml"), *given])
        assert other.calls == 2
        assert {body["model"] for body in other.bodies} == {"captioner"}
        assert server.calls == 4  # a narrative and a text of triples a row
        pictures = [json.dumps(body["messages"]) for body in other.bodies]
        assert pictures[0] != pictures[1]  # another box is drawn


DETECTOR = """
import torch
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.transforms.functional import to_tensor

torch.manual_seed(0)
MODEL = fasterrcnn_mobilenet_v3_large_320_fpn(
    weights=None, weights_backbone=None, num_classes=5, box_score_thresh=0.0, box_detections_per_img=6
).eval()

def detect(picture):
    with torch.no_grad():
        found = MODEL([to_tensor(picture)])[0]
    return [{"box": box.tolist(), "score": float(score), "label": f"class {int(label)}"}
            for box, score, label in zip(found["boxes"], found["scores"], found["labels"])]
"""


def test_a_detector_proposes_regions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's own detection code with random weights."""
    pytest.importorskip("torchvision")
    (folder / "my_detector.py").write_text(DETECTOR)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("my_detector", None)
    with OpenAIServer(Behaviour(answer=write)) as server:
        run_synth(words(folder, server.url, region_detector="my_detector:detect", max_regions=2))
    rows = read_lines(folder / "out" / "o.jsonl")
    proposed = next(row["regions"] for row in rows if row["id"].startswith("b/"))
    assert len(proposed) == 2
    for region in proposed:
        left, top, right, bottom = region["box"]
        assert 0 <= left < right <= 64
        assert 0 <= top < bottom <= 48
        assert region["label"].startswith("class ")


def test_a_critic_scores_sweeps_and_filters(folder: Path, small_world: Path, tmp_path: Path) -> None:
    """Scores are in the journal: other thresholds and labels of people need no call and no model."""
    critic = tmp_path / "critic"
    critic.mkdir()
    for file in (small_world / "tiny").iterdir():
        (critic / file.name).symlink_to(file)
    width = json.loads((critic / "config.json").read_text())
    torch.manual_seed(0)
    CriticHeads((width.get("text_config") or width)["hidden_size"], pooling="last").save(critic)
    more = {"critic": critic, "critic_template": "qwen2_vl_region"}
    with OpenAIServer(Behaviour(answer=write)) as server:
        run_synth(words(folder, server.url, threshold=0.0, **more))
        rows = read_lines(folder / "out" / "o.jsonl")
        scores = {row["id"]: row["critic"] for row in rows}
        assert set(scores) == {"a/0", "a/2"}
        assert all(0 < score < 1 for score in scores.values())
        between = sum(scores.values()) / 2
        best = max(scores, key=lambda name: scores[name])
        labels = folder / "labels.jsonl"
        labels.write_text("\n".join(json.dumps({"id": name, "label": int(name == best)}) for name in scores))
        calls = server.calls
        run_synth(words(folder, server.url, threshold=between, labels=labels, **more))
        assert server.calls == calls
    assert [row["id"] for row in read_lines(folder / "out" / "o.jsonl")] == [best]
    report = json.loads((folder / "out" / "o.report.json").read_text())
    assert report["sweep"][f"{between:g}"]["precision"] == 1.0
    assert report["sweep"][f"{between:g}"]["recall"] == 1.0
    assert report["against_labels"]["auroc"] == 1.0
    assert report["reasons"]["below the threshold"] == 1
    assert (folder / "out" / "o.critic.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_work_is_said_before_anything_is_called(tmp_path: Path) -> None:
    given = {
        "pipeline": "localized", "engine": "hf", "model_name_or_path": "m", "template": "qwen2_vl", "dataset": "d",
        "output": "o.jsonl", "region_detector": "no.such:thing", "descriptor_engines": {"conceps": {}},
        "critic": "c", "labels": str(tmp_path / "none.jsonl"),
    }  # fmt: skip
    with pytest.raises(ConfigError) as error:
        build_arguments(given)
    assert {"template", "critic_template", "region_detector", "descriptor_engines", "labels"} == {
        problem.key for problem in error.value.problems
    }
    assert "`concepts`" in str(error.value)
