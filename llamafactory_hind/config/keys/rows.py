"""Keys for the rows of a dataset."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class RowArguments:
    """What to do with a row that cannot be used, and how its media are seen."""

    skip_bad_rows: bool = field(
        default=False,
        metadata={
            "help": (
                "HinD formats: skip bad rows, count them and list them in a file; "
                "without it bad rows stop the run, with file, row and field [ours]."
            )
        },
    )
    control_tokens: Literal["error", "escape"] = field(
        default="error",
        metadata={
            "help": (
                "HinD formats: text that the tokenizer takes for a control token (`<|im_end|>`, `<|image_pad|>`) makes a bad row "
                "(`error`), or is read as plain text, with a space behind its first character (`escape`) [ours]."
            )
        },
    )
    media_as_host: bool = field(
        default=False,
        metadata={
            "help": (
                "See media as LLaMA-Factory alone does: photos as stored and not upright, transparency dropped, deep grays cut off, "
                "videos sampled by frame numbers of the header; without it all commands see them one way, docs/media.md [ours]."
            )
        },
    )
