"""The rows of a training run, read by the code that training reads them with: bad ones, lengths, what is cut."""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config import ROWS
from ..formats.problems import BadRowsError
from ..storage.rows import RowsError
from ..trainers.rows import read_rows
from .findings import Report


CUT_FIELD = "cutoff_len"


def check_rows(
    args: Any, template: Any, tokenizer_module: dict[str, Any], most: int | None, report: Report
) -> Iterator[Any]:
    """Read every dataset by itself, report its bad rows and lengths, and yield its processed rows.

    Args:
        args: the host's five argument objects; their output folder is one that may be written to.
        template: the host's.
        tokenizer_module: the host's tokenizer and processor.
        most: rows of each dataset, None for all.
        report: takes what is found.
    """
    for kind in ("dataset", "eval_dataset"):
        for name in getattr(args.data, kind) or []:
            rows = _read(args, name, template, tokenizer_module, most, report)
            if rows is not None and len(rows):
                check_lengths(rows, name, args, report)
                yield kind, name, rows


def _read(
    args: Any, name: str, template: Any, tokenizer_module: dict[str, Any], most: int | None, report: Report
) -> Any:
    data = copy.copy(args.data)
    data.dataset, data.eval_dataset, data.val_size = [name], None, 0.0
    data.tokenized_path, data.overwrite_cache = None, True
    skips, data.skip_bad_rows = data.skip_bad_rows, True
    if most is not None:
        data.max_samples = min(most, data.max_samples or most)
    try:
        module = read_rows(args._replace(data=data), template, tokenizer_module)
    except (BadRowsError, RowsError) as error:
        for line in [str(row) for row in getattr(error, "rows", [])] or [str(error)]:
            report.add("error", "rows", name, line)
        return None
    except (ValueError, RuntimeError, OSError) as error:  # a dataset of the host's, a file that is not there
        report.add("error", "rows", name, f"{type(error).__name__}: {error}")
        return None
    rows = module.get("train_dataset")
    bad = list(_side_file(Path(args.training.output_dir) / "bad_rows" / f"{name}.jsonl"))
    for entry in bad:
        place = f"{entry['file']}, row {entry['row']}"
        report.add("warning" if skips else "error", "rows", place, entry["reason"])
    count = 0 if rows is None else len(rows)
    said = f"{count} good rows, {len(bad)} bad ones" + (
        ", which are left out (`skip_bad_rows`)" if bad and skips else ""
    )
    report.add("note", "rows", name, said + ".")
    return rows


def _side_file(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.is_file():
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line:
                yield json.loads(line)


def check_lengths(rows: Any, name: str, args: Any, report: Report) -> None:
    """Report the lengths of rows in tokens against `cutoff_len`; the host's stages cut, ours count a long row as bad."""
    names = set(rows.column_names)
    columns = [column for column in ("input_ids", "chosen_input_ids", "prompt_input_ids") if column in names][:1]
    if not columns:
        return
    more = [column for column in ("chosen_ids", "rejected_ids") if column in names]
    lengths = []
    for row in rows:
        lengths.append(len(row[columns[0]]) + max((len(row[column]) for column in more), default=0))
    lengths.sort()
    limit = args.data.cutoff_len
    middle, longest = lengths[len(lengths) // 2], lengths[-1]
    said = f"tokens a row: median {middle}, longest {longest}, `cutoff_len` {limit}"
    if args.finetuning.stage not in ROWS:
        cut = sum(length >= limit for length in lengths)
        share = f"; {cut} of {len(lengths)} rows ({cut / len(lengths):.1%}) are as long as that: they were cut"
        report.add("warning" if cut else "note", "lengths", name, said + (share if cut else "") + ".")
        return
    report.add("note", "lengths", name, said + "; longer rows are bad rows.")
