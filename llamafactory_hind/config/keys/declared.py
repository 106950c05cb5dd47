"""The host's keys, read from the text of its files: which keys a file may have is known before torch is imported.

Importing the host takes 10 to 25 seconds, and the smallest mistake in a file would be told after it. The text is that of
the installed version, so there is no table to keep; `tests/config/test_declared.py` compares both ways for that version.
"""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple


MODEL_FILE = "hparams/model_args.py"
DATA_FILE = "hparams/data_args.py"
STAGE_FILE = "hparams/finetuning_args.py"
TRAIN_FILES = (MODEL_FILE, DATA_FILE, "hparams/training_args.py", STAGE_FILE, "hparams/generating_args.py")
TRAINER_FILES = ("training_args.py", "training_args_seq2seq.py")  # of transformers: the host's class extends it


class HostKeys(NamedTuple):
    """What `llamafactory-cli train` of the installed host takes."""

    keys: frozenset[str]
    stages: tuple[str, ...]


@cache
def train_keys(host: Path) -> HostKeys | None:
    """Return the keys and stages of the host's `train`; None where the files are not as they are known to be.

    Args:
        host: the folder of the package `llamafactory`.
    """
    transformers = package_folder("transformers")
    if transformers is None:
        return None
    try:
        files = [*(host / name for name in TRAIN_FILES), *(transformers / name for name in TRAINER_FILES)]
        keys = {key for file in files for key in declared(file)}
        stages = _literal(host / STAGE_FILE, "stage")
    except (OSError, ValueError, SyntaxError):
        return None
    return HostKeys(frozenset(keys), stages) if stages else None


def declared(file: Path) -> Iterator[str]:
    """Yield the fields of the classes in a file of dataclasses, but those that the constructor does not take.

    Raises:
        OSError: the file is not there.
        SyntaxError: it is no Python of this version.
    """
    for entry in _fields(file):
        assert isinstance(entry.target, ast.Name)
        keywords = entry.value.keywords if isinstance(entry.value, ast.Call) else []
        if not any(word.arg == "init" and getattr(word.value, "value", True) is False for word in keywords):
            yield entry.target.id


def package_folder(name: str) -> Path | None:
    """Return the folder of an installed package without importing it."""
    spec = find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _fields(file: Path) -> Iterator[ast.AnnAssign]:
    for block in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(block, ast.ClassDef):
            for entry in block.body:
                if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
                    yield entry


def _literal(file: Path, key: str) -> tuple[str, ...]:
    """Return the choices of a field that is a `Literal`."""
    for entry in _fields(file):
        if getattr(entry.target, "id", None) == key and isinstance(entry.annotation, ast.Subscript):
            choices = ast.literal_eval(entry.annotation.slice)
            return choices if isinstance(choices, tuple) else (choices,)
    return ()
