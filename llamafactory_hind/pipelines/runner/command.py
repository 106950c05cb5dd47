"""The keys of `llamafactory-cli synth`: those that every pipeline takes, and how they are read and checked."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ...config.checks import describe, fits, nearest
from ...config.problem import ConfigError, Problem
from ...engines.server.api_key import SHOWN_NAME, ApiKey
from ...engines.server.endpoints import Endpoints
from .. import get_pipeline, pipeline_names
from .prompting import prompt_problems


# Of the host's keys, those that say what of a picture or a clip is sent to a server.
SERVER_MEDIA_KEYS: dict[str, tuple[Any, float]] = {
    "image_max_pixels": (int, 1),
    "video_fps": (float, 0.001),
    "video_maxlen": (int, 1),
}
USAGE = "llamafactory-cli synth X.yaml [key=value ...]   (X.json works as well; --help lists the keys)"


@dataclass(kw_only=True)
class SynthArguments:
    """The keys every pipeline takes. Keys of the host's model and template arguments may stand beside them."""

    pipeline: str = field(default="", metadata={"help": "Which pipeline; required."})
    engine: Literal["hf", "openai"] = field(
        default="hf",
        metadata={
            "help": "hf: a model in this process, loaded as in training; openai: a server that speaks the OpenAI API."
        },
    )
    model_name_or_path: str = field(
        default="", metadata={"help": "Folder or hub name of the model that writes; required.", "engine": "hf"}
    )
    adapter_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "LoRA adapters of the model that writes, separated by commas; they add up.",
            "engine": "hf",
        },
    )
    template: str = field(
        default="", metadata={"help": "The host's template, as in training; required.", "engine": "hf"}
    )
    batch_size: int = field(
        default=8,
        metadata={"help": "Rows computed at a time; so many enter the journal together [ours].", "engine": "hf"},
    )
    base_url: str | None = field(
        default=None,
        metadata={
            "help": "Servers of the model, http://host:port/v1, separated by commas; required.",
            "engine": "openai",
        },
    )
    model: str | None = field(
        default=None, metadata={"help": "The model's name at the server; required.", "engine": "openai"}
    )
    api_key_env: str | None = field(
        default=None,
        metadata={
            "help": "NAME of the environment variable that holds the key; null sends none (a local server).",
            "engine": "openai",
        },
    )
    concurrency: int = field(
        default=16, metadata={"help": "Calls under way at a time, for each model [ours].", "engine": "openai"}
    )
    request_timeout: float = field(
        default=120.0,
        metadata={"help": "Seconds after which a call is given up and retried [ours].", "engine": "openai"},
    )
    max_retries: int = field(
        default=5, metadata={"help": "Times a call is tried again before its row fails [ours].", "engine": "openai"}
    )
    price_in: float | None = field(
        default=None, metadata={"help": "Price of a million prompt tokens, for the report.", "engine": "openai"}
    )
    price_out: float | None = field(
        default=None, metadata={"help": "Price of a million written tokens, for the report.", "engine": "openai"}
    )
    extra_body: dict[str, Any] | None = field(
        default=None, metadata={"help": "Fields added to the body of every call, a mapping.", "engine": "openai"}
    )
    language: Literal["en", "zh"] = field(default="en", metadata={"help": "Of our prompt files."})
    dataset: str = field(
        default="", metadata={"help": "Datasets in `dataset_info.json` to read, separated by commas; required."}
    )
    dataset_dir: str = field(default="data", metadata={"help": "Folder of `dataset_info.json`."})
    media_dir: str | None = field(
        default=None, metadata={"help": "Folder of images, videos and audios; null is `dataset_dir`."}
    )
    output: str = field(
        default="",
        metadata={"help": "File to write, .json or .jsonl; journal, samples and failures lie beside it; required."},
    )
    output_dataset: str | None = field(
        default=None,
        metadata={"help": "Name under which the output enters `dataset_info.json`; null is the file's name."},
    )
    max_samples: int | None = field(
        default=None, metadata={"help": "Read this many rows of each dataset; null is all."}
    )
    shard: str | None = field(
        default=None,
        metadata={"help": "i/n: do rows i, i+n, i+2n ... only, in files of their own; `merge` joins them."},
    )
    merge: int | None = field(
        default=None, metadata={"help": "n: join the outputs of the n shards; no model is loaded or called."}
    )
    max_failure_rate: float = field(
        default=0.5,
        metadata={"help": "Stop where a larger share of the rows of this run fails, from 20 rows on [ours]."},
    )
    seed: int = field(default=42, metadata={"help": "Of all random numbers; same seed, same texts."})
    dry_run: int = field(default=0, metadata={"help": "Show the prompts of so many rows and stop; nothing is loaded."})
    host_settings: dict[str, Any] = field(
        default_factory=dict,
        init=False,
        metadata={"help": "Not a key: what an answer depends on beside ours: the host's keys given, `extra_body`."},
    )
    prompt_files: dict[str, Any] = field(
        default_factory=dict, init=False, metadata={"help": "Not a key: the prompt files of this run, as first read."}
    )

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys; a pipeline adds its own."""
        needed = {"hf": ("model_name_or_path", "template"), "openai": ("base_url", "model")}[self.engine]
        for key in (*needed, "dataset", "output"):
            if not getattr(self, key):
                yield Problem(key, getattr(self, key), "a value", "The key is required.")
        if self.output and Path(self.output).suffix not in (".json", ".jsonl"):
            yield Problem("output", self.output, "a file that ends in .json or .jsonl", "Give it such a name.")
        yield from at_least(self, 1, "batch_size", "concurrency", "max_samples", "merge")
        yield from at_least(self, 0, "dry_run", "seed", "max_retries", "price_in", "price_out", "max_failure_rate")
        if self.max_failure_rate > 1:
            yield Problem("max_failure_rate", self.max_failure_rate, "at most 1", "It is a share; 1 never stops.")
        yield from self._server_problems()
        yield from self._shard_problems()
        yield from prompt_problems(self)

    def _server_problems(self) -> Iterator[Problem]:
        if self.request_timeout <= 0:
            yield Problem("request_timeout", self.request_timeout, "more than 0 seconds", "Choose a larger number.")
        if self.base_urls:
            try:
                Endpoints(self.base_urls)
            except ValueError as error:
                told = str(error).removeprefix("base_urls: ")
                yield Problem("base_url", "(see there)", "addresses such as http://localhost:8000/v1", told)
        from ...engines.server.engine import OWN_PARAMETERS  # aiohttp takes its time

        clash = sorted(OWN_PARAMETERS & set(self.extra_body or {}))
        if clash:
            yield Problem(
                "extra_body", clash, "fields that the engine does not set itself", "Use its own keys for them."
            )
        if (self.price_in is None) != (self.price_out is None):
            missing = "price_in" if self.price_in is None else "price_out"
            yield Problem(missing, None, "a price, as the other one is given", "Give both, or neither.")

    def _shard_problems(self) -> Iterator[Problem]:
        if self.shard is not None and self.shard_of is None:
            yield Problem("shard", self.shard, "i/n with i from 1 to n, such as 1/4", "Mend the value.")
        if self.shard is not None and self.merge is not None:
            yield Problem("merge", self.merge, "null with `shard`", "Run the shards first, then `merge` alone.")

    def beside_output(self, ending: str) -> Path:
        """Return the path of a file that lies beside the output, such as `pairs.journal.jsonl`."""
        return Path(self.output).with_suffix(ending)

    @property
    def writer(self) -> tuple[str, tuple[str, ...]]:
        """The model that writes, and its adapters."""
        if self.engine == "openai":
            return self.model or "", ()
        return self.model_name_or_path, split_paths(self.adapter_name_or_path)

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The servers."""
        return split_paths(self.base_url)

    @property
    def shard_of(self) -> tuple[int, int] | None:
        """Number of this shard, from 1, and of all shards; None where the whole is done."""
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", self.shard or "")
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            return None
        return int(found[1]), int(found[2])


