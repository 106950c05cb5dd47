"""Rows of the host's formats in our stages, checked as ours are: the host drops some without a name, and stops at others.

What counts is what the host's own converter makes of a row; the turns are looked at first, so that an error knows its path.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from llamafactory.data.converter import get_dataset_converter

from ...config.problem import RowProblem, shorten_text, show
from ..fields import as_list
from ..media.check import MediaCheck
from ..media.fields import MEDIA_FIELDS
from ..options import RowOptions


if TYPE_CHECKING:
    from llamafactory.data.parser import DatasetAttr
    from llamafactory.hparams import DataArguments

UNUSED = ""  # no column has this name
SHOWN = 200  # characters of an error


class HostRows:
    """The host's converter of `alpaca`, `sharegpt` or `openai`, with the members by which rows of ours are checked.

    Args:
        attr: the host's description of the dataset.
        data_args: the host's data arguments.
    """

    def __init__(self, attr: "DatasetAttr", data_args: "DataArguments") -> None:
        """Build the host's converter."""
        self.attr = attr
        self.convert = get_dataset_converter(attr.formatting, attr, data_args)
        self.options = RowOptions(columns=(("tools", attr.tools or UNUSED),))

    def examples(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the aligned example of a good row."""
        example = self.convert(dict(row))
        yield {**example, "_system": example["_system"] or "", "_tools": example["_tools"] or ""}

    def media_files(self, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield (kind, path) of every media file that a row names; of a row that cannot be converted, none."""
        try:
            example = next(self.examples(row))
        except Exception:  # `problems` says why
            return
        for kind in MEDIA_FIELDS:
            for item in example[f"_{kind}"] or []:
                frame_kind = "images" if isinstance(item, list) else kind
                yield from ((frame_kind, one) for one in as_list(item) if isinstance(one, str) and one)

    def problems(self, row: Mapping[str, Any], media: MediaCheck) -> Iterator[RowProblem]:
        """Yield what is wrong with a row, its turns first."""
        found = list(self._turn_problems(row))
        yield from found
        if found:
            return
        try:
            example = next(self.examples(row))
        except Exception as error:
            told = shorten_text(f"{type(error).__name__}: {error}", limit=SHOWN)
            expected = f"a row of `formatting: {self.attr.formatting}`"
            yield RowProblem(
                self._main_column, told, expected, "correct the row, or `columns` and `tags` of the entry"
            )
            return
        yield from self._example_problems(example)
        for kind in MEDIA_FIELDS:
            for index, item in enumerate(example[f"_{kind}"] or []):
                problem = media.find_problem(f"{getattr(self.attr, kind)}[{index}]", kind, item)
                if problem is not None:
                    yield problem

    @property
    def _main_column(self) -> str:
        column = self.attr.prompt if self.attr.formatting == "alpaca" else self.attr.messages
        return column or "row"

    def _turn_problems(self, row: Mapping[str, Any]) -> Iterator[RowProblem]:
        if self.attr.formatting == "alpaca":
            return
        column, role, content = self._main_column, self.attr.role_tag, self.attr.content_tag
        turns = row.get(column)
        expected = f'a list of turns {{"{role}", "{content}"}}'
        if not isinstance(turns, list) or not turns:
            yield RowProblem(column, show(turns), expected, "write the conversation, or remove the row")
            return
        roles = [tag for tag in self._tags if tag]
        for index, turn in enumerate(turns):
            path = f"{column}[{index}]"
            if not isinstance(turn, Mapping):
                yield RowProblem(path, show(turn), f'an object {{"{role}", "{content}"}}', "write an object")
            elif turn.get(role) not in roles:
                yield RowProblem(
                    f"{path}.{role}", show(turn.get(role)), f"one of {', '.join(roles)}", "correct the role"
                )
            elif not isinstance(turn.get(content), str) and not turn.get("tool_calls"):
                yield RowProblem(f"{path}.{content}", show(turn.get(content)), "text", "write it as text")

    @property
    def _tags(self) -> tuple[str | None, ...]:
        attr = self.attr
        return (attr.user_tag, attr.assistant_tag, attr.observation_tag, attr.function_tag, attr.system_tag)

    def _example_problems(self, example: Mapping[str, Any]) -> Iterator[RowProblem]:
        """Yield what is wrong with the host's columns: no turns are left where their order is wrong."""
        if not example["_prompt"]:
            remedy = "let user and assistant take turns, the user first" + (
                ", up to a user turn" if self.attr.ranking else ", up to an answer"
            )
            yield RowProblem(self._main_column, "roles in another order", "user and assistant in turn", remedy)
        elif self.attr.ranking and len(example["_response"]) != 2:
            remedy = "write both of them as in a turn"
            yield RowProblem("chosen, rejected", "not both", "a chosen and a rejected answer", remedy)
        turns = [("prompt", turn) for turn in example["_prompt"]] + [
            ("response", turn) for turn in example["_response"]
        ]
        for where, turn in turns:
            if not isinstance(turn["content"], str):
                column = self._main_column if where == "prompt" else self.attr.response or "response"
                yield RowProblem(column, show(turn["content"]), "text", "write it as text")
        for name in ("system", "tools"):
            if not isinstance(example[f"_{name}"], str):
                column = getattr(self.attr, name) or name
                yield RowProblem(column, show(example[f"_{name}"]), "text", "write text or null")
