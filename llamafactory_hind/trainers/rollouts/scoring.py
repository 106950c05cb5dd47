"""Which way log-probs of a group are computed: the prompt once for all of its completions where the model can, which is proved."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.extras import logging

from ...engines.interface import Prompt
from ...engines.local.attention import why_not_cached, why_not_packed
from ...engines.local.encoding import collate
from ...engines.local.proof import PASSING_ERRORS, Difference, disagreement, why_not_equal
from ...engines.local.scoring import UnsupportedHead, base_model, otherwise, plain_with_noise
from ...engines.local.sharded import is_sharded
from .annotator import TokenObjective
from .batch import RolloutBatch
from .layouts import GroupLayouts, completions_of


if TYPE_CHECKING:
    from ...engines.local.weights import LoadedModel


logger = logging.get_logger("llamafactory.hind.trainers.rollouts.scoring")


class GroupScorer(GroupLayouts):
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
        super().__init__(loaded, temperature=temperature, collate_prompts=collate_prompts)
        self.share_prefix = share_prefix
        self._proved: set[tuple[bool, ...]] = set()  # kinds of rows
        self._longest = 0
        self._refusal: str | None = None

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
        rows = self.rows(batch)
        inputs, labels = collate(self.loaded, rows, padding_side="right")
        own, rounded = (
            completions_of(some, labels, rows, batch, "right")[batch.mask]
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
                noise = Difference.of(self.padded_otherwise(model, batch)[batch.mask], plain)
        except torch.OutOfMemoryError:
            raise
        except PASSING_ERRORS:  # the model takes no padding on the left, or no positions: no noise is known
            noise = Difference(0.0, 0.0)
        compute = {"cache": self.cached, "packed": self.packed}[mode]
        return why_not_equal(lambda: compute(model, batch)[batch.mask], plain, noise, half=half)


def _longest_row(batch: "RolloutBatch") -> int:
    lengths = batch.mask.sum(1).tolist()
    return max(
        len(batch.prompts[owner].input_ids) + length
        for owner, length in zip(batch.owners.tolist(), lengths, strict=True)
    )


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