def at_least(arguments: Any, least: float, *keys: str) -> Iterator[Problem]:
    """Find numbers that are too small; null is left alone."""
    for key in keys:
        value = getattr(arguments, key)
        if value is not None and value < least:
            yield Problem(key, value, f"{least} or more", "Choose a larger number.")


def split_paths(value: str | None) -> tuple[str, ...]:
    """Return comma-separated paths as a tuple."""
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def read_settings(argv: Sequence[str]) -> dict[str, Any]:
    """Return key -> value of `X.yaml key=value ...`, later words first in rank.

    Raises:
        ConfigError: the file is missing or unreadable, or a word is not `key=value`.
    """
    words, problems = list(argv), []
    settings: Any = {}
    if words and words[0].endswith((".yaml", ".yml", ".json")) and not re.match(r"\w+=", words[0]):
        path = Path(words.pop(0))
        try:
            text = path.read_text(encoding="utf-8")
            settings = OmegaConf.create(json.loads(text) if path.suffix == ".json" else text)
        except (OSError, ValueError, OmegaConfBaseException) as error:
            problems.append(Problem(str(path), str(error), "a readable YAML or JSON file", USAGE))
    for word in [word for word in words if "=" not in word or word.startswith("-")]:
        problems.append(Problem(word, word, "key=value", USAGE))
    if problems:
        raise ConfigError(problems)
    merged: Any = OmegaConf.to_container(OmegaConf.merge(settings, OmegaConf.from_cli(words)), resolve=True)
    return {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in merged.items()}


