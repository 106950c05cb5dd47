"""Log-probs of answers, whole rows or behind beginnings that are computed once, each proved before it is used."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from llamafactory.extras import logging

from ..interface import Prompt, Score
from .batching import batches
from .decoding import positions_of
from .encoding import collate, representative_prompts
from .prefixes import Group, group_by_prefix, shared_logprobs
from .proof import PASSING_ERRORS, Difference, Proof, lengthened, why_not_equal
from .scoring import (
    UnsupportedHead,
    base_model,
    check_head,
    computes_in_half,
    otherwise,
    plain_token_logprobs,
    token_logprobs,
)


if TYPE_CHECKING:
    from .weights import LoadedModel

logger = logging.get_logger("llamafactory.hind.engines.local.answers")


class AnswerScorer:
    """Scores answers of prompts with a model that is ready: in eval mode, without gradient, its adapters chosen.

    Args:
        loaded: model, tokenizer, processor and template.
        chunk_tokens: positions whose logits exist at one time.
        media_ids: tokens of media, which no beginning is cut in.

    Attributes:
        proof: what shared beginnings were compared on.
        chunked: the head is known, so that no row has full logits; None until a row has been scored.
    """

    def __init__(self, loaded: "LoadedModel", *, chunk_tokens: int, media_ids: Sequence[int]) -> None:
        """Nothing is computed yet."""
        self.loaded, self.chunk_tokens, self.media_ids = loaded, chunk_tokens, media_ids
        self.proof = Proof()
        self.chunked: bool | None = None

    def score(self, prompts: Sequence[Prompt], *, at_once: int) -> list[Score]:
        """Score the answers of prompts, at most `at_once` rows at a time."""
        sums = [0.0] * len(prompts)
        groups, alone = group_by_prefix(
            [(prompt.input_ids, prompt.answer_ids) for prompt in prompts],
            [prompt.media for prompt in prompts],
            media_ids=self.media_ids,
            largest=at_once,
        )
        if groups and not self.proof.failed and not self.proof.covers(prompts):
            self.proof.failed = not self._prove_shared(prompts, groups)
            self.proof.add(prompts)
        if self.proof.failed:
            groups, alone = [], list(range(len(prompts)))
        for some in batches(groups, lambda group: group.length, lambda group: len(group.places), at_once):
            places = [place for group in some for place in group.places]
            for place, logps in zip(places, self._shared_logprobs(prompts, some), strict=True):
                sums[place] = logps.cpu().double().sum().item()
        for places in batches(alone, lambda place: prompts[place].length, lambda place: 1, at_once):
            for place, logps in zip(places, self._token_logprobs([prompts[place] for place in places]), strict=True):
                sums[place] = logps.cpu().double().sum().item()
        return [Score(value, len(prompt.answer_ids)) for value, prompt in zip(sums, prompts, strict=True)]

    def _token_logprobs(self, prompts: list[Prompt], *, padding_side: str = "right") -> torch.Tensor:
        inputs, labels = collate(self.loaded, prompts, padding_side=padding_side)
        if padding_side == "left":
            inputs["position_ids"] = positions_of(inputs)  # models count padding where they are not told
        if self.chunked is None:
            try:
                check_head(self.loaded.model, inputs, labels)
                self.chunked = True
            except UnsupportedHead as error:
                logger.warning_rank0(f"Scoring computes full logits, which takes more memory: {error}")
                self.chunked = False
        if self.chunked:
            return token_logprobs(self.loaded.model, inputs, labels, chunk_tokens=self.chunk_tokens)
        return plain_token_logprobs(self.loaded.model, inputs, labels)

    def _shared_logprobs(self, prompts: Sequence[Prompt], groups: Sequence[Group]) -> torch.Tensor:
        """Return (R, S) log-probs of the rows of `groups`, one group after the other."""
        beginnings, rows = [], []
        for number, group in enumerate(groups):
            first = prompts[group.places[0]]
            beginnings.append(Prompt(first.input_ids[: group.length], [], first.request))
            rows += [
                (number, prompts[place].input_ids[group.length :], prompts[place].answer_ids) for place in group.places
            ]
        inputs, _ = collate(self.loaded, beginnings, padding_side="left")
        score = partial(token_logprobs, self.loaded.model, chunk_tokens=self.chunk_tokens)
        pad_id = self.loaded.tokenizer.pad_token_id
        return shared_logprobs(base_model(self.loaded.model), inputs, rows, pad_id=pad_id, token_logprobs=score)

    def _prove_shared(self, prompts: Sequence[Prompt], groups: Sequence[Group]) -> bool:
        """Compare log-probs over a shared beginning with those of whole rows, on two rows of representative groups."""
        chosen = representative_prompts([prompts[group.places[0]] for group in groups])
        some = [Group(groups[number].places[:2], groups[number].length) for number in chosen]
        rows = [prompts[place] for group in some for place in group.places]
        whole, noise = self.whole_rows(rows)
        if not self.chunked:
            return False  # full logits were announced already
        starts = [
            len(prompts[place].input_ids) - group.length for group in some for place in group.places
        ]  # of each answer in its short row

        def shared() -> torch.Tensor:
            found = self._shared_logprobs(prompts, some)
            each = zip(found, starts, rows, strict=True)
            return torch.cat([logps[start : start + len(row.answer_ids)] for logps, start, row in each])

        reason = why_not_equal(shared, whole, noise, half=computes_in_half(self.loaded.model))
        if reason is not None:
            logger.warning_rank0(
                f"Shared beginnings are off while scoring, every row computes its own prompt, because {reason}."
            )
        return reason is None

    def whole_rows(self, rows: list[Prompt]) -> tuple[torch.Tensor, Difference]:
        """Return (M,) log-probs of the answers, each row with its own prompt, and what another padding changes in them."""
        parts, others = [], []
        for start in range(0, len(rows), 2):
            some = rows[start : start + 2]
            plain = self._token_logprobs(some)
            longest = max(some, key=lambda row: row.length)
            longer = replace(longest, answer_ids=lengthened(longest.answer_ids))
            try:
                with otherwise(self.loaded.model):
                    other = self._token_logprobs([*some, longer], padding_side="left")
            except torch.OutOfMemoryError:
                raise
            except PASSING_ERRORS:  # no padding on the left: no noise is known
                other = None
            for number, row in enumerate(some):
                part = plain[number, len(row.input_ids) : row.length]
                parts.append(part)
                others.append(part if other is None else other[number, other.shape[1] - len(row.answer_ids) :])
        whole = torch.cat(parts)
        return whole, Difference.of(torch.cat(others), whole)
