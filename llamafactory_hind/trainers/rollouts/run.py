"""One run of an online stage, from the host's arguments to the model card; what the stage is, its annotator says."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.extras.ploting import plot_loss
from llamafactory.model import load_model, load_tokenizer
from llamafactory.train.trainer_utils import create_modelcard_and_push, create_ref_model

from ...engines.local.weights import Weights
from .rewards import check_rewards
from .trainer import RolloutTrainer
from .writing import RolloutOptions


if TYPE_CHECKING:
    from llamafactory.hparams import DataArguments, FinetuningArguments, GeneratingArguments, ModelArguments
    from transformers import Seq2SeqTrainingArguments, TrainerCallback

    from .batch import Annotator


PLOTS = ("loss", "reward", "reward_std", "completion_length", "entropy")


class Checked(Protocol):
    """Rewards that can be tried on a row."""

    def check(self, row: Mapping[str, Any], completion: str) -> Any:
        """Raise if a reward does not work."""


def run_online(
    rewards: Checked,
    annotator: Callable[[Weights], "Annotator"],
    model_args: "ModelArguments",
    data_args: "DataArguments",
    training_args: "Seq2SeqTrainingArguments",
    finetuning_args: "FinetuningArguments",
    generating_args: "GeneratingArguments",
    callbacks: "list[TrainerCallback] | None" = None,
    *,
    check_dataset: Callable[[Any], Any] = lambda dataset: None,
) -> None:
    """Read prompts, load the model, train, evaluate, write the model card.

    Args:
        rewards: tried on a real row before the model is loaded.
        annotator: makes the stage's annotator once the model is there.
        model_args: the host's, as are the next five.
        data_args: the host's.
        training_args: the host's.
        finetuning_args: the host's, with the keys of the stage.
        generating_args: the host's.
        callbacks: of the Trainer.
        check_dataset: looks at the processed training rows before the model is loaded.
    """
    tokenizer_module = load_tokenizer(model_args)
    tokenizer = tokenizer_module["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    dataset_module = get_dataset(
        template, model_args, data_args, training_args, stage=finetuning_args.stage, **tokenizer_module
    )
    check_rewards(rewards.check, dataset_module)
    if training_args.do_train:
        check_dataset(dataset_module["train_dataset"])
    model = load_model(tokenizer, model_args, finetuning_args, training_args.do_train)
    weights = Weights(model, tokenizer, tokenizer_module["processor"], template)
    needs_reference = bool(finetuning_args.kl_beta) and training_args.do_train
    reference = create_ref_model(model_args, finetuning_args) if needs_reference else None
    with closing(annotator(weights)) as method:
        trainer = RolloutTrainer(
            annotator=method,
            options=options_of(finetuning_args, generating_args),
            weights=weights,
            reference=reference,
            finetuning_args=finetuning_args,
            args=training_args,
            callbacks=callbacks,
            processing_class=tokenizer,
            **dataset_module,
        )
        if training_args.do_train:
            _train(trainer, training_args, finetuning_args)
        if training_args.do_eval:
            metrics = trainer.evaluate(metric_key_prefix="eval")
            trainer.log_metrics("eval", metrics)
            trainer.save_metrics("eval", metrics)
    create_modelcard_and_push(trainer, model_args, data_args, training_args, finetuning_args)


def options_of(finetuning_args: "FinetuningArguments", generating_args: "GeneratingArguments") -> RolloutOptions:
    """Return how rollouts are made, from the keys of the online stages."""
    return RolloutOptions(
        num_generations=finetuning_args.num_generations,
        temperature=finetuning_args.rollout_temperature,
        top_p=finetuning_args.rollout_top_p,
        top_k=finetuning_args.rollout_top_k,
        max_new_tokens=generating_args.max_new_tokens,
        num_iterations=finetuning_args.num_iterations,
        share_prefix=finetuning_args.share_prefix,
    )


def _train(
    trainer: RolloutTrainer, training_args: "Seq2SeqTrainingArguments", finetuning_args: "FinetuningArguments"
) -> None:
    result = trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
    trainer.save_model()
    trainer.log_metrics("train", result.metrics)
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    if trainer.is_world_process_zero() and finetuning_args.plot_loss:
        evaluated = ["eval_reward"] if trainer.eval_dataset is not None else []
        plot_loss(training_args.output_dir, keys=[*PLOTS, *evaluated])


@contextmanager
def closing(annotator: "Annotator") -> Iterator["Annotator"]:
    """Let an annotator that holds connections or files release them, however the run ends."""
    try:
        yield annotator
    finally:
        getattr(annotator, "close", lambda: None)()
