"""`pipeline: hindsight`: from the gold answer, write the reasoning and the facts that lead to it (Hindsight-Zero).

HinD (arXiv 2511.11132); the stage's role is the paper's, prompt and filters are ours (docs/synth.md).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..config.command import split_names
from ..config.problem import Problem
from ..engines.interface import FinishReason
from ..evaluation.gold_answers import gold_answers
from ..formats.media.fields import count_placeholders
from ..formats.texts.leaks import find_leak
from ..storage.files import write_rows
from .rules.golds import says_gold
from .rules.parsing import parse_hindsight
from .runner.arguments import SamplingArguments, at_least
from .runner.attempts import write_until
from .runner.engines import EnginePool
from .runner.prompting import render, request_of
from .runner.provenance import provenance, work_content
from .runner.reports import report
from .runner.row import Row


SUMMARY = (
    "writes reasoning steps and knowledge from the gold answer, drops texts that reveal it was given (Hindsight-Zero)"
)
BESIDE = (".report.json", ".dropped.jsonl")
ENDINGS = ("", "_cot", "_knowledge")
KEPT = "kept"


@dataclass(kw_only=True)
class Arguments(SamplingArguments):
    """The keys of this pipeline."""

    max_new_tokens: int = field(default=512, metadata={"help": "A text that is cut here is dropped [ours]."})
    max_attempts: int = field(
        default=2,
        metadata={"help": "A row whose text is dropped is written again, at most this many times in total [ours]."},
    )
    hindsight_prompt: str | None = field(
        default=None, metadata={"help": "Jinja file of the prompt; null is ours in `language`."}
    )

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys."""
        yield from super().problems()
        yield from at_least(self, 1, "max_new_tokens", "max_attempts")
        yield from self.greedy_repeats("max_attempts")


def prompts(row: Row, arguments: Arguments) -> Iterator[tuple[str, str]]:
    """Yield what `dry_run` shows of a row."""
    yield "hindsight", render(arguments, "hindsight", row)


def parameters(arguments: Arguments) -> dict[str, Any]:
    """Return the parameters that a row's result depends on."""
    return arguments.parameters("temperature", "top_p", "top_k", "max_new_tokens", "max_attempts", "seed")


def work_item(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Return everything the result of a row depends on."""
    answers = gold_answers(row.fields["answer"], row.fields.get("answers"))  # they decide whether to write again
    return work_content(
        arguments, row, prompts(row, arguments), [arguments.writer], parameters(arguments), answers=answers
    )


class Worker:
    """Does the work of rows."""

    def __init__(self, arguments: Arguments, pool: EnginePool) -> None:
        """Open the model that writes."""
        self.arguments = arguments
        self.writer = pool.open(adapters=split_names(arguments.adapter_name_or_path))

    async def work(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return for each row every text that was written, the one that is kept last."""
        settings = self.arguments
        attempts = await write_until(
            self.writer,
            rows,
            request=lambda row: request_of(row, render(settings, "hindsight", row)),
            sampling=lambda number: settings.sampling(1, settings.max_new_tokens, attempt=number),
            accepted=lambda row, attempt: judge(row, attempt).kept,
            max_attempts=settings.max_attempts,
        )
        return [{"attempts": texts} for texts in attempts]


@dataclass(frozen=True)
class Judgement:
    """What becomes of a text: its parts, or the reason why it is dropped.

    Attributes:
        reason: `kept`, or why not.
        dropped_facts: facts left out of a text that is kept, with the words that leak.
    """

    cot: list[str]
    knowledge: list[str]
    reason: str
    dropped_facts: list[tuple[str, str]]

    @property
    def kept(self) -> bool:
        """Whether the text becomes a row."""
        return self.reason == KEPT


def judge(row: Row, attempt: Mapping[str, str]) -> Judgement:
    """Keep a whole text that reaches a gold answer without saying that it was shown; a leaking fact alone is left out."""
    found = parse_hindsight(attempt["text"])
    conclusion = found.conclusion or (found.cot[-1] if found.cot else "")
    leaks = {fact: find_leak(fact) for fact in found.knowledge}
    facts = [fact for fact, leak in leaks.items() if leak is None]
    golds = gold_answers(row.fields["answer"], row.fields.get("answers"))
    checks = {
        "cut at max_new_tokens": attempt["finish_reason"] == FinishReason.LENGTH,
        "no reasoning found": not found.cot,
        "no knowledge found": not found.knowledge,
        "media placeholder in the text": any(count_placeholders(attempt["text"]).values()),
        "does not end at the answer": not says_gold(conclusion, golds),
        "reasoning says that the answer was given": any(find_leak(step) for step in found.cot),
        "knowledge says that the answer was given": not facts,
    }
    reason = next((name for name, failed in checks.items() if failed), KEPT)
    return Judgement(found.cot, facts, reason, [(fact, leak) for fact, leak in leaks.items() if leak])


def finish(
    done: Sequence[tuple[Row, dict[str, Any]]], arguments: Arguments
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return rows with `cot` and `knowledge`; write what was dropped and the counts beside the output."""
    kept, dropped = [], []
    reasons: Counter[str] = Counter()
    first_reasons: Counter[str] = Counter()
    facts_dropped = 0
    for row, result in done:
        judgements = [judge(row, attempt) for attempt in result["attempts"]]
        final = judgements[-1]
        reasons[final.reason] += 1
        first_reasons[judgements[0].reason] += 1
        if final.kept:
            facts_dropped += len(final.dropped_facts)
            source = provenance(arguments, row, prompts=("hindsight",), parameters=parameters(arguments))
            kept.append(
                row.fields | {"id": row.id, "cot": final.cot, "knowledge": final.knowledge, "provenance": source}
            )
        else:
            texts = [attempt["text"] for attempt in result["attempts"]]
            dropped.append({"id": row.id, "question": row.fields["question"], "answer": row.fields["answer"]})
            dropped[-1] |= {"reason": final.reason, "attempts": texts}
    counts = {
        "rows": len(done),
        "kept": reasons.pop(KEPT, 0),
        "dropped": dict(reasons.most_common()),
        "kept_at_first_attempt": first_reasons.pop(KEPT, 0),
        "first_attempts_dropped": dict(first_reasons.most_common()),
        "leaking_facts_left_out_of_kept_rows": facts_dropped,
    }
    write_rows(arguments.beside_output(".dropped.jsonl"), dropped, by=arguments.written_by)
    report(arguments, counts)
    targets = {"": "multitask", "_cot": "cot", "_knowledge": "knowledge"}
    return kept, {ending: {"formatting": "hindsight", "target": target} for ending, target in targets.items()}
