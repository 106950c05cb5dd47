"""The keys of `llamafactory-cli synth`: those that every pipeline takes, and how they are read and checked."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..config.checks import describe, fits, nearest
from ..config.problem import ConfigError, Problem
from . import get_pipeline, pipeline_names


USAGE = "llamafactory-cli synth X.yaml [key=value ...]   (X.json works as well; --help lists the keys)"


@dataclass(kw_only=True)
class SynthArguments:
    """The keys every pipeline takes. Keys of the host's model and template arguments may stand beside them."""

    pipeline: str = field(default="", metadata={"help": "Which pipeline; required."})
    engine: Literal["hf"] = field(
        default="hf", metadata={"help": "hf: a model in this process, loaded as in training."}
    )
    model_name_or_path: str = field(
        default="", metadata={"help": "Folder or hub name of the model that writes; required."}
    )
    adapter_name_or_path: str | None = field(
        default=None, metadata={"help": "LoRA adapters of the model that writes, separated by commas; they add up."}
    )
    template: str = field(default="", metadata={"help": "The host's template, as in training; required."})
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
    batch_size: int = field(
        default=8, metadata={"help": "Rows computed at a time; so many enter the journal together [ours]."}
    )
    seed: int = field(default=42, metadata={"help": "Of all random numbers; same seed, same texts."})
    dry_run: int = field(default=0, metadata={"help": "Show the prompts of so many rows and stop; nothing is loaded."})
    host_settings: dict[str, Any] = field(
        default_factory=dict, init=False, metadata={"help": "Not a key: the host's keys among those given."}
    )

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys; a pipeline adds its own."""
        for key in ("model_name_or_path", "template", "dataset", "output"):
            if not getattr(self, key):
                yield Problem(key, getattr(self, key), "a value", "The key is required.")
        if self.output and Path(self.output).suffix not in (".json", ".jsonl"):
            yield Problem("output", self.output, "a file that ends in .json or .jsonl", "Give it such a name.")
        yield from at_least(self, 1, "batch_size", "max_samples")
        yield from at_least(self, 0, "dry_run", "seed")

    def beside_output(self, ending: str) -> Path:
        """Return the path of a file that lies beside the output, such as `pairs.journal.jsonl`."""
        return Path(self.output).with_suffix(ending)


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
    if words and words[0].endswith((".yaml", ".yml", ".json")):
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


def build_arguments(given: Mapping[str, Any]) -> tuple[ModuleType, SynthArguments]:
    """Check everything that was given and return the pipeline's module with its arguments.

    Raises:
        ConfigError: with every problem found.
    """
    names = pipeline_names()
    if given.get("pipeline") not in names:
        near = nearest(str(given.get("pipeline", "")), names)
        remedy = f"The nearest pipeline is `{near}`." if near else f"Choose one; {USAGE}"
        raise ConfigError([Problem("pipeline", given.get("pipeline"), "one of " + ", ".join(names), remedy)])
    pipeline = get_pipeline(given["pipeline"])
    ours = {entry.name for entry in fields(pipeline.Arguments) if entry.init}
    foreign = {key: value for key, value in given.items() if key not in ours}
    problems = list(_unknown_keys(foreign, ours)) if foreign else []
    types = get_type_hints(pipeline.Arguments)
    usable = {}
    for key, value in given.items():
        if key not in ours:
            continue
        if fits(value, types[key]):
            usable[key] = value
        else:
            problems.append(Problem(key, value, " or ".join(describe(types[key])), "Mend the value."))
    arguments = pipeline.Arguments(**usable)
    wrong = {problem.key for problem in problems}
    problems += [problem for problem in arguments.problems() if problem.key not in wrong]
    if problems:
        raise ConfigError(problems)
    arguments.host_settings = {"template": arguments.template, **foreign}
    return pipeline, arguments


def _unknown_keys(foreign: Mapping[str, Any], ours: set[str]) -> Iterator[Problem]:
    from ..engines.loading import host_keys  # the host is imported only where one of its keys may have been given

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
        "Keys of the host's model and template (image_max_pixels, video_fps, infer_dtype, ...) may be given too.",
    ]
    return "\n".join(lines)


def _help_line(entry: Any) -> str:
    shown = "" if entry.default == "" else f" (default: {'null' if entry.default is None else entry.default})"
    return f"  {entry.name}: {entry.metadata['help']}{shown}"
