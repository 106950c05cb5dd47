"""Keys of `synth`, reading of rows, and that every pipeline has what users look for."""

import dataclasses
import json
from inspect import iscoroutinefunction, signature
from pathlib import Path

import pytest
import yaml

from llamafactory_hind.config.problem import ConfigError
from llamafactory_hind.pipelines import get_pipeline, pipeline_names
from llamafactory_hind.pipelines.runner.arguments import SynthArguments
from llamafactory_hind.pipelines.runner.command import build_arguments, help_text, read_settings
from llamafactory_hind.pipelines.runner.pipeline import Pipeline
from llamafactory_hind.pipelines.runner.rows import read_rows


ROOT = Path(__file__).resolve().parents[3]
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
    parts = [part for part in (*Pipeline.__annotations__, *vars(Pipeline)) if not part.startswith("_")]
    assert parts == ["SUMMARY", "Arguments", "prompts", "work_item", "Worker", "finish"]
    for part in parts:
        assert hasattr(pipeline, part), f"pipelines/{name}.py lacks `{part}`"
    assert issubclass(pipeline.Arguments, SynthArguments)
    for part in ("prompts", "work_item", "Worker", "finish"):
        assert len(signature(getattr(pipeline, part)).parameters) == 2, f"pipelines/{name}.py: `{part}`"
    assert iscoroutinefunction(pipeline.Worker.work)
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
    with pytest.raises(ConfigError, match="num_samples: got 8, expected at most 1 with temperature 0"):
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


SERVED = {
    "pipeline": "knowledge",
    "engine": "openai",
    "helpful_by": "lexical",
    "base_url": "http://localhost:8000/v1",
    "model": "m",
    "dataset": "d",
    "output": "o/pairs.json",
}


def refused(given: dict) -> dict[str, str]:
    """Return what is wrong, by key."""
    with pytest.raises(ConfigError) as error:
        build_arguments(given)
    return {problem.key: str(problem) for problem in error.value.problems}


def test_a_server_needs_an_address_and_a_model_and_no_template() -> None:
    _, arguments = build_arguments(SERVED | {"base_url": "http://a:1/v1, http://b:2/v1"})
    assert arguments.base_urls == ("http://a:1/v1", "http://b:2/v1")
    assert arguments.writer == ("m", ())
    assert arguments.host_settings == {}
    bare = {key: value for key, value in SERVED.items() if key not in ("base_url", "model")}
    assert set(refused(bare)) == {"base_url", "model"}
    assert set(refused({**bare, "engine": "hf"})) == {"model_name_or_path", "template"}


def test_keys_of_one_engine_are_refused_with_the_other_all_at_once() -> None:
    wrong = {
        "model_name_or_path": "m",
        "template": "qwen2_vl",
        "adapter_name_or_path": "a",
        "batch_size": 4,
        "answerer_adapter": "b",
        "answer_batch_size": 2,
    }
    found = refused(SERVED | wrong)
    assert set(found) == set(wrong)
    assert all("`engine: hf`" in text for text in found.values())
    wrong = {"base_url": "http://a/v1", "model": "m", "concurrency": 4, "price_in": 1.0, "extra_body": {"a": 1}}
    found = refused(GOOD | wrong)
    assert set(wrong) <= set(found)
    assert "`engine: openai`" in found["concurrency"]


def test_null_is_not_given() -> None:
    """So that a YAML for one engine can be run with the other by words alone."""
    build_arguments(GOOD | {"base_url": None, "api_key_env": None, "price_in": None, "extra_body": None})


def test_of_the_hosts_keys_a_server_takes_those_of_media() -> None:
    media = {"image_max_pixels": 1000, "video_fps": 0.5, "video_maxlen": 4}
    assert build_arguments(SERVED | media)[1].host_settings == media
    assert set(refused(SERVED | {"image_max_pixels": 0, "video_fps": "fast", "video_maxlen": 1.5})) == set(media)
    found = refused(SERVED | {"infer_dtype": "float16", "image_max_pixel": 9, "concurency": 2})
    assert "server has its own settings" in found["infer_dtype"]
    assert "`image_max_pixels`" in found["image_max_pixel"]
    assert "`concurrency`" in found["concurency"]


