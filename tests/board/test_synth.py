"""The tab of `synth` and `score` without a page: forms, servers, pictures, results."""

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from llamafactory_hind.board.network import listens_beyond_loopback
from llamafactory_hind.board.presets import preset_files, read_preset
from llamafactory_hind.board.synth.evaluated import settings_of_run
from llamafactory_hind.board.synth.forms import SCORE, SHARED, forms, held_by, settings_of
from llamafactory_hind.board.synth.results import kept_rows, registered, scores_page
from llamafactory_hind.board.synth.servers import calls_a_server, servers_allowed
from llamafactory_hind.board.synth.thumbnails import thumbnails
from llamafactory_hind.board.synth.trial import dry_run
from llamafactory_hind.board.values import shown
from llamafactory_hind.config.problem import ConfigError
from llamafactory_hind.evaluation.arguments import build_arguments as build_score
from llamafactory_hind.pipelines import get_pipeline, pipeline_names
from llamafactory_hind.pipelines.runner.command import build_arguments


PRESETS = [name for name in preset_files() if {"pipeline", "metric"} & set(read_preset(name))]


@pytest.mark.parametrize("pipeline", pipeline_names())
def test_every_key_of_a_pipeline_has_one_field(pipeline: str) -> None:
    from dataclasses import fields

    keys = {entry.name for entry in fields(get_pipeline(pipeline).Arguments) if entry.init}
    own = {field.key for field in forms()[pipeline].fields}
    shared = {field.key for field in forms()[SHARED].fields}
    assert own | shared | {"pipeline", "dry_run"} >= keys
    names = [forms()[owner].name(field) for owner in (SHARED, pipeline) for field in forms()[owner].fields]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_comes_back_from_the_form(name: str) -> None:
    """YAML -> form -> settings: the same arguments, those at their default left out."""
    settings = dict(read_preset(name))
    owners = [SHARED, settings["pipeline"]] if "pipeline" in settings else [SCORE]
    held, more = held_by(owners, settings)
    again = settings_of(owners, held, more)
    if "pipeline" in settings:
        both = [vars(build_arguments(one)[1]) for one in ({"pipeline": settings["pipeline"], **again}, settings)]
        assert len({len(one.pop("prompt_files")) for one in both}) == 1
        assert both[0] == both[1]
    else:
        assert build_score(again) == build_score(settings)


def test_fields_of_the_other_engine_say_nothing() -> None:
    held = {"hind_synth_all_engine": "openai", "hind_synth_all_template": "qwen2_vl", "hind_synth_all_model": "m"}
    assert settings_of([SHARED], held) == {"engine": "openai", "model": "m"}


def test_what_cannot_be_read_is_named_at_once() -> None:
    held = {"hind_synth_all_seed": "x", "hind_synth_all_extra_body": "[1]", "hind_synth_all_engine": "openai"}
    with pytest.raises(ConfigError) as caught:
        settings_of([SHARED], held, "seed: 1\n- 2")
    assert {"seed", "extra_body", "further keys"} == {
        str(problem).partition(":")[0] for problem in caught.value.problems
    }
    with pytest.raises(ConfigError, match="stands in a field"):
        settings_of([SHARED], {"hind_synth_all_seed": "7"}, "seed: 1")


@pytest.mark.parametrize(
    ("environ", "beyond"),
    [
        ({}, True),
        ({"GRADIO_SERVER_NAME": "127.0.0.1"}, False),
        ({"GRADIO_SERVER_NAME": "localhost"}, False),
        ({"GRADIO_SERVER_NAME": "[::1]"}, False),
        ({"GRADIO_SERVER_NAME": "[::]"}, True),
        ({"GRADIO_SERVER_NAME": "my.host"}, True),
        ({"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SHARE": "1"}, True),
    ],
)
def test_servers_are_off_where_others_reach_the_board(environ: dict[str, str], beyond: bool) -> None:
    assert listens_beyond_loopback(environ) == beyond
    assert servers_allowed(environ) != beyond
    assert servers_allowed({**environ, "LLAMAFACTORY_HIND_BOARD_SERVERS": "1"})


def test_a_server_is_found_wherever_it_is_named() -> None:
    assert calls_a_server({"engine": "openai"})
    assert calls_a_server({"descriptor_engines": {"concepts": {"base_url": "http://a/v1"}}})
    assert calls_a_server({"a": [{"engine": "openai"}]})
    assert not calls_a_server({"engine": "hf", "base_url": None})


