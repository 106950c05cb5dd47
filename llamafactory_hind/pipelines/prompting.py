"""Prompt files: Jinja templates, one a prompt, in `prompts/<language>/` or wherever a `<name>_prompt` key points.

The English files of cot, knowledge and answer render what `formats.prompts.build_prompt` writes, which models are trained on.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..config.checks import nearest
from ..config.problem import ConfigError, Problem
from ..engines.interface import Request
from ..formats.options import MEDIA_FIELDS
from ..formats.prompts import PLACEHOLDERS, count_placeholders, format_choices, join_lines
from .identity import digest_path


if TYPE_CHECKING:
    from .config import SynthArguments
    from .rows import Row

FOLDER = Path(__file__).parent / "prompts"
# Fields of the row format that a row may lack: `{% if choices %}` is then false, while `{{ choices }}` is an error.
OPTIONAL = frozenset({"answers", "choices", "cot", "knowledge", "system", *MEDIA_FIELDS})
SHOWN_ROWS = 3


class PromptError(ValueError):
    """A prompt that cannot be rendered for a row.

    Attributes:
        file: the prompt file.
        line: where in it.
        variable: name of the variable that is missing; None where something else is wrong.
        known: names that the row and the pipeline give.
        row: file, number and id of the row.
        reason: what is wrong where no variable is missing.
    """

    def __init__(
        self, file: str, line: int, variable: str | None, known: Sequence[str], row: str, reason: str = ""
    ) -> None:
        """Keep the parts; several rows with the same fault are told as one."""
        self.file, self.line, self.variable, self.known, self.row = file, line, variable, tuple(known), row
        self.reason = reason
        what = f"`{variable}` is missing" if variable else reason
        super().__init__(f"{file}, line {line}: {what} in {row}")


@dataclass(frozen=True)
class PromptFile:
    """A prompt file as it was when the run first read it.

    Attributes:
        path: where it lies.
        text: its content.
        template: compiled.
    """

    path: str
    text: str
    template: Template


class MissingVariable(StrictUndefined):
    """A variable that the row lacks: an error wherever it is used, but a field of the format may be asked for."""

    __slots__ = ()

    def __bool__(self) -> bool:  # type: ignore[override]
        """Say no for an optional field; anything else is a misspelling."""
        if self._undefined_name in OPTIONAL:
            return False
        self._fail_with_undefined_error()

    @property
    def _undefined_message(self) -> str:
        return str(self._undefined_name)


def lettered(choices: Sequence[str], heading: str = "Choices: ") -> str:
    """Return `Choices: (A) first (B) second …`; the filter `lettered` of prompt files."""
    return heading + format_choices(list(choices)).removeprefix("Choices: ")


def _lines(text: Any) -> str:
    return join_lines(text if isinstance(text, str) else list(text))


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=MissingVariable, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"lettered": lettered, "lines": _lines}
    return environment


ENVIRONMENT = _environment()


def prompt_path(arguments: "SynthArguments", name: str) -> Path:
    """Return the file of a prompt: that of the key `<name>_prompt`, else ours in the language of the run."""
    given = getattr(arguments, f"{name}_prompt", None)
    return Path(given) if given else FOLDER / arguments.language / f"{name}.jinja"


def load_prompt(arguments: "SynthArguments", name: str) -> PromptFile:
    """Read and compile a prompt file, once a run: what is edited later belongs to the next run.

    Raises:
        ConfigError: the file cannot be read, or is no template.
    """
    if name not in arguments.prompt_files:
        path = prompt_path(arguments, name)
        try:
            text = path.read_text(encoding="utf-8")
            code = ENVIRONMENT.compile(text, name, str(path))
        except TemplateSyntaxError as error:
            problem = Problem(f"{name}_prompt", str(path), "a Jinja template", f"Line {error.lineno}: {error.message}")
            raise ConfigError([problem]) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([Problem(f"{name}_prompt", str(path), "a readable file", str(error))]) from None
        template = Template.from_code(ENVIRONMENT, code, ENVIRONMENT.globals)
        arguments.prompt_files[name] = PromptFile(str(path), text, template)
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
    prompt = load_prompt(arguments, name)
    given = {key: value for key, value in (media_variables(row) | row.fields | variables).items() if value is not None}
    try:
        return prompt.template.render(given)
    except UndefinedError as error:
        variable = error.message
        raise PromptError(prompt.path, _line_of(error, prompt.path), variable, list(given), row.place) from None
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        line, reason = _line_of(error, prompt.path), f"{type(error).__name__}: {error}"
        raise PromptError(prompt.path, line, None, list(given), row.place, reason) from None


def media_variables(row: "Row") -> dict[str, Any]:
    """Return the counts of media, and the placeholders to put in front of a question that has none."""
    counts = {kind: len(row.media[kind]) for kind in MEDIA_FIELDS}
    placed = any(count_placeholders(row.fields["question"]).values())
    media = "" if placed else "".join(PLACEHOLDERS[kind] * number for kind, number in counts.items())
    return {"media": media} | {f"{kind.removesuffix('s')}_count": number for kind, number in counts.items()}


def _line_of(error: BaseException, path: str) -> int:
    trace: TracebackType | None = error.__traceback__
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def describe_errors(errors: Sequence[PromptError]) -> list[Problem]:
    """Return one problem for each fault of a prompt file, whatever the number of rows it meets."""
    faults: dict[tuple[Any, ...], list[PromptError]] = {}
    for error in errors:
        faults.setdefault((error.file, error.line, error.variable, error.reason), []).append(error)
    return [_describe_fault(found) for found in faults.values()]


def _describe_fault(errors: Sequence[PromptError]) -> Problem:
    first = errors[0]
    rows = "; ".join(error.row for error in errors[:SHOWN_ROWS])
    more = f" and {len(errors) - SHOWN_ROWS} more rows" if len(errors) > SHOWN_ROWS else ""
    place = f"{first.file}, line {first.line}"
    if first.variable is None:
        return Problem(place, first.reason, "a prompt that renders", f"Mend the prompt or the row: {rows}{more}.")
    near = nearest(first.variable, first.known)
    remedy = f"The nearest known variable is `{near}`. " if near and near != first.variable else ""
    remedy += f"Known: {', '.join(sorted(first.known))}. Missing in {rows}{more}."
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
    """Return what of a model enters a unit's key: the contents of its files, or the name under which a server has it."""
    if arguments.engine == "openai":
        return [model]
    return [digest_path(model), [digest_path(path) for path in adapters]]
