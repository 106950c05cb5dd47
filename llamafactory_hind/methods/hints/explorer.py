"""Exploration with hints (Knowledge-Enhanced PO, arXiv 2602.00400): where the policy finds nothing, a hint helps it find something.

The policy itself writes, under a prompt with a hint; what is right becomes a candidate for the group of the prompt without it. All
decisions are made per prompt, and all prompts of a step go through an attempt together.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.extras import logging

from ...engines.interface import Completion, FinishReason, Request, RolloutEngine
from ...engines.local.encoding import media_token_ids
from ...engines.local.scoring import computes_in_half
from ...formats.media.fields import PLACEHOLDERS
from ...formats.texts.hints import parse_hint
from ...formats.texts.leaks import find_hint_leak
from ...trainers.rollouts.batch import bare_batch
from ...trainers.rollouts.records import Rollout, Scores
from ...trainers.rollouts.scoring import GroupScorer
from ...trainers.rollouts.writing import RolloutOptions
from ..conversation import media_of
from .candidates import REFUSALS, Exploration, HintedCompletion, HintSearch, hinted_rollout, merge_candidates
from .options import HintOptions
from .prompts import hinted_prompt_of, own_hint


if TYPE_CHECKING:
    from ...engines.local.weights import LoadedModel
    from ...engines.teachers.cache import TextCache
    from ...engines.teachers.pool import TeacherPool


logger = logging.get_logger("llamafactory.hind.methods.hints.explorer")
ENOUGH_ASKED = 50  # [ours] hints after which a high share of failures is worth a warning


class HintExplorer:
    """Finds right completions for prompts whose group has none.

    Args:
        loaded: of the student.
        teachers: write hints for rows without a column `hint`; None leaves such rows unexplored.
        cache: of the teachers' texts, so that another epoch, or a resumed run, asks nothing twice; None keeps none.
        engine: writes with the student.
        score: rewards of rollouts.
        success: which completions are right, (N, G) bool.
        rollouts: how the student writes; K stands in the place of G.
        hints: how hints are asked for and used.
        precision: context in which the student computes.
    """

    def __init__(
        self,
        loaded: "LoadedModel",
        teachers: "TeacherPool | None",
        cache: "TextCache | None",
        *,
        engine: RolloutEngine,
        score: Callable[[list[Rollout]], Scores],
        success: Callable[[Scores], torch.Tensor],
        rollouts: RolloutOptions,
        hints: HintOptions,
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """Nothing is computed yet."""
        self.loaded, self.teachers, self.cache, self.engine = loaded, teachers, cache, engine
        self.score, self.success, self.hints, self.precision = score, success, hints, precision
        self.sampling = replace(rollouts.sampling(hints.seed), n=max(hints.samples, 1))
        # q is scored as pi is, at the same temperature, so that their ratio is 1 where the hint changes nothing
        self.scorer = GroupScorer(loaded, temperature=rollouts.temperature, share_prefix="off")
        self._media_ids = media_token_ids(loaded)
        placeholders = loaded.tokenizer.convert_ids_to_tokens(self._media_ids)
        self._unwanted = {*placeholders, *loaded.tokenizer.all_special_tokens, *PLACEHOLDERS.values()}
        self._asked = self._failed = 0

    def explore(self, rollouts: list[Rollout], scores: Scores) -> Exploration:
        """Return the candidates of all groups; what the policy wrote is among them in any case.

        Args:
            rollouts: groups that the policy wrote.
            scores: their rewards, as `score` returns them.
        """
        triggered, free_slots = self._free_slots(scores)
        searches = [HintSearch(place, rollouts[place], needed) for place, needed in enumerate(free_slots) if needed]
        for attempt in range(self.hints.max_attempts):
            waiting = [search for search in searches if not search.done]
            self._find_hints(waiting, attempt)
            ready = [search for search in waiting if search.hint is not None]
            if ready:
                self._attempt(ready, attempt)
        return merge_candidates(rollouts, scores, searches, triggered)

    def _free_slots(self, scores: Scores) -> tuple[list[bool], list[int]]:
        """Return for which groups the trigger fires, and how many hinted completions each may take; 0 is not explored."""
        if not self.hints.samples:
            return [False] * len(scores.total), [0] * len(scores.total)
        right = self.success(scores)
        fires = {
            "always": torch.ones(len(right), dtype=torch.bool),
            "no_success": ~right.any(1),
            "all_zero": all_zero(scores),
        }[self.hints.trigger]
        triggered = (fires & ~scores.total.isnan().all(1)).tolist()  # no reward applies: nothing could be accepted
        free_slots = [replaceable(*each) for each in zip(scores.total, right, strict=True)]
        return triggered, [
            min(self.hints.samples, free) if go else 0 for free, go in zip(free_slots, triggered, strict=True)
        ]

    def _find_hints(self, waiting: Sequence[HintSearch], attempt: int) -> None:
        """Give every search a hint, a new one where nothing was accepted with the last."""
        asking = []
        for search in waiting:
            own = own_hint(search.rollout.columns)
            if own is not None and self._is_plain(own):
                search.hint = own
            elif search.hint is None or (not search.fruitful and self.hints.teacher_sampling.temperature):
                asking.append(search)
        for search, told in zip(asking, self._ask([search.rollout for search in asking], attempt), strict=True):
            if told.hint is None:
                search.counts["hint_failed"] += 1
                search.note(attempt, told.text, f"failed: {told.why}")
            else:
                search.hint, search.prompt, search.fruitful = told.hint, None, False

    def _ask(self, rollouts: Sequence[Rollout], attempt: int) -> list["Told"]:
        """Return what a teacher told for each prompt. Random numbers follow from row and attempt alone."""
        if self.teachers is None or not rollouts:
            return [Told(None, None, "there is no teacher") for _ in rollouts]
        requests = [
            Request(
                self.hints.prompts.for_teacher(rollout.feature),
                key=f"{rollout.row_id}/hint/{attempt}" if self.hints.teacher_sampling.temperature else rollout.row_id,
                **media_of(rollout),
            )
            for rollout in rollouts
        ]
        columns = [rollout.columns for rollout in rollouts]
        written = self.teachers.write(requests, columns, self.hints.teacher_sampling, cache=self.cache)
        told = [self._read_hint(completions) for completions in written]
        self._watch(len(told), sum(one.hint is None for one in told))
        return told

    def _watch(self, asked: int, failed: int) -> None:
        """Say once that most hints fail, where that is so: the run then hardly explores."""
        before = self._asked
        self._asked, self._failed = self._asked + asked, self._failed + failed
        if before < ENOUGH_ASKED <= self._asked and self._failed * 2 > self._asked:
            logger.warning_rank0(
                f"Of the first {self._asked} hints asked of the teacher {self._failed} failed: it did not answer, was cut at "
                f"{self.hints.teacher_sampling.max_new_tokens} tokens, or wrote no <hint> tags (`hint_tags: false` takes its whole text)."
            )

    def _read_hint(self, completions: list[Completion] | None) -> "Told":
        if not completions:
            return Told(None, None, "no answer")
        text, cut = completions[0].text, completions[0].finish_reason == FinishReason.LENGTH
        hint = parse_hint(text, tags=self.hints.tags, cut=cut)
        if hint is None:
            return Told(text, None, "cut" if cut else "no hint in it")
        return Told(text, hint) if self._is_plain(hint) else Told(text, None, "special token")

    def _is_plain(self, hint: str) -> bool:
        """Say whether a hint is text: a placeholder, or a token that ends a turn, would break the student's prompt."""
        return not any(token in hint for token in self._unwanted)

    def _attempt(self, searches: Sequence[HintSearch], attempt: int) -> None:
        """Let the student write K completions for each prompt with its hint, and accept those that are right."""
        prompts, keys = [], []
        for search in searches:
            if search.prompt is None:
                turns = self.hints.prompts.for_student(search.rollout.feature, search.hint or "")
                search.prompt = hinted_prompt_of(self.loaded, search.rollout, turns)
            prompts.append(search.prompt)
            keys.append(f"{search.rollout.row_id}/{rollout_digest(search.rollout)}/hinted/{attempt}")
        with self.precision():
            written = self.engine.generate_prompts(prompts, keys, self.sampling)
        passing = []
        before = [(len(search.accepted), Counter(search.counts)) for search in searches]
        for search, completions in zip(searches, written, strict=True):
            search.attempts += 1
            search.counts["written"] += len(completions)
            search.counts["tokens"] += sum(len(completion.token_ids) for completion in completions)
            reasons = [self._why_not(completion) for completion in completions]
            search.counts.update(reason for reason in reasons if reason)
            passing.append([found for found, reason in zip(completions, reasons, strict=True) if not reason])
        self._accept([pair for pair in zip(searches, passing, strict=True) if pair[1]])
        for search, (accepted, counts) in zip(searches, before, strict=True):
            _note_attempt(search, attempt, len(search.accepted) - accepted, search.counts - counts)

    def _why_not(self, completion: Completion) -> str | None:
        """Return why a completion is refused whatever its reward."""
        if completion.finish_reason != FinishReason.STOP:
            return "cut"
        if set(self._media_ids).intersection(completion.token_ids):
            return "special_token"
        return "leak" if find_hint_leak(completion.text) else None

    def _accept(self, found: Sequence[tuple[HintSearch, list[Completion]]]) -> None:
        """Take the right ones, in the order in which they were written, until a group takes no more."""
        if not found:
            return
        scores = self.score([hinted_rollout(search.rollout, completions) for search, completions in found])
        right = self.success(scores)
        for number, (search, completions) in enumerate(found):
            taken: list[HintedCompletion] = []
            for sample, completion in enumerate(completions):
                place = (number, sample)
                if not right[place]:
                    search.counts["wrong"] += 1
                elif len(search.accepted) + len(taken) < search.needed:
                    each = {name: float(values[place]) for name, values in scores.each.items()}
                    extra = {name: values[number][sample] for name, values in scores.extra.items()}
                    total = float(scores.total[place])
                    taken.append(HintedCompletion(completion, search.hint or "", total, each, extra))
            search.fruitful = search.fruitful or bool(taken)
            search.accepted += self._with_logprobs(search, taken)

    def _with_logprobs(self, search: HintSearch, taken: list[HintedCompletion]) -> list[HintedCompletion]:
        """Return completions with log q of each, under the prompt with the hint, where a ratio needs it."""
        if not taken or search.prompt is None or not self.hints.needs_logprob:
            return taken
        model = self.loaded.model
        ids = [list(each.completion.token_ids) for each in taken]
        batch = bare_batch([search.prompt], [ids], device=next(model.parameters()).device)
        with torch.no_grad(), self.precision():
            if not self.scorer.covers(batch):
                self.scorer.select_mode(model, batch, half=computes_in_half(model))
            logps = self.scorer(model, batch).double().sum(1).tolist()
        return [
            replace(each, completion=replace(each.completion, logprob=logp))
            for each, logp in zip(taken, logps, strict=True)
        ]


