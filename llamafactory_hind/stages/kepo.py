"""`stage: kepo`, Knowledge Encouragement Preference Optimization of HinD (arXiv 2511.11132).

Not the Knowledge-Enhanced Preference Optimization of arXiv 2602.00400, which is `stage: gated_distill`. The paper's loss
could not be read: pair rule, loss and constants are our own choice [ours], see docs/stages/kepo.md.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.extras import logging
from llamafactory.extras.constants import IGNORE_INDEX
from llamafactory.model import load_model, load_tokenizer
from llamafactory.train.trainer_utils import create_ref_model

from ..engines.local.fingerprint import digest_settings, model_settings, processor_settings
from ..losses.preference import gap_weights, kepo_length_normalized_loss, kepo_loss, preference_metrics
from ..trainers.fit import eval_sets, fit, write_model_card
from ..trainers.host import HostArguments
from ..trainers.pairs.collator import PairCollator
from ..trainers.pairs.reference import ReferenceCache, add_reference_logps, check_cached, model_digest
from ..trainers.pairs.sharing import select_sharing
from ..trainers.pairs.trainer import PairLogps, PairTrainer
from ..trainers.row_guard import RowGuard
from ..trainers.rows import read_rows


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


def run(args: HostArguments) -> None:
    """Rows, model, reference log-probs, training, evaluation, model card: the host's `dpo` workflow with our parts."""
    tokenizer_module = load_tokenizer(args.model)
    tokenizer = tokenizer_module["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, args.data)
    dataset_module = read_rows(args, template, tokenizer_module)
    model = load_model(tokenizer, args.model, args.finetuning, args.training.do_train)
    collator = PairCollator(
        template=template, model=model, pad_to_multiple_of=8, label_pad_token_id=IGNORE_INDEX, **tokenizer_module
    )
    keys = args.finetuning
    trainer = PairTrainer(
        model=model,
        args=args.training,
        finetuning_args=keys,
        data_collator=collator,
        callbacks=args.callbacks,
        processing_class=tokenizer,
        processor=tokenizer_module["processor"],
        pair_loss=partial(
            pair_loss,
            beta=keys.kepo_beta,
            loss=keys.kepo_loss,
            gap_weight=keys.kepo_gap_weight,
            nll_weight=keys.kepo_nll_weight,
        ),
        **dataset_module,
    )
    _guard_rows(trainer, args)
    select_sharing(trainer, _all_rows(trainer, args), share_prefix=keys.share_prefix)
    _add_references(trainer, args, tokenizer_module)
    _guard_rows(trainer, args)  # rows have their reference log-probs now
    evaluated = [f"eval_{name}_loss" if name else "eval_loss" for name, _ in eval_sets(trainer)]
    fit(trainer, args, plots=[*PLOTS, *evaluated])
    write_model_card(trainer, args)


def _guard_rows(trainer: PairTrainer, args: HostArguments) -> None:
    """Have pairs that cannot be read named, and replaced where bad rows are skipped."""
    trainer.collator.guard = RowGuard.of(args, trainer.collator.collate, *_all_rows(trainer, args))


def _add_references(trainer: PairTrainer, args: HostArguments, tokenizer_module: dict[str, Any]) -> None:
    """Give every row its reference log-probs, from `ref_model` or from the policy as it was loaded."""
    training = args.training
    own_reference = args.finetuning.ref_model is None
    reference = trainer.model if own_reference else create_ref_model(args.model, args.finetuning)
    if own_reference and not training.do_train:
        logger.warning_rank0(
            "No `ref_model`: the model is its own reference, so rewards and margins are 0 by definition."
        )
    cache_path = args.finetuning.ref_logps_cache
    cache = ReferenceCache(
        Path(training.output_dir) / "ref_logps.jsonl" if cache_path in (None, "auto") else Path(cache_path),
        _made_from(trainer, reference, args, tokenizer_module),
        writable=trainer.accelerator.is_main_process,
    )
    check_cached(trainer, reference, _all_rows(trainer, args), cache)
    if training.do_train:
        trainer.train_dataset = add_reference_logps(trainer, reference, trainer.train_dataset, cache, name="train")
    evaluated = {
        name: add_reference_logps(trainer, reference, rows, cache, name=f"eval {name}".strip())
        for name, rows in eval_sets(trainer)
    }
    if evaluated:
        trainer.eval_dataset = evaluated[""] if set(evaluated) == {""} else evaluated


def _made_from(
    trainer: PairTrainer, reference: torch.nn.Module, args: HostArguments, tokenizer_module: dict[str, Any]
) -> dict[str, str]:
    """Return what reference log-probs depend on beside the pair: names by which a stale cache is found, and digests."""
    training, settings = args.training, model_settings(reference)
    adapters, config = settings.pop("adapters", {}), settings.pop("config")
    return {
        "model": model_digest(reference),
        "config": digest_settings(config),
        "adapters": digest_settings(adapters),
        "attention": " ".join(map(str, settings.pop("attention"))),
        "versions": " ".join(f"{name} {number}" for name, number in settings.pop("versions").items()),
        "loading": digest_settings(settings),
        "sharing": "packed" if trainer.collator.packed else "plain",
        "template": str(args.data.template),
        "pixels": digest_settings([processor_settings(tokenizer_module["processor"]), args.data.media_as_host]),
        "precision": f"{reference.dtype} {(training.bf16 and 'bf16') or (training.fp16 and 'fp16') or ''}".strip(),
    }


def _all_rows(trainer: PairTrainer, args: HostArguments) -> list[Any]:
    """Return the sets of rows that this run scores."""
    return [
        *([trainer.train_dataset] if args.training.do_train else []),
        *(rows for _, rows in eval_sets(trainer)),
    ]
