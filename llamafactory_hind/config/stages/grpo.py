"""Keys of `stage: grpo`: those of all online stages, and of the temporal contrast of T-GRPO."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..keys.online import OnlineArguments, online_problems
from ..keys.share_prefix import SharePrefixArguments
from ..keys.temporal import TemporalArguments, temporal_problems
from ..problem import Problem


LABEL = "GRPO"
ROWS = "prompts"
TAKES = (SharePrefixArguments, OnlineArguments, TemporalArguments)


@dataclass
class Arguments:
    """Group-relative policy optimization (arXiv 2402.03300)."""


def problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together in the settings of a grpo run: our keys with their defaults, the host's as given."""
    yield from online_problems(settings)
    yield from temporal_problems(settings)
