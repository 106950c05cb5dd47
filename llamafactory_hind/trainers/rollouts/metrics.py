"""Numbers about rollouts, one a completion or a group, for the trainer to average."""

import torch

from ...engines.interface import FinishReason
from .records import Annotation, Rollout, Scores, padded


def rollout_metrics(annotation: Annotation) -> dict[str, torch.Tensor]:
    """Return values of any shape by name, NaN where there is none."""
    scores, rollouts = annotation.scores, annotation.rollouts
    found = {
        "reward": scores.total,
        **{f"rewards/{name}": values for name, values in scores.each.items()},
        "reward_std": _spread(scores.total),
        "advantage_abs": annotation.advantages.abs(),
        "zero_variance_share": flat_groups(scores.total).double(),
        "completion_length": _lengths(rollouts),
        "truncated_share": _truncated(rollouts),
    }
    counted = [place for place, rollout in enumerate(rollouts) if not rollout.stands_in]
    return {name: values[counted] for name, values in found.items()} | dict(annotation.metrics)


def zero_variance_share(annotation: Annotation) -> float:
    """Return the share of groups whose rewards are all equal, or missing."""
    return flat_groups(annotation.scores.total).double().mean().item()


def evaluation_metrics(rollouts: list[Rollout], scores: Scores) -> dict[str, torch.Tensor]:
    """Return values a prompt (N,): of the greedy completion, which comes first, and means of the sampled ones.

    `reward` and `rewards/<name>` are greedy, `reward_mean@k` and `rewards/<name>_mean@k` are means of k samples.
    """
    samples = scores.total.shape[1] - 1
    found = {"completion_length": _lengths(rollouts)[:, 0], "truncated_share": _truncated(rollouts)[:, 0]}
    for name, values in {"reward": scores.total, **{f"rewards/{n}": v for n, v in scores.each.items()}}.items():
        found[name] = values[:, 0]
        found[f"{name}_mean@{samples}"] = values[:, 1:].nanmean(1)
    return found


def _spread(rewards: torch.Tensor) -> torch.Tensor:
    """Standard deviation (N,) of the rewards that there are; NaN where there are none."""
    means = rewards.nanmean(1, keepdim=True)
    return (rewards - means).square().nanmean(1).sqrt()


def flat_groups(rewards: torch.Tensor) -> torch.Tensor:
    """Whether all rewards of a group are equal or missing, (N,); exact, where a standard deviation would round."""
    missing = rewards.isnan()
    highest, lowest = (torch.where(missing, end, rewards) for end in (float("-inf"), float("inf")))
    return highest.amax(1) <= lowest.amin(1)


def _lengths(rollouts: list[Rollout]) -> torch.Tensor:
    return padded([[float(len(ids)) for ids in rollout.completion_ids] for rollout in rollouts])


def _truncated(rollouts: list[Rollout]) -> torch.Tensor:
    return padded(
        [[float(reason == FinishReason.LENGTH) for reason in rollout.finish_reasons] for rollout in rollouts]
    )
