"""`pipeline: knowledge`: sample facts, ask whether they help and how sure the model is of them, write KEPO pairs.

HinD (arXiv 2511.11132), Knowledge Encouragement Preference Optimization; formulas and rules are ours (docs/synth.md).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..config.command import split_names
from ..config.problem import Problem
from ..engines.interface import Completion, Engine, FinishReason, Sampling
from ..engines.open import AT_MOST
from ..evaluation.gold_answers import gold_answers, mentions, soft_score
from ..formats.media.fields import MEDIA_FIELDS, count_placeholders
from ..storage.files import write_rows, write_text
from .rules.pairing import PAIR_RULES, Fact, distinct, gain, is_helpful
from .rules.quadrants import count_quadrants, plot_report, print_report
from .runner.arguments import SynthArguments, at_least
from .runner.engines import EnginePool
from .runner.failures import RunStopped
from .runner.prompting import render, request_of
from .runner.provenance import provenance, work_content
from .runner.rows import Row


SUMMARY = "samples facts for questions, scores confidence and helpfulness, writes preference pairs for `stage: kepo`"


@dataclass(kw_only=True)
class Arguments(SynthArguments):
    """The keys of this pipeline."""

    num_samples: int = field(default=8, metadata={"help": "N, facts sampled a question [ours]."})
    temperature: float = field(default=1.0, metadata={"help": "Of sampling; confidence is always taken at 1 [ours]."})
    top_p: float = field(default=1.0, metadata={"help": "Nucleus of sampling; 1.0 is off."})
    top_k: int = field(default=0, metadata={"help": "Likeliest tokens sampled from; 0 is off."})
    max_new_tokens: int = field(
        default=64, metadata={"help": "A fact is cut after so many tokens, and then left out of pairs."}
    )
    answerer_model: str | None = field(
        default=None, metadata={"help": "Model that tells whether a fact helps; null is the one that writes, bare."}
    )
    answerer_adapter: str | None = field(
        default=None,
        metadata={"help": "LoRA adapters of the answerer, separated by commas; null is none.", "engine": "hf"},
    )
    answer_max_new_tokens: int = field(
        default=16, metadata={"help": "Length of an answer (`helpful_by: outcome`) [ours]."}
    )
    answer_batch_size: int | None = field(
        default=None,
        metadata={"help": "Prompts the answerer computes at a time; null is 4 x `batch_size` [ours].", "engine": "hf"},
    )
    helpful_by: Literal["gain", "outcome", "lexical"] = field(
        default="gain",
        metadata={
            "help": "gain: log p(answer) rises with the fact; outcome: the greedy answer scores higher with it (VQA accuracy); "
            "lexical: it names the answer [ours]."
        },
    )
    helpful_threshold: float | None = field(
        default=None,
        metadata={"help": "What the rise must exceed: nats for gain, 0..1 for outcome; null is 0 [ours]."},
    )
    pair_rule: Literal["misaligned", "best_worst", "all"] = field(
        default="misaligned",
        metadata={
            "help": "misaligned: least confident helpful over most confident unhelpful, if less confident; best_worst: highest over "
            "lowest rise (plain DPO); all: every helpful over every unhelpful [ours]."
        },
    )
    confidence_threshold: float | None = field(
        default=None,
        metadata={
            "help": "Confident is above so many nats a token; null is the median of this run. Fix it to compare runs."
        },
    )
    knowledge_prompt: str | None = field(
        default=None, metadata={"help": "Prompt file that asks for a fact; null is ours in `language`."}
    )
    answer_prompt: str | None = field(
        default=None, metadata={"help": "Prompt file that asks for the answer; null is ours in `language`."}
    )

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys."""
        yield from super().problems()
        yield from at_least(self, 1, "num_samples", "max_new_tokens", "answer_max_new_tokens", "answer_batch_size")
        yield from at_least(self, 0, "temperature", "top_k")
        if self.temperature == 0 and self.num_samples > 1:
            yield Problem(
                "temperature", 0, "more than 0 with several samples", "All samples would be the greedy text."
            )
        if not 0 < self.top_p <= 1:
            yield Problem("top_p", self.top_p, "more than 0, at most 1", "1.0 turns it off.")
        if self.helpful_by == "gain" and not AT_MOST[self.engine].scores:
            remedy = "A server does not score given texts: choose outcome or lexical, or `engine: hf`."
            yield Problem("helpful_by", self.helpful_by, f"outcome or lexical with `engine: {self.engine}`", remedy)

    @property
    def answerer(self) -> tuple[str, tuple[str, ...]]:
        """Model and adapters that judge facts."""
        return self.answerer_model or self.writer[0], split_names(self.answerer_adapter)


