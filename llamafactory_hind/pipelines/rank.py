"""`pipeline: rank`: scores every choice of a row under a model; prompt and picture are computed once for all choices.

LSKD (arXiv 2312.04837) ranks the choices of VCR, Sherlock and VisualCOMET so; `llamafactory-cli score` reads what is written.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..config.problem import Problem
from ..engines.interface import Request
from ..engines.open import AT_MOST, open_matcher
from ..formats.prompts.wording import CHOICE_LETTERS
from .rules.ranking import NORMS, best_of, choice_problem, gold_index, scores_of
from .runner.arguments import SynthArguments, at_least
from .runner.engines import EnginePool
from .runner.provenance import provenance, work_content
from .runner.questions import asked_of, choices_of, request_for
from .runner.reports import report
from .runner.row import HINDSIGHT, REGION, Row


SUMMARY = "scores every choice of a row, by likelihood, letter, ITM or ITC: predictions for `llamafactory-cli score`"
FORMATTING = (HINDSIGHT, REGION)
NEEDS_ANSWER = False
CHECKS_ITSELF = ("choices",)  # the formats allow one a letter; VisualCOMET has 50
MATCHES = ("itm", "itc")
PRIOR = "Answer:"  # what a choice is scored under without picture and question [ours]


@dataclass(kw_only=True)
class Arguments(SynthArguments):
    """The keys of this pipeline."""

    choice_score: Literal["likelihood", "letter", "itm", "itc"] = field(
        default="likelihood",
        metadata={
            "help": (
                "likelihood: of the text of a choice; letter: of its letter, after a prompt that lists all [ours]; itm, itc: "
                "match or similarity of picture and text, with the heads of `stage: lskd` [C code]."
            )
        },
    )
    choice_norm: Literal["token", "sum", "char", "pmi"] = field(
        default="token",
        metadata={
            "help": "likelihood a token, its sum, a character, or minus that without picture and question [ours]."
        },
    )
    choice_batch_size: int = field(
        default=64, metadata={"help": "Choices computed together, those of one row at most.", "engine": "hf"}
    )
    region_style: Literal["coordinates", "marks", "both", "name"] = field(
        default="name", metadata={"help": "How regions are shown: as in the training of the model."}
    )

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys."""
        yield from super().problems()
        yield from at_least(self, 1, "choice_batch_size")
        if not AT_MOST[self.engine].scores:
            yield Problem("engine", self.engine, "`hf`", "A server does not score given texts.")
        if self.region_style != "name" and self.template and not self.template.endswith("_region"):
            remedy = f"Only those write boxes and draw: set `template: {self.template}_region`."
            yield Problem("template", self.template, "one that ends in _region", remedy)
        if self.choice_score != "likelihood" and self.choice_norm != "token":
            remedy = "A letter has one length." if self.choice_score == "letter" else "It is no likelihood."
            yield Problem("choice_norm", self.choice_norm, f"unset with `choice_score: {self.choice_score}`", remedy)

    @property
    def matches(self) -> bool:
        """Whether choices are matched with the picture, not written."""
        return self.choice_score in MATCHES


def _texts(row: Row, arguments: Arguments) -> tuple[str, tuple[str, ...]]:
    """Return the prompt of a row, and its choices; regions are shown as the key says.

    Raises:
        ValueError: the row has no choices that can be ranked.
    """
    by_letter = arguments.choice_score == "letter"
    problem = choice_problem(row.fields.get("choices"), len(CHOICE_LETTERS) if by_letter else None)
    if problem is not None:
        raise ValueError(problem)
    asked = asked_of(row, arguments, listed=by_letter)
    return asked.turns[-1]["content"], asked.choices


def prompts(row: Row, arguments: Arguments) -> Iterator[tuple[str, str]]:
    """Yield what `dry_run` shows of a row."""
    try:
        prompt, choices = _texts(row, arguments)
    except ValueError as error:  # it fails when its turn comes
        yield "refused", str(error)
        return
    yield "prompt", prompt
    for number, choice in enumerate(choices):
        yield f"choice {number}", choice


def parameters(arguments: Arguments) -> dict[str, Any]:
    """Return the parameters that a row's result depends on; the norm is not among them, but for `pmi`."""
    return arguments.parameters("choice_score", "region_style") | {"prior": arguments.choice_norm == "pmi"}


