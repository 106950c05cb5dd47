"""Keys of `stage: grpo`: those of all online stages, and none of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..keys.online import online_problems
from ..problem import Problem


@dataclass
class GrpoArguments:
    """Group-relative policy optimization (arXiv 2402.03300)."""


def grpo_problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together in the settings of a grpo run: our keys with their defaults, the host's as given."""
    yield from online_problems(settings, "grpo")
