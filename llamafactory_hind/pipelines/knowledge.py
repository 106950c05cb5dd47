"""`pipeline: knowledge`: sample facts, ask whether they help and how sure the model is of them, write KEPO pairs.

HinD (arXiv 2511.11132), Knowledge Encouragement Preference Optimization; formulas and rules are ours (docs/synth.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..config.command import split_names
from ..config.problem import Problem
from ..engines.interface import Completion, Engine, FinishReason, Sampling
from ..engines.open import AT_MOST
from ..formats.media.fields import MEDIA_FIELDS
from ..storage.files import write_rows
from ..storage.outputs import written
from .rules.helping import judge_fact, usable
from .rules.pairing import PAIR_RULES, Fact, distinct, pair_fields
from .rules.quadrants import count_facts, plot_report
from .runner.arguments import SamplingArguments, at_least
from .runner.engines import EnginePool
from .runner.failures import RunStopped
from .runner.prompting import render, request_of
from .runner.provenance import provenance, work_content
from .runner.reports import report
from .runner.row import Row


SUMMARY = "samples facts for questions, scores confidence and helpfulness, writes preference pairs for `stage: kepo`"
BESIDE = (".samples.jsonl", ".quadrants.json", ".quadrants.png")


@dataclass(kw_only=True)
class Arguments(SamplingArguments):
    """The keys of this pipeline."""

    num_samples: int = field(default=8, metadata={"help": "N, facts sampled for each question [ours]."})
    temperature: float = field(default=1.0, metadata={"help": "Of sampling; confidence is always taken at 1 [ours]."})
    max_new_tokens: int = field(
        default=64, metadata={"help": "A fact is cut after this many tokens; a cut fact is in no pair."}
    )
    answerer_model: str | None = field(
        default=None,
        metadata={"help": "Model that shows whether a fact helps; null is the model that writes, without adapters."},
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
        metadata={
            "help": "Prompts that the answerer computes together; null is 4 x `batch_size` [ours].",
            "engine": "hf",
        },
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
        metadata={"help": "A fact is helpful above this value: nats for gain, 0..1 for outcome; null is 0 [ours]."},
    )
    pair_rule: Literal["misaligned", "best_worst", "all"] = field(
        default="misaligned",
        metadata={
            "help": "misaligned: least confident helpful over most confident unhelpful, if less confident; best_worst: highest over "
            "lowest helpfulness (plain DPO); all: every helpful over every unhelpful [ours]."
        },
    )
    confidence_threshold: float | None = field(
        default=None,
        metadata={
            "help": "A fact is confident above this value, nats per token; null is the median of this run. Set it to compare runs."
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
        yield from self.greedy_repeats("num_samples")
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
    """Return the parameters that a row's result depends on. Pair rule and thresholds are not among them: no new call is needed."""
    names = ["num_samples", "temperature", "top_p", "top_k", "max_new_tokens", "seed", "helpful_by"]
    names += ["answer_max_new_tokens"] if arguments.helpful_by == "outcome" else []
    return arguments.parameters(*names)


def work_item(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Return everything the result of a row depends on."""
    models = [arguments.writer]
    models += [arguments.answerer] if arguments.helpful_by != "lexical" else []
    answer = row.fields["answer"] if arguments.helpful_by == "gain" else None
    return work_content(arguments, row, prompts(row, arguments), models, parameters(arguments), answer=answer)


class Worker:
    """Does the work of rows; opening it loads the models."""

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
        sampling = settings.sampling(settings.num_samples, settings.max_new_tokens, greedy_first=True)
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
            length = self.arguments.answer_max_new_tokens
            greedy = Sampling(
                n=0, temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=length, seed=0, greedy_first=True
            )
            found = [completions[0].text.strip() for completions in await self.answerer.generate(requests, greedy)]
        results = iter(found)
        return [{"without": next(results), "with": {text: next(results) for text in own}} for own in texts]


def _fact_record(completion: Completion) -> dict[str, Any]:
    if completion.confidence is None and completion.finish_reason == FinishReason.STOP:
        raise RunStopped(
            "`pipeline: knowledge` needs log-probabilities of its texts for their confidence, and the server gives none. "
            "Use a server that supports `logprobs: true`, or `engine: hf`."
        )
    return {
        "text": completion.text.strip(),
        "confidence": completion.confidence,
        "tokens": len(completion.token_ids) or completion.tokens,
        "finish_reason": completion.finish_reason,
    }


def finish(
    done: Sequence[tuple[Row, dict[str, Any]]], arguments: Arguments
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Make pairs and reports of all results; write samples, quadrants and the plot beside the output.

    Returns:
        Rows of the output, and its entries for `dataset_info.json`, by what is added to the output's name.
    """
    source = _provenance(arguments)
    facts = [_facts(row, result, arguments) for row, result in done]  # of each row, the greedy one first
    pairs: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    for (row, result), (greedy, *sampled) in zip(done, facts, strict=True):
        found = PAIR_RULES[arguments.pair_rule](distinct([fact for fact in sampled if fact.usable]))
        pairs += [_pair_row(row, pair, number, source) for number, pair in enumerate(found)]
        sample = _sample_row(row, greedy, sampled, result)
        samples.append(sample | {"pairs": len(found), "provenance": source | {"source_id": row.id}})
    counts = {
        "rows": len(done),
        "pairs": len(pairs),
        "pair_rule": arguments.pair_rule,
        "helpful_by": arguments.helpful_by,
        **count_facts(facts, threshold=arguments.confidence_threshold),
        "provenance": source,
    }
    write_rows(arguments.beside_output(".samples.jsonl"), samples, by=arguments.written_by)
    report(arguments, counts, ending=".quadrants.json")
    with written(arguments.beside_output(".quadrants.png"), by=arguments.written_by) as picture:
        plot_report(counts, picture)
    media = [kind for kind in MEDIA_FIELDS if any(kind in pair for pair in pairs)]
    columns = {name: name for name in ("question", *media, "chosen", "rejected")}
    entry = {"formatting": "hindsight", "target": "knowledge", "ranking": True, "columns": columns}
    return pairs, {"": entry}


def _facts(row: Row, result: Mapping[str, Any], arguments: Arguments) -> list[Fact]:
    """Return the greedy fact and the sampled ones, judged."""
    return [
        judge_fact(
            record,
            result,
            answer=row.fields["answer"],
            references=row.fields.get("answers"),
            helpful_by=arguments.helpful_by,
            threshold=arguments.helpful_threshold,
        )
        for record in (result["greedy"], *result["samples"])
    ]


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
    own = {"id": f"{row.id}#{number}", **pair_fields(pair)}
    return row.fields | own | {"provenance": {"source_id": row.id, **source}}


def _sample_row(row: Row, greedy: Fact, facts: Sequence[Fact], result: Mapping[str, Any]) -> dict[str, Any]:
    def describe(fact: Fact, record: Mapping[str, Any]) -> dict[str, Any]:
        judged = {"value": fact.value, "helpful": fact.helpful, "answerer": result["with"].get(fact.text)}
        return {**record, **judged, "usable": fact.usable}

    return {
        "id": row.id,
        "question": row.fields["question"],
        "answer": row.fields["answer"],
        "without": result["without"],
        "greedy": describe(greedy, result["greedy"]),
        "samples": [describe(fact, record) for fact, record in zip(facts, result["samples"], strict=True)],
    }