def work_item(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Return everything the result of a row depends on."""
    more = {"regions": row.fields.get("regions"), "rationales": row.fields.get("rationale_choices")}
    models = [arguments.writer]
    return work_content(arguments, row, prompts(row, arguments), models, parameters(arguments), **more)


class Worker:
    """Does the work of rows."""

    def __init__(self, arguments: Arguments, pool: EnginePool) -> None:
        """Open the model that scores."""
        self.arguments = arguments
        size = arguments.choice_batch_size
        if arguments.matches:
            settings = {key: value for key, value in arguments.host_settings.items() if key != "extra_body"}
            self.matcher = open_matcher(*arguments.writer, settings=settings, batch_size=size)
        else:
            self.scorer = pool.open(adapters=arguments.writer[1], batch_size=size, scores=True)

    async def work(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return for each row the log-likelihood and the tokens of every choice, and of every rationale where it has them."""
        results = []
        for row in rows:
            by_letter = self.arguments.choice_score == "letter"
            _, choices = _texts(row, self.arguments)  # raises where they cannot be ranked
            asked = asked_of(row, self.arguments, listed=by_letter)
            texts = list(CHOICE_LETTERS[: len(choices)]) if by_letter else list(choices)
            bare = texts if by_letter else list(asked.bare_choices)
            found = await self._score(request_for(row, asked), texts, bare)
            if row.fields.get("rationale_choices"):
                found["rationale"] = await self._rationales(row)
            results.append(found)
        return results

    async def _rationales(self, row: Row) -> dict[str, Any]:
        """Score the rationales of VCR, given the gold answer."""
        asked = asked_of(row, self.arguments, listed=False, rationales=True, matched=self.arguments.matches)
        return await self._score(request_for(row, asked), list(asked.choices), list(asked.bare_choices))

    async def _score(self, request: Request, texts: list[str], bare: list[str]) -> dict[str, Any]:
        """Return `choices`, `logprobs` and `tokens`, and `prior` where it is asked for; `bare` are texts without a picture.

        With `itm` and `itc`: `choices` and `scores`.
        """
        if self.arguments.matches:
            return {"choices": texts, "scores": self.matcher.score(request, texts, self.arguments.choice_score)}
        scores = await self.scorer.score([request] * len(texts), texts)
        found: dict[str, Any] = {"choices": texts}
        found |= {"logprobs": [one.logprob for one in scores], "tokens": [one.tokens for one in scores]}
        if self.arguments.choice_norm == "pmi":
            prior = Request([{"role": "user", "content": PRIOR}])
            found["prior"] = [one.logprob for one in await self.scorer.score([prior] * len(bare), bare)]
        return found


def finish(
    done: Sequence[tuple[Row, dict[str, Any]]], arguments: Arguments
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return the rows with `scores` and `prediction`, VCR's with `answer_scores` and `rationale_scores`; report by norm."""
    written = []
    for row, result in done:
        scores = scores_of(result, result["choices"], arguments.choice_norm)
        source = provenance(arguments, row, prompts=(), parameters=parameters(arguments))
        made = {"id": row.id, "scores": scores, "prediction": choices_of(row)[best_of(scores)]}
        if "rationale" in result:
            own = scores_of(result["rationale"], result["rationale"]["choices"], arguments.choice_norm)
            made |= {"answer_scores": scores, "rationale_scores": own}
        written.append(row.fields | made | {"provenance": source})
    report(arguments, _counts(done, arguments))
    formatting = REGION if any(row.fields.get("regions") for row, _ in done) else HINDSIGHT
    return written, {"": {"formatting": formatting, "target": "answer"}}


def _counts(done: Sequence[tuple[Row, Mapping[str, Any]]], arguments: Arguments) -> dict[str, Any]:
    """Return counts and, over rows that know their right choice, the share that each norm ranks first."""
    golds = [(gold_index(row.fields, choices_of(row)), result) for row, result in done]
    known = [(gold, result) for gold, result in golds if gold is not None]
    counts: dict[str, Any] = {"rows": len(done), "with_gold_choice": len(known)}
    norms = [norm for norm in NORMS if norm != "pmi" or arguments.choice_norm == "pmi"]
    norms = ["token"] if arguments.choice_score == "letter" else norms
    if known and arguments.matches:
        right = sum(best_of(result["scores"]) == gold for gold, result in known)
        return counts | {"accuracy": right / len(known)}
    if known:
        counts["accuracy_by_norm"] = {
            norm: sum(best_of(scores_of(result, result["choices"], norm)) == gold for gold, result in known)
            / len(known)
            for norm in norms
        }
    return counts