@dataclass(frozen=True)
class Told:
    """What a teacher told.

    Attributes:
        text: as it was written; None where there was no answer.
        hint: in it; None where it failed.
        why: it failed.
    """

    text: str | None
    hint: str | None
    why: str = ""


def _note_attempt(search: HintSearch, attempt: int, accepted: int, counts: Counter[str]) -> None:
    """Keep what became of a hint: how many completions were accepted, and why the others were not."""
    refused = {reason: counts[reason] for reason in REFUSALS if counts[reason]}
    fate = "accepted" if accepted else f"rejected: {', '.join(refused) or 'nothing was needed'}"
    search.note(attempt, search.hint, fate, accepted=accepted, **refused)


def all_zero(scores: Scores) -> torch.Tensor:
    """Return which groups have no reward but 0, in any of the rewards, (N,)."""
    tables = list(scores.each.values()) or [scores.total]
    return torch.stack([((values == 0) | values.isnan()).all(1) for values in tables]).all(0)


def replaceable(rewards: torch.Tensor, right: torch.Tensor) -> int:
    """Return how many of the worst completions of a group can go before a right one would have to: (G,), (G,).

    Those that are wrong and have less reward than any right one, whatever the rule for equal rewards.
    """
    lowest = rewards[right].nan_to_num(float("-inf")).min() if right.any() else float("inf")
    return int((~right & (rewards.isnan() | (rewards < lowest))).sum())


def rollout_digest(rollout: Rollout) -> str:
    """Return a digest of what was written: it names the random numbers of a step, and is the same in a resumed run."""
    return hashlib.sha256(repr(rollout.completion_ids).encode()).hexdigest()[:16]
