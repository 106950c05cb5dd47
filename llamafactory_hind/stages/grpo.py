"""`stage: grpo`, group-relative policy optimization (arXiv 2402.03300).

The policy writes G completions of a prompt, rewards compare them with each other, and what did better than its group becomes
likelier.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.extras.ploting import plot_loss
from llamafactory.model import load_model, load_tokenizer
from llamafactory.train.trainer_utils import create_modelcard_and_push, create_ref_model

from ..engines.loading import Weights
from ..losses.policy import clip_fractions, clipped_surrogate, group_advantages, k3_kl
from ..rewards import load_rewards
from ..trainers.components import Component
from ..trainers.generation import RolloutOptions
from ..trainers.rewarding import check_rewards, score_rollouts
from ..trainers.rollout_batch import Annotation, Rollout, RolloutBatch, Scores
from ..trainers.rollouts import RolloutTrainer


if TYPE_CHECKING:
    from llamafactory.hparams import DataArguments, FinetuningArguments, GeneratingArguments, ModelArguments
    from transformers import Seq2SeqTrainingArguments, TrainerCallback

    from ..rewards import Rewards


PLOTS = ("loss", "reward", "reward_std", "completion_length", "entropy")


class GroupRelative:
    """GRPO seen from the trainer: rewards, advantages within the group, clipped surrogate and KL.

    A_i = (r_i - mean(r)) / (std(r) + eps) over the G completions of a prompt, or without the division;
    loss = mean of -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) + kl_beta k3(pi, pi_ref).
    """

    def __init__(self, rewards: "Rewards", finetuning_args: "FinetuningArguments") -> None:
        """Build the components; a `kl_beta` of 0 leaves the reference out."""
        self.rewards = rewards
        self.scale = finetuning_args.advantage_scale
        clip = {"clip_low": finetuning_args.clip_low, "clip_high": finetuning_args.clip_high}
        reduction = finetuning_args.loss_reduction
        self.components = [
            Component("policy", 1.0, partial(surrogate, **clip), reduction, metrics=partial(ratio_metrics, **clip))
        ]
        if finetuning_args.kl_beta:
            self.components.append(
                Component("kl", finetuning_args.kl_beta, kl, reduction, needs_reference=True, metrics=kl_metrics)
            )

    def score(self, rollouts: list[Rollout]) -> Scores:
        """Reward every completion."""
        return score_rollouts(self.rewards.score, rollouts)

    def annotate(self, rollouts: list[Rollout]) -> Annotation:
        """Reward every completion and compare it with its group."""
        scores = self.score(rollouts)
        return Annotation(rollouts, scores, group_advantages(scores.total, scale=self.scale))


def surrogate(
    logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: Any, batch: RolloutBatch, **clip: float
) -> torch.Tensor:
    """Return GRPO's clipped objective (R, S), to be minimised."""
    return clipped_surrogate(logps, old_logps, batch.advantages, **clip)


def ratio_metrics(
    logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: Any, batch: RolloutBatch, **clip: float
) -> dict[str, torch.Tensor]:
    """Return the ratio of new to old policy and the shares of clipped tokens."""
    return clip_fractions(logps, old_logps, batch.advantages, **clip)


def kl(logps: torch.Tensor, old_logps: Any, ref_logps: torch.Tensor, batch: Any) -> torch.Tensor:
    """Return the KL estimate (R, S)."""
    return k3_kl(logps, ref_logps)


def kl_metrics(logps: torch.Tensor, old_logps: Any, ref_logps: torch.Tensor, batch: Any) -> dict[str, torch.Tensor]:
    """Return the KL estimate as a metric."""
    return {"kl": k3_kl(logps, ref_logps)}


def run(
    model_args: "ModelArguments",
    data_args: "DataArguments",
    training_args: "Seq2SeqTrainingArguments",
    finetuning_args: "FinetuningArguments",
    generating_args: "GeneratingArguments",
    callbacks: "list[TrainerCallback] | None" = None,
) -> None:
    """Rewards, prompts, model, training, evaluation, model card."""
    rewards = load_rewards(
        finetuning_args.reward_funcs, finetuning_args.reward_weights, timeout=finetuning_args.reward_timeout
    )
    tokenizer_module = load_tokenizer(model_args)
    tokenizer = tokenizer_module["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    dataset_module = get_dataset(template, model_args, data_args, training_args, stage="grpo", **tokenizer_module)
    check_rewards(rewards.check, dataset_module)
    model = load_model(tokenizer, model_args, finetuning_args, training_args.do_train)
    needs_reference = bool(finetuning_args.kl_beta) and training_args.do_train
    trainer = RolloutTrainer(
        annotator=GroupRelative(rewards, finetuning_args),
        options=RolloutOptions(
            num_generations=finetuning_args.num_generations,
            temperature=finetuning_args.rollout_temperature,
            top_p=finetuning_args.rollout_top_p,
            top_k=finetuning_args.rollout_top_k,
            max_new_tokens=generating_args.max_new_tokens,
            num_iterations=finetuning_args.num_iterations,
            share_prefix=finetuning_args.share_prefix,
        ),
        weights=Weights(model, tokenizer, tokenizer_module["processor"], template),
        reference=create_ref_model(model_args, finetuning_args) if needs_reference else None,
        finetuning_args=finetuning_args,
        args=training_args,
        callbacks=callbacks,
        processing_class=tokenizer,
        **dataset_module,
    )
    if training_args.do_train:
        result = trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
        trainer.save_model()
        trainer.log_metrics("train", result.metrics)
        trainer.save_metrics("train", result.metrics)
        trainer.save_state()
        if trainer.is_world_process_zero() and finetuning_args.plot_loss:
            evaluated = ["eval_reward"] if trainer.eval_dataset is not None else []
            plot_loss(training_args.output_dir, keys=[*PLOTS, *evaluated])
    if training_args.do_eval:
        metrics = trainer.evaluate(metric_key_prefix="eval")
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    create_modelcard_and_push(trainer, model_args, data_args, training_args, finetuning_args)
