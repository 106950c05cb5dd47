"""Keys of `stage: reason_sft`: answers and reasoning as two tasks of one model (HinD's HDFT, arXiv 2511.11132; ReasVQA, 2501.13536)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..keys.share_prefix import SharePrefixArguments
from ..limits import out_of_range
from ..problem import Problem


LABEL = "Reasoning SFT (two tasks: answer, reasoning)"
ROWS = "multitask"
TAKES = (SharePrefixArguments,)


@dataclass
class Arguments:
    """Multi-task learning from reasoning, L = L_answer + reason_weight * L_reason."""

    reason_weight: float = field(
        default=1.0,
        metadata={
            "help": (
                "reason_sft: weight of the reasoning loss, 0 or more; each task is a mean over its own tokens of the whole "
                "optimiser step. 0 is the host's `sft` on the answers. The form is [2nd], the default [ours]."
            )
        },
    )
    evaluate_answers: bool = field(
        default=False,
        metadata={
            "help": (
                "reason_sft: write an answer to every row at each evaluation, at most `max_new_tokens` long, and log how many are "
                "right [ours]."
            )
        },
    )


def problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together in the settings of a reason_sft run."""
    yield from out_of_range(settings, {"reason_weight": (0, True)}, {"reason_weight": "0 learns answers alone."})
    if not math.isfinite(settings["reason_weight"]):
        yield Problem("reason_weight", settings["reason_weight"], "a finite number", "The default is 1.0.")
    if settings["evaluate_answers"] and not settings.get("do_eval") and _never_evaluates(settings):
        remedy = "Answers are written at each evaluation: set `eval_strategy` or `do_eval`, or remove this key."
        yield Problem("evaluate_answers", True, "an evaluation beside it", remedy)


def _never_evaluates(settings: Mapping[str, Any]) -> bool:
    return str(settings.get("eval_strategy", "no")).lower() in ("no", "none", "false")
