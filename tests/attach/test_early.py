"""The command line before the host is imported: help and wrong keys are answered, everything else is the host's."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llamafactory_hind.attach import early, errors
from llamafactory_hind.attach.commands import COMMANDS
from llamafactory_hind.attach.errors import is_ours
from llamafactory_hind.attach.host_import import AttachError, is_supported
from llamafactory_hind.config.exits import ONCE, Refused
from llamafactory_hind.config.keys.declared import package_folder
from llamafactory_hind.config.problem import ConfigError


HOST = package_folder("llamafactory")
WRONG = "stage: grpo\nreward_func: [accuracy]\nmodel_name_or_path: nowhere\n"
# Starts the command line as the console script does, and tells at its end which heavy packages were loaded.
START = """
import atexit, sys
sys.argv = ["llamafactory-cli", *sys.argv[1:]]
heavy = ("torch", "transformers", "datasets", "accelerate", "peft", "trl", "numpy", "llamafactory")
atexit.register(lambda: print("LOADED", *[name for name in heavy if name in sys.modules]))
from llamafactory.cli import main
main()
"""


@pytest.fixture
def started(run_python, tmp_path: Path):
    """Start a command line in a fresh process; return (status, stdout without the last line, stderr), having loaded nothing."""
    (tmp_path / "wrong.yaml").write_text(WRONG)

    def start(*words: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
        done = run_python("-c", START, *words, cwd=tmp_path, env=env)
        out, _, loaded = done.stdout.rpartition("LOADED")
        assert loaded == "\n", f"{loaded} was loaded: {done.stderr}"
        return done.returncode, out, done.stderr

    return start


@pytest.mark.parametrize("command", ["train", "synth", "score"])
def test_a_wrong_key_is_told_alone_before_anything_is_imported(command: str, started) -> None:
    words = [command, "wrong.yaml"] + (["pipeline=answer"] if command == "synth" else [])
    status, out, err = started(*words)
    assert (status, out) == (2, "")
    assert err.startswith(f"llamafactory-cli {command}: ")
    assert re.match(r".* problems in the configuration", err)
    assert "  - reward_func: got" in err
    assert "Traceback" not in err


def test_the_traceback_comes_when_it_is_asked_for(run_python, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(WRONG)
    done = run_python("-c", START, "train", "wrong.yaml", cwd=tmp_path, env={"LLAMAFACTORY_HIND_DEBUG": "1"})
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ConfigError" in done.stderr


@pytest.mark.parametrize("command", ["synth", "score", "browse"])
def test_help_of_ours_loads_nothing(command: str, started) -> None:
    for words in ([command], [command, "--help"], [command, "x.yaml", "-h"]):
        status, out, err = started(*words)
        assert (status, err) == (0, "")
        assert f"usage: llamafactory-cli {command} {COMMANDS[command].takes}" in out


def test_help_and_version_are_the_hosts_own_texts(started) -> None:
    from llamafactory import launcher
    from llamafactory.extras.env import VERSION

    assert started("help") == (0, launcher.USAGE + "\n", "")
    assert started() == (0, launcher.USAGE + "\n", "")
    assert "synth" in launcher.USAGE
    status, out, err = started("version")
    assert (status, err) == (0, "")
    assert f"| Welcome to LLaMA Factory, version {VERSION}" in out
    assert len({len(line) for line in out.splitlines()}) == 1


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("stage: sft\nreward_func: 1\n", []),
        ("stage: dpo\nkepo_beta: 1\n", []),
        ("model_name_or_path: x\n", []),
        ("- broken", []),
        ("stage: grpo\nreward_func: 1\n", ["stage=sft"]),
        ("stage: grpo\nreward_func: 1\n", ["-h"]),
    ],
)
def test_a_stage_of_the_host_is_left_to_the_host(file: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(file)
    early.check_train_words([str(tmp_path / "a.yaml"), *words], HOST)


@pytest.mark.parametrize("switch", ["USE_MCA", "ALLOW_EXTRA_ARGS"])
def test_the_hosts_switches_are_heeded(switch: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.yaml").write_text("stage: kepo\nkepo_bata: 1\n")
    with pytest.raises(ConfigError, match="kepo_bata"):
        early.check_train_words([str(tmp_path / "a.yaml")], HOST)
    monkeypatch.setenv(switch, "1")
    early.check_train_words([str(tmp_path / "a.yaml")], HOST)


@pytest.mark.parametrize("stage", ["stage: {}", "stage: [kepo]"])
def test_a_stage_that_is_no_text_is_told(stage: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("stage: kepo\n")
    with pytest.raises(ConfigError, match="stage: got"):
        early.check_train_words([str(tmp_path / "a.yaml"), stage.replace(": ", "=")], HOST)


def test_flags_are_checked_as_files_are() -> None:
    with pytest.raises(ConfigError, match="kepo_beta: got -1"):
        early.check_train_words(["--stage", "kepo", "--kepo_beta", "-1"], HOST)


def test_only_a_command_line_is_answered() -> None:
    assert early.command_line(["/env/bin/llamafactory-cli", "train", "a.yaml"], []) == ["train", "a.yaml"]
    assert early.command_line(["lmf"], []) == []
    assert early.command_line(["-m", "help"], ["python", "-m", "llamafactory.cli", "help"]) == ["help"]
    assert early.command_line(["-m", "help"], ["python", "-m", "pytest", "help"]) is None
    assert early.command_line(["/site/llamafactory/launcher.py", "a.yaml"], []) == ["train", "a.yaml"]
    assert early.command_line(["my_script.py", "train"], []) is None
    assert early.command_line([], []) is None


def test_a_host_of_another_kind_is_left_alone(tmp_path: Path, monkeypatch) -> None:
    """Another version, no version, another launcher: nothing is answered."""
    monkeypatch.setattr(sys, "argv", ["llamafactory-cli", "help"])
    early.answer(tmp_path, is_supported)
    (tmp_path / "extras").mkdir()
    (tmp_path / "extras" / "env.py").write_text('VERSION = "0.10.0"\n')
    early.answer(tmp_path, is_supported)
    assert early.host_version(tmp_path) == "0.10.0"
    early.answer_hosts("help", tmp_path, "0.9.5")
    (tmp_path / "launcher.py").write_text('USAGE = "x"\n')
    early.answer_hosts("version", tmp_path, "0.9.5")


def test_every_command_of_ours_can_be_prepared() -> None:
    for command in COMMANDS.values():
        assert all(":" in function for function in (command.run, command.prepare))


def caught(source: str, name: str = "llamafactory_hind.some") -> tuple[BaseException, object]:
    try:
        exec(compile(source, "x.py", "exec"), {"__name__": name})
    except Exception as error:
        return error, error.__traceback__
    raise AssertionError


@pytest.mark.parametrize(
    ("source", "name", "ours"),
    [
        ("raise ValueError('told')", "llamafactory_hind.some", True),
        ("raise ValueError('told')", "llamafactory.some", False),
        ("int('x')", "llamafactory_hind.some", False),
        ("raise TypeError('fault')", "llamafactory_hind.some", False),
        ("[][1]", "llamafactory_hind.some", False),
    ],
)
def test_what_counts_as_ours(source: str, name: str, ours: bool) -> None:
    assert is_ours(*caught(source, name)) is ours


def test_a_hook_that_failed_keeps_its_traceback() -> None:
    assert not is_ours(AttachError("x"), None)
    assert is_ours(ConfigError([]), None)


def test_the_launcher_prints_what_its_processes_wrote(capsys, monkeypatch) -> None:
    """The processes of a run write a message; `torchrun` fails; the launcher prints it once and has our status."""
    monkeypatch.delenv("COLUMNS", raising=False)
    failed = subprocess.CalledProcessError(1, ["torchrun"])
    with pytest.raises(Refused) as ended, errors.one_message():
        Path(os.environ[ONCE]).write_text("told")
        raise failed
    assert ended.value.code == 2
    assert capsys.readouterr().err == "told\n"
    assert ONCE not in os.environ
    with pytest.raises(subprocess.CalledProcessError), errors.one_message():
        raise failed
    assert capsys.readouterr().err == ""
