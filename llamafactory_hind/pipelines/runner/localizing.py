"""The work of `pipeline: localized`: regions, descriptors, triples and scores, each step in the journal of steps."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from PIL import Image

from ...engines.interface import FinishReason, Request
from ...engines.open import open_critic
from ...formats.media.drawn import with_drawing
from ...formats.prompts.wording import critic_turn
from ...formats.region.options import RegionOptions
from ...formats.region.record import read_row
from ...formats.region.rows import as_prompt
from ...formats.region.showing import show_regions
from ...formats.rollout.rows import turns_of
from ...regions.checks import clamp_box
from ...storage.digests import digest_media
from ..rules.triples import KEPT, judge_triple, parse_triples
from .describing import PROMPTS, Describer, described, families_on, render_for
from .engines import EnginePool
from .entry_points import load_function
from .prompting import model_identity, prompt_version
from .rows import Row
from .steps import StepJournal


CUT = "cut at max_new_tokens"
Regions = list[dict[str, Any]]
DESCRIPTOR_KEYS = (
    *("concepts", "narrative", "region_captions", "num_questions", "descriptor_engines", "descriptor_max_new_tokens"),
    *("temperature", "top_p", "top_k", "seed"),
)
TRIPLE_KEYS = ("num_triples", "refer_by", "max_new_tokens", "temperature", "top_p", "top_k", "seed")


class Localizer:
    """Does the work of rows; see `pipelines.localized.Worker`."""

    def __init__(self, arguments: Any, pool: EnginePool) -> None:
        """Open the engines, the detector, the critic and the journal of the steps."""
        self.arguments = arguments
        self._describer = Describer(arguments, pool, arguments.descriptor_engines or {})
        self._writer = pool.open(adapters=arguments.writer[1])
        self._detect = load_function(arguments.region_detector) if arguments.region_detector else None
        self._critic = None
        if arguments.critic:
            host = {key: value for key, value in arguments.host_settings.items() if key != "extra_body"}
            settings = host | {"template": arguments.critic_template or arguments.template}
            self._critic = open_critic(arguments.critic, settings=settings, batch_size=arguments.batch_size)
        self._steps = StepJournal(arguments.beside_output(".steps.jsonl"))

    def close(self) -> None:
        """Close the journal of the steps."""
        self._steps.close()

    async def work(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return for each row its `regions`, `descriptors`, and `triples` with `reason` and `critic`."""
        regions = [self._regions(row) for row in rows]
        asked = [self._descriptor_step(row, own) for row, own in zip(rows, regions, strict=True)]
        descriptors = await self._step(rows, asked, lambda some: self._describe(rows, regions, some))
        texts = [self._triple_prompt(row, *own) for row, *own in zip(rows, descriptors, regions, strict=True)]
        contents = [self._triple_step(row, text) for row, text in zip(rows, texts, strict=True)]
        written = await self._step(rows, contents, lambda some: self._write(rows, texts, some))
        results = []
        for row, own, told, text, one in zip(rows, regions, descriptors, texts, written, strict=True):
            results.append({"regions": own, "descriptors": told, "triples": self._triples(row, own, text, one)})
        self._score(rows, results)
        return results

    async def _step(
        self,
        rows: Sequence[Row],
        contents: Sequence[Mapping[str, Any]],
        compute: Callable[[list[int]], Awaitable[Sequence[Any]]],
    ) -> list[Any]:
        """Return the results of a step; those that the journal lacks are computed together and recorded at one stroke."""
        results = [self._steps.find(content) for content in contents]
        missing = [place for place, result in enumerate(results) if result is None]
        if missing:
            found = list(await compute(missing))
            self._steps.keep([contents[place] for place in missing], [rows[place].id for place in missing], found)
            for place, result in zip(missing, found, strict=True):
                results[place] = result
        return results

    def _regions(self, row: Row) -> Regions:
        """Return the regions of a row, else those of the detector on its first picture."""
        own = row.fields.get("regions")
        if own or self._detect is None or not row.media["images"]:
            return [dict(region) for region in own or []]
        with Image.open(row.media["images"][0]) as image:
            found = self._detect(image.convert("RGB"))
            size = image.size
        best = sorted(found, key=lambda region: -float(region.get("score", 0.0)))[: self.arguments.max_regions]
        regions = []
        for region in best:
            try:
                box = clamp_box(tuple(map(float, region["box"])), size)
            except ValueError:  # no box, or none in the picture: a detector may give such
                continue
            label = region.get("label")
            regions.append({"image": 0, "box": list(box)} | ({"label": str(label)} if label else {}))
        return regions

    def _descriptor_step(self, row: Row, regions: Regions) -> dict[str, Any]:
        names = [PROMPTS[family] for family in families_on(self.arguments)]
        return self._content("descriptors", row, names, DESCRIPTOR_KEYS) | {"regions": regions}

    def _triple_step(self, row: Row, text: str) -> dict[str, Any]:
        return self._content("triples", row, ["triples"], TRIPLE_KEYS) | {"prompt": text}

    def _content(self, step: str, row: Row, names: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
        settings = self.arguments
        return {
            "step": step,
            "id": row.id,
            "media": digest_media(row.media),
            "prompts": prompt_version(settings, *names),
            "model": [settings.engine, *model_identity(settings, *settings.writer)],
            "parameters": settings.parameters(*keys),
        }

    async def _describe(self, rows: Sequence[Row], regions: Sequence[Regions], some: list[int]) -> Sequence[Any]:
        return await self._describer.describe([rows[place] for place in some], [regions[place] for place in some])

    def _triple_prompt(self, row: Row, descriptors: dict[str, Any], regions: Regions) -> str:
        settings = self.arguments
        context = described(descriptors, regions)
        return render_for(settings, "triples", row, count=settings.num_triples, by=settings.refer_by, **context)

    async def _write(self, rows: Sequence[Row], texts: Sequence[str], some: list[int]) -> list[dict[str, str]]:
        requests = [
            Request([{"role": "user", "content": texts[place]}], key=f"{rows[place].id}/triples") for place in some
        ]
        sampling = self.arguments.sampling(1, self.arguments.max_new_tokens)
        written = await self._writer.generate(requests, sampling)
        return [{"text": one.text.strip(), "finish_reason": one.finish_reason} for (one,) in written]

    def _triples(self, row: Row, regions: Regions, prompt: str, written: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the triples of a text, each with what becomes of it; the last one of a text that was cut is not whole."""
        triples = parse_triples(written["text"])
        known: set[str] = set()
        found = []
        for number, triple in enumerate(triples):
            reason = judge_triple(triple, regions=len(regions), prompt=prompt, known=known)
            if reason == KEPT and written["finish_reason"] == FinishReason.LENGTH and number == len(triples) - 1:
                reason = CUT
            known |= {triple.question} if reason == KEPT else set()
            found.append({**asdict(triple), "reason": reason, "critic": None})
        return found

    def _score(self, rows: Sequence[Row], results: Sequence[dict[str, Any]]) -> None:
        """Let the critic score the valid triples of all rows together."""
        if self._critic is None:
            return
        asked = [
            (triple, critic_request(row, result["regions"], triple, style=self.arguments.critic_style))
            for row, result in zip(rows, results, strict=True)
            for triple in result["triples"]
            if triple["reason"] == KEPT
        ]
        scores = self._critic.score([request for _, request in asked]) if asked else []
        for (triple, _), score in zip(asked, scores, strict=True):
            triple["critic"] = asdict(score)


def critic_request(row: Row, regions: Regions, triple: Mapping[str, str], *, style: str) -> Request:
    """Return a triple as `stage: critic` reads it in training.

    Args:
        row: of the picture.
        regions: of the picture.
        triple: `question`, `answer` and `rationale`.
        style: the `region_style` of the critic's training.
    """
    texts = {name: triple[name] for name in ("question", "answer", "rationale")}
    fields = {"images": row.fields.get("images"), "regions": regions, **texts}
    record = read_row(fields)
    showing = show_regions(record, RegionOptions(region_style=style))
    _, turns = turns_of(as_prompt(fields, record, write=showing.write))
    answer = showing.write(f"{record.answer}\nRationale: {record.rationale}")
    turns[-1]["content"] = critic_turn(turns[-1]["content"], answer)
    images = [
        with_drawing(path, showing.drawings[number]) if number in showing.drawings else path
        for number, path in enumerate(row.media["images"])
    ]
    return Request(turns, images=tuple(images))
