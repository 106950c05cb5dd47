"""`llamafactory-cli synth X.yaml [key=value ...]`: read, check, resume, work, write, register."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ...config.command import split_names
from ...config.problem import ConfigError, listed
from ...formats.prompts.files import PromptError
from ...storage.atomic import WriteRefused
from ...storage.dataset_info import register
from ...storage.files import write_rows
from ...storage.journal import Journal, JournalInUse, work_key
from .arguments import SynthArguments
from .command import build_arguments, help_text, read_settings
from .failures import FailureLog, RunStopped
from .outputs import check_outputs
from .pipeline import Pipeline, checks_itself, needs_answer, needs_question, row_formats
from .prompting import describe_errors
from .rows import Failure, Row, read_rows
from .shards import join_shards, open_shards, shard_output
from .texts import refuse_control_tokens
from .tracking import track
from .work import work_through


SHOWN_FAILURES = 5
INTERRUPTED = 130  # what a shell reports for Ctrl-C


def run_synth(argv: list[str]) -> None:
    """Run what the words after `synth` ask for.

    Raises:
        SystemExit: with a message, where the configuration is wrong, another run holds the journal, or the run stopped early.
    """
    if not argv or {"-h", "--help"} & set(argv):
        print(help_text())
        return
    try:
        settings = read_settings(argv)
        calls_nothing = bool(settings.get("dry_run") or settings.get("merge"))
        pipeline, arguments = build_arguments(settings, calling=not calls_nothing)
        rows, failures = read_rows(
            split_names(arguments.dataset),
            dataset_dir=arguments.dataset_dir,
            media_dir=arguments.media_dir,
            max_samples=arguments.max_samples,
            shard=arguments.shard_of,
            needs_answer=needs_answer(pipeline),
            needs_question=needs_question(pipeline),
            checks_itself=checks_itself(pipeline),
            formatting=row_formats(pipeline),
            view=arguments.view,
        )
        check_prompts(pipeline, arguments, rows)
        if not calls_nothing:
            rows, more = refuse_control_tokens(pipeline, arguments, rows)
            failures += more
        if arguments.shard_of:
            arguments.output = shard_output(arguments.output, *arguments.shard_of)
        if not arguments.dry_run:
            check_outputs(pipeline, arguments)
        if arguments.dry_run:
            show_prompts(pipeline, arguments, rows[: arguments.dry_run], failures)
        elif arguments.merge:
            merge_pipeline(pipeline, arguments, rows, failures)
        else:
            run_pipeline(pipeline, arguments, rows, failures)
    except (ConfigError, JournalInUse, WriteRefused, RunStopped) as error:
        raise SystemExit(f"llamafactory-cli synth: {error}") from None
    except KeyboardInterrupt:
        print("llamafactory-cli synth: interrupted.", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def check_prompts(pipeline: Pipeline, arguments: SynthArguments, rows: Sequence[Row]) -> None:
    """Render the prompts of all rows.

    Raises:
        ConfigError: names every fault of a prompt file, with the rows that it meets.
    """
    errors = []
    for row in track(rows, "rendering prompts"):
        try:
            for _ in pipeline.prompts(row, arguments):
                pass
        except PromptError as error:
            errors.append(error)
    if errors:
        raise ConfigError(describe_errors(errors))


def show_prompts(
    pipeline: Pipeline, arguments: SynthArguments, rows: Sequence[Row], failures: Sequence[Failure]
) -> None:
    """Print the prompts of some rows; nothing is loaded or called."""
    for row in rows:
        for title, text in pipeline.prompts(row, arguments):
            print(f"--- {row.id}, {title}\n{text}\n")
    print_failures(failures)
    print(f"dry run: prompts of {len(rows)} rows, nothing was loaded or called.")


def run_pipeline(
    pipeline: Pipeline, arguments: SynthArguments, rows: Sequence[Row], refused: Sequence[Failure]
) -> None:
    """Do the work items that the journal lacks, then write and register the output.

    Args:
        pipeline: a module of `pipelines`.
        arguments: checked.
        rows: good rows, in order; equal rows are one work item.
        refused: rows that were bad already.

    Raises:
        RunStopped: too many rows fail; what is finished is kept.
    """
    keys = work_keys(pipeline, arguments, rows)
    items = dict(zip(keys, rows, strict=True))
    journal = Journal(arguments.beside_output(".journal.jsonl"))
    try:
        with journal:
            print_known(keys, journal)
            log = FailureLog(arguments.beside_output(".failures.jsonl"), refused, max_rate=arguments.max_failure_rate)
            try:
                if any(key not in journal.results for key in items):
                    asyncio.run(work_through(pipeline, arguments, items, journal, log))
            finally:
                failures = log.close(keys)
            done = [(row, journal, key) for key, row in zip(keys, rows, strict=True) if key in journal.results]
            conclude(pipeline, arguments, done, failures)
    except KeyboardInterrupt:
        kept = sum(key in journal.results for key in keys)
        again = "Start the same command again to go on."
        print(f"\n{kept} of {len(keys)} rows are finished and kept in {journal.path}. {again}", file=sys.stderr)
        raise
    if not done and log.failed:
        raise RunStopped(f"every row failed. The most frequent reasons:\n{log.reasons()}\nSee {log.path}.")


def merge_pipeline(
    pipeline: Pipeline, arguments: SynthArguments, rows: Sequence[Row], refused: Sequence[Failure]
) -> None:
    """Join what the shards finished into one output, with reports over all of it; no model is loaded or called.

    Raises:
        ConfigError: a shard is missing, incomplete, or was made with other parameters.
    """
    keys = work_keys(pipeline, arguments, rows)
    with ExitStack() as stack:
        done, failed = join_shards(open_shards(stack, arguments.output, arguments.merge or 1), keys, rows)
        log = FailureLog(arguments.beside_output(".failures.jsonl"), [*refused, *failed], max_rate=1.0)
        conclude(pipeline, arguments, done, log.close(keys))


def work_keys(pipeline: Pipeline, arguments: SynthArguments, rows: Sequence[Row]) -> list[str]:
    """Return the key of each row's work item; media and models are read for it."""
    return [work_key(pipeline.work_item(row, arguments)) for row in track(rows, "reading media")]


