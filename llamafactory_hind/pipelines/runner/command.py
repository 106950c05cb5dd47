"""The keys of `llamafactory-cli synth`: those that every pipeline takes, and how they are read and checked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

from ...config import command
from ...config.command import join_lists
from ...config.problem import ConfigError, Problem
from ...config.types import describe, fits, nearest
from ...engines.server.api_key import SHOWN_NAME, ApiKey
from ...formats.media.view import PIXEL_KEYS
from .. import get_pipeline, pipeline_names
from .arguments import SynthArguments
from .pipeline import Pipeline
from .prompting import prompt_problems


# Of the host's keys, those that say what of a picture or a clip is sent to a server.
SERVER_MEDIA_KEYS: dict[str, tuple[Any, float]] = {
    **dict.fromkeys(PIXEL_KEYS, (int, 1)),
    "video_fps": (float, 0.001),
    "video_maxlen": (int, 1),
    "media_as_host": (bool, False),
}
USAGE = "llamafactory-cli synth X.yaml [key=value ...]   (X.json works as well; --help lists the keys)"


def read_settings(argv: Sequence[str]) -> dict[str, Any]:
    """Return key -> value of `X.yaml key=value ...`, lists as texts separated by commas; see `config.command.read_settings`."""
    return join_lists(command.read_settings(argv, usage=USAGE))


def build_arguments(given: Mapping[str, Any], *, calling: bool = False) -> tuple[Pipeline, SynthArguments]:
    """Check everything that was given and return the pipeline's module with its arguments.

    Args:
        given: key -> value.
        calling: a server will be called, and the variable that holds its key must be set.

    Raises:
        ConfigError: with every problem found.
    """
    names = pipeline_names()
    if given.get("pipeline") not in names:
        near = nearest(str(given.get("pipeline", "")), names)
        remedy = f"The nearest pipeline is `{near}`." if near else f"Choose one; {USAGE}"
        raise ConfigError([Problem("pipeline", given.get("pipeline"), "one of " + ", ".join(names), remedy)])
    pipeline: Pipeline = get_pipeline(given["pipeline"])
    entries = {entry.name: entry for entry in fields(pipeline.Arguments) if entry.init}
    foreign = {key: value for key, value in given.items() if key not in entries}
    types = get_type_hints(pipeline.Arguments)
    usable, problems = {}, []
    for key, value in given.items():
        if key not in entries:
            continue
        if _fits(value, types[key]):
            usable[key] = value
        else:
            problems.append(Problem(key, value, " or ".join(_describe(types[key])), "Correct the value."))
    arguments = pipeline.Arguments(**usable)
    problems += _foreign_problems(foreign, set(entries), arguments.engine)
    problems += _keys_of_other_engine(usable, entries, arguments.engine)
    wrong = {problem.key for problem in problems}
    across = [*arguments.problems(), *prompt_problems(arguments)]
    problems += [problem for problem in across if problem.key not in wrong]
    if calling and "api_key_env" not in wrong:
        problems += _key_problems(arguments.api_key_env)
    if problems:
        raise ConfigError(problems)
    extra = {"extra_body": arguments.extra_body} if arguments.extra_body else {}
    arguments.host_settings = (
        foreign | extra if arguments.engine == "openai" else {"template": arguments.template, **foreign}
    )
    return pipeline, arguments


def prepare(argv: Sequence[str]) -> str | None:
    """Check the words after `synth` before the host is imported; return the help where it is asked for.

    Raises:
        ConfigError: with every problem found.
    """
    if not argv or {"-h", "--help"} & set(argv):
        return help_text()
    build_arguments(read_settings(argv))
    return None


def _key_problems(variable: str | None) -> Iterator[Problem]:
    try:
        ApiKey(variable)
    except ValueError as error:
        shown = variable if variable and SHOWN_NAME.fullmatch(variable) else "(not shown)"
        remedy = str(error).removeprefix("api_key_env: ")
        yield Problem("api_key_env", shown, "the NAME of an environment variable that holds the key", remedy)


MAPPING = dict[str, Any] | None


def _fits(value: object, expected: Any) -> bool:
    return value is None or isinstance(value, dict) if expected == MAPPING else fits(value, expected)


def _describe(expected: Any) -> list[str]:
    return ["a mapping", "null"] if expected == MAPPING else describe(expected)


def _keys_of_other_engine(usable: Mapping[str, Any], entries: Mapping[str, Any], engine: str) -> Iterator[Problem]:
    for key, value in usable.items():
        local = key.endswith(("_adapter", "batch_size"))  # a pipeline's own: a server has neither
        owner = entries[key].metadata.get("engine", "hf" if local else engine)
        if owner != engine and value is not None and value != "":
            remedy = f"`engine: {engine}` does not read it; remove it or change the engine."
            yield Problem(key, value, f"`engine: {owner}`", remedy)


def _foreign_problems(foreign: Mapping[str, Any], ours: set[str], engine: str) -> Iterator[Problem]:
    if engine == "hf":
        if foreign:
            yield from _unknown_keys(foreign, ours)
        return
    for key, value in foreign.items():
        if key not in SERVER_MEDIA_KEYS:
            continue
        kind, least = SERVER_MEDIA_KEYS[key]
        if not fits(value, kind) or value < least:
            least_told = "" if kind is bool else f", {least} or more"
            yield Problem(key, value, f"{describe(kind)[0]}{least_told}", "Correct the value.")
    rest = {key: value for key, value in foreign.items() if key not in SERVER_MEDIA_KEYS}
    if rest:
        unknown = {problem.key: problem for problem in _unknown_keys(rest, ours)}
        for key, value in rest.items():
            remedy = "`engine: openai` does not read it: the server has its own settings; remove it."
            yield unknown.get(key) or Problem(key, value, "`engine: hf`", remedy)


def _unknown_keys(foreign: Mapping[str, Any], ours: set[str]) -> Iterator[Problem]:
    from ...engines.host_keys import host_keys

    known = ours | host_keys()
    for key, value in foreign.items():
        if key not in known:
            near = nearest(key, known, ours)
            remedy = f"The nearest key is `{near}`." if near else "`llamafactory-cli synth --help` lists all."
            yield Problem(key, value, "a known key", remedy)


def help_text() -> str:
    """Return the help of `synth`: its use, its pipelines and all their keys."""
    lines = [f"usage: {USAGE}", "", "Keys of every pipeline:"]
    shared = {entry.name for entry in fields(SynthArguments)}
    lines += command.help_lines(SynthArguments)
    for name in pipeline_names():
        pipeline = get_pipeline(name)
        lines += [
            "",
            f"pipeline: {name} - {pipeline.SUMMARY}",
            *command.help_lines(pipeline.Arguments, leave_out=shared),
        ]
    lines += [
        "",
        "Keys of the host's model and template (infer_dtype, ...) may be given with `engine: hf`, those of "
        f"media ({', '.join(SERVER_MEDIA_KEYS)}) with both.",
    ]
    return "\n".join(lines)
