"""A `synth` configuration: rows read, media opened, prompts rendered, servers looked for; calls are counted, not made."""

from pathlib import Path

from ..config.command import join_lists, split_names
from ..config.problem import ConfigError
from ..formats.prompts.files import PromptError
from ..pipelines.runner.command import build_arguments
from ..pipelines.runner.pipeline import checks_itself, needs_answer, needs_question, row_formats
from ..pipelines.runner.prompting import describe_errors
from ..pipelines.runner.rows import read_rows
from .arguments import Request
from .findings import Report
from .surroundings import check_disk, check_server


def check_synthesis(request: Request, report: Report) -> None:
    """Look at rows, prompts, output and servers of a pipeline."""
    try:
        pipeline, arguments = build_arguments(join_lists(request.settings), calling=False)
        samples = [number for number in (arguments.max_samples, request.own.check_rows) if number is not None]
        rows, failures = read_rows(
            split_names(arguments.dataset),
            dataset_dir=arguments.dataset_dir,
            media_dir=arguments.media_dir,
            max_samples=min(samples, default=None),
            shard=arguments.shard_of,
            needs_answer=needs_answer(pipeline),
            needs_question=needs_question(pipeline),
            checks_itself=checks_itself(pipeline),
            formatting=row_formats(pipeline),
            view=arguments.view,
        )
    except ConfigError as error:
        report.add_problems(error.problems, "rows")
        return
    for failure in failures:
        report.add("warning", "rows", f"{failure.file}, row {failure.number} ({failure.id})", failure.reason)
    report.add(
        "note", "rows", arguments.dataset, f"{len(rows)} good rows, {len(failures)} bad ones, which are left out."
    )
    prompts, errors = 0, []
    for row in rows:
        try:
            prompts += sum(1 for _ in pipeline.prompts(row, arguments))
        except PromptError as error:
            errors.append(error)
    if errors:
        report.add_problems(describe_errors(errors), "prompts")
    report.add(
        "note", "estimate", arguments.pipeline, f"{prompts} different prompts are rendered for {len(rows)} rows."
    )
    _check_output(Path(arguments.output), report)
    check_disk(str(Path(arguments.output).parent), None, report)
    for url in arguments.base_urls if arguments.engine == "openai" else ():
        check_server(url, arguments.model, arguments.api_key_env, request.own.check_calls, report)


def _check_output(output: Path, report: Report) -> None:
    journal = output.with_suffix(".journal.jsonl")
    if journal.exists():
        report.add("note", "output", str(journal), "a journal of an earlier run; finished rows of it are reused.")
    elif output.exists():
        report.add("warning", "output", str(output), "the file is there and has no journal: the run replaces it.")
