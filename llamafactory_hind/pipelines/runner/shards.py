"""One job over several machines: each shard has files of its own, and merging joins their journals into one output."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ...config.problem import ConfigError, Problem, first_of
from ...storage.journal import Journal
from .failures import read_failures
from .row import Failure, Row


def shard_output(output: str, number: int, shards: int) -> str:
    """Return the output file of one shard."""
    path = Path(output)
    return str(path.with_name(f"{path.stem}.shard-{number}-of-{shards}{path.suffix}"))


@dataclass
class Shard:
    """What one shard left behind.

    Attributes:
        number: from 1.
        output: its file.
        journal: open; None where there is none.
        failures: rows that failed in it, by the key of their work item.
    """

    number: int
    output: Path
    journal: Journal | None
    failures: dict[str, Failure]


def open_shards(stack: ExitStack, output: str, shards: int) -> list[Shard]:
    """Open the journals of all shards; `stack` closes them.

    Raises:
        JournalInUse: a shard is still running.
    """
    found = []
    for number in range(1, shards + 1):
        file = Path(shard_output(output, number, shards))
        path = file.with_suffix(".journal.jsonl")
        journal = stack.enter_context(Journal(path)) if path.exists() else None
        failures = read_failures(file.with_suffix(".failures.jsonl"))
        found.append(Shard(number, file, journal, {failure.work_key: failure for failure in failures}))
    return found


def join_shards(
    shards: Sequence[Shard], keys: Sequence[str], rows: Sequence[Row]
) -> tuple[list[tuple[Row, Journal, str]], list[Failure]]:
    """Return where each row's result is, in the order of the rows, and the rows that failed in their shard.

    Raises:
        ConfigError: shards are missing, incomplete or were made with other parameters; all of them are listed.
    """
    homes = {key: shard.journal for shard in shards if shard.journal for key in shard.journal.results}
    failed = {key: failure for shard in shards for key, failure in shard.failures.items() if key}
    missing = [(key, row) for key, row in zip(keys, rows, strict=True) if key not in homes and key not in failed]
    problems = [problem for shard in shards if (problem := _absent(shard))]
    if missing:
        problems += _blame(shards, missing)
    if problems:
        raise ConfigError(problems)
    done = [(row, homes[key], key) for key, row in zip(keys, rows, strict=True) if key in homes]
    lost = dict.fromkeys(key for key in keys if key not in homes)
    return done, [failed[key] for key in lost]


def _absent(shard: Shard) -> Problem | None:
    remedy = f"Run it with `shard: {shard.number}/n`, or copy its files here."
    if shard.journal is None:
        return Problem(f"shard {shard.number}", str(shard.output), "a shard with its journal", remedy)
    if not shard.output.exists():
        remedy = f"Run it to the end with `shard: {shard.number}/n`."
        return Problem(f"shard {shard.number}", "no output", f"the finished {shard.output}", remedy)
    return None


def _blame(shards: Sequence[Shard], missing: Sequence[tuple[str, Row]]) -> list[Problem]:
    other = {
        row.id: shard for shard in shards if shard.journal for _, row in missing if row.id in shard.journal.row_ids
    }
    problems = []
    for shard in shards:
        ids = [row.id for _, row in missing if other.get(row.id) is shard]
        if ids:
            expected = "rows made with the prompts, model and parameters that are given here"
            remedy = "Give the shards' own, or run the shard again with these."
            problems.append(Problem(f"shard {shard.number}", f"{len(ids)} others: {first_of(ids)}", expected, remedy))
    unknown = [row.id for _, row in missing if row.id not in other]
    if unknown and all(shard.journal for shard in shards):
        remedy = "Run all shards to the end, with the same `dataset` and `max_samples`."
        problems.append(Problem("merge", f"{len(unknown)} rows in no shard: {first_of(unknown)}", "every row", remedy))
    return problems
