"""A picture as text: the families of descriptors of LSKD (arXiv 2312.04837), each by an engine of its own, each may be off."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...engines.interface import Engine, Request
from ...formats.media.drawn import with_drawing
from ...formats.media.fields import PLACEHOLDERS
from ..rules.triples import parse_questions
from .arguments import SamplingArguments
from .engines import EnginePool
from .prompting import render
from .rows import Row


FAMILIES = ("concepts", "narrative", "regions", "questions", "answers")  # `answers` belongs to `questions`
PROMPTS = {
    "concepts": "concepts",
    "narrative": "narrative",
    "regions": "region_caption",
    "questions": "dynamic_questions",
    "answers": "dynamic_answer",
}
Descriptors = dict[str, Any]  # `concepts`, `narrative`: text; `regions`: texts; `pairs`: question and answer


class Describer:
    """Writes the descriptors of rows, a family at a time.

    Args:
        arguments: with the keys of the families.
        pool: opens engines.
        engines: family -> what `EnginePool.open_described` takes; others use the engine of the run.
    """

    def __init__(self, arguments: Any, pool: EnginePool, engines: Mapping[str, Mapping[str, Any]]) -> None:
        """Open what the families need."""
        self.arguments = arguments
        own = pool.open(adapters=arguments.writer[1])
        asked = families_on(arguments)
        self._engines: dict[str, Engine] = {
            family: pool.open_described(engines[family]) if family in engines else own for family in asked
        }

    async def describe(self, rows: Sequence[Row], regions: Sequence[Sequence[Mapping[str, Any]]]) -> list[Descriptors]:
        """Return the descriptors of each row; a family that is off is not there."""
        found: list[Descriptors] = [{} for _ in rows]
        for family in ("concepts", "narrative"):
            if family in self._engines:
                texts = await self._write(family, [(row, row.media["images"], {}) for row in rows])
                for own, text in zip(found, texts, strict=True):
                    own[family] = " ".join(text.split())
        if "regions" in self._engines:
            await self._caption(rows, regions, found)
        if "questions" in self._engines:
            await self._ask(rows, regions, found)
        return found

    async def _caption(self, rows: Sequence[Row], regions: Sequence[Any], found: Sequence[Descriptors]) -> None:
        asked = [
            (row, [drawn(row, region, number)], {"label": region.get("label") or ""})
            for row, own in zip(rows, regions, strict=True)
            for number, region in enumerate(own)
        ]
        texts = iter(await self._write("regions", asked))
        for own, descriptors in zip(regions, found, strict=True):
            descriptors["regions"] = [" ".join(next(texts).split()) for _ in own]

    async def _ask(self, rows: Sequence[Row], regions: Sequence[Any], found: Sequence[Descriptors]) -> None:
        count = self.arguments.num_questions
        context = [described(own, places) | {"count": count} for own, places in zip(found, regions, strict=True)]
        lists = await self._write("questions", [(row, [], more) for row, more in zip(rows, context, strict=True)])
        questions = [parse_questions(text, count) for text in lists]
        asked = [
            (row, row.media["images"], {"asked": one}) for row, own in zip(rows, questions, strict=True) for one in own
        ]
        answers = iter(await self._write("answers", asked))
        for own, descriptors in zip(questions, found, strict=True):
            descriptors["pairs"] = [{"question": one, "answer": " ".join(next(answers).split())} for one in own]

    async def _write(self, family: str, asked: Sequence[tuple[Row, Sequence[Any], Mapping[str, Any]]]) -> list[str]:
        """Return one text for each (row, pictures, variables of the prompt)."""
        arguments: SamplingArguments = self.arguments
        requests = []
        for place, (row, images, more) in enumerate(asked):
            text = render_for(arguments, PROMPTS[family], row, images=len(images), **more)
            key = f"{row.id}/{family}/{place}"
            requests.append(Request([{"role": "user", "content": text}], images=tuple(images), key=key))
        if not requests:
            return []
        sampling = arguments.sampling(1, self.arguments.descriptor_max_new_tokens)
        written = await self._engines[family].generate(_named_by_row(requests, asked, family), sampling)
        return [completions[0].text.strip() for completions in written]


def _named_by_row(requests: Sequence[Request], asked: Sequence[Any], family: str) -> list[Request]:
    """Name the random numbers of requests by row and place within it: the company of a row does not change its texts."""
    seen: dict[str, int] = {}
    named = []
    for request, (row, _, _) in zip(requests, asked, strict=True):
        number = seen.get(row.id, 0)
        seen[row.id] = number + 1
        named.append(replace(request, key=f"{row.id}/{family}/{number}"))
    return named


def families_on(arguments: Any) -> list[str]:
    """Return the families of a run."""
    on = {
        "concepts": arguments.concepts,
        "narrative": arguments.narrative,
        "regions": arguments.region_captions,
        "questions": arguments.num_questions > 0,
        "answers": arguments.num_questions > 0,
    }
    return [family for family in FAMILIES if on[family]]


def drawn(row: Row, region: Mapping[str, Any], number: int) -> str:
    """Return the name of a region's picture with its box drawn as LSKD draws it."""
    drawing = {"marks": "boxes", "numbers": [number], "boxes": [list(region["box"])]}
    return with_drawing(row.media["images"][region.get("image") or 0], drawing)


def render_for(arguments: Any, name: str, row: Row, *, images: int = 0, **variables: Any) -> str:
    """Return a prompt for a picture: `media` stands for its pictures, whatever question the row has."""
    bare = replace(row, fields=row.fields | {"question": row.fields.get("question") or ""})
    return render(arguments, name, bare, media=PLACEHOLDERS["images"] * images, **variables)


def described(descriptors: Descriptors, regions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return descriptors as variables of a prompt: a family that is off is empty; a region has its label at least."""
    texts = descriptors.get("regions") or [""] * len(regions)
    lines = [
        {"number": number, "text": text or region.get("label") or "region"}
        for number, (region, text) in enumerate(zip(regions, texts, strict=True))
    ]
    return {
        "concepts": descriptors.get("concepts") or "",
        "narrative": descriptors.get("narrative") or "",
        "described": lines,
        "pairs": descriptors.get("pairs") or [],
    }