def conclude(
    pipeline: Pipeline,
    arguments: SynthArguments,
    done: Sequence[tuple[Row, Journal, str]],
    failures: Sequence[Failure],
) -> None:
    """Write the output of finished rows and, unless it is a shard's, register it."""
    results: list[tuple[Row, Any]] = [(row, journal.results[key]) for row, journal, key in done]
    written, entries = pipeline.finish(results, arguments)
    output = Path(arguments.output)
    write_rows(output, written, by=arguments.written_by)
    print_failures(failures)
    if not written:
        print(f"{output}: no row was written, so it was not registered.", file=sys.stderr)
    elif arguments.shard_of:
        _, shards = arguments.shard_of
        print(f"{output}: {len(written)} rows; when all shards are done, `merge={shards}` without `shard` joins them.")
    else:
        name = arguments.output_dataset or output.stem
        for ending, entry in entries.items():
            register(Path(arguments.dataset_dir), name + ending, entry, output, by=arguments.written_by)
        names = ", ".join(f"`{name}{ending}`" for ending in entries)
        print(f"{output}: {len(written)} rows, registered as {names} in {arguments.dataset_dir}/dataset_info.json.")


def print_known(keys: Sequence[str], journal: Journal) -> None:
    known = sum(key in journal.results for key in keys)
    cut = f", {journal.cut_lines} cut lines dropped" if journal.cut_lines else ""
    print(f"{len(keys)} rows: {known} reused from {journal.path}, {len(keys) - known} to do{cut}.", file=sys.stderr)


def print_failures(failures: Sequence[Failure]) -> None:
    if failures:
        lines = [f"{failure.file}, row {failure.number} ({failure.id}): {failure.reason}" for failure in failures]
        count = f"{len(lines)} row{'s' if len(lines) > 1 else ''} failed"
        print(f"{count}, see the failures file:{listed(lines, shown=SHOWN_FAILURES)}", file=sys.stderr)
