"""The host's own command line with our stages: YAML, JSON, `key=value`, `--flags`, torchrun, LLaMA Board's forms."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.attach.commands import COMMANDS
from llamafactory_hind.config import LABELS, ConfigError


GOOD: dict[str, Any] = {
    "stage": "kepo",
    "model_name_or_path": "nowhere",
    "dataset": "pairs",
    "template": "qwen2_vl",
    "finetuning_type": "full",
    "do_train": True,
    "report_to": "none",
    "kepo_beta": 0.3,
    "kepo_loss": "length_normalized",
}
BAD = {**GOOD, "kepo_bata": 0.2, "kepo_beta": -1, "packing": True}
BAD_KEYS = {"kepo_bata", "kepo_beta", "packing"}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch):
    """Call what the console scripts `llamafactory-cli` and `lmf` call, in this process."""
    from llamafactory.cli import main

    def call(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["llamafactory-cli", *words])
        main()

    return call


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Parse a command line as `llamafactory-cli train` does; return (finetuning arguments, data arguments)."""
    from llamafactory.train import tuner

    def parse(*words: str) -> tuple[Any, Any]:
        monkeypatch.setattr(sys, "argv", ["llamafactory-cli", *words])
        _, data_args, _, finetuning_args, _ = tuner.get_train_args(tuner.read_args())
        return finetuning_args, data_args

    return parse


def written(path: Path, settings: dict[str, Any]) -> str:
    """Write settings to a file (YAML reads JSON too) and return its path."""
    path.write_text(json.dumps({**settings, "output_dir": str(path.parent / "out")}))
    return str(path)


def flags(settings: dict[str, Any]) -> list[str]:
    """Return settings as flags."""
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]


def test_help_lists_our_commands_beside_the_hosts(cli, capsys) -> None:
    cli("help")
    box = capsys.readouterr().out.strip().splitlines()
    assert {len(line) for line in box} == {70}
    for command in ("train", "export", *COMMANDS):
        assert any(f"llamafactory-cli {command} " in line for line in box)
    cli("no-such-command")
    assert "synth" in capsys.readouterr().out


def test_train_help_lists_our_keys(cli, capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli("train", "-h")
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert re.search(r"--stage \{[a-z_,]*,kepo[a-z_,]*\}", text)
    for key in ("kepo_beta", "kepo_loss", "kepo_gap_weight", "kepo_nll_weight", "ref_logps_cache", "share_prefix"):
        assert f"--{key} " in text
    assert "HinD" in text
    assert "--skip_bad_rows" in text


@pytest.mark.parametrize("kind", ["yaml", "json", "flags"])
def test_settings_arrive_from(kind: str, parsed, tmp_path: Path) -> None:
    if kind == "flags":
        words = flags({**GOOD, "share_prefix": "off", "skip_bad_rows": True, "output_dir": tmp_path / "out"})
    else:
        words = [written(tmp_path / f"a.{kind}", GOOD), "share_prefix=off", "skip_bad_rows=true", "kepo_loss=sigmoid"]
    finetuning_args, data_args = parsed(*words)
    assert (finetuning_args.stage, finetuning_args.kepo_beta, finetuning_args.kepo_nll_weight) == ("kepo", 0.3, 0.0)
    assert finetuning_args.kepo_loss == ("length_normalized" if kind == "flags" else "sigmoid")
    assert finetuning_args.share_prefix == "off"  # YAML reads `off` as false
    assert data_args.skip_bad_rows is True


@pytest.mark.parametrize("kind", ["yaml", "json", "flags"])
def test_all_problems_come_at_once_from(kind: str, cli, tmp_path: Path) -> None:
    words = flags({**BAD, "output_dir": tmp_path}) if kind == "flags" else [written(tmp_path / f"a.{kind}", BAD)]
    with pytest.raises(ConfigError) as error:
        cli("train", *words)
    assert {problem.key for problem in error.value.problems} == BAD_KEYS
    assert "`kepo_beta`" in str(error.value)


def test_the_hosts_stages_get_the_nearest_key_too(cli, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"learnin_rate.*`learning_rate`"):
        cli("train", written(tmp_path / "a.yaml", {**GOOD, "stage": "sft", "learnin_rate": 1e-3}))


def test_allow_extra_args_keeps_the_hosts_lenience(parsed, tmp_path: Path, monkeypatch, capfd) -> None:
    given = {key: value for key, value in GOOD.items() if key != "kepo_loss"} | {"kepo_los": "sigmoid"}
    monkeypatch.setenv("ALLOW_EXTRA_ARGS", "1")
    from llamafactory.hparams import parser

    said: list[str] = []
    monkeypatch.setattr(parser.logger, "warning_rank0", said.append)
    finetuning_args, _ = parsed(written(tmp_path / "a.yaml", given))
    assert finetuning_args.kepo_loss == "sigmoid"
    assert any("kepo_los:" in line and "`kepo_loss`" in line for line in said)


@pytest.mark.slow
def test_a_mistake_stops_every_process_of_a_torchrun(host_cli, tmp_path: Path) -> None:
    """The launcher runs its own file again under torchrun: the parent's hooks do not reach those processes, the .pth does."""
    env = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "2"}
    done = host_cli("train", written(tmp_path / "a.yaml", BAD), env=env)
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert said.count("3 problems in the configuration, nothing was loaded") == 1
    assert "Traceback" not in said
    assert "nearest key is `kepo_beta`" in said


