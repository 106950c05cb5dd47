"""Log-probs of the completions of a group, computed in one of three ways that are equal in value and gradient.

`cache` computes the prompts with gradient and repeats their cache for short rows, the fastest; `packed` writes prompt and completions
into one row with a mask, for gradient checkpointing, which takes the cache away; `plain` gives each completion a row with its own
prompt, media included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ...engines.interface import Prompt
from ...engines.local.decoding import positions_of
from ...engines.local.encoding import collate
from ...engines.local.packing import pack, packed_masks
from ...engines.local.prefixes import Prefixes, compute_prefixes, logprobs_behind, shared_logprobs
from ...engines.local.proof import lengthened
from ...engines.local.scoring import (
    Reader,
    UnsupportedHead,
    base_model,
    plain_token_logprobs,
    read_tokens,
    token_logprobs,
)
from .batch import RolloutBatch
from .prompt_inputs import PromptInputs, without_last


if TYPE_CHECKING:
    from ...engines.local.weights import LoadedModel


class GroupLayouts:
    """Lays out prompts and completions of a batch and scores them, in the way that `mode` says.

    Args:
        loaded: tokenizer, processor and template; the model is given with each call.
        temperature: of the distribution that is scored.
        collate_prompts: makes left-padded inputs of prompts; one that remembers them opens media once.

    Attributes:
        mode: `cache`, `packed` or `plain`.
        chunked: the head is known, so that no row has full logits.
    """

    def __init__(
        self,
        loaded: "LoadedModel",
        *,
        temperature: float,
        collate_prompts: Callable[[Sequence[Prompt]], dict[str, Any]] | None = None,
    ) -> None:
        """Begin with plain rows."""
        self.loaded, self.temperature = loaded, temperature
        self.collate_prompts = collate_prompts or PromptInputs(loaded)
        self.mode, self.chunked = "plain", True

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
        rows = self.rows(batch)
        inputs, labels = collate(self.loaded, rows, padding_side=padding_side)
        return completions_of(score(inputs, labels), labels, rows, batch, padding_side)

    def rows(self, batch: "RolloutBatch") -> list[Prompt]:
        """Return a row for each completion, with its own prompt."""
        return [
            Prompt(batch.prompts[owner].input_ids, batch.completion(row), batch.prompts[owner].request)
            for row, owner in enumerate(batch.owners.tolist())
        ]

    def padded_otherwise(self, model: torch.nn.Module, batch: "RolloutBatch") -> torch.Tensor:
        """Do what `plain` does on the other side of the padding and beside a longer row: equal but for rounding."""
        rows = self.rows(batch)
        longest = max(rows, key=lambda row: row.length)
        rows.append(Prompt(longest.input_ids, lengthened(longest.answer_ids), longest.request))
        inputs, labels = collate(self.loaded, rows, padding_side="left")
        inputs["position_ids"] = positions_of(inputs)  # models count padding where they are not told
        return completions_of(self._score(model)(inputs, labels), labels, rows[:-1], batch, "left")

    def _score(self, model: torch.nn.Module) -> Callable[..., torch.Tensor]:
        mode = token_logprobs if self.chunked else plain_token_logprobs
        return partial(mode, model, temperature=self.temperature)


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


def completions_of(
    logps: torch.Tensor, labels: torch.Tensor, rows: Sequence[Prompt], batch: "RolloutBatch", padding_side: str
) -> torch.Tensor:
    """Cut (R, S) log-probs of completions out of those of whole rows (B, T); rows behind the R of the batch are left out."""
    ends = [row.length if padding_side == "right" else labels.shape[1] for row in rows]
    starts = [end - len(row.answer_ids) for row, end in zip(rows, ends, strict=True)]
    columns = torch.tensor(starts, device=logps.device)[:, None] + torch.arange(
        batch.tokens.shape[1], device=logps.device
    )  # (R, S)
    return torch.where(batch.mask, logps[: len(rows)].gather(1, columns.clamp(max=logps.shape[1] - 1)), 0.0)


def _rows_behind(batch: "RolloutBatch", owners: Sequence[int]) -> list[tuple[int, list[int], list[int]]]:
    """Return what follows the prompts' prefixes; `owners` are the numbers of the prefixes."""
    # the last prompt token opens each row: it predicts the first token of the completion
    prompts = (batch.prompts[owner] for owner in batch.owners.tolist())
    return [
        (owner, list(prompt.input_ids[-1:]), batch.completion(row))
        for row, (owner, prompt) in enumerate(zip(owners, prompts, strict=True))
    ]
