"""The end of every run: train, save, evaluate, plot, write the model card, as the host's own workflows do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llamafactory.extras.ploting import plot_loss
from llamafactory.train.trainer_utils import create_modelcard_and_push

from .host import step_of
from .resuming import run_of


if TYPE_CHECKING:
    from transformers import Trainer

    from .host import HostArguments, HostTrainer


def fit(trainer: "HostTrainer", args: "HostArguments", *, plots: Sequence[str]) -> None:
    """Train where `do_train` says so, evaluate where `do_eval` does.

    Args:
        trainer: ready to train.
        args: the host's.
        plots: metrics to draw, where `plot_loss` is set.
    """
    if args.training.do_train:
        resumed = args.training.resume_from_checkpoint
        trainer.run = {**run_of(args), "processes": args.training.world_size}
        result = trainer.train(resume_from_checkpoint=resumed)
        trainer.save_final()
        if resumed is None or result.global_step > step_of(resumed):  # else the numbers are those of no step
            trainer.log_metrics("train", result.metrics)
            trainer.save_metrics("train", result.metrics)
        trainer.save_state()
        if trainer.is_world_process_zero() and args.finetuning.plot_loss:
            plot_loss(args.training.output_dir, keys=list(plots))
    if args.training.do_eval:
        metrics = trainer.evaluate(metric_key_prefix="eval")
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)


def write_model_card(trainer: "Trainer", args: "HostArguments") -> None:
    """Write the model card, and push the model where the host's keys ask for it."""
    create_modelcard_and_push(trainer, args.model, args.data, args.training, args.finetuning)


def eval_sets(trainer: "Trainer") -> list[tuple[str, Any]]:
    """Return the evaluation sets by name; one unnamed set has the name ''."""
    if trainer.eval_dataset is None:
        return []
    return (
        list(trainer.eval_dataset.items()) if isinstance(trainer.eval_dataset, dict) else [("", trainer.eval_dataset)]
    )
