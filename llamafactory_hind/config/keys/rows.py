"""Keys for the rows of a dataset."""

from dataclasses import dataclass, field


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
    media_as_host: bool = field(
        default=False,
        metadata={
            "help": (
                "See media as LLaMA-Factory alone does: photos as stored and not upright, transparency dropped, deep grays cut off, "
                "videos sampled by frame numbers of the header; without it all commands see them one way, docs/media.md [ours]."
            )
        },
    )
