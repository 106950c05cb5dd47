"""`pipeline: answer`: reasoning, M pieces of knowledge, an answer with each of them, and a vote (HinD, arXiv 2511.11132, inference).

Each part can be left out: without reasoning, without knowledge (the model's bare answer), with one greedy piece.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..config.command import split_names
from ..config.problem import Problem
from ..engines.interface import Completion, Sampling
from ..evaluation.gold_answers import soft_score
from .rules.voting import vote
from .runner.arguments import SamplingArguments, at_least
from .runner.engines import EnginePool
from .runner.prompting import render, request_of
from .runner.provenance import provenance, work_content
from .runner.reports import report
from .runner.row import Row


SUMMARY = "answers questions: reasoning, sampled knowledge, an answer with each piece, a vote (HinD inference)"
NEEDS_ANSWER = False  # questions of a test set have none
PARTS = ("cot", "knowledge", "answer")


@dataclass(kw_only=True)
class Arguments(SamplingArguments):
    """The keys of this pipeline."""

    use_cot: bool = field(default=True, metadata={"help": "Write reasoning first and show it to the answerer."})
    num_knowledge: int = field(
        default=5,
        metadata={
            "help": "M, pieces of knowledge sampled for each question [ours]; 1 is one greedy piece, 0 is none."
        },
    )
    temperature: float = field(
        default=1.0, metadata={"help": "Temperature of sampling knowledge; reasoning and answers are greedy [ours]."}
    )
    cot_model: str | None = field(
        default=None, metadata={"help": "Model that writes reasoning; null is the main one."}
    )
    knowledge_model: str | None = field(
        default=None, metadata={"help": "Model that writes knowledge; null is the main one."}
    )
    answer_model: str | None = field(default=None, metadata={"help": "Model that answers; null is the main one."})
    cot_adapter: str | None = field(
        default=None, metadata={"help": "LoRA adapters of the CoT generator.", "engine": "hf"}
    )
    knowledge_adapter: str | None = field(
        default=None, metadata={"help": "LoRA adapters of the knowledge generator.", "engine": "hf"}
    )
    answer_adapter: str | None = field(
        default=None, metadata={"help": "LoRA adapters of the answerer; null is the frozen base.", "engine": "hf"}
    )
    cot_max_new_tokens: int = field(default=256, metadata={"help": "Length of the reasoning [ours]."})
    knowledge_max_new_tokens: int = field(default=64, metadata={"help": "Length of a piece of knowledge [ours]."})
    answer_max_new_tokens: int = field(default=16, metadata={"help": "Length of an answer [ours]."})
    answer_batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Prompts that the answerer computes together; null is 4 x `batch_size` [ours].",
            "engine": "hf",
        },
    )
    cot_prompt: str | None = field(default=None, metadata={"help": "Jinja file; null is ours in `language`."})
    knowledge_prompt: str | None = field(default=None, metadata={"help": "Jinja file; null is ours in `language`."})
    answer_prompt: str | None = field(default=None, metadata={"help": "Jinja file; null is ours in `language`."})

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys."""
        yield from super().problems()
        yield from at_least(self, 0, "num_knowledge")
        yield from at_least(self, 1, *(f"{part}_max_new_tokens" for part in PARTS), "answer_batch_size")
        yield from self.greedy_repeats("num_knowledge")
        if self.adapter_name_or_path:
            expected = "`cot_adapter`, `knowledge_adapter`, `answer_adapter`"
            yield Problem(
                "adapter_name_or_path", self.adapter_name_or_path, expected, "Give each part its own adapter key."
            )
        for part, used in (("cot", self.use_cot), ("knowledge", self.num_knowledge > 0)):
            for key in (f"{part}_adapter", f"{part}_model", f"{part}_prompt"):
                if getattr(self, key) and not used:
                    remedy = "Remove it." if part == "cot" else "Remove it, or set `num_knowledge` to 1 or more."
                    yield Problem(key, getattr(self, key), f"null where no {part} is written", remedy)

    @property
    def parts(self) -> dict[str, tuple[str | None, tuple[str, ...]]]:
        """Model and adapters of each part in use."""
        used = {"cot": self.use_cot, "knowledge": self.num_knowledge > 0, "answer": True}
        return {
            part: (getattr(self, f"{part}_model"), split_names(getattr(self, f"{part}_adapter")))
            for part in PARTS
            if used[part]
        }


def prompts(row: Row, arguments: Arguments) -> Iterator[tuple[str, str]]:
    """Yield what `dry_run` shows of a row."""
    shown = {}
    if arguments.use_cot:
        yield "reasoning", render(arguments, "cot", row, cot=None, knowledge=None)
        shown["cot"] = "<the reasoning>"
    if arguments.num_knowledge:
        yield "knowledge", render(arguments, "knowledge", row, cot=None, knowledge=None)
        shown["knowledge"] = "<a piece of knowledge>"
    yield "answer", _answer_prompt(arguments, row, **shown)


