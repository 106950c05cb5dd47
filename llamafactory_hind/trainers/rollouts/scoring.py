"""Log-probs of the completions of a group, the prompt computed once for all of them where the model can.

Three ways, equal in value and gradient: `cache` computes the prompts with gradient and repeats their cache for short rows, the
fastest; `packed` writes prompt and completions into one row with a mask, for gradient checkpointing, which takes the cache away;
`plain` gives each completion a row with its own prompt, media included.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.extras import logging

from ...engines.interface import Prompt
from ...engines.local.attention import why_not_cached, why_not_packed
from ...engines.local.decoding import positions_of
from ...engines.local.encoding import collate
from ...engines.local.packing import pack, packed_masks
from ...engines.local.prefixes import Prefixes, compute_prefixes, logprobs_behind, shared_logprobs
from ...engines.local.proof import PASSING_ERRORS, Difference, disagreement, lengthened, why_not_equal
from ...engines.local.scoring import (
    Reader,
    UnsupportedHead,
    base_model,
    otherwise,
    plain_token_logprobs,
    plain_with_noise,
    read_tokens,
    token_logprobs,
)
from ...engines.local.sharded import is_sharded
from .annotator import TokenObjective
from .batch import RolloutBatch


if TYPE_CHECKING:
    from ...engines.local.weights import LoadedModel


logger = logging.get_logger("llamafactory.hind.trainers.rollouts.scoring")

OTHER_PADDING = (
    13  # [ours] tokens more in the pass that measures noise: odd, so that no block of a kernel lines up as before
)
TOKEN_INPUTS = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids")


class PromptInputs:
    """Left-padded inputs of prompts, remembered for the same prompts until it is cleared."""

    def __init__(self, loaded: "LoadedModel") -> None:
        """Remember nothing."""
        self.loaded = loaded
        self._kept: list[tuple[list[Prompt], dict[str, Any]]] = []

    def __call__(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """Return what the host's collator makes of the prompts."""
        for known, inputs in self._kept:
            if len(known) == len(prompts) and all(one is other for one, other in zip(known, prompts, strict=True)):
                return dict(inputs)
        inputs, _ = collate(self.loaded, prompts, padding_side="left")
        self._kept.append((list(prompts), inputs))
        return dict(inputs)

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


