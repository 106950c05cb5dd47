"""Keys read from the host's files are those that the imported host takes."""

from dataclasses import fields
from pathlib import Path

import llamafactory
from llamafactory.hparams import DataArguments, ModelArguments, parser

from llamafactory_hind.config import OUR_KEYS, STAGES
from llamafactory_hind.config.keys.declared import declared, train_keys
from llamafactory_hind.engines.host_keys import OUR_MODEL_KEYS, PROMPT_KEYS, host_keys


HOST = Path(llamafactory.__file__).parent


def test_the_keys_and_stages_of_train_are_those_of_the_imported_host() -> None:
    known = train_keys(HOST)
    assert known is not None
    taken = {entry.name for owner in parser._TRAIN_ARGS for entry in fields(owner) if entry.init}
    assert known.keys | OUR_KEYS == taken
    assert not known.keys & OUR_KEYS
    stages = parser.FinetuningArguments.__annotations__["stage"].__args__
    assert {*known.stages, *STAGES} == set(stages)


def test_the_keys_of_a_model_are_those_of_the_imported_host() -> None:
    model = {entry.name for entry in fields(ModelArguments) if entry.init}
    prompt = {entry.name for entry in fields(DataArguments) if entry.name in PROMPT_KEYS}
    assert host_keys() == (model | prompt) - set(OUR_MODEL_KEYS)


def test_fields_that_the_constructor_does_not_take_are_no_keys(tmp_path: Path) -> None:
    text = "class A:\n    a: int = 1\n    b: int = field(init=False)\n    c: str = field(default='x')\n    d = 2\n"
    (tmp_path / "a.py").write_text(text)
    assert list(declared(tmp_path / "a.py")) == ["a", "c"]


def test_another_host_than_is_known_gives_no_keys(tmp_path: Path) -> None:
    assert train_keys(tmp_path) is None
