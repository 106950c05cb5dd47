"""Keys for the rows of a dataset."""

from dataclasses import dataclass, field


@dataclass
class RowArguments:
    """What to do with a row that cannot be used."""

    skip_bad_rows: bool = field(
        default=False,
        metadata={
            "help": (
                "HinD formats: skip rows that cannot be used, count them and write them to a side file, "
                "instead of stopping at the first with its file, row and field [ours]."
            )
        },
    )
