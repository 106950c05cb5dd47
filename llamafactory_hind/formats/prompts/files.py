"""Prompt files: Jinja templates, one a prompt, ours in `jinja/<language>/`; for pipelines and for hints in training alike.

Pure Python: files run in Jinja's sandbox, nothing is escaped, and what is missing is an error that names file, line and row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..media.fields import MEDIA_FIELDS, PLACEHOLDERS, count_placeholders
from .wording import format_choices, join_lines


FOLDER = Path(__file__).parent / "jinja"
# Fields of the row formats that a row may lack: `{% if choices %}` is then false, while `{{ choices }}` is an error.
OPTIONAL = frozenset(
    {"answers", "choices", "cot", "knowledge", "system", "external", "hint", "reasoning", "type", *MEDIA_FIELDS}
)


class PromptError(ValueError):
    """A prompt that cannot be rendered for a row.

    Attributes:
        file: the prompt file.
        line: where in it.
        variable: name of the variable that is missing; None where something else is wrong.
        known: names that the row and its reader give.
        row: file, number and id of the row.
        reason: what is wrong where no variable is missing.
    """

    def __init__(
        self, file: str, line: int, variable: str | None, known: Sequence[str], row: str, reason: str = ""
    ) -> None:
        """Keep the parts; several rows with the same fault are reported as one."""
        self.file, self.line, self.variable, self.known, self.row = file, line, variable, tuple(known), row
        self.reason = reason
        what = f"`{variable}` is missing" if variable else reason
        super().__init__(f"{file}, line {line}: {what} in {row}")


class PromptFileError(ValueError):
    """A prompt file that cannot be used.

    Attributes:
        file: which.
        expected: what it should have been.
        reason: what is wrong with it.
    """

    def __init__(self, file: str, expected: str, reason: str) -> None:
        """Keep the parts."""
        self.file, self.expected, self.reason = file, expected, reason
        super().__init__(f"prompt file: got {file!r}, expected {expected}. {reason}")


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


@dataclass(frozen=True)
class PromptFile:
    """A prompt file as it was when it was read.

    Attributes:
        path: where it lies.
        text: its content.
        template: compiled.
    """

    path: str
    text: str
    template: Template

    def render(self, variables: Mapping[str, Any], *, row: str) -> str:
        """Return the prompt; a variable that is None counts as missing.

        Args:
            variables: by name.
            row: names the row, for the error.

        Raises:
            PromptError: the template needs what is not given.
        """
        given = {key: value for key, value in variables.items() if value is not None}
        try:
            return self.template.render(given)
        except UndefinedError as error:
            variable = error.message
            raise PromptError(self.path, _line_of(error, self.path), variable, list(given), row) from None
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            line, reason = _line_of(error, self.path), f"{type(error).__name__}: {error}"
            raise PromptError(self.path, line, None, list(given), row, reason) from None


def own_file(name: str, language: str) -> Path:
    """Return the place of a prompt of ours: `hint`, `hinted`, `answer` …, in `en` or `zh`."""
    return FOLDER / language / f"{name}.jinja"


def read_prompt(path: Path, name: str) -> PromptFile:
    """Read and compile a prompt file.

    Args:
        path: where it lies.
        name: of the prompt, for Jinja's messages.

    Raises:
        PromptFileError: the file cannot be read, or is no template.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptFileError(str(path), "a readable file", str(error)) from None
    return _compile(str(path), text, name)


@cache
def compile_prompt(path: str, text: str) -> PromptFile:
    """Return a prompt from its text: options of datasets hold texts, which can be pickled.

    Raises:
        PromptFileError: the text is no template.
    """
    return _compile(path, text, Path(path).stem)


def _compile(path: str, text: str, name: str) -> PromptFile:
    try:
        code = ENVIRONMENT.compile(text, name, path)
    except TemplateSyntaxError as error:
        raise PromptFileError(path, "a Jinja template", f"Line {error.lineno}: {error.message}") from None
    return PromptFile(path, text, Template.from_code(ENVIRONMENT, code, ENVIRONMENT.globals))


def media_variables(question: str, media: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the counts of media, and the placeholders to put in front of a question that has none."""
    counts = {kind: len(media[kind]) for kind in MEDIA_FIELDS}
    placed = any(count_placeholders(question).values())
    before = "" if placed else "".join(PLACEHOLDERS[kind] * number for kind, number in counts.items())
    return {"media": before} | {f"{kind.removesuffix('s')}_count": number for kind, number in counts.items()}


def _line_of(error: BaseException, path: str) -> int:
    trace: TracebackType | None = error.__traceback__
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
