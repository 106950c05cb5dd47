"""A row as a pipeline gets it, and a row that failed. Apart from `rows`, which reads them: this is quick to import."""

from dataclasses import dataclass
from typing import Any


HINDSIGHT, ROLLOUT, REGION, VIDEO_REASONING = "hindsight", "rollout", "region", "video_reasoning"


@dataclass(frozen=True)
class Row:
    """One question.

    Attributes:
        id: its own, else `file:number`.
        file: where it is; `number` counts from 1.
        fields: the row under our names, paths of media as they were written.
        media: kind -> paths that can be opened.
    """

    id: str
    file: str
    number: int
    fields: dict[str, Any]
    media: dict[str, list[Any]]

    @property
    def place(self) -> str:
        """File, number and id, for messages."""
        return f"{self.file}, row {self.number} ({self.id})"


@dataclass(frozen=True)
class Failure:
    """A row that gave nothing, and why.

    Attributes:
        work_key: of the work item that failed; empty where the row itself is bad.
    """

    id: str
    file: str
    number: int
    reason: str
    fields: dict[str, Any]
    work_key: str = ""
