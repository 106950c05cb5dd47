"""`pipeline: answer`: reasoning, M pieces of knowledge, an answer with each of them, and a vote (HinD, arXiv 2511.11132, inference).

Each part can be left out: without reasoning, without knowledge (the model's bare answer), with one greedy piece.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..config.command import split_names
from ..config.problem import Problem
from ..engines.interface import Completion, Sampling
from ..evaluation.gold_answers import soft_score
from ..storage.files import write_text
from .rules.voting import vote
from .runner.arguments import SynthArguments, at_least
from .runner.engines import EnginePool
from .runner.prompting import render, request_of
from .runner.provenance import provenance, work_content
from .runner.rows import Row


SUMMARY = "answers questions: reasoning, sampled knowledge, an answer with each piece, a vote (HinD inference)"
NEEDS_ANSWER = False  # questions of a test set have none
PARTS = ("cot", "knowledge", "answer")


@dataclass(kw_only=True)
class Arguments(SynthArguments):
    """The keys of this pipeline."""

    use_cot: bool = field(default=True, metadata={"help": "Write reasoning first and show it to the answerer."})
    num_knowledge: int = field(
        default=5,
        metadata={"help": "M, pieces of knowledge sampled a question [ours]; 1 is the greedy one, 0 is none."},
    )
    temperature: float = field(default=1.0, metadata={"help": "Of sampling knowledge; the rest is greedy [ours]."})
    top_p: float = field(default=1.0, metadata={"help": "Nucleus of sampling knowledge; 1.0 is off."})
    top_k: int = field(default=0, metadata={"help": "Likeliest tokens sampled from; 0 is off."})
    cot_model: str | None = field(default=None, metadata={"help": "Model that reasons; null is the main one."})
    knowledge_model: str | None = field(default=None, metadata={"help": "Model that knows; null is the main one."})
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
        metadata={"help": "Prompts the answerer computes at a time; null is 4 x `batch_size` [ours].", "engine": "hf"},
    )
    cot_prompt: str | None = field(default=None, metadata={"help": "Jinja file; null is ours in `language`."})
    knowledge_prompt: str | None = field(default=None, metadata={"help": "Jinja file; null is ours in `language`."})
    answer_prompt: str | None = field(default=None, metadata={"help": "Jinja file; null is ours in `language`."})

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys."""
        yield from super().problems()
        yield from at_least(self, 0, "num_knowledge", "temperature", "top_k")
        yield from at_least(self, 1, *(f"{part}_max_new_tokens" for part in PARTS), "answer_batch_size")
        if self.temperature == 0 and self.num_knowledge > 1:
            yield Problem(
                "temperature", 0, "more than 0 with several pieces of knowledge", "All would be the greedy one."
            )
        if not 0 < self.top_p <= 1:
            yield Problem("top_p", self.top_p, "more than 0, at most 1", "1.0 turns it off.")
        if self.adapter_name_or_path:
            expected = "`cot_adapter`, `knowledge_adapter`, `answer_adapter`"
            yield Problem("adapter_name_or_path", self.adapter_name_or_path, expected, "Name each part's own.")
        for part, used in (("cot", self.use_cot), ("knowledge", self.num_knowledge > 0)):
            for key in (f"{part}_adapter", f"{part}_model", f"{part}_prompt"):
                if getattr(self, key) and not used:
                    remedy = "Take it out." if part == "cot" else "Take it out, or set `num_knowledge` to 1 or more."
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
    """Return the parameters that a unit's result depends on."""
    names = ["use_cot", "num_knowledge", "seed", "answer_max_new_tokens"]
    names += ["cot_max_new_tokens"] if arguments.use_cot else []
    names += ["knowledge_max_new_tokens"] if arguments.num_knowledge else []
    names += ["temperature", "top_p", "top_k"] if arguments.num_knowledge > 1 else []
    return {name: getattr(arguments, name) for name in names} | arguments.host_settings


def work_item(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Return everything the result of a row depends on."""
    models = list(arguments.parts.values())
    return work_content(arguments, row, prompts(row, arguments), models, parameters(arguments))


class Worker:
    """Does the units of rows."""

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
            cots = [found[0].text.strip() for found in await self._write("cot", rows)]
        pieces: list[list[Completion]] = [[] for _ in rows]
        if "knowledge" in self.engines:
            pieces = await self._write("knowledge", rows)
        texts = [[piece.text.strip() or None for piece in own] or [None] for own in pieces]
        asked = [(place, text) for place, own in enumerate(texts) for text in dict.fromkeys(own)]
        requests = [
            request_of(rows[place], _answer_prompt(self.arguments, rows[place], cot=cots[place], knowledge=text))
            for place, text in asked
        ]
        written = await self.engines["answer"].generate(requests, self._sampling("answer"))
        answers = {key: found[0].text.strip() for key, found in zip(asked, written, strict=True)}
        return [
            {
                "cot": cots[place],
                "knowledge": [{"text": piece.text.strip(), "confidence": piece.confidence} for piece in pieces[place]],
                "answers": [answers[place, text] for text in texts[place]],
            }
            for place in range(len(rows))
        ]

    async def _write(self, part: str, rows: Sequence[Row]) -> list[list[Completion]]:
        requests = [request_of(row, render(self.arguments, part, row, cot=None, knowledge=None)) for row in rows]
        return await self.engines[part].generate(requests, self._sampling(part))

    def _sampling(self, part: str) -> Sampling:
        settings = self.arguments
        sampled = part == "knowledge" and settings.num_knowledge > 1
        return Sampling(
            n=settings.num_knowledge if sampled else 0,
            temperature=settings.temperature if sampled else 0.0,
            top_p=settings.top_p,
            top_k=settings.top_k,
            max_new_tokens=getattr(settings, f"{part}_max_new_tokens"),
            seed=settings.seed,
            greedy_first=not sampled,
        )


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
    report = _report(written)
    write_text(arguments.beside_output(".report.json"), json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    for name, value in report.items():
        print(f"{name}: {value:.1%}" if isinstance(value, float) else f"{name}: {value}")
    return written, {"": {"formatting": "hindsight", "target": "answer"}}


def _report(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return counts and, over rows with a gold answer, the VQA accuracy of the vote and of a single piece's answer."""
    report: dict[str, Any] = {"rows": len(rows), "with_gold_answer": 0}
    scored = [(row, row.get("answer"), row.get("answers")) for row in rows if row.get("answer") or row.get("answers")]
    report["with_gold_answer"] = len(scored)
    if not scored:
        return report
    votes = [soft_score(row["prediction"], answer, references) for row, answer, references in scored]
    singles = [
        sum(soft_score(text, answer, references) for text in row["predictions"]) / len(row["predictions"])
        for row, answer, references in scored
    ]
    report["vqa_accuracy_of_the_vote"] = sum(votes) / len(votes)
    report["vqa_accuracy_of_one_answer"] = sum(singles) / len(singles)
    report["agreement"] = sum(row["vote_share"] for row, _, _ in scored) / len(scored)
    return report
