"""What a teacher is: a model that writes for a student, each request by itself. Pure Python."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..interface import Completion, Request, Sampling


@dataclass(frozen=True)
class Failure:
    """A request without an answer.

    Attributes:
        kind: for counting.
        reason: for the log.
    """

    kind: str
    reason: str


class Teacher(Protocol):
    """A model that writes for a student. It waits for the texts, as the training loop does, and loses no more than a request."""

    @property
    def identity(self) -> Any:
        """What the model is, as JSON can write it: texts in a cache are found by it."""

    def write(self, requests: Sequence[Request], sampling: Sampling) -> Sequence[list[Completion] | Failure]:
        """Write for every request, each with a key; those without an answer come back as failures."""

    def close(self) -> None:
        """Release what is held open."""