def test_pictures_are_encoded_anew_and_nothing_else_leaves(tmp_path: Path) -> None:
    """A picture; a text, an SVG with a script, a file outside, a link that leads outside, one that is missing."""
    inside, evil = tmp_path / "media", '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    inside.mkdir()
    Image.new("RGB", (800, 400), "red").save(inside / "a.png")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "out.png")
    (inside / "b.png").write_text("secret")
    (inside / "c.svg").write_text(evil)
    (inside / "l.png").symlink_to(tmp_path / "out.png")
    names = [str(inside / "a.png")]
    page = thumbnails({"images": names}, inside)
    data = base64.b64decode(page.partition("base64,")[2].partition('"')[0])
    assert Image.open(io.BytesIO(data)).size == (320, 160)
    bad = [
        *(str(inside / name) for name in ("b.png", "c.svg", "l.png", "m.png")),
        str(tmp_path / "out.png"),
        "/etc/passwd",
    ]
    page = thumbnails({"images": bad}, inside)
    assert page.count("hind-grey") == len(bad)
    assert "<img" not in page
    assert "secret" not in page
    assert "script" not in page
    assert "outside of the media folder" in page


def world(folder: Path) -> dict[str, object]:
    Image.new("RGB", (56, 56), "red").save(folder / "red.png")
    rows = [
        {"id": f"<b>{n}</b>", "images": ["red.png"], "question": f"<i>q{n}</i>?", "answer": "red"} for n in range(5)
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(
        json.dumps({"rows": {"file_name": "rows.json", "formatting": "hindsight"}})
    )
    return {
        "pipeline": "hindsight",
        "model_name_or_path": "m",
        "template": "qwen2_vl",
        "dataset": "rows",
        "dataset_dir": str(folder),
        "output": str(folder / "out.json"),
    }


def test_a_dry_run_shows_three_prompts_with_pictures(tmp_path: Path) -> None:
    page = dry_run(world(tmp_path))
    assert page.count("data:image/jpeg") == 3
    assert "&lt;i&gt;q2&lt;/i&gt;?" in page
    assert "<i>q" not in page
    assert "<b>&lt;b&gt;0" in page
    assert not (tmp_path / "out.json").exists()
    with pytest.raises(ConfigError):
        dry_run({**world(tmp_path), "datset": "x"})


def test_what_a_job_left_is_found(tmp_path: Path) -> None:
    settings = world(tmp_path)
    assert registered(settings) == []
    assert kept_rows(settings) == 0
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    (tmp_path / "out.json").write_text("[]")
    (tmp_path / "dataset_info.json").write_text(json.dumps({**info, "out": {"file_name": "./out.json"}}))
    (tmp_path / "out.journal.jsonl").write_text("1\n2\n")
    assert registered(settings) == ["out"]
    assert kept_rows(settings) == 2


def test_scores_are_a_table_with_a_plot(tmp_path: Path) -> None:
    mean = {"score": 0.5, "interval": [0.25, 0.75], "questions": 4}
    metrics = {"vqa_accuracy": {**mean, "groups": {"<b>": {"score": None, "interval": None, "questions": 0}}}}
    (tmp_path / "s.json").write_text(json.dumps({"metrics": metrics, "questions": 4, "interval": "95 %"}))
    page = scores_page(tmp_path / "s.json")
    assert "50.00" in page
    assert "25.00 .. 75.00" in page
    assert "&lt;b&gt;" in page
    assert "–" in page  # a missing number is none, never 0
    assert 'width="120.0"' in page  # half of 240 pixels
    assert scores_page(tmp_path / "absent.json") == ""
    (tmp_path / "s.json").write_text('{"metrics": {"a": 3}}')
    assert scores_page(tmp_path / "s.json") == ""


def test_predictions_of_the_host_know_their_datasets(tmp_path: Path) -> None:
    predictions = tmp_path / "generated_predictions.jsonl"
    assert settings_of_run(predictions) == {"predictions": str(predictions)}
    (tmp_path / "llamaboard_config.yaml").write_text(
        "eval.dataset: [a, b]\neval.dataset_dir: d\neval.max_samples: '100'\ntop.lang: en\n"
    )
    assert settings_of_run(predictions) == {
        "predictions": str(predictions),
        "dataset": "a,b",
        "dataset_dir": "d",
        "max_samples": 100,
    }


def test_an_untouched_menu_holds_one_of_its_choices_or_nothing() -> None:
    """gradio refuses a form in which a menu holds any other text, "" among them."""
    for form in forms().values():
        for field in form.fields:
            if field.kind == "choice":
                assert shown(field) is None or shown(field) in field.choices
