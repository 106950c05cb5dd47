"""Prompt files of pipelines: ours in the language of a run, or wherever a `<name>_prompt` key points.

The English files of cot, knowledge and answer render what `formats.prompts.wording.build_prompt` writes, which models are trained on.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config.problem import ConfigError, Problem, first_of
from ...config.types import nearest
from ...engines.interface import Request
from ...formats.media.fields import MEDIA_FIELDS
from ...formats.prompts.files import PromptError, PromptFile, PromptFileError, media_variables, own_file, read_prompt
from ...storage.digests import digest_path


if TYPE_CHECKING:
    from .arguments import SynthArguments
    from .row import Row


def prompt_path(arguments: "SynthArguments", name: str) -> Path:
    """Return the file of a prompt: that of the key `<name>_prompt`, else ours in the language of the run."""
    given = getattr(arguments, f"{name}_prompt", None)
    return Path(given) if given else own_file(name, arguments.language)


def load_prompt(arguments: "SynthArguments", name: str) -> PromptFile:
    """Read and compile a prompt file, once a run: what is edited later belongs to the next run.

    Raises:
        ConfigError: the file cannot be read, or is no template.
    """
    if name not in arguments.prompt_files:
        try:
            arguments.prompt_files[name] = read_prompt(prompt_path(arguments, name), name)
        except PromptFileError as error:
            raise ConfigError([Problem(f"{name}_prompt", error.file, error.expected, error.reason)]) from None
    found: PromptFile = arguments.prompt_files[name]
    return found


def prompt_problems(arguments: "SynthArguments") -> Iterator[Problem]:
    """Find prompt files among the keys that cannot be used."""
    for key, value in vars(arguments).items():
        if key.endswith("_prompt") and isinstance(value, str) and value:
            try:
                load_prompt(arguments, key.removesuffix("_prompt"))
            except ConfigError as error:
                yield from error.problems


def render(arguments: "SynthArguments", name: str, row: "Row", **variables: Any) -> str:
    """Return a prompt for a row.

    Args:
        arguments: say the language, or the file by the key `<name>_prompt`.
        name: `hindsight`, `cot`, `knowledge`, `answer` …
        row: all its fields are variables, with `media`, `image_count`, `video_count` and `audio_count`.
        **variables: of the pipeline; they go before fields of the row, and None hides one.

    Raises:
        PromptError: the template needs what neither the row nor the pipeline gives.
    """
    media = media_variables(row.fields["question"], row.media)
    return load_prompt(arguments, name).render(media | row.fields | variables, row=row.place)


def describe_errors(errors: Sequence[PromptError]) -> list[Problem]:
    """Return one problem for each fault of a prompt file, whatever the number of rows it meets."""
    faults: dict[tuple[Any, ...], list[PromptError]] = {}
    for error in errors:
        faults.setdefault((error.file, error.line, error.variable, error.reason), []).append(error)
    return [_describe_fault(found) for found in faults.values()]


def _describe_fault(errors: Sequence[PromptError]) -> Problem:
    first = errors[0]
    rows = first_of([error.row for error in errors], separator="; ")
    place = f"{first.file}, line {first.line}"
    if first.variable is None:
        return Problem(place, first.reason, "a prompt that renders", f"Correct the prompt or the row: {rows}.")
    near = nearest(first.variable, first.known)
    remedy = f"The nearest known variable is `{near}`. " if near and near != first.variable else ""
    remedy += f"Known: {', '.join(sorted(first.known))}. Missing in {rows}."
    return Problem(place, first.variable, "a variable that every row has", remedy)


def prompt_version(arguments: "SynthArguments", *names: str) -> str:
    """Return a digest of the texts of prompt files, 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(load_prompt(arguments, name).text.encode() + b"\0")
    return digest.hexdigest()[:12]


def request_of(row: "Row", text: str) -> Request:
    """Return the request that shows a row's media with a text; the row's id names its random numbers."""
    media: Mapping[str, Any] = {kind: row.media[kind] for kind in MEDIA_FIELDS}
    return Request([{"role": "user", "content": text}], system=row.fields.get("system"), key=row.id, **media)


def model_identity(arguments: "SynthArguments", model: str, adapters: Sequence[str] = ()) -> list[Any]:
    """Return what of a model enters the key of a work item: the contents of its files, or the name under which a server has it."""
    if arguments.engine == "openai":
        return [model]
    return [digest_path(model), [digest_path(path) for path in adapters]]
