"""`pipeline: hints`: a teacher's hints for rollout rows, written once into their column `hint` (arXiv 2602.00400; filters are ours).

`stage: gated_distill` shows them to the student where it finds nothing, and needs no teacher for hints then.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..config.command import split_names
from ..config.problem import Problem
from ..engines.interface import FinishReason, Request
from ..evaluation.gold_answers import gold_answers
from ..formats.fields import is_missing
from ..formats.media.fields import MEDIA_FIELDS, count_placeholders
from ..formats.rollout.rows import turns_of
from ..formats.texts.hints import parse_hint
from .rules.naming import names_answer
from .runner.arguments import SamplingArguments, at_least
from .runner.attempts import write_until
from .runner.engines import EnginePool
from .runner.prompting import render
from .runner.provenance import provenance, work_content
from .runner.reports import report
from .runner.row import ROLLOUT, Row


SUMMARY = "writes a teacher's hints for rollout rows, the column `hint` of `stage: gated_distill`"
FORMATTING = ROLLOUT
KEPT = "kept"


@dataclass(kw_only=True)
class Arguments(SamplingArguments):
    """The keys of this pipeline."""

    max_new_tokens: int = field(default=256, metadata={"help": "A hint that is cut here is dropped [ours]."})
    max_attempts: int = field(
        default=5,
        metadata={"help": "A row whose hint is dropped is written again, at most this many times in total [ours]."},
    )
    hint_prompt: str | None = field(
        default=None, metadata={"help": "Jinja file of the last user turn; null is ours in `language`."}
    )
    hint_tags: bool = field(
        default=True, metadata={"help": "A hint is between <hint> tags; false takes the whole text [ours]."}
    )
    may_name_answer: bool = field(
        default=False, metadata={"help": "Keep hints that name the gold answer; false drops them [ours]."}
    )

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys."""
        yield from super().problems()
        yield from at_least(self, 1, "max_new_tokens", "max_attempts")
        yield from self.greedy_repeats("max_attempts")


def conversation(row: Row, arguments: Arguments) -> list[dict[str, str]]:
    """Return the turns; the last one is rendered from the prompt file. The system text is the student's, and left out."""
    _, turns = turns_of(row.fields)
    asked = replace(row, fields=row.fields | {"question": turns[-1]["content"]})
    # placeholders are in the turns already
    return [*turns[:-1], {"role": "user", "content": render(arguments, "hint", asked, media="")}]


def prompts(row: Row, arguments: Arguments) -> Iterator[tuple[str, str]]:
    """Yield what `dry_run` shows of a row."""
    if is_missing(row.fields.get("hint")):
        yield "hint", conversation(row, arguments)[-1]["content"]


def parameters(arguments: Arguments) -> dict[str, Any]:
    """Return the parameters that a row's result depends on."""
    names = ("temperature", "top_p", "top_k", "max_new_tokens", "max_attempts", "hint_tags", "may_name_answer", "seed")
    return arguments.parameters(*names)


def work_item(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Return everything the result of a row depends on."""
    turns = turns_of(row.fields)[1]
    filters = {"answers": _answers(row), "choices": row.fields.get("choices")}  # they decide whether to ask again
    return work_content(
        arguments,
        row,
        prompts(row, arguments),
        [arguments.writer],
        parameters(arguments),
        before=turns[:-1],
        **filters,
    )


class Worker:
    """Does the work of rows."""

    def __init__(self, arguments: Arguments, pool: EnginePool) -> None:
        """Open the model that writes."""
        self.arguments = arguments
        self.writer = pool.open(adapters=split_names(arguments.adapter_name_or_path))

    async def work(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return for each row every text that was written, the one that is kept last; none where the row has a hint."""
        settings = self.arguments
        without = [row for row in rows if is_missing(row.fields.get("hint"))]
        attempts = iter(
            await write_until(
                self.writer,
                without,
                request=self._request,
                sampling=lambda number: settings.sampling(1, settings.max_new_tokens, attempt=number),
                accepted=lambda row, attempt: judge(row, attempt, settings)[0] is not None,
                max_attempts=settings.max_attempts,
            )
        )
        return [{"attempts": next(attempts) if is_missing(row.fields.get("hint")) else []} for row in rows]

    def _request(self, row: Row) -> Request:
        media: Mapping[str, Any] = {kind: row.media[kind] for kind in MEDIA_FIELDS}
        return Request(conversation(row, self.arguments), key=row.id, **media)


def judge(row: Row, attempt: Mapping[str, str], arguments: Arguments) -> tuple[str | None, str]:
    """Return the hint of a text and `kept`, or None and why it is dropped."""
    cut = attempt["finish_reason"] == FinishReason.LENGTH
    hint = parse_hint(attempt["text"], tags=arguments.hint_tags, cut=cut)
    if hint is None:
        return None, "cut at max_new_tokens" if cut else "no hint found"
    if any(count_placeholders(hint).values()):
        return None, "media placeholder in the hint"
    question = turns_of(row.fields)[1][-1]["content"]
    choices = row.fields.get("choices")
    if not arguments.may_name_answer and names_answer(hint, _answers(row), question=question, choices=choices):
        return None, "names the answer"
    return hint, KEPT


def _answers(row: Row) -> list[str]:
    return gold_answers(str(row.fields["answer"]), row.fields.get("answers"))


def finish(
    done: Sequence[tuple[Row, dict[str, Any]]], arguments: Arguments
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return all rows with `hint`, null where none was good; write the counts beside the output."""
    written: list[dict[str, Any]] = []
    reasons: Counter[str] = Counter()
    kept = first = there = 0
    for row, result in done:
        judged = [judge(row, attempt, arguments) for attempt in result["attempts"]]
        reasons.update(reason for hint, reason in judged if hint is None)
        if not judged:
            there += 1
            written.append(row.fields | {"id": row.id})
            continue
        kept += judged[-1][0] is not None
        first += judged[0][0] is not None
        source = provenance(arguments, row, prompts=("hint",), parameters=parameters(arguments))
        written.append(row.fields | {"id": row.id, "hint": judged[-1][0], "provenance": source})
    counts = {
        "rows": len(written),
        "kept": kept,
        "kept_at_first_attempt": first,
        "had_a_hint": there,
        "without_hint": len(written) - kept - there,
        "dropped_texts": dict(reasons.most_common()),
    }
    report(arguments, counts)
    return written, {"": {"formatting": ROLLOUT}}
