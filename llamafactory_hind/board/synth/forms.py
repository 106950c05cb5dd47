"""Fields of pipelines and of `score`, made from their dataclasses as those of the stages are, and what a form says as settings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, get_type_hints

import yaml

from ...config.problem import ConfigError
from ...evaluation.arguments import ScoreArguments
from ...pipelines import get_pipeline, pipeline_names
from ...pipelines.runner.arguments import SynthArguments
from ..fields import Field, kind_of
from ..values import read, shown, typed


ASKED_ELSEWHERE = {"pipeline", "dry_run"}  # a menu, and a button
LISTED = {"dataset", "reward_funcs", "metric", "seen_groups", "labels"}  # texts that may be lists
MAPPING = dict[str, Any] | None
BASIC = (  # [ours] shown before the others, in this order
    "dataset", "dataset_dir", "media_dir", "output", "output_dataset", "max_samples",
    "engine", "model_name_or_path", "adapter_name_or_path", "template", "batch_size",
    "base_url", "model", "api_key_env", "concurrency", "price_in", "price_out",
    "metric", "predictions", "answer_pattern", "group_by",
)  # fmt: skip
SHARED = ""  # owner of the keys that every pipeline takes
SCORE = "score"


@dataclass(frozen=True)
class Form:
    """The fields of one owner.

    Attributes:
        owner: a pipeline, `SHARED` or `SCORE`.
        fields: in their order.
        mappings: keys whose text is YAML.
        numbers: keys whose choices are numbers.
        engines: key -> the engine that reads it.
    """

    owner: str
    fields: tuple[Field, ...]
    mappings: frozenset[str]
    numbers: frozenset[str]
    engines: Mapping[str, str]

    def name(self, field: Field) -> str:
        """Return the name of a field among the host's elements."""
        return f"hind_{'score' if self.owner == SCORE else 'synth'}_{self.owner or 'all'}_{field.key}"


@cache
def forms() -> dict[str, Form]:
    """Return owner -> form. A key whose default a pipeline changes is a field of that pipeline."""
    shared = {entry.name: entry.default for entry in fields(SynthArguments) if entry.init}
    found = {SHARED: _form(SHARED, SynthArguments, leave_out=ASKED_ELSEWHERE)}
    for pipeline in pipeline_names():
        owner = get_pipeline(pipeline).Arguments
        same = {entry.name for entry in fields(owner) if shared.get(entry.name, owner) == entry.default}
        found[pipeline] = _form(pipeline, owner, leave_out=same | ASKED_ELSEWHERE)
    return {**found, SCORE: _form(SCORE, ScoreArguments, leave_out=())}


def _form(owner: str, arguments: type, *, leave_out: Iterable[str]) -> Form:
    types = get_type_hints(arguments)
    chosen = [entry for entry in fields(arguments) if entry.init and entry.name not in set(leave_out)]
    found, mappings, numbers = [], set(), set()
    for entry in chosen:
        declared, default = types[entry.name], entry.default
        nullable, kind, choices = (True, "text", ()) if declared == MAPPING else kind_of(declared)
        if declared == MAPPING:
            mappings.add(entry.name)
        if kind == "choice" and not isinstance(default, str) and default is not None:
            numbers.add(entry.name)
            default = str(default)
        if entry.name in LISTED:
            kind, default = "list", default or None
        found.append(Field(entry.name, kind, default, entry.metadata["help"], frozenset(), choices, nullable))
    order = {key: place for place, key in enumerate(BASIC)}
    found.sort(key=lambda field: order.get(field.key, len(BASIC)))
    engines = {entry.name: entry.metadata["engine"] for entry in chosen if "engine" in entry.metadata}
    return Form(owner, tuple(found), frozenset(mappings), frozenset(numbers), engines)


def is_basic(field: Field) -> bool:
    """Say whether a field stands before the others."""
    return field.key in BASIC


def settings_of(owners: Iterable[str], held: Mapping[str, Any], more: str = "") -> dict[str, Any]:
    """Return what forms say as the keys of a command; an untouched field says nothing, one of the other engine neither.

    Args:
        owners: of the forms.
        held: name of an element -> what it holds.
        more: further keys as YAML, `key: value` lines.

    Raises:
        ConfigError: names every field that cannot be read.
    """
    found: dict[str, Any] = {}
    wrong: list[Any] = []
    for owner in owners:
        form = forms()[owner]
        for field in form.fields:
            try:
                value = _value(form, field, held.get(form.name(field)))
            except ValueError as error:
                wrong.append(str(error))
                continue
            if value is not None and value != field.default:
                found[field.key] = value
    engine = found.get("engine", "hf")
    others = {key for owner in owners for key, reader in forms()[owner].engines.items() if reader != engine}
    found = {key: value for key, value in found.items() if key not in others}
    try:
        found |= further_keys(more, found)
    except ValueError as error:
        wrong.append(str(error))
    if wrong:
        raise ConfigError(wrong)
    return found


def _value(form: Form, field: Field, held: Any) -> Any:
    value = read(field, held)
    if field.key in form.mappings and isinstance(value, str):
        return _mapping(field.key, value)
    if field.key in form.numbers:
        return value if value == field.default else int(value)
    if field.key in LISTED and isinstance(value, list):
        return ",".join(value)
    return value


def _mapping(key: str, text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        content = str(error).splitlines()[0]
    if not isinstance(content, dict):
        raise ValueError(f"{key}: got {text!r}, expected YAML such as `{{a: 1}}`. Change the field.")
    return content


def further_keys(text: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of the box of further keys.

    Raises:
        ValueError: it is no mapping, or says what a field says already.
    """
    if not (text or "").strip():
        return {}
    content = _mapping("further keys", text)
    twice = sorted(set(content) & set(said))
    if twice:
        raise ValueError(f"further keys: {', '.join(twice)} stands in a field as well. Remove one of them.")
    return {str(key): value for key, value in content.items()}


def held_by(owners: Iterable[str], settings: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return what forms hold for settings: name of an element -> value, and the keys without a field as YAML."""
    held: dict[str, Any] = {}
    left = dict(settings)
    for owner in owners:
        form = forms()[owner]
        for field in form.fields:
            value = left.pop(field.key, field.default)
            if field.key in form.numbers:
                value = str(value)
            if field.key in form.mappings and isinstance(value, dict):
                value = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).strip()
            held[form.name(field)] = shown(field) if value == field.default else typed(field, value)
    left = {key: value for key, value in left.items() if key not in ASKED_ELSEWHERE}
    return held, yaml.safe_dump(left, allow_unicode=True, sort_keys=False) if left else ""
