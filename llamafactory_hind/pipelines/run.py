"""`llamafactory-cli synth X.yaml [key=value ...]`: read, check, resume, work, write, register."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from ..config.problem import ConfigError
from .config import SynthArguments, build_arguments, help_text, read_settings, split_paths
from .journal import Journal, JournalInUse, unit_key
from .outputs import register, write_rows
from .rows import Failure, Row, read_rows


SHOWN_FAILURES = 5


def run_synth(argv: list[str]) -> None:
    """Run what the words after `synth` ask for.

    Raises:
        SystemExit: with a message, where the configuration is wrong or another run holds the journal.
    """
    if not argv or {"-h", "--help"} & set(argv):
        print(help_text())
        return
    try:
        pipeline, arguments = build_arguments(read_settings(argv))
        rows, failures = read_rows(
            split_paths(arguments.dataset),
            dataset_dir=arguments.dataset_dir,
            media_dir=arguments.media_dir,
            max_samples=arguments.max_samples,
        )
        if arguments.dry_run:
            show_prompts(pipeline, arguments, rows[: arguments.dry_run], failures)
        else:
            run_pipeline(pipeline, arguments, rows, failures)
    except (ConfigError, JournalInUse) as error:
        raise SystemExit(f"llamafactory-cli synth: {error}") from None


def show_prompts(
    pipeline: ModuleType, arguments: SynthArguments, rows: Sequence[Row], failures: Sequence[Failure]
) -> None:
    """Print the prompts of some rows; nothing is loaded or called."""
    for row in rows:
        for title, text in pipeline.prompts(row, arguments):
            print(f"--- {row.id}, {title}\n{text}\n")
    _tell_failures(failures)
    print(f"dry run: prompts of {len(rows)} rows, nothing was loaded.")


def run_pipeline(
    pipeline: ModuleType, arguments: SynthArguments, rows: Sequence[Row], failures: list[Failure]
) -> None:
    """Do the units that the journal lacks, then write and register the output.

    Args:
        pipeline: a module of this room.
        arguments: checked.
        rows: good rows, in order; equal rows are one unit.
        failures: rows already refused; those that fail here are added.
    """
    keys = [unit_key(pipeline.unit(row, arguments)) for row in rows]
    failures = list(failures)
    with Journal(arguments.beside_output(".journal.jsonl")) as journal:
        known = sum(key in journal.results for key in keys)
        cut = f", {journal.cut_lines} cut lines dropped" if journal.cut_lines else ""
        print(
            f"{len(rows)} rows: {known} reused from {journal.path}, {len(rows) - known} to do{cut}.", file=sys.stderr
        )
        failures += _do_missing(pipeline, arguments, dict(zip(keys, rows, strict=True)), journal)
        done = [(row, journal.results[key]) for key, row in zip(keys, rows, strict=True) if key in journal.results]
        written, entry = pipeline.finish(done, arguments)
        output = Path(arguments.output)
        write_rows(output, written)
        failures_file = arguments.beside_output(".failures.jsonl")
        failures_file.unlink(missing_ok=True)
        if failures:
            write_rows(failures_file, map(asdict, failures))
    _tell_failures(failures)
    if not written:
        print(f"{output}: no row was written, so it was not registered.", file=sys.stderr)
        return
    name = arguments.output_dataset or output.stem
    register(Path(arguments.dataset_dir), name, entry, output)
    print(f"{output}: {len(written)} rows, registered as `{name}` in {arguments.dataset_dir}/dataset_info.json.")


def _do_missing(
    pipeline: ModuleType, arguments: SynthArguments, units: dict[str, Row], journal: Journal
) -> Iterator[Failure]:
    """Work through the units in groups that do not depend on what is finished, and yield the rows that fail.

    Padding changes the last digits of a model's numbers: a group is computed whole though some of it is known, so that a run
    that was killed ends with the same bytes as one that was not.
    """
    keys = list(units)
    groups = [keys[start : start + arguments.batch_size] for start in range(0, len(keys), arguments.batch_size)]
    open_groups = [group for group in groups if any(key not in journal.results for key in group)]
    if not open_groups:
        return
    worker = pipeline.Worker(arguments)
    known = sum(key in journal.results for key in keys)
    failed = 0
    with tqdm(total=len(keys), initial=known, unit="row", desc=arguments.pipeline) as progress:
        for group in open_groups:
            missing = [key for key in group if key not in journal.results]
            results = _try_group(worker, group, units)
            finished = [key for key in missing if not isinstance(results[key], Exception)]
            journal.add((key, units[key].id, results[key]) for key in finished)
            for key in missing:
                if isinstance(results[key], Exception):
                    failed += 1
                    row, error = units[key], results[key]
                    yield Failure(row.id, row.file, row.number, f"{type(error).__name__}: {error}", row.fields)
            progress.update(len(missing))
            progress.set_postfix(tokens=worker.tokens, failures=failed)


def _try_group(worker: Any, group: Sequence[str], units: dict[str, Row]) -> dict[str, Any]:
    """Return the result, or the exception, of every unit: where a group fails, each row is tried alone."""
    try:
        return dict(zip(group, worker.work([units[key] for key in group]), strict=True))
    except Exception as error:  # one bad row must not cost the others
        tqdm.write(f"a group of {len(group)} rows failed, they are tried one by one: {type(error).__name__}: {error}")
    results: dict[str, Any] = {}
    for key in group:
        try:
            results[key] = worker.work([units[key]])[0]
        except Exception as error:  # recorded with its reason, and tried again on the next start
            results[key] = error
    return results


def _tell_failures(failures: Sequence[Failure]) -> None:
    for failure in failures[:SHOWN_FAILURES]:
        print(f"failed: {failure.file}, row {failure.number} ({failure.id}): {failure.reason}", file=sys.stderr)
    if len(failures) > SHOWN_FAILURES:
        print(f"... and {len(failures) - SHOWN_FAILURES} more in the failures file.", file=sys.stderr)
