"""Before any call: that a run writes over nothing it reads, and over nothing that somebody else wrote."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...config.command import split_names
from ...config.problem import ConfigError, Problem
from ...formats.datasets import open_datasets
from ...storage.dataset_info import entry_problems
from ...storage.outputs import INFO, is_noted, is_ours, output_problems, reading_problems
from .arguments import SynthArguments
from .pipeline import Pipeline, beside, endings, row_formats


GROWING = {
    ".journal.jsonl": {"key", "header"},
    ".steps.jsonl": {"key", "header"},
    ".failures.jsonl": {"reason"},
}  # file -> what one of its lines has


def check_outputs(pipeline: Pipeline, arguments: SynthArguments) -> None:
    """Look at every file and entry that the run will write.

    Raises:
        ConfigError: one is read by the run, or belongs to somebody else.
    """
    problems = list(_problems(pipeline, arguments))
    if problems:
        raise ConfigError(problems)


def _problems(pipeline: Pipeline, arguments: SynthArguments) -> Iterator[Problem]:
    output, by = Path(arguments.output), arguments.written_by
    outputs = [output, *(arguments.beside_output(ending) for ending in beside(pipeline))]
    growing = {arguments.beside_output(ending): keys for ending, keys in GROWING.items()}
    foreign = [path for path, keys in growing.items() if not _is_log(path, keys)]
    for path in foreign:
        yield Problem("output", str(path), "a log of `synth`", "It is something else; give another `output`.")
    begun = arguments.beside_output(".journal.jsonl").exists() and not foreign
    # an earlier version noted nothing: its journal says whose the files are
    unnoted = [path for path in outputs if begun and not is_noted(path)]
    inputs = _inputs(arguments, row_formats(pipeline))
    yield from reading_problems("output", [*unnoted, *growing], inputs)
    yield from output_problems("output", [path for path in outputs if path not in unnoted], inputs, by=by)
    if not arguments.shard_of:
        name = arguments.output_dataset or output.stem
        key = "output_dataset" if arguments.output_dataset else "output"
        names = [name + ending for ending in endings(pipeline)]
        own = is_ours(output, by=by) or (begun and output in unnoted and output.exists())
        yield from entry_problems(key, Path(arguments.dataset_dir), names, outputs, by=by, own=own)


def _inputs(arguments: SynthArguments, formats: Sequence[str]) -> dict[str, Sequence[Path]]:
    """Return what the run reads, by what it is."""
    folder = Path(arguments.dataset_dir)
    found: dict[str, Sequence[Path]] = {INFO: [folder / INFO]}
    opened, _ = open_datasets(split_names(arguments.dataset), dataset_dir=arguments.dataset_dir, formats=formats)
    for dataset in opened:
        found[f"`dataset: {dataset.name}`"] = dataset.files()
    for key, value in vars(arguments).items():
        if key.endswith("_prompt") and isinstance(value, str) and value:
            found[f"`{key}`"] = [Path(value)]
    if getattr(arguments, "labels", None):
        found["`labels`"] = [Path(arguments.labels)]  # type: ignore[attr-defined]
    for name in split_names(getattr(arguments, "reward_funcs", None)):
        found[f"`reward_funcs: {name}`"] = [Path(name.partition(":")[0])] if ".py" in name else []
    return found


def _is_log(path: Path, keys: set[str]) -> bool:
    """Whether a file that grows line by line is what its name says, or not there."""
    try:
        with open(path, "rb") as file:
            first = file.readline()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    if not first.strip():
        return True
    try:
        line = json.loads(first)
    except ValueError:
        return not first.endswith(b"\n")  # cut by a kill
    return isinstance(line, dict) and bool(keys & line.keys())