def build_arguments(given: Mapping[str, Any], *, calling: bool = False) -> tuple[ModuleType, SynthArguments]:
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
    pipeline = get_pipeline(given["pipeline"])
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
            problems.append(Problem(key, value, " or ".join(_describe(types[key])), "Mend the value."))
    arguments = pipeline.Arguments(**usable)
    problems += _foreign_problems(foreign, set(entries), arguments.engine)
    problems += _keys_of_other_engine(usable, entries, arguments.engine)
    wrong = {problem.key for problem in problems}
    problems += [problem for problem in arguments.problems() if problem.key not in wrong]
    if calling and "api_key_env" not in wrong:
        problems += _key_problems(arguments.api_key_env)
    if problems:
        raise ConfigError(problems)
    extra = {"extra_body": arguments.extra_body} if arguments.extra_body else {}
    arguments.host_settings = (
        foreign | extra if arguments.engine == "openai" else {"template": arguments.template, **foreign}
    )
    return pipeline, arguments


def _key_problems(variable: str | None) -> Iterator[Problem]:
    try:
        ApiKey(variable)
    except ValueError as error:
        shown = variable if variable and SHOWN_NAME.fullmatch(variable) else "(not shown)"
        told = str(error).removeprefix("api_key_env: ")
        yield Problem("api_key_env", shown, "the NAME of an environment variable that holds the key", told)


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
            yield Problem(key, value, f"{describe(kind)[0]}, {least} or more", "Mend the value.")
    rest = {key: value for key, value in foreign.items() if key not in SERVER_MEDIA_KEYS}
    if rest:
        unknown = {problem.key: problem for problem in _unknown_keys(rest, ours)}
        for key, value in rest.items():
            remedy = "`engine: openai` does not read it: the server has its own settings; remove it."
            yield unknown.get(key) or Problem(key, value, "`engine: hf`", remedy)


def _unknown_keys(foreign: Mapping[str, Any], ours: set[str]) -> Iterator[Problem]:
    from ...engines.local.weights import (
        host_keys,  # the host is imported only where one of its keys may have been given
    )

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
    lines += [_help_line(entry) for entry in fields(SynthArguments) if entry.init]
    for name in pipeline_names():
        pipeline = get_pipeline(name)
        lines += ["", f"pipeline: {name} - {pipeline.SUMMARY}"]
        lines += [_help_line(entry) for entry in fields(pipeline.Arguments) if entry.init and entry.name not in shared]
    lines += [
        "",
        "Keys of the host's model and template (infer_dtype, ...) may be given with `engine: hf`, image_max_pixels, video_fps and "
        "video_maxlen with both.",
    ]
    return "\n".join(lines)


def _help_line(entry: Any) -> str:
    shown = [] if entry.default == "" else [f"default: {'null' if entry.default is None else entry.default}"]
    shown += [f"engine: {entry.metadata['engine']}"] if "engine" in entry.metadata else []
    return f"  {entry.name}: {entry.metadata['help']}" + (f" ({'; '.join(shown)})" if shown else "")
