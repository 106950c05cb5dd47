"""The temporal contrast of T-GRPO (Video-R1, arXiv 2503.21776): does the order of a clip's frames help the policy?

Equal to tulerfeng/Video-R1 `grpo_trainer.py` but for where it says [ours]. Note that its condition is weak: ordered frames may do up to a
fifth worse than shuffled ones.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ..engines.interface import Prompt, RolloutEngine, Sampling
from ..engines.seeds import derive_seed
from ..storage.clip_names import is_clip, parse_clip
from ..trainers.rollouts.records import Rollout, Scores
from .hints.explorer import rollout_digest


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments


BONUS = "temporal_contrast"  # its name among the rewards
RIGHT = 0.1  # a first reward above it counts as a right answer, as in the official code


@dataclass(frozen=True)
class TemporalOptions:
    """How much a right answer gains, and when.

    Attributes:
        weight: added to its reward; 0.3 in the official code.
        ratio: of the first rewards' means, ordered / shuffled, at least.
        generations: completions of a prompt with shuffled frames.
    """

    weight: float
    ratio: float
    generations: int

    @classmethod
    def of(cls, keys: "FinetuningArguments") -> "TemporalOptions":
        """Read the keys of a stage."""
        count = keys.temporal_generations or max(keys.num_generations // 2, 1)
        return cls(keys.temporal_weight, keys.temporal_ratio, count)


class TemporalContrast:
    """Writes about shuffled frames, and rewards right answers about ordered ones.

    Args:
        options: of the contrast.
        engine: writes with the policy.
        sampling: of the rollouts.
        score: rewards them.
        precision: makes the context of the run's mixed precision.
    """

    def __init__(
        self,
        options: TemporalOptions,
        *,
        engine: RolloutEngine,
        sampling: Sampling,
        score: Callable[[list[Rollout]], Scores],
        precision: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        """Write nothing yet."""
        self.options, self.engine, self.score, self.precision = options, engine, score, precision
        self.sampling = replace(sampling, n=options.generations)

    def rewarded(self, rollouts: list[Rollout], scores: Scores) -> tuple[Scores, dict[str, torch.Tensor]]:
        """Return scores with the bonus, and numbers to log.

        r_i + weight where r1_i > 0.1 and mean(r1 ordered) >= ratio mean(r1 shuffled); r1 is the first reward. Prompts without a
        clip stay as they are.
        """
        places = [place for place, rollout in enumerate(rollouts) if any(map(is_clip, rollout.prompt.request.videos))]
        bonus = torch.full_like(scores.total, float("nan"))
        won = torch.full((len(rollouts),), float("nan"), dtype=torch.float64)
        lead = won.clone()
        if places:
            shuffled = self._write_shuffled([rollouts[place] for place in places])
            first, other = (_first(given) for given in (scores, self.score(shuffled)))
            means, shuffled_means = first[places].nanmean(1), other.nanmean(1)
            won[places] = (means >= self.options.ratio * shuffled_means).double()
            lead[places] = means - shuffled_means
            bonus[places] = won[places, None] * (first[places] > RIGHT)
        total = scores.total + self.options.weight * bonus.nan_to_num(0.0)
        metrics = {"temporal/won": won, "temporal/lead": lead}
        return replace(scores, total=total, each={**scores.each, BONUS: bonus}), metrics

    def _write_shuffled(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Write for the same prompts with their frames in a random order, another in every step [ours: it follows from what was written]."""
        digests = [rollout_digest(rollout) for rollout in rollouts]
        prompts = [shuffled_prompt(rollout, digest) for rollout, digest in zip(rollouts, digests, strict=True)]
        keys = [f"{rollout.row_id}/{digest}/shuffled" for rollout, digest in zip(rollouts, digests, strict=True)]
        with self.precision():
            written = self.engine.generate_prompts(prompts, keys, self.sampling)
        return [
            replace(
                rollout,
                prompt=prompt,
                completion_ids=[list(completion.token_ids) for completion in group],
                texts=[completion.text for completion in group],
                finish_reasons=[completion.finish_reason for completion in group],
                sources=["shuffled"] * len(group),
            )
            for rollout, prompt, group in zip(rollouts, prompts, written, strict=True)
        ]


def shuffled_prompt(rollout: Rollout, digest: str) -> Prompt:
    """Return the prompt of a rollout with the frames of its clips in a random order; its tokens are the same."""
    request = rollout.prompt.request
    videos = [
        str(replace(parse_clip(video), shuffle=derive_seed(0, digest, number))) if is_clip(video) else video
        for number, video in enumerate(request.videos)
    ]
    return replace(rollout.prompt, request=replace(request, videos=videos))


def _first(scores: Scores) -> torch.Tensor:
    """Return the values of the first reward, (N, G); of the total where rewards have no names."""
    return next(iter(scores.each.values()), scores.total)


def check_clips(dataset: Any) -> None:
    """Refuse rows for which there is nothing to contrast.

    Raises:
        ValueError: no row has a clip, or a row has videos whose frames have no names.
    """
    count = 0
    for place, videos in zip(dataset["place"], dataset["videos"], strict=True):
        plain = [video for video in videos or [] if not is_clip(video)]
        if plain:
            raise ValueError(
                f"{place}, field `videos`: got {plain[0]!r:.160} with `temporal_weight`, expected a row of `formatting: "
                "video_reasoning`, whose frames can be shuffled. Write the row in that format, or set `temporal_weight: 0`."
            )
        count += bool(videos)
    if not count:
        raise ValueError(
            "temporal_weight: got rows without videos alone, expected some of `formatting: video_reasoning`. "
            "Set `temporal_weight: 0`."
        )
