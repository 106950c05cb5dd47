"""`pipeline: video_reasoning`: reasoning about clips, judged by the option it reaches, without what states its answer (ReasVQA).

arXiv 2501.13536: generate, refine, learn. Reasoning that reached a wrong answer is refined and kept too. Prompts and rules are ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..config.command import split_names
from ..config.problem import Problem
from ..engines.interface import FinishReason
from ..evaluation.choices import correct_options, parse_choice
from ..evaluation.gold_answers import gold_answers
from ..formats.fields import entries_of
from ..formats.media.fields import count_placeholders
from ..formats.video_reasoning.answers import answer_text
from ..storage.files import write_rows
from ..storage.outputs import written as noted
from .rules.golds import says_gold
from .rules.reasoning_report import count_reasoning, plot_reasoning
from .rules.refining import RULES, Refined, refine
from .runner.arguments import SamplingArguments, at_least
from .runner.clips import frames_of, with_frames
from .runner.engines import EnginePool
from .runner.prompting import render, request_of
from .runner.provenance import provenance, work_content
from .runner.reports import report
from .runner.row import VIDEO_REASONING, Row


SUMMARY = (
    "writes reasoning about clips, judges it by the option it reaches, takes out what states the answer (ReasVQA)"
)
BESIDE = (".report.json", ".report.png", ".dropped.jsonl")
FORMATTING = VIDEO_REASONING
WRITTEN = "(the reasoning that is written)"


@dataclass(kw_only=True)
class Arguments(SamplingArguments):
    """The keys of this pipeline."""

    task: Literal["reasoning", "answer"] = field(
        default="reasoning",
        metadata={
            "help": "reasoning: as above; answer: ask what `target: answer` trains, and write `prediction`, for held-out rows [ours]."
        },
    )
    max_new_tokens: int = field(default=512, metadata={"help": "A text that is cut here is dropped [ours]."})
    num_samples: int = field(default=1, metadata={"help": "Texts a row [ours]."})
    keep: Literal["one", "all"] = field(
        default="one",
        metadata={
            "help": "one: of the texts of a row the first that reached the gold answer, else the first; all: a row each [ours]."
        },
    )
    show_answer: bool = field(default=False, metadata={"help": "Show the gold answer in the prompt [ours]."})
    refine_rules: str = field(
        default=",".join(RULES),
        metadata={"help": f"Rules that take sentences out, of {', '.join(RULES)}; empty takes none out [ours]."},
    )
    refine_by_model: bool = field(
        default=False, metadata={"help": "Ask the model to refine what it wrote, before the rules do [ours]."}
    )
    answer_form: Literal["letter", "text", "both"] = field(
        default="letter",
        metadata={
            "help": "How answers are written in the dataset that is registered; for `task: answer` how to ask [ours]."
        },
    )
    reasoning_prompt: str | None = field(
        default=None, metadata={"help": "Jinja file of the prompt; null is ours in `language`."}
    )
    video_answer_prompt: str | None = field(
        default=None, metadata={"help": "Jinja file of the prompt of `task: answer`; null is ours in `language`."}
    )
    refine_prompt: str | None = field(
        default=None, metadata={"help": "Jinja file of the prompt to refine; null is ours in `language`."}
    )

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys."""
        yield from super().problems()
        yield from at_least(self, 1, "max_new_tokens", "num_samples")
        yield from self.greedy_repeats("num_samples")
        unknown = [rule for rule in self.rules if rule not in RULES]
        if unknown:
            yield Problem("refine_rules", self.refine_rules, f"some of {', '.join(RULES)}", "Correct the list.")

        if self.task == "answer" and self.refine_by_model:
            yield Problem("refine_by_model", True, "false with `task: answer`", "Answers are not refined.")

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules to apply."""
        return () if self.task == "answer" else split_names(self.refine_rules)

    @property
    def asking(self) -> str:
        """Name of the prompt that asks."""
        return "reasoning" if self.task == "reasoning" else "video_answer"


def prompts(row: Row, arguments: Arguments) -> Iterator[tuple[str, str]]:
    """Yield what `dry_run` shows of a row."""
    yield arguments.asking, _ask(row, arguments)
    if arguments.refine_by_model:
        yield "refine", render(arguments, "refine", row, reasoning=WRITTEN)


def parameters(arguments: Arguments) -> dict[str, Any]:
    """Return the parameters that a row's result depends on; refining by rules is done anew for every output."""
    names = ("temperature", "top_p", "top_k", "max_new_tokens", "num_samples", "refine_by_model", "seed")
    return arguments.parameters(*names)


