"""LLaMA Board with our fields, in one process: what the form says is what the run gets, and host stages are left alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.board.network import notice_of_the_network
from llamafactory_hind.config import LABELS


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The host's engine behind a whole Board."""
    from llamafactory.webui.engine import Engine
    from llamafactory.webui.interface import create_ui

    found: list[Any] = []
    build = Engine.__init__

    def remember(self: Any, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        found.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("board"))
        patch.setattr(Engine, "__init__", remember)
        create_ui()
        yield found[0]


def form(engine: Any, **changes: Any) -> dict[Any, Any]:
    """What the page sends: every element's first value, and `changes` of the Train tab."""
    from gradio.components import FormComponent

    ids = engine.manager._id_to_elem.items()  # tabs of our own send nothing to the host
    elements = [entry for name, entry in ids if isinstance(entry, FormComponent) and not name.startswith("hind.")]
    data = {element: element.value for element in elements}
    top = {"top.lang": "en", "top.model_name": "Custom", "top.model_path": "m", "train.output_dir": "out"}
    for name, value in (top | {f"train.{name}": value for name, value in changes.items()}).items():
        data[engine.manager.get_elem_by_id(name)] = value
    return data


def test_what_is_changed_reaches_the_file(engine: Any) -> None:
    data = form(
        engine,
        training_stage=LABELS["gated_distill"],
        dataset=["prompts"],
        hind_reward_funcs=["accuracy"],
        hind_hint_tags=False,
        hind_gate_threshold="-.inf",
        hind_reward_weights="0.5",
        hind_max_steps="60",
    )
    from llamafactory.webui.common import _clean_cmd

    args = _clean_cmd(engine.runner._parse_train_args(data))
    assert args["stage"] == "gated_distill"
    assert args["hint_tags"] is False
    assert args["gate_threshold"] == float("-inf")
    assert args["reward_weights"] == [0.5]
    assert args["max_steps"] == 60
    assert "num_generations" not in args
    assert engine.runner._initialize(data, True, False) == ""


def test_null_reaches_the_file(engine: Any) -> None:
    from llamafactory.webui.common import _clean_cmd

    data = form(engine, training_stage=LABELS["kepo"], dataset=["pairs"], hind_ref_logps_cache="null")
    args = _clean_cmd(engine.runner._parse_train_args(data))
    assert args["ref_logps_cache"] is None


def test_a_run_that_cannot_work_is_not_started(engine: Any) -> None:
    """`reward_funcs` is missing and a number is none: each is named, and no process starts."""
    data = form(engine, training_stage=LABELS["grpo"], dataset=["prompts"])
    assert "reward_funcs" in engine.runner._initialize(data, True, False)
    (shown,) = list(engine.runner.run_train(data))
    assert "reward_funcs" in next(iter(shown.values()))
    assert engine.runner.trainer is None
    data = form(engine, training_stage=LABELS["grpo"], dataset=["prompts"], hind_clip_low="a<b>")
    assert "clip_low: got &#x27;a&lt;b&gt;&#x27;" in engine.runner._initialize(data, True, True)


@pytest.mark.parametrize("text", ["[1, 2]", "3", '"a"'])
def test_extra_arguments_that_are_no_object_are_named(engine: Any, text: str) -> None:
    data = form(engine, training_stage="Supervised Fine-Tuning", dataset=["d"], extra_args=text)
    assert "JSON object" in engine.runner._initialize(data, True, True)


def test_the_box_and_a_field_may_not_differ(engine: Any) -> None:
    box = json.dumps({"num_generations": 4, "reward_funcs": ["accuracy"]})
    data = form(engine, training_stage=LABELS["grpo"], dataset=["d"], extra_args=box, hind_num_generations="16")
    assert "num_generations: the field says 16" in engine.runner._initialize(data, True, False)
    data = form(engine, training_stage=LABELS["grpo"], dataset=["d"], extra_args=box)
    assert engine.runner._initialize(data, True, False) == ""
    assert engine.runner._parse_train_args(data)["num_generations"] == 4


def test_a_stage_of_the_host_gets_nothing_of_ours(engine: Any) -> None:
    data = form(
        engine, training_stage="Supervised Fine-Tuning", dataset=["d"], hind_kepo_beta="3", hind_hint_tags=False
    )
    args = engine.runner._parse_train_args(data)
    from llamafactory_hind.config.checks import defaults

    assert not set(defaults()) & set(args)
    saved = engine.runner._build_config_dict(data)
    assert not [name for name in saved if "hind_" in name]