def test_extra_body_is_a_mapping_and_part_of_what_answers_depend_on(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(SERVED | {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}))
    _, arguments = build_arguments(read_settings([str(file)]))
    assert arguments.host_settings == {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}
    assert build_arguments(read_settings([str(file), "extra_body={a: 1}"]))[1].extra_body["a"] == 1
    assert "a mapping" in refused(SERVED | {"extra_body": "a"})["extra_body"]
    assert "temperature" in refused(SERVED | {"extra_body": {"temperature": 1}})["extra_body"]


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"base_url": "http://me:secret@host/v1"}, "base_url"),
        ({"concurrency": 0}, "concurrency"),
        ({"request_timeout": 0.0}, "request_timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"price_in": 1.0}, "price_out"),
        ({"price_in": -1.0, "price_out": 1.0}, "price_in"),
        ({"max_failure_rate": 1.5}, "max_failure_rate"),
        ({"helpful_by": "gain"}, "helpful_by"),
        ({"language": "fr"}, "language"),
        ({"shard": "0/2"}, "shard"),
        ({"shard": "3/2"}, "shard"),
        ({"shard": "1 of 2"}, "shard"),
        ({"shard": "1/2", "merge": 2}, "merge"),
        ({"merge": 0}, "merge"),
    ],
)
def test_wrong_values_for_a_server(given: dict, key: str) -> None:
    found = refused(SERVED | given)
    assert set(found) == {key}
    assert "secret" not in found[key]


def test_gain_with_a_server_says_what_to_choose() -> None:
    assert "choose outcome or lexical" in refused(SERVED | {"helpful_by": "gain"})["helpful_by"]


def test_a_missing_key_is_told_with_the_other_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNTH_NO_KEY", raising=False)
    build_arguments(SERVED | {"api_key_env": "SYNTH_NO_KEY"})
    with pytest.raises(ConfigError) as error:
        build_arguments(SERVED | {"api_key_env": "SYNTH_NO_KEY", "concurrency": 0}, calling=True)
    assert {problem.key for problem in error.value.problems} == {"api_key_env", "concurrency"}
    with pytest.raises(ConfigError) as error:
        build_arguments(SERVED | {"api_key_env": "sk-looks-like-a-key"}, calling=True)
    assert "sk-looks" not in str(error.value)


def test_shards_take_every_nth_row_of_all_and_check_no_other(tmp_path: Path) -> None:
    """Two datasets of 5 and 4 rows, of which the 2nd is bad: shard 2 of 3 has rows 2 (bad), 5 and 8 of all nine."""
    for name, count in (("a", 5), ("b", 4)):
        rows = [{"id": f"{name}{number}", "question": "What?", "answer": "fish"} for number in range(1, count + 1)]
        if name == "a":
            del rows[1]["question"]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    info = {name: {"file_name": f"{name}.json", "formatting": "hindsight"} for name in "ab"}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    options = {"dataset_dir": str(tmp_path), "media_dir": None, "max_samples": None}
    shards = [read_rows(["a", "b"], shard=(number, 3), **options) for number in (1, 2, 3)]
    assert [[row.id for row in good] for good, _ in shards] == [["a1", "a4", "b2"], ["a5", "b3"], ["a3", "b1", "b4"]]
    assert [[row.id for row in bad] for _, bad in shards] == [[], ["a2"], []]


def test_rows_without_an_answer_are_good_where_none_is_needed(tmp_path: Path) -> None:
    rows = [{"id": "1", "question": "What?"}, {"id": "2", "question": "What?", "answer": 7}, {"id": "3"}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"a": {"file_name": "a.json", "formatting": "hindsight"}}))
    options = {"dataset_dir": str(tmp_path), "media_dir": None, "max_samples": None}
    assert read_rows(["a"], **options)[0] == []
    good, bad = read_rows(["a"], needs_answer=False, **options)
    assert [row.id for row in good] == ["1"]
    assert [failure.id for failure in bad] == ["2", "3"], "an answer that is there must be right"


def test_a_first_word_is_a_file_or_a_key_by_what_stands_before_its_sign(tmp_path: Path) -> None:
    """`output=x.json` is a key though it ends like a file; `lr=1/x.yaml` in a folder's name is a file though it has a sign."""
    assert read_settings(["output=x.json"]) == {"output": "x.json"}
    folder = tmp_path / "lr=1"
    folder.mkdir()
    (folder / "x.yaml").write_text("output: y.json\n")
    assert read_settings([str(folder / "x.yaml"), "seed=3"]) == {"output": "y.json", "seed": 3}