def work_item(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Return everything the result of a row depends on."""
    shown = with_frames(row, arguments)
    return work_content(arguments, shown, prompts(row, arguments), [arguments.writer], parameters(arguments))


def _ask(row: Row, arguments: Arguments) -> str:
    choices = row.fields.get("choices")
    gold = answer_text(row.fields["answer"], choices, "both") if arguments.show_answer else None
    variables = {"shown_answer": gold or "", "answer_form": arguments.answer_form, "reasoning": None}
    return render(arguments, arguments.asking, row, **variables).rstrip()  # as in training


class Worker:
    """Does the work of rows."""

    def __init__(self, arguments: Arguments, pool: EnginePool) -> None:
        """Open the model that writes."""
        self.arguments = arguments
        self.writer = pool.open(adapters=split_names(arguments.adapter_name_or_path))

    async def work(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return for each row its texts, and where the model refines them, what it made of each."""
        keys = self.arguments
        requests = [request_of(with_frames(row, keys), _ask(row, keys)) for row in rows]
        written = await self.writer.generate(requests, keys.sampling(keys.num_samples, keys.max_new_tokens))
        results = [
            {"samples": [{"text": one.text.strip(), "finish_reason": one.finish_reason} for one in completions]}
            for completions in written
        ]
        if keys.refine_by_model:
            await self._refine(rows, results)
        return results

    async def _refine(self, rows: Sequence[Row], results: Sequence[dict[str, Any]]) -> None:
        """Add `refined` to every text, greedily written from the text alone."""
        samples = [(row, sample) for row, result in zip(rows, results, strict=True) for sample in result["samples"]]
        asked = [
            request_of(
                _without_media(row), render(self.arguments, "refine", _without_media(row), reasoning=one["text"])
            )
            for row, one in samples
        ]
        sampling = self.arguments.sampling(0, self.arguments.max_new_tokens, attempt=1, greedy_first=True)
        for (_, sample), completions in zip(samples, await self.writer.generate(asked, sampling), strict=True):
            sample["refined"] = completions[0].text.strip()


def _without_media(row: Row) -> Row:
    return Row(row.id, row.file, row.number, row.fields, {kind: [] for kind in row.media})


@dataclass(frozen=True)
class Reasoning:
    """One text, judged and refined.

    Attributes:
        sample: as written.
        reached: index of the option that it names; None for an open question, or where it names none.
        is_correct: it reached the gold answer.
        refined: what is left of it.
        reason: why it is dropped; None where it is kept.
    """

    sample: dict[str, Any]
    reached: int | None
    is_correct: bool
    refined: Refined
    reason: str | None


def judge(row: Row, sample: dict[str, Any], rules: Sequence[str] = RULES) -> Reasoning:
    """Say which option a text reached, and take out the sentences that state it."""
    text, choices = sample["text"], entries_of(row.fields, "choices")
    if choices:
        gold = correct_options(choices, row.fields["answer"])
        reached = parse_choice(text, choices)
        is_correct = reached in gold
    else:
        golds = gold_answers(str(row.fields["answer"]), row.fields.get("answers"))
        gold, reached, is_correct = set(), None, says_gold(text.strip().rpartition("\n")[2], golds)
    stated = gold | ({reached} if reached is not None else set())
    refined = refine(sample.get("refined", text), choices, stated, rules=rules)
    reasons = {
        "cut at max_new_tokens": sample["finish_reason"] == FinishReason.LENGTH,
        "media placeholder in the text": any(count_placeholders(text).values()),
        "empty text": not text,
    }
    reason = next((name for name, failed in reasons.items() if failed), None)
    return Reasoning(sample, reached, is_correct, refined, reason)


def finish(
    done: Sequence[tuple[Row, dict[str, Any]]], arguments: Arguments
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return rows with `reasoning`; write what was dropped, the counts and the plot beside the output."""
    kept: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    judged: list[tuple[str | None, Reasoning]] = []
    for row, result in done:
        found = [judge(row, sample, arguments.rules) for sample in result["samples"]]
        judged += [(row.fields.get("type"), one) for one in found]
        usable = [one for one in found if one.reason is None]
        if not usable:
            texts = [{"text": one.sample["text"], "reason": one.reason} for one in found]
            dropped.append({"id": row.id, "question": row.fields["question"], "samples": texts})
        kept += _output_rows(row, usable, arguments)
    counts = {"rows": len(done), "written": len(kept), "rows_dropped": len(dropped), **count_reasoning(judged)}
    write_rows(arguments.beside_output(".dropped.jsonl"), dropped, by=arguments.written_by)
    report(arguments, counts)
    with noted(arguments.beside_output(".report.png"), by=arguments.written_by) as picture:
        plot_reasoning(counts, judged, picture)
    is_answer = arguments.task == "answer"
    targets = {"": "answer"} if is_answer else {"": "multitask", "_answer": "answer", "_reasoning": "reasoning"}
    entry = {"formatting": VIDEO_REASONING, "language": arguments.language, "answer_form": arguments.answer_form}
    return kept, {ending: entry | {"target": target} for ending, target in targets.items()}


def _output_rows(row: Row, usable: Sequence[Reasoning], arguments: Arguments) -> Iterator[dict[str, Any]]:
    if arguments.keep == "one":
        usable = [next((one for one in usable if one.is_correct), usable[0])] if usable else []
    shown = with_frames(row, arguments) if usable else row
    frames = frames_of(shown)
    source = provenance(arguments, row, prompts=(arguments.asking,), parameters=parameters(arguments))
    for number, one in enumerate(usable):
        named = {"id": row.id if arguments.keep == "one" else f"{row.id}#{number}", "frames": frames}
        if arguments.task == "answer":
            yield row.fields | named | {"prediction": one.sample["text"], "reached": one.reached, "provenance": source}
            continue
        yield (
            row.fields
            | named
            | {
                "reasoning": one.refined.text,
                "reasoning_unrefined": one.sample["text"],
                "reasoning_correct": one.is_correct,
                "reached": one.reached,
                "deleted": [asdict(deletion) for deletion in one.refined.deletions],
                "provenance": source,
            }
        )
