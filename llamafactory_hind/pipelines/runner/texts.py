"""Rows whose texts the local model's tokenizer would take for signs of its own: failures before anything is written."""

from collections.abc import Sequence
from dataclasses import replace

from ...formats.texts.control_tokens import ControlTokens
from .arguments import SynthArguments
from .pipeline import Pipeline
from .rows import Failure, Row


def refuse_control_tokens(
    pipeline: Pipeline, arguments: SynthArguments, rows: Sequence[Row]
) -> tuple[list[Row], list[Failure]]:
    """Return the rows whose prompts hold no control token, and the others as failures.

    A server has its own tokenizer, which is not known here: its rows are returned as they are.
    """
    if arguments.engine != "hf" or not rows:
        return list(rows), []
    from ...engines.local.weights import control_tokens_of  # imports torch, which the engine needs next

    controls = control_tokens_of(arguments.writer[0], arguments.host_settings)
    good: list[Row] = []
    failures: list[Failure] = []
    for row in rows:
        reason = _reason(pipeline, arguments, row, controls)
        if reason:
            failures.append(Failure(row.id, row.file, row.number, reason, row.fields))
        else:
            good.append(row)
    return good, failures


def _reason(pipeline: Pipeline, arguments: SynthArguments, row: Row, controls: ControlTokens) -> str:
    shown = [text for _, text in pipeline.prompts(row, arguments)]
    system = row.fields.get("system")
    shown += [system] if isinstance(system, str) else []
    if not any(controls.find(text) for text in shown):
        return ""
    found = controls.problems(row.fields, shown)
    return "; ".join(str(replace(problem, remedy="write it in another way")) for problem in found)
