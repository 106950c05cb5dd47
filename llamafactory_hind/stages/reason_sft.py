"""`stage: reason_sft`, multi-task learning from reasoning that may be imperfect (HinD's HDFT, arXiv 2511.11132; ReasVQA, 2501.13536).

`L = L_answer + reason_weight * L_reason`: one model, the same input, two tasks told apart by their instruction, as in distilling
step by step (arXiv 2305.02301). At test time the answer task alone. The papers' weights could not be read: see
docs/stages/reason_sft.md.
"""

from typing import TYPE_CHECKING, Any

from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.extras import logging
from llamafactory.extras.constants import IGNORE_INDEX
from llamafactory.model import load_model, load_tokenizer

from ..engines.local.engine import LocalEngine
from ..engines.local.weights import LoadedModel
from ..rewards import get_reward
from ..trainers.fit import eval_sets, fit, write_model_card
from ..trainers.host import HostArguments
from ..trainers.multitask.answers import AnswerCheck
from ..trainers.multitask.collator import MultitaskCollator
from ..trainers.multitask.rows import check_tasks, with_answers_alone
from ..trainers.multitask.sharing import select_sharing
from ..trainers.multitask.trainer import MultitaskTrainer
from ..trainers.row_guard import RowGuard
from ..trainers.rows import read_rows


if TYPE_CHECKING:
    from llamafactory.data.template import Template


logger = logging.get_logger("llamafactory.hind.stages.reason_sft")
PLOTS = ("loss", "loss/answer", "loss/reason")


def run(args: HostArguments) -> None:
    """Rows, model, training, evaluation, model card: the host's `sft` workflow with our parts."""
    tokenizer_module = load_tokenizer(args.model)
    tokenizer, weight = tokenizer_module["tokenizer"], args.finetuning.reason_weight
    template = get_template_and_fix_tokenizer(tokenizer, args.data)
    dataset_module = read_rows(args, template, tokenizer_module)
    if args.training.do_train:
        check_tasks(dataset_module["train_dataset"], reason_weight=weight)
        if weight == 0:
            with args.training.main_process_first(desc="leave reasoning out"):
                dataset_module["train_dataset"] = with_answers_alone(dataset_module["train_dataset"])
    model = load_model(tokenizer, args.model, args.finetuning, args.training.do_train)
    trainer = MultitaskTrainer(
        model=model,
        args=args.training,
        finetuning_args=args.finetuning,
        data_collator=_collator(args, model, template, tokenizer_module),
        callbacks=args.callbacks,
        processing_class=tokenizer,
        processor=tokenizer_module["processor"],
        reason_weight=weight,
        answers=_answers(args, LoadedModel(model, tokenizer, tokenizer_module["processor"], template)),
        **dataset_module,
    )
    trainer.collator.guard = RowGuard.of(args, trainer.collator.collate, *_all_rows(trainer, args))
    if trainer.answers is not None:
        trainer.answers.guard = trainer.collator.guard
    select_sharing(trainer, _all_rows(trainer, args), share_prefix=args.finetuning.share_prefix)
    prefixes = [f"eval_{name}_" if name else "eval_" for name, _ in eval_sets(trainer)]
    fit(trainer, args, plots=[*PLOTS, *(f"{prefix}{name}" for prefix in prefixes for name in PLOTS)])
    write_model_card(trainer, args)


def _collator(
    args: HostArguments, model: Any, template: "Template", tokenizer_module: dict[str, Any]
) -> MultitaskCollator:
    """Return the collator of the host's `sft`, with our rows; at `reason_weight: 0` its batches are the host's own."""
    return MultitaskCollator(
        template=template,
        model=model,
        pad_to_multiple_of=8 if args.training.do_train else None,
        label_pad_token_id=IGNORE_INDEX,
        attn_implementation=getattr(model.config, "_attn_implementation", None),
        compute_dtype=args.model.compute_dtype,
        **tokenizer_module,
    )


def _answers(args: HostArguments, loaded: LoadedModel) -> AnswerCheck | None:
    """Return what writes answers at each evaluation, where `evaluate_answers` asks for it."""
    if not args.finetuning.evaluate_answers:
        return None
    engine = LocalEngine(loaded, batch_size=args.training.per_device_eval_batch_size, adapters=None, gives_logps=False)
    return AnswerCheck(engine, score_answers, max_new_tokens=args.generating.max_new_tokens)


def score_answers(texts: list[str], rows: list[dict[str, Any]]) -> list[float | None]:
    """Score answers as their rows allow [ours].

    With `choices`: whether the answer names the right one. With `answers`: the official VQA accuracy. Else: whether the answer is
    the gold one, as text or as mathematics.

    Args:
        texts: answers.
        rows: their columns; None where a row has no gold answer.
    """
    return [_score_answer(text, row) for text, row in zip(texts, rows, strict=True)]


def _score_answer(text: str, row: dict[str, Any]) -> float | None:
    if row.get("choices"):
        name, fields = "choice", ("answer", "choices")
    elif row.get("answers"):
        name, fields = "vqa", ("answers",)
    else:
        name, fields = "accuracy", ("answer",)
    return get_reward(name)([text], **{field: [row.get(field)] for field in fields})[0]


def _all_rows(trainer: MultitaskTrainer, args: HostArguments) -> list[Any]:
    """Return the sets of rows that this run computes."""
    trained = [trainer.train_dataset] if args.training.do_train else []
    return [*trained, *(rows for _, rows in eval_sets(trainer))]
