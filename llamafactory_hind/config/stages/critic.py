"""Keys of `stage: critic`, the supervised critic of LSKD (arXiv 2312.04837)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..limits import out_of_range
from ..problem import Problem


LABEL = "Critic (LSKD)"
ROWS = "critic"
TAKES = ()


@dataclass
class Arguments:
    """Supervised critic, L = CE + critic_qa_weight MSE + critic_rationale_weight MSE."""

    critic_qa_weight: float = field(
        default=0.5,
        metadata={"help": "critic: weight of the squared error of the answer's score [C code]."},
    )
    critic_rationale_weight: float = field(
        default=0.5,
        metadata={"help": "critic: weight of the squared error of the rationale's score [C code]."},
    )
    critic_pooling: Literal["last", "mean"] = field(
        default="last",
        metadata={
            "help": "critic: the hidden state that the heads see: that of the `last` token, or the `mean` of all [ours]."
        },
    )


LOWEST = {"critic_qa_weight": (0, True), "critic_rationale_weight": (0, True)}


def problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together in the settings of a critic run."""
    yield from out_of_range(settings, LOWEST, dict.fromkeys(LOWEST, "0 leaves this head untrained."))
