"""Keys for the rows of a dataset."""

from dataclasses import dataclass, field


@dataclass
class RowArguments:
    """What to do with a row that cannot be used."""

    skip_bad_rows: bool = field(
        default=False,
        metadata={
            "help": (
                "HinD formats: skip bad rows, count them and list them in a file; "
                "without it bad rows stop the run, with file, row and field [ours]."
            )
        },
    )
