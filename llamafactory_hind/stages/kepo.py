"""`stage: kepo`, Knowledge Encouragement Preference Optimization of HinD (arXiv 2511.11132).

Not the Knowledge-Enhanced Preference Optimization of arXiv 2602.00400, which is `stage: gated_distill`. The paper's loss
could not be read: pair rule, loss and constants are our own choice [ours], see docs/stages/kepo.md.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.extras import logging
from llamafactory.extras.constants import IGNORE_INDEX
from llamafactory.extras.ploting import plot_loss
from llamafactory.model import load_model, load_tokenizer
from llamafactory.train.trainer_utils import create_modelcard_and_push, create_ref_model

from ..losses.preference import gap_weights, kepo_length_normalized_loss, kepo_loss, preference_metrics
from ..trainers.pairs.collator import PairCollator
from ..trainers.pairs.reference import ReferenceCache, add_reference_logps, model_digest, settings_digest
from ..trainers.pairs.sharing import settle_sharing
from ..trainers.pairs.trainer import PairLogps, PairTrainer


if TYPE_CHECKING:
    from llamafactory.hparams import DataArguments, FinetuningArguments, GeneratingArguments, ModelArguments
    from transformers import Seq2SeqTrainingArguments, TrainerCallback


logger = logging.get_logger(
    "llamafactory.hind." + __name__.partition(".")[2]
)  # a child of the host's logger, which has handlers
PLOTS = ("loss", "rewards/accuracies", "rewards/margins", "confidence/gap_now")


def pair_loss(
    logps: PairLogps, *, beta: float, loss: str, gap_weight: bool, nll_weight: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Encourage the chosen knowledge over the rejected, relative to the reference. All tensors (N,).

    `sigmoid`: -log sigma(beta [(log pi(k_w) - log pi_ref(k_w)) - (log pi(k_l) - log pi_ref(k_l))]); `length_normalized` divides
    each log-ratio by its length. Options: the weight sigma(c(k_l) - c(k_w)) with c the reference's mean token log-prob, and
    an anchor of `nll_weight` times the mean token NLL of k_w.
    """
    sums = (logps.chosen, logps.rejected, logps.ref_chosen, logps.ref_rejected)
    lengths = (logps.chosen_length, logps.rejected_length)
    before = (logps.ref_chosen / lengths[0], logps.ref_rejected / lengths[1])  # confidence c(k|x) of the reference
    now = (logps.chosen / lengths[0], logps.rejected / lengths[1])
    weights = gap_weights(*before) if gap_weight else None
    if loss == "length_normalized":
        losses = kepo_length_normalized_loss(*sums, *lengths, beta=beta, weights=weights)
    else:
        losses = kepo_loss(*sums, beta=beta, weights=weights)
    metrics = preference_metrics(*sums, beta=beta)
    metrics |= {"logps/chosen": logps.chosen, "logps/rejected": logps.rejected}
    metrics |= {"confidence/gap_before": before[1] - before[0], "confidence/gap_now": now[1] - now[0]}
    if nll_weight:
        losses = losses - nll_weight * now[0]
        metrics["nll/chosen"] = -now[0]
    return losses, metrics


def run(
    model_args: "ModelArguments",
    data_args: "DataArguments",
    training_args: "Seq2SeqTrainingArguments",
    finetuning_args: "FinetuningArguments",
    generating_args: "GeneratingArguments",
    callbacks: "list[TrainerCallback] | None" = None,
) -> None:
    """Rows, model, reference log-probs, training, evaluation, model card: the host's `dpo` workflow with our parts."""
    tokenizer_module = load_tokenizer(model_args)
    tokenizer = tokenizer_module["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    dataset_module = get_dataset(template, model_args, data_args, training_args, stage="kepo", **tokenizer_module)
    model = load_model(tokenizer, model_args, finetuning_args, training_args.do_train)
    collator = PairCollator(
        template=template,
        model=model,
        pad_to_multiple_of=8,
        label_pad_token_id=IGNORE_INDEX,
        **tokenizer_module,
    )
    trainer = PairTrainer(
        model=model,
        args=training_args,
        finetuning_args=finetuning_args,
        data_collator=collator,
        callbacks=callbacks,
        processing_class=tokenizer,
        processor=tokenizer_module["processor"],
        pair_loss=partial(
            pair_loss,
            beta=finetuning_args.kepo_beta,
            loss=finetuning_args.kepo_loss,
            gap_weight=finetuning_args.kepo_gap_weight,
            nll_weight=finetuning_args.kepo_nll_weight,
        ),
        **dataset_module,
    )
    some_rows = trainer.train_dataset if training_args.do_train else _eval_sets(trainer)[0][1]
    settle_sharing(trainer, some_rows, share_prefix=finetuning_args.share_prefix)
    _add_references(trainer, model_args, data_args, finetuning_args, tokenizer_module)

    if training_args.do_train:
        result = trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
        trainer.save_model()
        trainer.log_metrics("train", result.metrics)
        trainer.save_metrics("train", result.metrics)
        trainer.save_state()
        if trainer.is_world_process_zero() and finetuning_args.plot_loss:
            evaluated = [f"eval_{name}_loss" if name else "eval_loss" for name, _ in _eval_sets(trainer)]
            plot_loss(training_args.output_dir, keys=[*PLOTS, *evaluated])
    if training_args.do_eval:
        metrics = trainer.evaluate(metric_key_prefix="eval")
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    create_modelcard_and_push(trainer, model_args, data_args, training_args, finetuning_args)


def _eval_sets(trainer: PairTrainer) -> list[tuple[str, Any]]:
    """The evaluation sets by name; one unnamed set has the name ''."""
    if trainer.eval_dataset is None:
        return []
    return (
        list(trainer.eval_dataset.items()) if isinstance(trainer.eval_dataset, dict) else [("", trainer.eval_dataset)]
    )


def _add_references(
    trainer: PairTrainer,
    model_args: "ModelArguments",
    data_args: "DataArguments",
    finetuning_args: "FinetuningArguments",
    tokenizer_module: dict[str, Any],
) -> None:
    """Give every row its reference log-probs, from `ref_model` or from the policy as it was loaded."""
    args = trainer.args
    own_reference = finetuning_args.ref_model is None
    reference = trainer.model if own_reference else create_ref_model(model_args, finetuning_args)
    if own_reference and not args.do_train:
        logger.warning_rank0(
            "No `ref_model`: the model is its own reference, so rewards and margins are 0 by definition."
        )
    cache_path = finetuning_args.ref_logps_cache
    cache = ReferenceCache(
        Path(args.output_dir) / "ref_logps.jsonl" if cache_path in (None, "auto") else Path(cache_path),
        {
            "model": model_digest(reference),
            "template": str(data_args.template),
            "pixels": settings_digest(tokenizer_module["processor"]),
            "precision": f"{reference.dtype} {(args.bf16 and 'bf16') or (args.fp16 and 'fp16') or ''}".strip(),
        },
        writable=trainer.accelerator.is_main_process,
    )
    if args.do_train:
        trainer.train_dataset = add_reference_logps(trainer, reference, trainer.train_dataset, cache, name="train")
    evaluated = {
        name: add_reference_logps(trainer, reference, rows, cache, name=f"eval {name}".strip())
        for name, rows in _eval_sets(trainer)
    }
    if evaluated:
        trainer.eval_dataset = evaluated[""] if set(evaluated) == {""} else evaluated
