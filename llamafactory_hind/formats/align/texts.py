"""Texts of rows as the tokenizer and the template will read them: control tokens, and tools."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...config.problem import RowProblem, show
from ..fields import read_fields
from ..texts.control_tokens import NO_CONTROLS, ControlTokens, leaves


if TYPE_CHECKING:
    from llamafactory.hparams import DataArguments

    from ..converter import RowConverter
    from .host_rows import HostRows
    from .run import Run

ESCAPE = "escape"


@dataclass(frozen=True)
class TextCheck:
    """What is looked for in the texts of rows.

    Attributes:
        controls: the signs of the run's tokenizer; none where no run is known.
        escapes: they are written as plain text; else a row that has one is bad.
        template: of the host, which writes tools; None where no run is known.
    """

    controls: ControlTokens = NO_CONTROLS
    escapes: bool = False
    template: Any = None

    @classmethod
    def of(cls, data_args: "DataArguments", run: "Run | None") -> "TextCheck":
        """Read the keys of a run."""
        if run is None:
            return cls()
        controls = ControlTokens.of(run.tokenizer, run.template)
        return cls(controls, getattr(data_args, "control_tokens", "error") == ESCAPE, run.template)

    @property
    def escaped(self) -> ControlTokens:
        """The signs that are written as plain text."""
        return self.controls if self.escapes else NO_CONTROLS

    def problems(self, row: Mapping[str, Any], converter: "RowConverter | HostRows") -> Iterator[RowProblem]:
        """Yield what is wrong with the texts of a row whose fields are fine."""
        fields = read_fields(row, converter.options)
        has_sign = not self.escapes and any(self.controls.find(text) for _, text in leaves(fields))
        if has_sign:
            yield from self.controls.problems(fields, list(_shown(row, converter)))
        if fields.get("tools") and self.template is not None:
            yield from tool_problems(fields["tools"], self.template)


def _shown(row: Mapping[str, Any], converter: "RowConverter | HostRows") -> Iterator[str]:
    """Yield the texts that a row becomes."""
    for example in converter.examples(row):
        yield from (turn["content"] for turn in (*example["_prompt"], *example["_response"]))
        yield example["_system"]
        yield example["_tools"]


def tool_problems(tools: str, template: Any) -> Iterator[RowProblem]:
    """Yield what is wrong with the tools of a row: the host leaves out what is no JSON, and stops at a tool without a name."""
    expected = 'a JSON list of tools, such as [{"name": "…", "description": "…", "parameters": {…}}]'
    try:
        json.loads(tools)
        written = template.format_tools.apply(content=tools)
    except Exception as error:  # each tool format reads the keys that it wants
        yield RowProblem("tools", show(tools), expected, f"{type(error).__name__}: {error}; correct the text")
        return
    if not "".join(part for part in written if isinstance(part, str)).strip():
        yield RowProblem("tools", show(tools), expected, "the template makes nothing of it; correct the text")
