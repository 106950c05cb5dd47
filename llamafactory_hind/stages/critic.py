"""`stage: critic`: a supervised critic of question, answer and rationale (LSKD, arXiv 2312.04837).

`L = CE + w_qa MSE(qa, s_qa) + w_r MSE(r, s_r)` on pooled hidden states of any model the host loads.
"""

from collections.abc import Sequence
from typing import Any

import torch
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.extras import logging
from llamafactory.model import load_model, load_tokenizer

from ..engines.local.critic import Critic, CriticHeads, hidden_width
from ..engines.local.heads import folder_of_heads
from ..engines.local.scoring import freeze_output_head
from ..evaluation.binary import summary, threshold_table
from ..trainers.critic.collator import CriticCollator
from ..trainers.critic.trainer import CriticTrainer
from ..trainers.fit import eval_sets, fit, write_model_card
from ..trainers.host import HostArguments
from ..trainers.row_guard import RowGuard
from ..trainers.rows import read_rows


logger = logging.get_logger("llamafactory.hind.stages.critic")
PLOTS = ("loss", "accuracy")


def run(args: HostArguments) -> None:
    """Rows, model, heads, training, evaluation, model card."""
    tokenizer_module = load_tokenizer(args.model)
    tokenizer = tokenizer_module["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, args.data)
    dataset_module = read_rows(args, template, tokenizer_module)
    body = load_model(tokenizer, args.model, args.finetuning, args.training.do_train)
    freeze_output_head(body)
    critic = Critic(body, open_heads(args, body))
    trainer = CriticTrainer(
        model=critic,
        args=args.training,
        finetuning_args=args.finetuning,
        data_collator=CriticCollator(template=template, model=body, pad_to_multiple_of=8, **tokenizer_module),
        callbacks=args.callbacks,
        processing_class=tokenizer,
        processor=tokenizer_module["processor"],
        judge=judge,
        **dataset_module,
    )
    trained = [trainer.train_dataset] if args.training.do_train else []
    rows = [*trained, *(some for _, some in eval_sets(trainer))]
    trainer.data_collator.guard = RowGuard.of(args, trainer.data_collator.collate, *rows)
    evaluated = [f"eval_{name}_loss" if name else "eval_loss" for name, _ in eval_sets(trainer)]
    fit(trainer, args, plots=[*PLOTS, *evaluated])
    with trainer.as_body():  # a card of the model, or of its adapter
        write_model_card(trainer, args)


def judge(scores: Sequence[float], labels: Sequence[int]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Return the numbers of an evaluation, and what each threshold keeps."""
    return summary(scores, labels), threshold_table(scores, labels)


def open_heads(args: HostArguments, body: torch.nn.Module) -> CriticHeads:
    """Return the heads that lie beside the adapter or the model, else new ones, the same for one seed on every process.

    Raises:
        ValueError: they belong to a model of another width.
    """
    folders = [*(args.model.adapter_name_or_path or [])[-1:], args.model.model_name_or_path]
    width = hidden_width(body)
    folder = folder_of_heads(CriticHeads, folders)
    if folder is not None:
        heads = CriticHeads.load(folder)
        logger.info_rank0(f"Heads of the critic from {folder}; `critic_pooling` is theirs: {heads.pooling}.")
        if heads.width != width:
            raise ValueError(
                f"{folder}: got heads of width {heads.width}, expected {width}, that of the model. Load the model that the "
                "critic was trained from."
            )
        return heads.to(next(body.parameters()).device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(args.training.seed)
        heads = CriticHeads(width, pooling=args.finetuning.critic_pooling)
    return heads.to(next(body.parameters()).device)
