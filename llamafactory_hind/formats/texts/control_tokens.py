"""Text that a tokenizer takes for its own signs: `<|im_end|>` in a question ends the turn, `<|image_pad|>` stands for a picture.

Rows are text of people, web pages and other models; a sign in it is never meant. It is a bad row, or is written with a space
behind its first character (`< |im_end|>`), which no tokenizer takes for the sign.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...config.problem import RowProblem
from ..media.fields import MEDIA_FIELDS, PLACEHOLDERS


# The parts of the host's template that write turns; what a family writes in them between turns, its tokenizer need not call special.
TURN_FORMATS = ("format_prefix", "format_system", "format_user", "format_assistant", "format_observation")
MEDIA_TOKENS = ("image_token", "video_token", "audio_token", "vision_bos_token", "vision_eos_token")
# Never tokenised as they are: names, paths, and actions of other models, which are refused and counted one by one.
ELSEWHERE = frozenset(("id", "external", *MEDIA_FIELDS))
ALSO_SHOWN = ("hint",)  # fields that are shown to a model in training, but are in no turn of the row


@dataclass(frozen=True)
class ControlTokens:
    """The signs of one tokenizer, as text.

    Attributes:
        tokens: longest first; placeholders of media are not among them, they have rules of their own.
    """

    tokens: tuple[str, ...] = ()

    @classmethod
    def of(cls, tokenizer: Any, template: Any = None) -> "ControlTokens":
        """Read the special tokens of a tokenizer, and those that stand for media or write turns in its template.

        Args:
            tokenizer: of transformers; one that splits special tokens has none.
            template: the host's.
        """
        if tokenizer is None or getattr(tokenizer, "split_special_tokens", False):
            return cls()
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        found = {
            str(token) for token in added if getattr(token, "special", False) or _writes_turns(str(token), template)
        }
        found |= set(map(str, tokenizer.all_special_tokens))
        plugin = getattr(template, "mm_plugin", None)
        media = {str(token) for name in MEDIA_TOKENS if (token := getattr(plugin, name, None))}
        vocabulary = tokenizer.get_vocab() if media else {}
        found |= {token for token in media if token in vocabulary}
        return cls(tuple(sorted(found - {"", *PLACEHOLDERS.values()}, key=lambda token: (-len(token), token))))

    def find(self, text: str) -> str | None:
        """Return the first sign in a text."""
        found = _pattern_of(self.tokens).search(text)
        return found.group() if found else None

    def escape(self, text: str) -> str:
        """Return a text whose signs are plain text."""
        return _pattern_of(self.tokens).sub(lambda sign: f"{sign.group()[0]} {sign.group()[1:]}", text)

    def escape_example(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """Return an aligned example whose turns, system text and tools have no signs; columns stay as they were written."""
        changed = dict(example)
        for name in ("_prompt", "_response"):
            changed[name] = [{**turn, "content": self.escape(turn["content"])} for turn in example[name]]
        for name in ("_system", "_tools"):
            changed[name] = self.escape(example[name])
        return changed

    def problems(self, fields: Mapping[str, Any], shown: Sequence[str] | None = None) -> Iterator[RowProblem]:
        """Yield the fields of a row that hold a sign.

        Args:
            fields: of the row, under our names.
            shown: texts that the row becomes; a column that is in none of them is not tokenised. None takes every field.
        """
        found = [(name, text, token) for name, text in leaves(fields) if (token := self.find(text))]
        told = set()
        for name, text, token in found:
            if shown is None or name in ALSO_SHOWN or any(_holds(part, text) for part in shown):
                told.add(token)
                yield control_problem(name, token)
        for part in shown or ():
            token = self.find(part)
            if token and token not in told:
                # a text that was rewritten on its way into the turn; the first field that has the sign is the likeliest
                yield control_problem(next((name for name, _, own in found if own == token), "prompt"), token)
                return


def _writes_turns(token: str, template: Any) -> bool:
    """Say whether a token in brackets is among what a template writes around turns; thoughts and calls are a model's own."""
    if not (token[:1] in "<[{" and token[-1:] in ">]}"):
        return False
    own = [*(getattr(template, "thought_words", None) or ()), *(getattr(template, "tool_call_words", None) or ())]
    if any(token in word for word in own):
        return False
    formats = [getattr(template, name, None) for name in TURN_FORMATS]
    slots = [slot for one in formats for slot in getattr(one, "slots", ())]
    texts = [slot.get("token", "") if isinstance(slot, Mapping) else slot for slot in slots]
    return any(isinstance(text, str) and token in text for text in texts)


def _holds(part: str, text: str) -> bool:
    """Say whether a text is part of another, also where that is JSON: tools, and arguments of calls, are written as such."""
    return text in part or json.dumps(text, ensure_ascii=False)[1:-1] in part or json.dumps(text)[1:-1] in part


NO_CONTROLS = ControlTokens()


@lru_cache(maxsize=8)
def _pattern_of(tokens: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, tokens)) or r"(?!)")


def control_problem(field: str, token: str) -> RowProblem:
    """Return what is wrong with a field that holds a sign."""
    remedy = "write it in another way, or set `control_tokens: escape` to have it read as plain text"
    return RowProblem(field, f"the control token {token!r}", "text without control tokens of the tokenizer", remedy)


def leaves(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every text in a row, such as `choices[1]` or `messages[0].content`."""
    for name, value in fields.items():
        if name not in ELSEWHERE:
            yield from _leaves(name, value)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(f"{path}.{name}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(f"{path}[{index}]", item)
