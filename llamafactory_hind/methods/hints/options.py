"""The keys of `stage: gated_distill` that say how hints are found, as the objects that find them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ...trainers.host import precision_of
from ...trainers.rollouts.batch import Rollout, Scores
from ...trainers.rollouts.run import options_of
from .explorer import HintExplorer
from .prompts import HintPrompts


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments, GeneratingArguments
    from transformers import Seq2SeqTrainingArguments

    from ...engines.local.weights import Weights
    from ...engines.teachers.cache import TextCache
    from ...engines.teachers.pool import Teachers


def prompts_of(finetuning_args: "FinetuningArguments") -> HintPrompts:
    """Return the prompt files of the run."""
    return HintPrompts.read(
        hint_prompt=finetuning_args.hint_prompt,
        hinted_prompt=finetuning_args.hinted_prompt,
        language=finetuning_args.hint_language,
        variant=finetuning_args.hint_variant,
    )


def explorer_of(
    weights: "Weights",
    training_args: "Seq2SeqTrainingArguments",
    finetuning_args: "FinetuningArguments",
    generating_args: "GeneratingArguments",
    *,
    teachers: "Teachers | None",
    cache: "TextCache",
    score: Callable[[list[Rollout]], Scores],
    success: Callable[[Scores], torch.Tensor],
) -> HintExplorer:
    """Return what explores with hints; `teachers`, `cache`, `score` and `success` are those of `HintExplorer`."""
    return HintExplorer(
        weights,
        teachers=teachers,
        cache=cache,
        score=score,
        success=success,
        samples=finetuning_args.hint_samples,
        max_attempts=finetuning_args.hint_max_attempts,
        trigger=finetuning_args.hint_trigger,
        variant=finetuning_args.hint_variant,
        hint_prompt=finetuning_args.hint_prompt,
        hinted_prompt=finetuning_args.hinted_prompt,
        language=finetuning_args.hint_language,
        options=options_of(finetuning_args, generating_args),
        hint_tags=finetuning_args.hint_tags,
        hint_tokens=finetuning_args.hint_max_new_tokens,
        hint_temperature=finetuning_args.hint_temperature,
        prompts_at_once=training_args.per_device_train_batch_size,
        seed=training_args.seed,
        needs_logprob=finetuning_args.external_ratio == "behavior",
        precision=lambda: precision_of(training_args),
    )
