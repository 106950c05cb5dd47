"""Which candidates make up a group (Vision-EKIPL, arXiv 2506.06856): the policy's completions and external actions, by reward."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from ...trainers.rollouts.batch import RolloutBatch
from ...trainers.rollouts.records import POLICY, Annotation, Rollout, Scores, padded
from .candidates import Candidates


@dataclass(frozen=True)
class SelectionRule:
    """How a group of G is chosen from its candidates; names and meanings of the keys of `stage: external_grpo`."""

    selection: str
    tie_break: str
    max_per_group: int | None
    seed: int
    ratio: str = "plain"


def select(rewards: Sequence[float], external: Sequence[bool], choice: SelectionRule, *, name: str = "") -> list[int]:
    """Return the places of the candidates that make up the group, in ascending order.

    Candidates are ranked by reward; of equal ones the policy's come first (`policy_first`), or last (`external_first`), or
    the order is drawn (`random`). External actions without a reward, and those beyond `max_per_group` of the best, are left out.

    - `top_reward`: the first G of the ranking.
    - `append`: the policy's G and the external actions.
    - `replace_worst`: the external actions, G - 1 at most, and the best of the policy's in the other places of G.

    Args:
        rewards: of each candidate, NaN where there is none.
        external: which of them are external; the others, G, are the policy's.
        choice: the rules.
        name: with the seed it fixes what is drawn.
    """
    drawn = random.Random(f"{choice.seed}/{name}")
    ties: Callable[[int], float] = {
        "policy_first": lambda place: float(external[place]),
        "external_first": lambda place: float(not external[place]),
        "random": lambda place: drawn.random(),
    }[choice.tie_break]
    has_reward = [reward == reward for reward in rewards]  # NaN differs from itself
    ranking = sorted(
        range(len(rewards)),
        key=lambda place: (not has_reward[place], -rewards[place] if has_reward[place] else 0.0, ties(place), place),
    )
    own = [place for place in ranking if not external[place]]
    others = [place for place in ranking if external[place] and has_reward[place]][: choice.max_per_group]
    if choice.selection == "top_reward":
        allowed = {*own, *others}
        kept = [place for place in ranking if place in allowed][: len(own)]
    elif choice.selection == "append":
        kept = own + others
    else:
        others = others[: len(own) - 1]
        kept = own[: len(own) - len(others)] + others
    return sorted(kept)


def select_groups(
    candidates: Sequence[Candidates], scores: Scores, choice: SelectionRule
) -> tuple[Annotation, Annotation | None]:
    """Return the groups to learn from, with advantages of 0 as yet, and the candidates not selected.

    Groups of `append` differ in size: tables are NaN behind a group's end. With the ratio `behavior` the stream `behavior_logp` is
    log q of external actions, and 0 for the policy's.
    """
    kept = []
    for each, rewards in zip(candidates, scores.total.tolist(), strict=True):
        texts, sources = each.rollout.texts, each.rollout.sources
        own = [text for text, source in zip(texts, sources, strict=True) if source == POLICY]
        # drawn anew whenever the policy writes something else, and the same in a resumed run
        name = "/".join([each.rollout.row_id, *own])
        kept.append(select(rewards[: len(texts)], [source != POLICY for source in sources], choice, name=name))
    others = [
        [place for place in range(len(each.rollout.texts)) if place not in places]
        for each, places in zip(candidates, kept, strict=True)
    ]
    groups = _pick(candidates, scores, kept, choice.ratio)
    if not any(others):
        return groups, None
    discarded = _pick(candidates, scores, others, choice.ratio)
    unknown = torch.full_like(discarded.advantages, float("nan"))  # compared with nobody
    return groups, replace(discarded, advantages=unknown)


def _of_places(rollout: Rollout, places: Sequence[int]) -> Rollout:
    return replace(
        rollout,
        completion_ids=[rollout.completion_ids[place] for place in places],
        texts=[rollout.texts[place] for place in places],
        finish_reasons=[rollout.finish_reasons[place] for place in places],
        sources=[rollout.sources[place] for place in places],
        sampling_logps=None if rollout.sampling_logps is None else [rollout.sampling_logps[place] for place in places],
    )


def _pick(candidates: Sequence[Candidates], scores: Scores, places: Sequence[Sequence[int]], ratio: str) -> Annotation:
    """Return some candidates of each group with their rewards."""
    rollouts = [_of_places(each.rollout, some) for each, some in zip(candidates, places, strict=True)]
    logprobs = padded(
        [[each.logprobs[place] for place in some] for each, some in zip(candidates, places, strict=True)],
        dtype=torch.float64,
    )
    picked = Scores(
        _pick_columns(scores.total, places),
        {name: _pick_columns(values, places) for name, values in scores.each.items()},
        {
            name: [[row[place] for place in some] for row, some in zip(values, places, strict=True)]
            for name, values in scores.extra.items()
        },
    )
    streams = {"behavior_logp": logprobs} if ratio == "behavior" else {}
    return Annotation(rollouts, picked, torch.where(logprobs.isnan(), logprobs, 0.0), streams)


def _pick_columns(values: torch.Tensor, places: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return some entries of each row of (N, C), NaN where a row has fewer than others."""
    rows = [[row[place] for place in some] for row, some in zip(values.tolist(), places, strict=True)]
    return padded(rows, dtype=values.dtype)


def external_rows(batch: RolloutBatch) -> torch.Tensor:
    """Return which completions are external actions, (R,)."""
    return torch.tensor([source != POLICY for source in batch.sources], device=batch.tokens.device)
