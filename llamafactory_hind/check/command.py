"""`llamafactory-cli check X.yaml [key=value ...] [--json]`: read, look at everything, print, exit 0, 1 or 2."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

from ..config import OUR_KEYS, check_train
from ..config.command import join_lists
from ..config.keys.declared import package_folder, train_keys
from ..config.problem import ConfigError
from ..evaluation.arguments import build_arguments as build_score
from .arguments import JSON, Request, help_text, name_of, read_request
from .findings import Report


def prepare(argv: Sequence[str]) -> str | None:
    """Check the keys before the host is imported; return the help where it is asked for.

    Raises:
        SystemExit: keys are wrong; the report is printed.
    """
    if not argv or {"-h", "--help"} & set(argv):
        return help_text()
    report = Report(name_of(argv))
    try:
        check_keys(read_request(argv), report)
    except ConfigError as error:
        report.add_problems(error.problems)
        report.print(as_json=JSON in argv)
        raise SystemExit(report.status) from None
    return None


@contextmanager
def prints_as_errors() -> Iterator[None]:
    """Send what the host and its libraries print to the standard error: the standard output is the report alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def check_keys(request: Request, report: Report) -> None:
    """Check keys, types and combinations as the command itself does.

    Raises:
        ConfigError: with every problem found.
    """
    if request.kind == "score":
        build_score(request.settings)
    elif request.kind == "synth":
        from ..pipelines.runner.command import build_arguments as build_synth

        build_synth(join_lists(request.settings), calling=False)
    else:
        host = package_folder("llamafactory")
        known = None if host is None else train_keys(host)
        if known is not None:
            keys = known.keys | OUR_KEYS
            warnings = check_train(request.settings, known=keys, host_stages=known.stages, environ=os.environ)
            for warning in warnings:
                report.add("warning", "keys", warning.partition(":")[0], warning)


def run_check(argv: list[str]) -> None:
    """Check what the words after `check` name.

    Raises:
        SystemExit: with the status of the report.
    """
    told = prepare(argv)
    if told is not None:
        print(told)
        return
    request = read_request(argv)
    report = Report(request.configuration)
    check_keys(request, report)
    if request.kind == "train":
        from .training import check_training as look
    elif request.kind == "synth":
        from .synthesis import check_synthesis as look
    else:
        from .scoring import check_scoring as look
    with prints_as_errors():
        look(request, report)
    report.print(as_json=request.as_json)
    raise SystemExit(report.status)