def answer_turn(row: Row, arguments: Arguments, facts: Sequence[str] = ()) -> str:
    """Return the prompt that asks for the answer, with facts to read; what the row itself tells is not shown."""
    return render(arguments, "answer", row, cot=None, knowledge=list(facts) or None)


def prompts(row: Row, arguments: Arguments) -> Iterator[tuple[str, str]]:
    """Yield what `dry_run` shows of a row."""
    yield "knowledge", render(arguments, "knowledge", row)
    if arguments.helpful_by != "lexical":
        yield "answer without a fact", answer_turn(row, arguments)
        yield "answer with a fact", answer_turn(row, arguments, ["<the fact>"])


def parameters(arguments: Arguments) -> dict[str, Any]:
    """Return the parameters that a unit's result depends on. Pair rule and thresholds are not among them: no new call is needed."""
    names = ["num_samples", "temperature", "top_p", "top_k", "max_new_tokens", "seed", "helpful_by"]
    names += ["answer_max_new_tokens"] if arguments.helpful_by == "outcome" else []
    return {name: getattr(arguments, name) for name in names} | arguments.host_settings


def work_item(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Return everything the result of a row depends on."""
    models = [arguments.writer]
    models += [arguments.answerer] if arguments.helpful_by != "lexical" else []
    answer = row.fields["answer"] if arguments.helpful_by == "gain" else None
    return work_content(arguments, row, prompts(row, arguments), models, parameters(arguments), answer=answer)


class Worker:
    """Does the units of rows; opening it loads the models."""

    def __init__(self, arguments: Arguments, pool: EnginePool) -> None:
        """Open generator and answerer; they share weights where they share the model."""
        self.arguments = arguments
        model, adapters = arguments.writer
        self.generator = pool.open(model=model, adapters=adapters)
        self.answerer: Engine | None = None
        if arguments.helpful_by != "lexical":
            model, adapters = arguments.answerer
            size = arguments.answer_batch_size or 4 * arguments.batch_size
            self.answerer = pool.open(
                model=model, adapters=adapters, batch_size=size, scores=arguments.helpful_by == "gain"
            )

    async def work(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return for each row its greedy and sampled facts, and what the answerer makes of each distinct one."""
        settings = self.arguments
        sampling = Sampling(
            n=settings.num_samples,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            max_new_tokens=settings.max_new_tokens,
            seed=settings.seed,
            greedy_first=True,
        )
        requests = [request_of(row, render(settings, "knowledge", row)) for row in rows]
        written = await self.generator.generate(requests, sampling)
        facts = [[_fact_record(completion) for completion in completions] for completions in written]
        judged = await self._judge(rows, facts)
        return [
            {"greedy": records[0], "samples": records[1:], **judgement}
            for records, judgement in zip(facts, judged, strict=True)
        ]

    async def _judge(self, rows: Sequence[Row], facts: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return `without` and `with` (by text) of each row: log p(answer), or the greedy answer."""
        if self.answerer is None:
            return [{"without": None, "with": {}} for _ in rows]
        texts = [list(dict.fromkeys(record["text"] for record in records if usable(record))) for records in facts]
        asked = [(row, fact) for row, own in zip(rows, texts, strict=True) for fact in [None, *own]]
        requests = [request_of(row, answer_turn(row, self.arguments, [fact] if fact else ())) for row, fact in asked]
        found: list[Any]
        if self.arguments.helpful_by == "gain":
            scores = await self.answerer.score(requests, [row.fields["answer"] for row, _ in asked])
            found = [score.logprob for score in scores]
        else:
            sampling = Sampling(
                n=0,
                temperature=0.0,
                top_p=1.0,
                top_k=0,
                max_new_tokens=self.arguments.answer_max_new_tokens,
                seed=0,
                greedy_first=True,
            )
            found = [completions[0].text.strip() for completions in await self.answerer.generate(requests, sampling)]
        results = iter(found)
        return [{"without": next(results), "with": {text: next(results) for text in own}} for own in texts]


def _fact_record(completion: Completion) -> dict[str, Any]:
    if completion.confidence is None and completion.finish_reason == FinishReason.STOP:
        raise RunStopped(
            "`pipeline: knowledge` needs log-probabilities of what is written, and the server gives none: confidence cannot be "
            "had. Take a server that answers `logprobs: true`, or `engine: hf`."
        )
    return {
        "text": completion.text.strip(),
        "confidence": completion.confidence,
        "tokens": len(completion.token_ids) or completion.tokens,
        "finish_reason": completion.finish_reason,
    }


def usable(record: Mapping[str, Any]) -> bool:
    """Say whether a text can stand in a pair: whole, not empty, without media placeholders."""
    return (
        bool(record["text"])
        and record["finish_reason"] == FinishReason.STOP
        and not any(count_placeholders(record["text"]).values())
    )


def to_fact(record: Mapping[str, Any], row: Row, result: Mapping[str, Any], arguments: Arguments) -> Fact:
    """Return a record with its value and whether it helps; an unusable text helps nobody."""
    answer, references = row.fields["answer"], row.fields.get("answers")
    if not usable(record):
        return Fact(record["text"], record["confidence"], 0.0, False)
    if arguments.helpful_by == "lexical":
        value = float(mentions(record["text"], gold_answers(answer, references)))
        return Fact(record["text"], record["confidence"], value, value > 0)
    if arguments.helpful_by == "gain":
        value = gain(result["with"][record["text"]], result["without"])
    else:
        scores = [soft_score(text, answer, references) for text in (result["with"][record["text"]], result["without"])]
        value = scores[0] - scores[1]
    return Fact(record["text"], record["confidence"], value, is_helpful(value, arguments.helpful_threshold))


def finish(
    done: Sequence[tuple[Row, dict[str, Any]]], arguments: Arguments
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Make pairs and reports of all results; write samples, quadrants and the plot beside the output.

    Returns:
        Rows of the output, and its entries for `dataset_info.json`, by what stands behind the output's name.
    """
    pairs: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    points: list[tuple[bool, float]] = []
    greedy_helpful = unusable = 0
    source = _provenance(arguments)
    for row, result in done:
        greedy = to_fact(result["greedy"], row, result, arguments)
        facts = [to_fact(record, row, result, arguments) for record in result["samples"]]
        greedy_helpful += greedy.helpful
        points += [(fact.helpful, fact.confidence) for fact in facts]
        kept = [fact for fact, record in zip(facts, result["samples"], strict=True) if usable(record)]
        unusable += len(facts) - len(kept)
        found = PAIR_RULES[arguments.pair_rule](distinct(kept))
        pairs += [_pair_row(row, pair, number, source) for number, pair in enumerate(found)]
        samples.append(
            _sample_row(row, greedy, facts, result)
            | {"pairs": len(found), "provenance": source | {"source_id": row.id}}
        )
    report = {
        "rows": len(done),
        "pairs": len(pairs),
        "pair_rule": arguments.pair_rule,
        "helpful_by": arguments.helpful_by,
        "greedy_helpful_rate": greedy_helpful / max(len(done), 1),
        "sampled_helpful_rate": sum(helpful for helpful, _ in points) / max(len(points), 1),
        "unusable_samples": unusable,
        "quadrants": count_quadrants(points, threshold=arguments.confidence_threshold),
        "provenance": source,
    }
    write_rows(arguments.beside_output(".samples.jsonl"), samples)
    write_text(arguments.beside_output(".quadrants.json"), json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    plot_report(report, arguments.beside_output(".quadrants.png"))
    print_report(report)
    columns = (
        "question",
        *(kind for kind in MEDIA_FIELDS if any(kind in pair for pair in pairs)),
        "chosen",
        "rejected",
    )
    entry = {
        "formatting": "hindsight",
        "target": "knowledge",
        "ranking": True,
        "columns": {name: name for name in columns},
    }
    return pairs, {"": entry}


def _provenance(arguments: Arguments) -> dict[str, Any]:
    model, adapters = arguments.answerer
    return provenance(
        arguments,
        None,
        prompts=("knowledge", "answer"),
        parameters=parameters(arguments) | {"pair_rule": arguments.pair_rule},
        answerer_model=model,
        answerer_adapter=",".join(adapters),
    )


def _pair_row(row: Row, pair: tuple[Fact, Fact], number: int, source: Mapping[str, Any]) -> dict[str, Any]:
    chosen, rejected = pair
    return row.fields | {
        "id": f"{row.id}#{number}",
        "chosen": chosen.text,
        "rejected": rejected.text,
        "chosen_confidence": chosen.confidence,
        "rejected_confidence": rejected.confidence,
        "helpfulness": chosen.value,
        "rejected_helpfulness": rejected.value,
        "provenance": {"source_id": row.id, **source},
    }


def _sample_row(row: Row, greedy: Fact, facts: Sequence[Fact], result: Mapping[str, Any]) -> dict[str, Any]:
    def describe(fact: Fact, record: Mapping[str, Any]) -> dict[str, Any]:
        judged = {"value": fact.value, "helpful": fact.helpful, "answerer": result["with"].get(fact.text)}
        return {**record, **judged, "usable": usable(record)}

    return {
        "id": row.id,
        "question": row.fields["question"],
        "answer": row.fields["answer"],
        "without": result["without"],
        "greedy": describe(greedy, result["greedy"]),
        "samples": [describe(fact, record) for fact, record in zip(facts, result["samples"], strict=True)],
    }
