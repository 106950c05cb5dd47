"""Groups of completions for processed prompts, written by a policy in training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...engines.interface import Completion, Prompt, RolloutEngine, Sampling
from .batch import prompt_of
from .correction import RolloutCorrection
from .records import POLICY, Rollout


if TYPE_CHECKING:
    from ..host import HostArguments

UNCHANGED = RolloutCorrection("none", 1.0)
ROWS_AT_ONCE = 128  # [ours] completions written at a time, where the accumulated prompts of a step make so many


@dataclass(frozen=True)
class RolloutOptions:
    """How rollouts are made and learnt from; the keys of the online stages without their defaults.

    Attributes:
        num_generations: G, completions a prompt.
        temperature: they are written and scored at.
        top_p: while writing; log-probs are those without it.
        top_k: likewise; 0 is off.
        max_new_tokens: length at which a completion is cut.
        num_iterations: optimiser steps on the same rollouts.
        share_prefix: `auto`, `on` or `off`.
        correction: of rollouts that a server wrote.
        ahead: steps that a server writes ahead, 0 or 1.
        rows_at_once: completions that a pass of the loss computes at a time; None is all of a micro-batch.
    """

    num_generations: int
    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int
    num_iterations: int
    share_prefix: str
    correction: RolloutCorrection = UNCHANGED
    ahead: int = 0
    rows_at_once: int | None = None

    @classmethod
    def of(cls, args: "HostArguments") -> "RolloutOptions":
        """Read the keys of the online stages."""
        keys = args.finetuning
        return cls(
            num_generations=keys.num_generations,
            temperature=keys.rollout_temperature,
            top_p=keys.rollout_top_p,
            top_k=keys.rollout_top_k,
            max_new_tokens=args.generating.max_new_tokens,
            num_iterations=keys.num_iterations,
            share_prefix=keys.share_prefix,
            correction=RolloutCorrection(keys.rollout_correction, keys.rollout_correction_cap),
            ahead=keys.rollout_ahead,
            rows_at_once=keys.loss_micro_batch,
        )

    @property
    def is_whole(self) -> bool:
        """Whether completions are drawn from the whole distribution, so that a server's log-probs are those of the policy."""
        return (self.top_p, self.top_k) == (1.0, 0)

    def prompts_at_once(self, least: int) -> int:
        """Return how many prompts are written for at a time, with pictures of no more than these in memory."""
        return max(least, ROWS_AT_ONCE // self.num_generations)

    def sampling(self, seed: int) -> Sampling:
        """Return how the engine writes a group."""
        return Sampling(
            n=self.num_generations,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            max_new_tokens=self.max_new_tokens,
            seed=seed,
        )


class RolloutGenerator:
    """Writes groups with the policy as it is.

    Random numbers come from (seed, row, stream, number of the completion), so a prompt gets the same ones alone and in any
    batch, on any process, and in a resumed run.

    Args:
        engine: writes with the policy.
        options: of the rollouts.
        seed: of all random numbers.
    """

    def __init__(self, engine: RolloutEngine, options: RolloutOptions, *, seed: int) -> None:
        """Nothing is computed yet."""
        self.engine = engine
        self.sampling = options.sampling(seed)

    def generate(
        self,
        features: Sequence[Mapping[str, Any]],
        *,
        stream: str,
        greedy_first: bool = False,
        on_generated: Callable[[int], None] | None = None,
    ) -> list[Rollout]:
        """Write a group for each processed row.

        Args:
            features: rows with `prompt_input_ids`, media and `row_id`.
            stream: names the random numbers of a step.
            greedy_first: put a greedy completion in front of the sampled ones.
            on_generated: called after every batch with the number of completions in it.
        """
        sampling = replace(self.sampling, greedy_first=greedy_first)
        prompts = [prompt_of(feature) for feature in features]
        keys = [f"{feature['row_id']}/{stream}" for feature in features]
        written = self.engine.generate_prompts(prompts, keys, sampling, on_generated=on_generated)
        return [_rollout(*parts) for parts in zip(features, prompts, written, strict=True)]


def _rollout(feature: Mapping[str, Any], prompt: Prompt, group: list[Completion]) -> Rollout:
    return Rollout(
        feature=feature,
        prompt=prompt,
        completion_ids=[list(completion.token_ids) for completion in group],
        texts=[completion.text for completion in group],
        finish_reasons=[completion.finish_reason for completion in group],
        sources=[POLICY] * len(group),
        sampling_logps=[completion.sampling_logps for completion in group]
        if any(completion.sampling_logps for completion in group)
        else None,
    )
