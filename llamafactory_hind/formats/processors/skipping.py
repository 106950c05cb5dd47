"""A row that a processor cannot use: an error that names it, or a line in the side file where bad rows are skipped."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llamafactory.extras import logging

from ...config.problem import RowProblem
from ..fields import read_columns
from ..problems import BadRow, BadRowsError, append_to_side_file


if TYPE_CHECKING:
    from llamafactory.hparams import DataArguments


# A child of the host's logger: its handlers print and fill LLaMA Board's log.
logger = logging.get_logger("llamafactory.hind.formats.processors.pairs")


def skip_row(data_args: "DataArguments", example: Mapping[str, Any], index: int, problem: RowProblem) -> None:
    """List a row that cannot be encoded, or that does not fit into `cutoff_len`.

    Args:
        data_args: with `cutoff_len` and our `skip_bad_rows`.
        example: the aligned example.
        index: its place in the batch, which names it where the format does not say where it is.
        problem: what is wrong.

    Raises:
        BadRowsError: bad rows are not skipped.
    """
    source, _, number = (example.get("_source") or f"example {index} of its batch").rpartition(", row ")
    columns = read_columns(example.get("_columns"))
    row = BadRow(source or number, int(number) if source else None, (problem,), columns)
    side_file = example.get("_side_file")
    if not (getattr(data_args, "skip_bad_rows", False) or side_file):
        raise BadRowsError([row], dataset=row.file, checked=None, side_file="<output_dir>/bad_rows")
    if side_file:
        # One list for each cutoff_len: the next run takes the tokens from the cache, and the list stands with them.
        side_file = f"{os.path.splitext(side_file)[0]}.cutoff_{data_args.cutoff_len}.jsonl"
        append_to_side_file(side_file, row)
    logger.warning_rank0(f"Skipped a bad row{f', listed in {side_file}' if side_file else ''}:\n{row}")
