"""What the teacher is asked for a hint, and what the student is asked with it (arXiv 2602.00400; wording is ours).

Both are the row's own conversation with another last turn, so that media and earlier turns stay as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config.problem import listed
from ...engines.interface import Prompt, Request
from ...formats.fields import columns_of
from ...formats.media.fields import count_placeholders
from ...formats.prompts.files import PromptError, PromptFile, own_file, read_prompt
from ...trainers.rollouts.records import Rollout
from ..conversation import conversation_of, media_of


if TYPE_CHECKING:
    from ...engines.local.weights import LoadedModel

    pass

STAND_IN = "…"  # a hint, where none is written yet


@dataclass(frozen=True)
class HintPrompts:
    """The two prompts.

    Attributes:
        hint: what the teacher is asked; variables: question (the last turn), answer, media, and every column of the row.
        hinted: what the student is asked; `hint` and `show_answer` besides, `answer` only where it is shown.
        show_answer: the variant `hint_and_answer`.
    """

    hint: PromptFile
    hinted: PromptFile
    show_answer: bool

    @classmethod
    def read(cls, *, hint_prompt: str | None, hinted_prompt: str | None, language: str, variant: str) -> "HintPrompts":
        """Read the files; None is ours in the language.

        Args:
            hint_prompt: file of what the teacher is asked.
            hinted_prompt: file of what the student is asked.
            language: `en` or `zh`.
            variant: `hint` or `hint_and_answer`.

        Raises:
            PromptFileError: a file cannot be used.
        """
        hint, hinted = (
            read_prompt(Path(given) if given else own_file(name, language), name)
            for name, given in (("hint", hint_prompt), ("hinted", hinted_prompt))
        )
        return cls(hint, hinted, variant == "hint_and_answer")

    def for_teacher(self, feature: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the turns that ask for a hint.

        Raises:
            PromptError: the row lacks what the file needs.
        """
        # boxes as in the turns: the teacher's own template writes them, in the teacher's terms
        boxed = conversation_of(feature).get("columns", {})
        return _with_last_turn(self.hint, feature, {name: text for name, text in boxed.items() if name != "question"})

    def for_student(self, feature: Mapping[str, Any], hint: str) -> list[dict[str, str]]:
        """Return the turns that ask the question with a hint.

        Raises:
            PromptError: the row lacks what the file needs.
        """
        shown = {} if self.show_answer else {"answer": None}
        return _with_last_turn(self.hinted, feature, {"hint": hint, "show_answer": self.show_answer, **shown})


def _with_last_turn(file: PromptFile, feature: Mapping[str, Any], more: Mapping[str, Any]) -> list[dict[str, str]]:
    turns = conversation_of(feature)["turns"]
    before = _placeholders(turns)
    row = str(feature.get("place") or feature["row_id"])
    variables = {
        **columns_of(feature),
        **{f"{kind.removesuffix('s')}_count": number for kind, number in before.items()},
        "question": turns[-1]["content"],
        "media": "",  # placeholders are in the turns already
        **more,
    }
    asked = [*turns[:-1], {**turns[-1], "content": file.render(variables, row=row)}]
    if _placeholders(asked) != before:
        fault = f"the media placeholders are {_placeholders(asked)}, expected {before}: write `question` once, whole"
        raise PromptError(file.path, 1, None, list(variables), row, fault)
    return asked


def _placeholders(turns: list[dict[str, str]]) -> dict[str, int]:
    return count_placeholders("\n".join(turn["content"] for turn in turns))


def hinted_prompt_of(loaded: "LoadedModel", rollout: Rollout, turns: list[dict[str, str]]) -> Prompt:
    """Return the student's prompt for other turns: same system text, tools, media and template."""
    conversation, media = conversation_of(rollout.feature), media_of(rollout)
    plugin, template = loaded.template.mm_plugin, loaded.template
    lists = [media["images"], media["videos"], media["audios"]]
    messages = plugin.process_messages([*turns, {"role": "assistant", "content": ""}], *lists, loaded.processor)
    ids, _ = template.encode_oneturn(
        loaded.tokenizer, messages, conversation["system"] or None, conversation["tools"] or None
    )
    ids, _ = plugin.process_token_ids(ids, None, *lists, loaded.tokenizer, loaded.processor)
    return Prompt(list(ids), [], Request((), **media))


def own_hint(columns: Mapping[str, Any]) -> str | None:
    """Return the hint that a row brings, its column `hint`; None where it has none."""
    hint = columns.get("hint")
    return hint.strip() if isinstance(hint, str) and hint.strip() else None


def check_rows(dataset: Any, prompts: HintPrompts, *, has_teacher: bool) -> int:
    """Render both prompts for all rows before a model is loaded; return how many rows bring a hint of their own.

    Args:
        dataset: processed rows, with the features of `PromptProcessor`.
        prompts: of the run.
        has_teacher: rows without a hint are asked of a teacher; without one they are not explored.

    Raises:
        ValueError: prompts that cannot be rendered, with file, line and row.
    """
    hints, problems = 0, []
    for feature in dataset:
        hint = own_hint(columns_of(feature))
        hints += hint is not None
        try:
            if hint is None and has_teacher:
                prompts.for_teacher(feature)
            if hint is not None or has_teacher:
                prompts.for_student(feature, hint or STAND_IN)
        except PromptError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(
            f"Prompts for hints that cannot be rendered, {len(problems)} in all:{listed(problems)}\n"
            "Correct the rows or the prompt files, or set `hint_samples: 0` to do without hints."
        )
    return hints
