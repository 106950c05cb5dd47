"""Keys of `synth`, reading of rows, and that every pipeline has what users look for."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from llamafactory_hind.config.problem import ConfigError
from llamafactory_hind.pipelines import get_pipeline, pipeline_names
from llamafactory_hind.pipelines.config import build_arguments, help_text, read_settings
from llamafactory_hind.pipelines.rows import read_rows


ROOT = Path(__file__).parents[1]
GOOD = {
    "pipeline": "knowledge",
    "model_name_or_path": "m",
    "template": "qwen2_vl",
    "dataset": "d",
    "output": "o/pairs.json",
}


@pytest.mark.parametrize("name", pipeline_names())
def test_every_pipeline_has_a_yaml_a_page_and_its_parts(name: str) -> None:
    pipeline = get_pipeline(name)
    for part in ("SUMMARY", "Arguments", "prompts", "unit", "Worker", "finish"):
        assert hasattr(pipeline, part), f"pipelines/{name}.py lacks `{part}`"
    for entry in dataclasses.fields(pipeline.Arguments):
        assert len(entry.metadata["help"]) > 10
    page = (ROOT / "docs" / "synth.md").read_text(encoding="utf-8")
    assert f"`pipeline: {name}`" in page
    for entry in dataclasses.fields(pipeline.Arguments):
        assert not entry.init or f"`{entry.name}`" in page, f"docs/synth.md does not explain `{entry.name}`"
    found = [
        path
        for path in (ROOT / "yaml_configs").rglob("*.yaml")
        if yaml.safe_load(path.read_text()).get("pipeline") == name
    ]
    assert found, f"no file in yaml_configs/ has `pipeline: {name}`"
    for path in found:
        build_arguments(read_settings([str(path)]))
    assert f"pipeline: {name} - " in help_text()


def test_all_problems_are_told_at_once_with_the_nearest_key() -> None:
    given = {
        "pipeline": "knowledge",
        "template": "qwen2_vl",
        "dataset": "d",
        "output": "pairs.csv",
        "num_sampels": 4,
        "image_max_pixel": 99,
        "top_p": 1.5,
        "helpful_by": "magic",
        "batch_size": 0,
        "seed": True,
    }
    with pytest.raises(ConfigError) as error:
        build_arguments(given)
    keys = [problem.key for problem in error.value.problems]
    assert sorted(keys) == sorted(
        ["model_name_or_path", "output", "num_sampels", "image_max_pixel", "top_p", "helpful_by", "batch_size", "seed"]
    )
    assert "`num_samples`" in str(error.value)
    assert "`image_max_pixels`" in str(error.value)
    assert "`gain` or `outcome` or `lexical`" in str(error.value)


def test_an_unknown_pipeline_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="nearest pipeline is `knowledge`"):
        build_arguments(GOOD | {"pipeline": "knowlege"})
    with pytest.raises(ConfigError, match=r"one of .*knowledge"):
        build_arguments({})


def test_host_keys_pass_through_and_words_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(GOOD | {"image_max_pixels": 1000, "adapter_name_or_path": ["a", "b"], "seed": 1}))
    _, arguments = build_arguments(read_settings([str(file), "seed=2", "video_fps=0.5", "max_samples=null"]))
    assert (arguments.seed, arguments.max_samples, arguments.adapter_name_or_path) == (2, None, "a,b")
    assert arguments.host_settings == {"template": "qwen2_vl", "image_max_pixels": 1000, "video_fps": 0.5}
    as_json = tmp_path / "x.json"
    as_json.write_text(json.dumps(GOOD))
    assert build_arguments(read_settings([str(as_json)]))[1].output == "o/pairs.json"


def test_what_is_no_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        read_settings([str(tmp_path / "missing.yaml")])
    with pytest.raises(ConfigError, match=r"--seed: got '--seed', expected key=value"):
        read_settings(["--seed", "3"])


def test_greedy_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match="All samples would be the greedy text"):
        build_arguments(GOOD | {"temperature": 0.0})
    build_arguments(GOOD | {"temperature": 0.0, "num_samples": 1})


def test_rows_are_read_renamed_and_bad_ones_told(small_world: Path, tmp_path: Path) -> None:
    image = next((small_world / "images").glob("*.png")).name
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    rows = [
        {"key": "good", "pics": [f"images/{image}"], "question": "What?", "answer": "fish", "extra": 3},
        {"key": "several", "pics": [], "question": "What?", "answers": ["dog", "fish", "fish"]},
        {"key": "no question", "pics": [], "answer": "fish"},
        {"key": "no file", "pics": ["gone.png"], "question": "What?", "answer": "fish"},
        {"key": "broken", "pics": [str(tmp_path / "broken.png")], "question": "What?", "answer": "fish"},
        "not an object",
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    info = {"mine": {"file_name": "rows.jsonl", "formatting": "hindsight", "columns": {"id": "key", "images": "pics"}}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    options = {"dataset_dir": str(tmp_path), "media_dir": str(small_world)}
    good, failures = read_rows(["mine"], max_samples=None, **options)
    assert [(row.id, row.number) for row in good] == [("good", 1), ("several", 2)]
    assert good[0].media["images"] == [str(small_world / "images" / image)]
    assert good[0].fields["images"] == [f"images/{image}"], "the path stays as it was written"
    assert good[0].fields["extra"] == 3
    assert good[1].fields["answer"] == "fish", "the commonest reference"
    reasons = {failure.number: failure.reason for failure in failures}
    assert set(reasons) == {3, 4, 5, 6}
    assert "`question`" in reasons[3]
    assert "does not exist" in reasons[4]
    assert "images[0]" in reasons[5]
    assert "expected an object" in reasons[6]
    assert len(read_rows(["mine"], max_samples=1, **options)[0]) == 1


def test_datasets_that_cannot_be_read_are_all_told(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    info = {
        "other": {"file_name": "bad.json", "formatting": "alpaca"},
        "cut": {"file_name": "bad.json", "formatting": "hindsight"},
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ConfigError) as error:
        read_rows(["gone", "other", "cut"], dataset_dir=str(tmp_path), media_dir=None, max_samples=None)
    assert [problem.value for problem in error.value.problems] == ["gone", "other", "cut"]
    with pytest.raises(ConfigError, match=r"dataset_info\.json"):
        read_rows(["gone"], dataset_dir=str(tmp_path / "no"), media_dir=None, max_samples=None)