def _answer_prompt(arguments: Arguments, row: Row, *, cot: str | None = None, knowledge: str | None = None) -> str:
    # given even where they are null: a row's own `cot` and `knowledge` must never reach the answerer
    return render(arguments, "answer", row, cot=cot, knowledge=knowledge)


def parameters(arguments: Arguments) -> dict[str, Any]:
    """Return the parameters that a row's result depends on."""
    names = ["use_cot", "num_knowledge", "seed", "answer_max_new_tokens"]
    names += ["cot_max_new_tokens"] if arguments.use_cot else []
    names += ["knowledge_max_new_tokens"] if arguments.num_knowledge else []
    names += ["temperature", "top_p", "top_k"] if arguments.num_knowledge > 1 else []
    return arguments.parameters(*names)


def work_item(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Return everything the result of a row depends on."""
    models = list(arguments.parts.values())
    return work_content(arguments, row, prompts(row, arguments), models, parameters(arguments))


class Worker:
    """Does the work of rows."""

    def __init__(self, arguments: Arguments, pool: EnginePool) -> None:
        """Open the parts; they share weights where they share the model."""
        self.arguments = arguments
        large = arguments.answer_batch_size or 4 * arguments.batch_size
        self.engines = {
            part: pool.open(model=model, adapters=adapters, batch_size=large if part == "answer" else None)
            for part, (model, adapters) in arguments.parts.items()
        }

    async def work(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return for each row its reasoning, its pieces of knowledge and the answer with each of them."""
        cots: list[str | None] = [None] * len(rows)
        if "cot" in self.engines:
            cots = [written[0].text.strip() for written in await self._write("cot", rows)]
        pieces: list[list[Completion]] = [[] for _ in rows]
        if "knowledge" in self.engines:
            pieces = await self._write("knowledge", rows)
        texts = [[piece.text.strip() or None for piece in own] or [None] for own in pieces]
        asked = [(index, text) for index, own in enumerate(texts) for text in dict.fromkeys(own)]
        requests = [
            request_of(rows[index], _answer_prompt(self.arguments, rows[index], cot=cots[index], knowledge=text))
            for index, text in asked
        ]
        written = await self.engines["answer"].generate(requests, self._sampling("answer"))
        answers = {key: completions[0].text.strip() for key, completions in zip(asked, written, strict=True)}
        return [
            {
                "cot": cots[index],
                "knowledge": [{"text": piece.text.strip(), "confidence": piece.confidence} for piece in pieces[index]],
                "answers": [answers[index, text] for text in texts[index]],
            }
            for index in range(len(rows))
        ]

    async def _write(self, part: str, rows: Sequence[Row]) -> list[list[Completion]]:
        requests = [request_of(row, render(self.arguments, part, row, cot=None, knowledge=None)) for row in rows]
        return await self.engines[part].generate(requests, self._sampling(part))

    def _sampling(self, part: str) -> Sampling:
        settings, length = self.arguments, getattr(self.arguments, f"{part}_max_new_tokens")
        if part == "knowledge" and settings.num_knowledge > 1:
            return settings.sampling(settings.num_knowledge, length)
        return replace(settings.sampling(0, length, greedy_first=True), temperature=0.0)


def finish(
    done: Sequence[tuple[Row, dict[str, Any]]], arguments: Arguments
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Vote, and say how right the answers are where rows hold gold answers (`llamafactory-cli score` has the official metrics)."""
    written = []
    for row, result in done:
        outcome = vote(result["answers"])
        content = {
            "id": row.id,
            "prediction": outcome.answer,
            "vote_share": outcome.share,
            "predictions": result["answers"],
            "written_cot": result["cot"],
            "written_knowledge": result["knowledge"],
            "provenance": provenance(
                arguments, row, prompts=tuple(arguments.parts), parameters=parameters(arguments), parts=arguments.parts
            ),
        }
        written.append(row.fields | content)
    report(arguments, _counts(written))
    return written, {"": {"formatting": "hindsight", "target": "answer"}}


def _counts(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return counts and, over rows with a gold answer, the VQA accuracy of the vote and of a single piece's answer."""
    # reading has put the commonest of `answers` where there is no `answer`
    scored = [(row, row["answer"], row.get("answers")) for row in rows if row.get("answer")]
    counts: dict[str, Any] = {"rows": len(rows), "with_gold_answer": len(scored)}
    if not scored:
        return counts
    votes = [soft_score(row["prediction"], answer, references) for row, answer, references in scored]
    singles = [
        sum(soft_score(text, answer, references) for text in row["predictions"]) / len(row["predictions"])
        for row, answer, references in scored
    ]
    counts["vqa_accuracy_of_the_vote"] = sum(votes) / len(votes)
    counts["vqa_accuracy_of_one_answer"] = sum(singles) / len(singles)
    counts["agreement"] = sum(row["vote_share"] for row, _, _ in scored) / len(scored)
    return counts
