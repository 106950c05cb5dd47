"""The gate of quality-gated distillation (Knowledge-Enhanced PO, arXiv 2602.00400): which completions a teacher's distributions teach."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...losses.distill import step_weights
from ...trainers.rollouts.batch import RolloutBatch
from ...trainers.rollouts.components import Component
from ...trainers.rollouts.records import Annotation, Scores, padded
from ..hints.candidates import HINTED


if TYPE_CHECKING:
    from .steps import LineSegments


GATE, MONITORED = (
    "gate",
    "watched",
)  # streams: 1 for completions that are distilled; for those whose divergence is only logged
TOTAL = "total"
RIGHT = 1.0  # [ours] a correct answer's reward, where the threshold does not say
STEP_DELTA = 0.2  # SOD's, 2605.07725 [C code]
STEP_EPS = 1e-4  # nats [ours]


class Gate:
    """Opens for completions whose reward is high enough.

    Args:
        reward: name of a reward, or `total`.
        threshold: lowest reward that passes; -inf passes all, those without a reward as well.
        names: of the rewards of the run.
    """

    def __init__(self, reward: str, threshold: float, names: Sequence[str]) -> None:
        """Find the reward.

        Raises:
            ValueError: there is none of that name.
        """
        if reward not in (TOTAL, *names):
            raise ValueError(f"gate_reward: got {reward!r}, expected one of {', '.join(names)} or `{TOTAL}`.")
        self.reward, self.threshold = reward, threshold
        self.correctness = names[0] if reward == TOTAL else reward
        self.least = RIGHT if reward == TOTAL or math.isinf(threshold) else threshold

    def record(self) -> dict[str, Any]:
        """Return the rule for readers of completions; a threshold that JSON cannot write is a text."""
        threshold = self.threshold if math.isfinite(self.threshold) else str(self.threshold)
        return {"reward": self.reward, "threshold": threshold, "rule": f"{self.reward} >= {threshold}"}

    def right(self, scores: Scores) -> torch.Tensor:
        """Return which completions are right, (N, G) bool: what exploration looks for."""
        return scores.each[self.correctness] >= self.least

    def passes(self, scores: Scores) -> torch.Tensor:
        """Return which completions pass, (N, G) bool."""
        values = scores.total if self.reward == TOTAL else scores.each[self.reward]
        return torch.ones_like(values, dtype=torch.bool) if self.threshold == -math.inf else values >= self.threshold

    def streams(self, kept: Annotation) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return the streams (N, G) and metrics of groups.

        One refused completion of each group is watched: its divergence tells what the gate keeps out, at 1 / G of the cost of all.
        """
        passed = self.passes(kept.scores)
        refused = ~passed
        watched = refused & (refused.cumsum(1) == 1)
        lengths = padded([[len(ids) for ids in rollout.completion_ids] for rollout in kept.rollouts])  # (N, G)
        hinted = padded([[float(source == HINTED) for source in rollout.sources] for rollout in kept.rollouts])
        metrics = {
            "gate/pass_rate": passed.double(),
            "gate/prompts_without": (~passed.any(1)).double(),
            "gate/tokens": (passed * lengths).sum(1).double(),
            "hints/kept_share": hinted.double(),
            "hints/token_share": ((hinted * lengths).sum() / lengths.sum().clamp(min=1)).double()[None],
        }
        return {GATE: passed.float(), MONITORED: watched.float()}, metrics


def distill_component(weight: float, segments: "LineSegments | None") -> Component:
    """Return the divergence from the teacher at the tokens of completions that pass; every token counts the same.

    Args:
        weight: of this part of the loss.
        segments: steps of completions, for SOD's weights (arXiv 2605.07725); None weighs all alike.
    """

    def per_token(logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: Any, batch: RolloutBatch) -> torch.Tensor:
        divergence = batch.token_streams["divergence"]
        if segments is None:
            return divergence
        taught = batch.token_streams["teacher_logps"]
        return divergence * step_weights(
            logps.detach(), taught, segments(batch), eps=STEP_EPS, delta=STEP_DELTA
        )  # (R, S)

    return Component(
        "distill",
        weight,
        per_token,
        "token",
        mask=lambda batch: batch.streams[GATE][:, None] > 0,
        metrics=divergence_metrics,
    )


def divergence_metrics(
    logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: Any, batch: RolloutBatch
) -> dict[str, torch.Tensor]:
    """Return the divergence of tokens that are distilled, and of those only watched, (R, S), NaN elsewhere."""
    found, rows = batch.token_streams["divergence"], {"passed": GATE, "refused": MONITORED}
    return {
        f"divergence/{name}": torch.where(batch.streams[stream][:, None] > 0, found, float("nan"))
        for name, stream in rows.items()
    }