@pytest.mark.slow
def test_the_next_engine_refuses_our_stage_in_one_line(host_cli, tmp_path: Path) -> None:
    done = host_cli("train", written(tmp_path / "a.yaml", GOOD), env={"USE_V1": "1"})
    assert done.returncode == 1
    assert "`stage: kepo` needs LLaMA-Factory's default engine: unset USE_V1." in done.stderr
    assert "Traceback" not in done.stderr


def test_the_next_engine_refuses_our_commands_in_one_line(run_python) -> None:
    launch = "import sys; sys.argv[1:] = ['synth', 'any.yaml']; from llamafactory.v1.launcher import launch; launch()"
    done = run_python("-c", launch)
    assert done.returncode == 1
    assert done.stderr == "llamafactory_hind: `synth` needs LLaMA-Factory's default engine: unset USE_V1.\n"


def test_a_dataset_keeps_its_whole_entry() -> None:
    from llamafactory.data.parser import DatasetAttr

    attr = DatasetAttr("file", dataset_name="x")
    assert dict(attr.hind_info) == {}
    entry = {"file_name": "x.json", "formatting": "hindsight", "target": "cot", "ranking": True}
    attr.join(entry)
    assert attr.hind_info == entry
    assert attr.hind_info is not entry
    assert (attr.formatting, attr.ranking) == ("hindsight", True)


def test_the_boards_menus(tmp_path: Path) -> None:
    from llamafactory.webui.control import change_stage, list_datasets

    info = {"pairs": {"file_name": "p.json", "ranking": True}, "plain": {"file_name": "q.json"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    names = [choice[0] for choice in list_datasets(str(tmp_path), LABELS["kepo"]).choices]
    assert names == ["pairs"]
    assert [choice[0] for choice in list_datasets(str(tmp_path), "Supervised Fine-Tuning").choices] == ["plain"]
    assert change_stage("DPO") == ([], False)
    kept, packing = change_stage(
        LABELS["kepo"]
    )  # the chosen datasets stay: a saved stage that is put back is a change
    assert kept.get("__type__") == "update"
    assert "value" not in kept
    assert packing is False


def test_the_boards_form_passes_our_checks(tmp_path: Path, monkeypatch) -> None:
    """LLaMA Board writes some fifty keys for every stage; with our stage chosen and nothing else changed, they are accepted."""
    monkeypatch.chdir(tmp_path)
    from llamafactory.hparams import parser
    from llamafactory.webui.interface import create_ui

    from llamafactory_hind import config

    form = board_form(create_ui)
    form["stage"], form["dataset"] = "kepo", "pairs"
    known = {name for owner in parser._TRAIN_ARGS for name in owner.__dataclass_fields__}
    assert config.check_train(form, known=known, host_stages=("sft",)) == []
    assert len(form) > 40


def board_form(create_ui) -> dict[str, Any]:
    """Return the settings that LLaMA Board's runner makes of its form as it first appears."""
    from llamafactory.webui.engine import Engine
    from llamafactory.webui.runner import Runner

    engines: list[Engine] = []
    build = Engine.__init__

    def remember(self, *args, **kwargs) -> None:
        build(self, *args, **kwargs)
        engines.append(self)

    Engine.__init__ = remember
    try:
        create_ui()
    finally:
        Engine.__init__ = build
    manager = engines[0].manager
    values = {element: element.value for element in manager.get_elem_list() if hasattr(element, "value")}
    chosen = {"top.model_name": "Custom", "top.model_path": "nowhere", "train.dataset": ["pairs"]}
    chosen["train.output_dir"] = "train_now"
    values |= {manager.get_elem_by_id(name): value for name, value in chosen.items()}
    values[manager.get_elem_by_id("train.training_stage")] = LABELS["kepo"]
    return Runner(manager)._parse_train_args(values)
