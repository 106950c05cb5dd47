"""Keys that several stages take."""

from dataclasses import dataclass, field
from typing import Literal

from ..types import unquoted


@dataclass
class SharePrefixArguments:
    """Keys of the stages that score or write several texts for one prompt."""

    share_prefix: Literal["auto", "on", "off"] = field(
        default="auto",
        metadata={
            "help": (
                "HinD stages: compute the image and prompt tokens that several answers have in common once. "
                "`auto` compares it with the plain computation at the start and does without if they differ, `on` is then an error [ours]."
            )
        },
    )

    def __post_init__(self) -> None:
        """Correct `on` and `off`, which YAML reads as true and false, then let the host's class do its own."""
        self.share_prefix = unquoted(self.share_prefix)  # type: ignore[assignment]
        next_in_line = getattr(super(), "__post_init__", None)
        if next_in_line is not None:
            next_in_line()
