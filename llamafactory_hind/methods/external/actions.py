"""Texts of other models as further actions of a group (Vision-EKIPL, arXiv 2506.06856), as the tokens of the policy.

They come from the row column `external`. What cannot be learnt from is refused by rule and counted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llamafactory.data.template import Template
from llamafactory.extras import logging

from ...config.problem import listed
from ...engines.interface import FinishReason
from ...engines.local.encoding import media_token_ids
from ...formats.fields import read_columns
from ...formats.texts.layout import has_layout, is_cut, wrap
from ...trainers.rollouts.records import POLICY, Rollout
from .candidates import REFUSALS, Candidates


if TYPE_CHECKING:
    from ...engines.local.weights import LoadedModel

    pass


logger = logging.get_logger("llamafactory.hind.methods.external.actions")

ENOUGH_READ = 100  # [ours] actions after which a high share of refusals is worth a warning


@dataclass(frozen=True)
class Action:
    """A text of another model.

    Attributes:
        source: the name of that model.
        text: in the layout.
        token_ids: as the policy would have sampled them, stop token included.
        logprob: log q of the whole text under that model, None where it is not known.
    """

    source: str
    text: str
    token_ids: list[int]
    logprob: float | None


class ActionReader:
    """Turns the column `external` into actions, with the template that the policy writes under.

    Args:
        loaded: of the policy.
        max_new_tokens: a longer action is refused; the policy could not have written it.
    """

    def __init__(self, loaded: "LoadedModel", *, max_new_tokens: int) -> None:
        """Look up the tokens that no action may hold."""
        self.template, self.tokenizer = loaded.template, loaded.tokenizer
        self.max_new_tokens = max_new_tokens
        self.stop_ids = set(self.template.get_stop_token_ids(self.tokenizer))
        self.forbidden = self.stop_ids | set(media_token_ids(loaded))
        self._read: Counter[str] = Counter()

    def read(
        self, columns: Mapping[str, Any], more: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[list[Action], Counter[str]]:
        """Return the actions of a row, and how many were refused for which reason; `more` are entries besides its own."""
        actions: list[Action] = []
        refused: Counter[str] = Counter()
        for entry in [*(columns.get("external") or []), *more]:
            text = wrap(entry["text"])
            ids = self.encode(text)
            reason = self._why_not(entry, ids)
            if reason is None:
                actions.append(Action(entry["source"], text, ids, entry.get("logprob")))
            else:
                refused[reason] += 1
        self._watch(len(actions), refused)
        return actions, refused

    def _watch(self, good: int, refused: Counter[str]) -> None:
        """Say once that most actions are refused, where that is so: the run is then nearly plain GRPO."""
        before = self._read.total()
        self._read += refused + Counter(good=good)
        if before < ENOUGH_READ <= self._read.total() and self._read["good"] * 2 < self._read.total():
            shares = ", ".join(f"{reason} {self._read[reason]}" for reason in REFUSALS)
            logger.warning_rank0(
                f"Of the first {self._read.total()} external actions only {self._read['good']} can be used ({shares}); "
                f"`max_new_tokens` is {self.max_new_tokens}."
            )

    def encode(self, text: str) -> list[int]:
        """Return the tokens of an assistant turn up to its stop token: what follows the prompt where the policy writes."""
        turns = [{"role": "user", "content": ""}, {"role": "assistant", "content": text}]
        # not the template's own method: reasoning templates take thoughts out, or add empty ones that the prompt has already
        _, ids = Template.encode_oneturn(self.template, self.tokenizer, turns)
        if self.template.efficient_eos:  # such templates leave the stop token to the processor
            return [*ids, self.tokenizer.eos_token_id]
        last = max((place for place, token in enumerate(ids) if token in self.stop_ids), default=len(ids) - 1)
        return list(ids[: last + 1])  # a template may write a line break after the stop token

    def join(self, rollout: Rollout, more: Sequence[Mapping[str, Any]] = ()) -> Candidates:
        """Return the completions of the policy, the actions of their row, and more entries."""
        actions, refused = self.read(rollout.columns, more)
        joined = replace(
            rollout,
            completion_ids=[*rollout.completion_ids, *(action.token_ids for action in actions)],
            texts=[*rollout.texts, *(action.text for action in actions)],
            finish_reasons=[*rollout.finish_reasons, *(FinishReason.STOP for _ in actions)],
            sources=[*rollout.sources, *(action.source for action in actions)],
            sampling_logps=rollout.longer_logps(len(actions)),
        )
        logprobs = [*(0.0 for _ in rollout.texts), *(action.logprob or 0.0 for action in actions)]
        return Candidates(joined, logprobs, refused)

    def _why_not(self, entry: Mapping[str, Any], ids: Sequence[int]) -> str | None:
        if entry.get("finish_reason") == FinishReason.LENGTH or is_cut(entry["text"]):
            return "truncated"
        if len(ids) > self.max_new_tokens:
            return "too_long"
        # a placeholder would ask for a picture, a stop token would end the text before its end
        return "special_token" if self.forbidden.intersection(ids[:-1]) else None


def check_rows(dataset: Any, *, needs_logprob: bool, temperature: float) -> Counter[str]:
    """Check the actions of all rows before the model is loaded; return how many each source has.

    Args:
        dataset: processed rows.
        needs_logprob: `external_ratio: behavior`, which divides by q.
        temperature: that the policy is scored at; q must be of the same.

    Raises:
        ValueError: actions that cannot be used, with file and row.
    """
    counts: Counter[str] = Counter()
    problems: list[str] = []
    names = set(dataset.column_names)
    for place, columns in zip(dataset["place" if "place" in names else "row_id"], dataset["columns"], strict=True):
        for number, entry in enumerate(read_columns(columns).get("external") or []):
            counts[entry["source"]] += 1
            found = _problems(number, entry, needs_logprob=needs_logprob, temperature=temperature)
            problems += [f"{place}, {text}" for text in found]
    if problems:
        raise ValueError(f"External actions that cannot be used, {len(problems)} in all:{listed(problems)}")
    return counts


def _problems(number: int, entry: Mapping[str, Any], *, needs_logprob: bool, temperature: float) -> list[str]:
    where, found = f"field `external[{number}]", []
    if entry["source"] == POLICY:
        found.append(f"{where}.source`: got {POLICY!r}, expected another name; the policy's own completions have it.")
    if needs_logprob and entry.get("logprob") is None:
        found.append(
            f"{where}.logprob`: got nothing, expected log q of the text with `external_ratio: behavior`; write it "
            "(`synth` with `pipeline: external` does), or set `external_ratio: plain` or `shaped`."
        )
    elif needs_logprob and not has_layout(entry["text"]):
        found.append(
            f"{where}.text`: got a text without <think>…</think><answer>…</answer>, expected one with this layout "
            "with `external_ratio: behavior`: its `logprob` is not that of the wrapped text."
        )
    recorded = entry.get("logprob_temperature")
    recorded = 1.0 if recorded is None else float(recorded)
    if needs_logprob and entry.get("logprob") is not None and recorded != temperature:
        found.append(
            f"{where}.logprob_temperature`: got {recorded:g}, expected {temperature:g}, the `rollout_temperature`, with "
            f"`external_ratio: behavior`: pi / q compares two distributions at one temperature. Set `rollout_temperature: "
            f"{recorded:g}`, or record `logprob` at {temperature:g} and say so in `logprob_temperature` (left out, it is 1)."
        )
    return found
