"""What the command line can answer before the host is imported: help, version, and everything wrong with the keys.

Called by the finder when a `llamafactory-cli` asks for `llamafactory`, whose import alone takes 10 to 25 seconds. It answers
where it can and raises our errors; in every other case it does nothing, and the host runs as it always does: `train` with a
stage of the host, an unknown command, a file of an installed host that does not look as expected.
"""

import ast
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from .commands import COMMANDS


SCRIPTS = ("llamafactory-cli", "lmf")
VERSION_FILE = "extras/env.py"


def answer(host: Path, is_supported: Callable[[str], bool]) -> None:
    """Answer the command line of this process, if it is one.

    Args:
        host: the folder of the package `llamafactory`.
        is_supported: whether we attach to a version.

    Raises:
        SystemExit: it is answered.
        ConfigError: keys are wrong.
    """
    words = command_line(sys.argv, sys.orig_argv)
    version = host_version(host)
    if words is None or version is None or not is_supported(version) or _is_on("USE_V1"):
        return
    from .errors import print_ours_alone

    command, rest = (words[0], words[1:]) if words else ("help", [])
    print_ours_alone(command)
    if command in COMMANDS:
        answer_ours(command, rest)
    elif command == "train":
        check_train_words(rest, host)
    elif command in ("help", "version"):
        answer_hosts(command, host, version)


def command_line(argv: list[str], original: list[str]) -> list[str] | None:
    """Return the words after `llamafactory-cli`, None in any other process.

    Under `torchrun` the host's `launcher.py` runs as a script, with the words after `train`.
    """
    if not argv:
        return None
    script = Path(argv[0])
    if script.name in SCRIPTS or (argv[0] == "-m" and "llamafactory.cli" in original):
        return argv[1:]
    return ["train", *argv[1:]] if script.parts[-2:] == ("llamafactory", "launcher.py") else None


def answer_ours(command: str, words: list[str]) -> None:
    """Print the help of a command of ours, or check its keys."""
    module, function = COMMANDS[command].prepare.split(":")
    told = getattr(import_module(module), function)(words)
    if told is not None:
        print(told)
        raise SystemExit(0)


def check_train_words(words: list[str], host: Path) -> None:
    """Check what `train` is given where its stage is ours, or no text; the host's stages are left to the host."""
    from .. import config
    from ..config.keys.declared import train_keys

    of_file = config.stage_of_file(words)
    is_file = bool(words) and words[0].endswith((".yaml", ".yml", ".json"))
    if _is_on("USE_MCA") or {"-h", "--help"} & set(words) or (is_file and of_file not in config.STAGES):
        return
    known = train_keys(host)
    if known is None:
        return
    keys = known.keys | config.OUR_KEYS
    if is_file:
        from ..config.command import read_settings

        given = read_settings(words, usage="llamafactory-cli train X.yaml [key=value ...]", resolve=False)
    else:
        given = config.settings(words, keys)
    stage = given.get("stage")
    if not isinstance(stage, str | None) or stage in config.STAGES:
        config.check_train(
            given,
            known=keys,
            host_stages=known.stages,
            allow_extra_keys=_is_on("ALLOW_EXTRA_ARGS"),
            environ=os.environ,
        )


def answer_hosts(command: str, host: Path, version: str) -> None:
    """Print the host's help with our commands, or its version, as its launcher would."""
    try:
        launcher = _hosts_launcher(host)
        told = launcher.USAGE if command == "help" else welcome(host, version)
    except Exception:  # another launcher than is known: the host speaks for itself
        return
    print(told)
    raise SystemExit(0)


def welcome(host: Path, version: str) -> str:
    """Return the text that the host's launcher prints for `version`: the expression of its source, evaluated."""
    tree = ast.parse((host / "launcher.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "WELCOME":
            text = eval(compile(ast.Expression(node.value), "launcher.py", "eval"), {"VERSION": version})
            return str(text)
    raise ValueError("the launcher has no WELCOME")


def host_version(host: Path) -> str | None:
    """Return the version that the host's files state, None where they do not."""
    try:
        found = re.search(r'^VERSION = "([^"]+)"', (host / VERSION_FILE).read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None


def _hosts_launcher(host: Path) -> ModuleType:
    from .launcher import extend_usage

    spec = spec_from_file_location("llamafactory_hind_reads_launcher", host / "launcher.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    extend_usage(module)
    return module


def _is_on(name: str) -> bool:
    return os.environ.get(name, "0").lower() in ("true", "y", "1")
