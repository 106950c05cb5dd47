"""Keys of `stage: kepo`, Knowledge Encouragement Preference Optimization (HinD, arXiv 2511.11132).

The paper's constants could not be read; the defaults are our own choice, marked [ours].
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..keys.share_prefix import SharePrefixArguments
from ..limits import reference_keys
from ..problem import Problem


LABEL = "KEPO (HinD: Knowledge Encouragement)"  # two papers call their method KEPO: say whose it is
ROWS = "pairs"
TAKES = (SharePrefixArguments,)


@dataclass
class Arguments:
    """Knowledge Encouragement Preference Optimization (HinD)."""

    kepo_beta: float = field(
        default=0.1,
        metadata={"help": "kepo (HinD): how strongly the loss keeps the policy near its reference, above 0 [ours]."},
    )
    kepo_loss: Literal["sigmoid", "length_normalized"] = field(
        default="sigmoid",
        metadata={
            "help": "kepo (HinD): loss of a pair; `length_normalized` divides each log-ratio by its tokens [ours]."
        },
    )
    kepo_gap_weight: bool = field(
        default=False,
        metadata={"help": "kepo (HinD): weight a pair by sigmoid(confidence rejected - confidence chosen) [ours]."},
    )
    kepo_nll_weight: float = field(
        default=0.0,
        metadata={"help": "kepo (HinD): weight of the mean token NLL of the chosen text, 0 or more [ours]."},
    )
    ref_logps_cache: str | None = field(
        default="auto",
        metadata={
            "help": (
                "kepo (HinD): file that keeps the reference log-probs, computed once and reused while model, template, "
                "pixels and rows are the same. `auto` is ref_logps.jsonl in `output_dir` [ours]."
            )
        },
    )


def problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together in the settings of a kepo run: our keys with their defaults, the host's as given."""
    beta, nll_weight, cache = (settings[key] for key in ("kepo_beta", "kepo_nll_weight", "ref_logps_cache"))
    if beta <= 0:
        yield Problem("kepo_beta", beta, "a number above 0", "The default is 0.1.")
    if nll_weight < 0:
        yield Problem("kepo_nll_weight", nll_weight, "a number of 0 or more", "0 turns the anchor off.")
    if cache is not None and os.path.isdir(cache):
        yield Problem("ref_logps_cache", cache, "`auto` or the path of a file", "This is a folder; name a file in it.")
    yield from reference_keys(settings)
