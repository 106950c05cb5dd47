"""`stage: lskd`: LSKD's discriminative student (arXiv 2312.04837), `L = L_ITC + L_ITM + L_LM` of BLIP-2 (arXiv 2301.12597).

On any model with media that the host loads, or on BLIP-2 with its Q-Former.
"""

import torch
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.extras import logging
from llamafactory.extras.constants import IGNORE_INDEX
from llamafactory.model import load_model, load_tokenizer

from ..engines.local.heads import folder_of_heads
from ..engines.local.matching.bodies import TEXT_KEYS
from ..engines.local.matching.chat import ChatBody
from ..engines.local.matching.heads import MatchingHeads
from ..engines.local.matching.model import Matcher, open_body
from ..engines.local.matching.proof import why_not_shared
from ..trainers.fit import eval_sets, fit, write_model_card
from ..trainers.host import HostArguments
from ..trainers.lskd.collator import MatchingCollator
from ..trainers.lskd.trainer import MatchingTrainer
from ..trainers.proof_rows import representative_rows
from ..trainers.row_guard import RowGuard
from ..trainers.rows import read_rows


logger = logging.get_logger("llamafactory.hind.stages.lskd")
PLOTS = ("loss", "loss/itc", "loss/itm", "loss/lm", "itm_accuracy")


def run(args: HostArguments) -> None:
    """Rows, model, heads, training, evaluation, model card."""
    tokenizer_module = load_tokenizer(args.model)
    tokenizer = tokenizer_module["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, args.data)
    dataset_module = read_rows(args, template, tokenizer_module)
    body = load_model(tokenizer, args.model, args.finetuning, args.training.do_train)
    matcher = build_matcher(args, body)
    trainer = MatchingTrainer(
        model=matcher,
        args=args.training,
        finetuning_args=args.finetuning,
        data_collator=MatchingCollator(
            template=template,
            model=body,
            pad_to_multiple_of=8 if args.training.do_train else None,  # as in `sft`
            label_pad_token_id=IGNORE_INDEX,
            attn_implementation=getattr(body.config, "_attn_implementation", None),
            compute_dtype=args.model.compute_dtype,
            **tokenizer_module,
        ),
        callbacks=args.callbacks,
        processing_class=tokenizer,
        processor=tokenizer_module["processor"],
        **dataset_module,
    )
    trained = [trainer.train_dataset] if args.training.do_train else []
    rows = [*trained, *(some for _, some in eval_sets(trainer))]
    trainer.data_collator.guard = RowGuard.of(args, trainer.data_collator.collate, *rows)
    if args.finetuning.itm_weight:
        select_sharing(trainer, args)
    evaluated = [f"eval_{name}_" if name else "eval_" for name, _ in eval_sets(trainer)]
    fit(trainer, args, plots=[*PLOTS, *(f"{prefix}{name}" for prefix in evaluated for name in PLOTS)])
    with trainer.as_body():  # a card of the model, or of its adapter
        write_model_card(trainer, args)


def build_matcher(args: HostArguments, body: torch.nn.Module) -> Matcher:
    """Return the model with its heads; what has no weight in the loss is not trained."""
    keys = args.finetuning
    matcher = Matcher(body, open_heads(args, body), smoothing=keys.label_smoothing)
    if args.training.do_train:
        matcher.heads.freeze(itc=bool(keys.itc_weight), itm=bool(keys.itm_weight))
        if not keys.lm_weight:
            matcher.reader.freeze_writer(body)
    return matcher


def open_heads(args: HostArguments, body: torch.nn.Module) -> MatchingHeads:
    """Return the heads that lie beside the adapter or the model, else new ones, the same for one seed on every process.

    Raises:
        ValueError: they belong to a model of another width.
    """
    folders = [*(args.model.adapter_name_or_path or [])[-1:], args.model.model_name_or_path]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(args.training.seed)
        heads = open_body(body).new_heads(body)
        with torch.no_grad():
            heads.temperature.fill_(args.finetuning.itc_temperature)
    folder = folder_of_heads(MatchingHeads, folders)
    if folder is not None:
        found = MatchingHeads.load(folder)
        if found.about() != heads.about():
            raise ValueError(
                f"{folder}: got heads for {found.about()}, expected {heads.about()}, those of the model. Load the model that "
                "they were trained with."
            )
        logger.info_rank0(
            f"Heads of the matcher from {folder}; the temperature is theirs: {found.temperature.item():.4f}."
        )
        heads = found
    return heads.to(next(body.parameters()).device)


def select_sharing(trainer: MatchingTrainer, args: HostArguments) -> None:
    """Let the texts of a picture share it where that is proved equal on rows of this run.

    Raises:
        ValueError: `share_prefix: on`, and they cannot.
    """
    matcher, wish = trainer.model, args.finetuning.share_prefix
    if wish == "off" or not isinstance(matcher.reader, ChatBody):
        return
    rows = trainer.train_dataset if args.training.do_train else next(iter(dict(eval_sets(trainer)).values()))
    some = [dict(rows[place]) for place in representative_rows(rows, ("input_ids",))]
    model = trainer.placed(matcher)
    training, _ = model.training, model.eval()
    try:
        with trainer.precision():
            batch = trainer._prepare_inputs(trainer.data_collator([dict(row) for row in some]))
            texts = {name: batch.pop(name) for name in TEXT_KEYS}
            memory = matcher.reader.remember(matcher.body, batch, texts)
            pairs = [
                (place, memory.tails[(place + step) % len(some)]) for place in range(len(some)) for step in (0, 1)
            ]
            reason = why_not_shared(matcher, memory, *zip(*pairs, strict=True))
    finally:
        model.train(training)
    matcher.reader.packed = reason is None
    if reason is None:
        logger.info_rank0(f"share_prefix: on; a picture is computed once for its texts (equal on {len(some)} rows).")
    elif wish == "on":
        raise ValueError(f"`share_prefix: on` is not possible with this model: {reason}. Set `auto` or `off`.")
    else:
        logger.warning_rank0(f"share_prefix: fell back to one row a text, because {reason}.")