class GroupScorer:
    """Scores completions at the temperature they are written at.

    Args:
        loaded: tokenizer, processor and template; the model is given with each call.
        temperature: of the distribution that is scored.
        share_prefix: `auto`, `on` or `off`.
        collate_prompts: makes left-padded inputs of prompts; one that remembers them opens media once.
    """

    def __init__(
        self,
        loaded: "LoadedModel",
        *,
        temperature: float,
        share_prefix: str,
        collate_prompts: Callable[[Sequence[Prompt]], dict[str, Any]] | None = None,
    ) -> None:
        """Nothing is known about the model yet: see `select_mode`."""
        self.loaded = loaded
        self.collate_prompts = collate_prompts or PromptInputs(loaded)
        self.temperature = temperature
        self.share_prefix = share_prefix
        self.mode = "plain"
        self.chunked = True
        self._proved: set[tuple[bool, ...]] = set()  # kinds of rows
        self._longest = 0
        self._refusal: str | None = None

    def __call__(
        self,
        model: torch.nn.Module,
        batch: "RolloutBatch",
        *,
        also: Reader | None = None,
        prefixes: "PromptPrefixes | None" = None,
    ) -> torch.Tensor:
        """Return (R, S) float32 log-probs of the completions' tokens under `model`, 0 where there are none.

        Args:
            model: wrapped or not.
            batch: the completions.
            prefixes: of a larger batch that this is a part of, so that its prompts are not computed again.
            also: is shown the hidden states (M, H) behind the tokens `batch.tokens[batch.mask]`, in that order whatever the way.

        Raises:
            UnsupportedHead: `also` is given, and this model's head is not known.
        """
        mode = {"cache": self.cached, "packed": self.packed, "plain": self.plain}[self.mode]
        score = self._score(model)
        if also is not None:
            if not self.chunked:
                raise UnsupportedHead(
                    f"The output head of {type(base_model(model)).__name__} cannot be read in chunks."
                )
            score = partial(token_logprobs, model, temperature=self.temperature, also=also)
        if prefixes is not None:
            return prefixes.score(batch, score)
        return mode(model, batch, score)

    def prefixes(self, model: torch.nn.Module, batch: "RolloutBatch") -> "PromptPrefixes | None":
        """Compute the prompts of a batch for parts of it; None where the way does not keep them apart."""
        if self.mode != "cache":
            return None
        inputs = without_last(self.collate_prompts(batch.prompts))
        return PromptPrefixes(
            compute_prefixes(base_model(model), inputs), batch.prompts, self.loaded.tokenizer.pad_token_id
        )

    @torch.no_grad()
    def hidden(self, model: torch.nn.Module, batch: "RolloutBatch") -> tuple[torch.Tensor, dict[str, Any]]:
        """Return the hidden states (M, H) that predict `batch.tokens[batch.mask]`, and the head as `head_arguments` describes it.

        Raises:
            UnsupportedHead: this model's head is not known.
        """
        found: list[tuple[torch.Tensor, dict[str, Any]]] = []

        def read(hidden: torch.Tensor, head: dict[str, Any], targets: torch.Tensor) -> torch.Tensor:
            found.append((hidden, head))
            return hidden.new_zeros(len(hidden))

        mode = {"cache": self.cached, "packed": self.packed, "plain": self.plain}[self.mode]
        mode(model, batch, partial(read_tokens, model, read=read))
        return found[0]

    def plain(
        self, model: torch.nn.Module, batch: "RolloutBatch", score: Callable[..., torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Every completion in a row with its own prompt."""
        return self._plain(model, batch, score or self._score(model))

    def cached(
        self, model: torch.nn.Module, batch: "RolloutBatch", score: Callable[..., torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Prompts once, their cache (with gradient) repeated for rows that hold only completions."""
        inputs = without_last(self.collate_prompts(batch.prompts))
        rows = _rows_behind(batch, batch.owners.tolist())
        pad_id = self.loaded.tokenizer.pad_token_id
        return shared_logprobs(
            base_model(model), inputs, rows, pad_id=pad_id, token_logprobs=score or self._score(model)
        )[:, 1:]  # (R, S)

    def packed(
        self, model: torch.nn.Module, batch: "RolloutBatch", score: Callable[..., torch.Tensor] | None = None
    ) -> torch.Tensor:
        """A row a group: `prompt, completion 1, ..., completion G`, each completion hidden from the others."""
        row = pack(self.collate_prompts(batch.prompts), batch.tokens, batch.mask, batch.owners.tolist())
        row.inputs["attention_mask"] = packed_masks(model, row.inputs, row.segments)
        logps = (score or self._score(model))(row.inputs, row.labels, sources=row.sources)  # (N, P + L)
        return torch.where(batch.mask, logps[batch.owners[:, None], row.columns], 0.0)  # (R, S)

    def _plain(
        self,
        model: torch.nn.Module,
        batch: "RolloutBatch",
        score: Callable[..., torch.Tensor],
        *,
        padding_side: str = "right",
    ) -> torch.Tensor:
        rows = self._rows(batch)
        inputs, labels = collate(self.loaded, rows, padding_side=padding_side)
        return _completions_of(score(inputs, labels), labels, rows, batch, padding_side)

    def _rows(self, batch: "RolloutBatch") -> list[Prompt]:
        return [
            Prompt(batch.prompts[owner].input_ids, batch.completion(row), batch.prompts[owner].request)
            for row, owner in enumerate(batch.owners.tolist())
        ]

    def _padded_otherwise(self, model: torch.nn.Module, batch: "RolloutBatch") -> torch.Tensor:
        """Do what `plain` does on the other side of the padding and beside a longer row: equal but for rounding."""
        rows = self._rows(batch)
        longest = max(rows, key=lambda row: row.length)
        rows.append(Prompt(longest.input_ids, lengthened(longest.answer_ids), longest.request))
        inputs, labels = collate(self.loaded, rows, padding_side="left")
        inputs["position_ids"] = positions_of(inputs)  # models count padding where they are not told
        return _completions_of(self._score(model)(inputs, labels), labels, rows[:-1], batch, "left")

    def _score(self, model: torch.nn.Module) -> Callable[..., torch.Tensor]:
        mode = token_logprobs if self.chunked else plain_token_logprobs
        return partial(mode, model, temperature=self.temperature)

    def covers(self, batch: "RolloutBatch") -> bool:
        """Whether `select_mode` has seen every kind of row of a batch (which media it has), and one as long as its longest."""
        return self._longest >= _longest_row(batch) and self._proved.issuperset(
            prompt.kind for prompt in batch.prompts
        )

    @torch.no_grad()
    def select_mode(
        self, model: torch.nn.Module, batch: "RolloutBatch | Sequence[RolloutBatch]", *, half: bool
    ) -> str | None:
        """Choose the way, after comparing it with the plain one on some completions; return why sharing is not possible.

        Called again, for rows that `covers` refuses, it can take back what it chose and chooses nothing anew.

        Args:
            model: the policy, not wrapped, in the mode that training uses.
            batch: rows that would show a mistake, as many at a time as in training; of one batch, the longest are taken.
            half: half precision: log-probs agree less well.
        """
        batches = [batch.longest(completions=2)] if isinstance(batch, RolloutBatch) else list(batch)
        checkpointing = bool(getattr(base_model(model), "is_gradient_checkpointing", False))
        # the gradient of a prompt comes back through its cache, which no hook of a split model sees
        mode = "packed" if checkpointing or is_sharded(model) else "cache"
        for some in batches:
            if self.chunked:
                self._prove_head(model, some, half=half)
        if self.share_prefix != "off" and self._refusal is None:
            self._refusal = self._why_not(model, mode)
            for some in batches:
                self._refusal = self._refusal or self._difference(model, some, mode, half=half)
        self.mode = "plain" if self.share_prefix == "off" or self._refusal else mode
        self._proved |= {prompt.kind for some in batches for prompt in some.prompts}
        self._longest = max(self._longest, *map(_longest_row, batches))
        return self._refusal

    def _prove_head(self, model: torch.nn.Module, batch: "RolloutBatch", *, half: bool) -> None:
        """Compare the chunked head with the model's own logits, both from plain rows."""
        rows = self._rows(batch)
        inputs, labels = collate(self.loaded, rows, padding_side="right")
        own, rounded = (
            _completions_of(some, labels, rows, batch, "right")[batch.mask]
            for some in plain_with_noise(model, inputs, labels, temperature=self.temperature)
        )
        try:
            found = self.plain(model, batch)[batch.mask]
            reason = disagreement(found, own, Difference.of(own, rounded), half=half)
        except UnsupportedHead as error:
            reason = str(error)
        if reason is not None:
            self.chunked = False
            logger.warning_rank0(f"Log-probs are computed from full logits, which takes more memory: {reason}.")

    def refuse(self, reason: str) -> str:
        """Take plain rows from now on; return why."""
        self.mode, self._refusal = "plain", reason
        return reason

    def log_mode(self, reason: str | None) -> None:
        """Say how prompts are computed.

        Raises:
            ValueError: `share_prefix: on`, and there is a reason against it.
        """
        if reason is not None and self.share_prefix == "on":
            raise ValueError(
                f"`share_prefix: on` is not possible with this model: {reason}. Set `share_prefix: auto` or `off`."
            )
        if reason is not None:
            logger.warning_rank0(f"share_prefix: fell back to one row a completion, because {reason}.")
        elif self.mode == "plain":
            logger.info_rank0("share_prefix: off; every completion computes its own prompt in the loss pass.")
        else:
            how = {"cache": "its cache repeated", "packed": "one packed row, for gradient checkpointing"}[self.mode]
            logger.info_rank0(
                f"share_prefix: on; a group's prompt is computed once in the loss pass ({how}; equal to the plain path on "
                f"every kind of row, up to {self._longest} tokens)."
            )

    def _why_not(self, model: torch.nn.Module, mode: str) -> str | None:
        if mode == "packed":
            return why_not_packed(model) or (
                None if self.chunked else "a packed row needs the chunked head, which this model does not take"
            )
        return why_not_cached(model)

    def _difference(self, model: torch.nn.Module, batch: "RolloutBatch", mode: str, *, half: bool) -> str | None:
        """Return how a way differs from the plain one by more than the plain one from itself."""
        plain = self.plain(model, batch)[batch.mask]
        try:
            with otherwise(model, half=half):
                noise = Difference.of(self._padded_otherwise(model, batch)[batch.mask], plain)
        except torch.OutOfMemoryError:
            raise
        except PASSING_ERRORS:  # the model takes no padding on the left, or no positions: no noise is known
            noise = Difference(0.0, 0.0)
        compute = {"cache": self.cached, "packed": self.packed}[mode]
        return why_not_equal(lambda: compute(model, batch)[batch.mask], plain, noise, half=half)


def _completions_of(
    logps: torch.Tensor, labels: torch.Tensor, rows: Sequence[Prompt], batch: "RolloutBatch", padding_side: str
) -> torch.Tensor:
    """Cut (R, S) log-probs of completions out of those of whole rows (B, T); rows behind the R of the batch are left out."""
    ends = [row.length if padding_side == "right" else labels.shape[1] for row in rows]
    starts = [end - len(row.answer_ids) for row, end in zip(rows, ends, strict=True)]
    columns = torch.tensor(starts, device=logps.device)[:, None] + torch.arange(
        batch.tokens.shape[1], device=logps.device
    )  # (R, S)
    return torch.where(batch.mask, logps[: len(rows)].gather(1, columns.clamp(max=logps.shape[1] - 1)), 0.0)


@dataclass(frozen=True)
class PromptPrefixes:
    """The prompts of a batch, computed once for parts of it.

    Attributes:
        computed: all but the last token of each.
        prompts: of the batch.
        pad_id: any id.
    """

    computed: Prefixes
    prompts: Sequence[Prompt]
    pad_id: int

    def score(self, part: "RolloutBatch", score: Callable[..., torch.Tensor]) -> torch.Tensor:
        """Return (R, S) log-probs of the completions of a part, whose prompts are among those of the batch."""
        places = {id(prompt): place for place, prompt in enumerate(self.prompts)}
        owners = [places[id(part.prompts[owner])] for owner in part.owners.tolist()]
        rows = _rows_behind(part, owners)
        return logprobs_behind(self.computed, rows, pad_id=self.pad_id, token_logprobs=score)[:, 1:]


def _rows_behind(batch: "RolloutBatch", owners: Sequence[int]) -> list[tuple[int, list[int], list[int]]]:
    """Return what follows the prompts' prefixes; `owners` are the numbers of the prefixes."""
    # the last prompt token opens each row: it predicts the first token of the completion
    prompts = (batch.prompts[owner] for owner in batch.owners.tolist())
    return [
        (owner, list(prompt.input_ids[-1:]), batch.completion(row))
        for row, (owner, prompt) in enumerate(zip(owners, prompts, strict=True))
    ]


def _longest_row(batch: "RolloutBatch") -> int:
    lengths = batch.mask.sum(1).tolist()
    return max(
        len(batch.prompts[owner].input_ids) + length
        for owner, length in zip(batch.owners.tolist(), lengths, strict=True)
    )


def without_last(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Cut the last token off left-padded prompts; media stay."""
    length = inputs["input_ids"].shape[-1]
    cut = {
        name: inputs[name][..., :-1] for name in TOKEN_INPUTS if name in inputs and inputs[name].shape[-1] == length
    }
    return {**inputs, **cut}


def check_objective(objective: TokenObjective | None, scorer: "GroupScorer", model: torch.nn.Module) -> None:
    """Refuse, once the mode is selected, a policy whose head cannot be read.

    Raises:
        ValueError: it is not known how the model makes logits of hidden states.
    """
    if objective is not None and not scorer.chunked:
        raise ValueError(
            f"The output head of {type(base_model(model)).__name__} turns hidden states into logits in a way that is not known "
            "here (the warning above says how it differs), so no divergence from a teacher can be computed. Leave the head out "
            "of quantisation and out of `lora_target` with DoRA, or set `distill_weight: 0`."
        )
