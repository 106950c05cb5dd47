"""Whether the two answers of a pair can share one computed prompt: asked of the model, then proved on real rows."""

from typing import TYPE_CHECKING, Any

import torch
from llamafactory.extras import logging

from ...engines.local.attention import why_not_packed
from ...engines.local.scoring import base_model, check_head, close_enough
from ...formats.media.fields import MEDIA_FIELDS
from .collator import PAIR_KEYS
from .trainer import PairTrainer, pair_logps


if TYPE_CHECKING:
    from datasets import Dataset


logger = logging.get_logger(
    "llamafactory.hind." + __name__.partition(".")[2]
)  # a child of the host's logger, which has handlers


@torch.no_grad()
def select_sharing(trainer: PairTrainer, dataset: "Dataset", *, share_prefix: str) -> None:
    """Prove the chunked head, then choose packed or plain batches and set `trainer.collator.packed`.

    Args:
        trainer: not yet training; its model is the policy as loaded.
        dataset: processed rows; those with the most media and of different lengths are tried.
        share_prefix: `auto` (packed when proved equal, else plain with a log line), `on` (an error instead), `off`.

    Raises:
        UnsupportedHead: the chunked head does not reproduce the model's own logits.
        ValueError: `share_prefix: on` and the model cannot, or its packed log-probs differ.
    """
    model = trainer.placed(trainer.model)
    rows = _telling_rows(dataset)
    training, _ = model.training, model.eval()
    try:
        with trainer.precision():
            plain_rows = trainer._prepare_inputs(trainer.collator.plain_batch([dict(rows[0])]))
            check_head(model, {k: v for k, v in plain_rows.items() if k not in PAIR_KEYS}, plain_rows["labels"])
            reason = None if share_prefix == "off" else why_not_packed(model) or _difference(trainer, model, rows)
    finally:
        model.train(training)
    trainer.collator.packed = share_prefix != "off" and reason is None
    if share_prefix == "off":
        logger.info_rank0("share_prefix: off; every prompt is computed twice, once an answer.")
    elif reason is None:
        logger.info_rank0(
            f"share_prefix: on; prompts are computed once a pair (equal to the plain path on {len(rows)} rows)."
        )
    elif share_prefix == "on":
        raise ValueError(
            f"`share_prefix: on` is not possible with this model: {reason}. Set `share_prefix: auto` or `off`."
        )
    else:
        logger.warning_rank0(f"share_prefix: fell back to one row an answer, because {reason}.")


def _telling_rows(dataset: "Dataset", count: int = 4, among: int = 256) -> list[dict[str, Any]]:
    """Pick rows that would show a mistake: with and without media, short and long."""
    candidates = [dataset[index] for index in range(min(among, len(dataset)))]
    candidates.sort(
        key=lambda row: (
            sum(len(row.get(name) or []) for name in MEDIA_FIELDS),
            len(row["chosen_ids"]) + len(row["rejected_ids"]),
        )
    )
    places = {round(step * (len(candidates) - 1) / max(count - 1, 1)) for step in range(count)}
    return [candidates[place] for place in sorted(places)]


def _difference(trainer: PairTrainer, model: torch.nn.Module, rows: list[dict[str, Any]]) -> str | None:
    """Return how packed and plain log-probs of `rows` differ, None if they agree."""
    try:
        packed = pair_logps(model, trainer._prepare_inputs(trainer.collator.packed_batch([dict(row) for row in rows])))
    except (ValueError, RuntimeError, TypeError, IndexError) as error:  # the model's code refuses such a row
        return f"a packed row is refused ({type(error).__name__}: {error})"
    plain = pair_logps(model, trainer._prepare_inputs(trainer.collator.plain_batch([dict(row) for row in rows])))
    found = torch.cat([packed.chosen / packed.chosen_length, packed.rejected / packed.rejected_length])
    expected = torch.cat([plain.chosen / plain.chosen_length, plain.rejected / plain.rejected_length])
    half = torch.is_autocast_enabled(found.device.type) or base_model(model).dtype != torch.float32
    if close_enough(found, expected, torch.bfloat16 if half else torch.float32):
        return None
    return f"packed log-probs differ from the plain path by {(found - expected).abs().max().item():.2e} a token"