def test_saved_settings_come_back(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llamafactory.webui import runner

    monkeypatch.setattr(runner, "DEFAULT_CONFIG_DIR", str(tmp_path))
    data = form(
        engine, training_stage=LABELS["grpo"], dataset=["prompts"], config_path="a.yaml", hind_num_generations="4"
    )
    engine.runner.save_args(data)
    loaded = engine.runner.load_args("en", "a.yaml")
    get = engine.manager.get_elem_by_id
    assert loaded[get("train.hind_num_generations")] == "4"
    assert loaded[get("train.hind_clip_low")] == "0.2"
    assert loaded[get("train.dataset")] == ["prompts"]
    text = (tmp_path / "a.yaml").read_text()
    assert "hind_clip_low" not in text
    (tmp_path / "b.yaml").write_text(text + "train.hind_gone: 1\n")
    assert engine.runner.load_args("en", "b.yaml")[get("train.hind_num_generations")] == "4"


def test_the_fields_stand_before_the_hosts_extra_ones(engine: Any) -> None:
    tab, extra = (engine.manager.get_elem_by_id(f"train.{name}") for name in ("hind_tab", "extra_tab"))
    order = tab.parent.children
    assert order.index(tab) == order.index(extra) - 1
    assert not tab.visible


def test_every_language_has_every_label(engine: Any) -> None:
    for language in ("en", "ru", "zh", "ko", "ja"):
        updates = engine.change_lang(language)
        assert engine.manager.get_elem_by_id("train.hind_num_generations") in updates


def test_fields_follow_the_stage(engine: Any) -> None:
    from llamafactory_hind.board.fields import board_fields
    from llamafactory_hind.board.train import visibility
    from llamafactory_hind.config.checks import stages_of_keys

    elements = {name.removeprefix("train."): entry for name, entry in engine.manager._id_to_elem.items()}
    for stage in ("grpo", "kepo", "sft"):
        updates = visibility(stage, elements)
        visible = {field.key for field in board_fields() if updates[elements[field.name]]["visible"]}
        assert visible >= {key for key, stages in stages_of_keys().items() if stage in stages}
        assert bool(visible) == (stage != "sft") == updates[elements["hind_tab"]]["visible"]


def test_our_tabs_stand_behind_the_hosts(engine: Any) -> None:
    """In one row of tabs with the host's, and each element can be found by its name."""
    from llamafactory_hind.board.tabs import labels, tab_name, tabs

    get = engine.manager.get_elem_by_id
    ours = [get(f"hind.{tab_name(name)}") for name, _ in tabs()]
    for name in labels():
        get(f"hind.{name}")
    row = ours[0].parent.children
    assert row[-len(ours) :] == ours
    assert len(row) > len(ours)
    assert get("hind.hind_completions_tab") in engine.change_lang("zh")


def test_a_preset_says_what_its_yaml_says(engine: Any) -> None:
    """Every YAML of every stage: the form is filled, and the Board's arguments are those of the file."""
    from llamafactory.webui.common import _clean_cmd

    from llamafactory_hind.board.presets import NOT_OF_THE_FORM, form_of, preset_files, read_preset
    from llamafactory_hind.config import STAGES
    from llamafactory_hind.config.checks import defaults

    ours = [name for name in preset_files() if read_preset(name).get("stage") in STAGES]
    assert len(ours) > 20
    for name in ours:
        settings = read_preset(name)
        filled = {key.removeprefix("train."): value for key, value in form_of(settings).items() if key[:4] != "top."}
        data = form(engine, training_stage=LABELS[settings["stage"]], **filled)
        data[engine.manager.get_elem_by_id("top.finetuning_type")] = settings.get("finetuning_type", "lora")
        assert engine.runner._initialize(data, True, False) == "", name
        args = _clean_cmd(engine.runner._parse_train_args(data))
        for key, value in settings.items():
            if key in NOT_OF_THE_FORM or value is False or (value == defaults().get(key) and key not in args):
                continue
            wanted = str(value).split(",") if key in ("dataset", "eval_dataset") else value
            got = args.get(key)
            got = ",".join(got).split(",") if isinstance(got, list) and key == "eval_dataset" else got
            got = got.split(",") if key == "dataset" else got
            if isinstance(got, list) and not isinstance(wanted, list):
                wanted = [wanted]  # one name stands for a list of one
            assert got == wanted, (name, key)


def test_a_board_that_others_reach_says_so_in_the_language_of_the_page(engine: Any) -> None:
    """The host listens to the whole network where nothing else is asked for, as in this process."""
    notice = engine.manager.get_elem_by_id("hind_notice.hind_open")
    assert "without a password" in notice.value
    assert notice.parent.children[0] is notice
    assert "密码" in engine.change_lang("zh")[notice].value
    assert notice_of_the_network({"GRADIO_SERVER_NAME": "127.0.0.1"}) == ""
    assert notice_of_the_network({"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SHARE": "1"}) == notice.value
