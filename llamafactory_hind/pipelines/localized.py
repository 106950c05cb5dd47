"""`pipeline: localized`: a picture becomes text, text becomes questions with answers and rationales, a critic keeps the good ones.

LSKD (arXiv 2312.04837). Its prompts are not released; ours are [ours], see docs/synth.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..config.problem import Problem
from ..config.types import nearest
from ..formats.fields import entries_of
from ..storage.digests import digest_path
from ..storage.files import write_rows
from ..storage.outputs import written
from .rules.localized_report import count_triples, read_labels
from .rules.sweep_plot import plot_sweep
from .rules.triples import KEPT
from .runner.arguments import SamplingArguments, at_least
from .runner.describing import FAMILIES, PROMPTS, described, families_on, render_for
from .runner.engines import EnginePool
from .runner.entry_points import load_function
from .runner.localizing import Localizer
from .runner.provenance import provenance, work_content
from .runner.reports import report
from .runner.row import REGION, Row


SUMMARY = "describes pictures and their regions, writes questions with answers and rationales, keeps what a critic accepts (LSKD)"
FORMATTING = REGION
NEEDS_ANSWER = NEEDS_QUESTION = False
BESIDE = (".report.json", ".dropped.jsonl", ".critic.png")
REJECTED = "below the threshold"


@dataclass(kw_only=True)
class Arguments(SamplingArguments):
    """The keys of this pipeline."""

    concepts: bool = field(default=True, metadata={"help": "Descriptors: place, objects and scene of the picture."})
    narrative: bool = field(default=True, metadata={"help": "Descriptors: the picture in a few sentences."})
    region_captions: bool = field(default=True, metadata={"help": "Descriptors: a sentence for each region."})
    num_questions: int = field(
        default=3, metadata={"help": "Descriptors: dynamic questions that are asked and answered; 0 is off [ours]."}
    )
    descriptor_engines: dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": f"Family ({', '.join(FAMILIES)}) -> `engine`, `model`, `base_url` …: another engine than that of the run."
        },
    )
    descriptor_max_new_tokens: int = field(default=128, metadata={"help": "Length of a descriptor [ours]."})
    num_triples: int = field(default=3, metadata={"help": "Triples for each picture [ours]; LSKD: 18."})
    refer_by: Literal["number", "description"] = field(
        default="number", metadata={"help": "How triples point at regions: by number, or by describing them."}
    )
    max_new_tokens: int = field(default=512, metadata={"help": "Length of all triples of a picture [ours]."})
    region_detector: str | None = field(
        default=None,
        metadata={"help": "module:function, picture -> regions (`box`, `label`, `score`), for rows without regions."},
    )
    max_regions: int = field(
        default=10, metadata={"help": "Regions that a detector may give, those of the highest scores [ours]."}
    )
    critic: str | None = field(
        default=None, metadata={"help": "Output folder of `stage: critic`; null keeps every valid triple."}
    )
    critic_template: str | None = field(
        default=None, metadata={"help": "The host's template of the critic; null is `template`."}
    )
    critic_style: Literal["coordinates", "marks", "both", "name"] = field(
        default="both", metadata={"help": "How the critic is shown regions: the `region_style` it was trained with."}
    )
    threshold: float = field(
        default=0.8, metadata={"help": "A triple is kept from this score of acceptance on; 0.8 in LSKD's corpus."}
    )
    region_style: Literal["coordinates", "marks", "both", "crop", "name"] | None = field(
        default=None,
        metadata={"help": "How who learns the rows is shown regions: `region_style` of the entry that is registered."},
    )
    prefix_cut: bool = field(
        default=False,
        metadata={"help": "`prefix_cut` of that entry: LSKD's generative student, see docs/formats/region.md."},
    )
    rationale_share: float = field(
        default=1.0,
        metadata={"help": "`rationale_share` of that entry: rows that keep their rationale in training; 0.5 in LSKD."},
    )
    labels: str | None = field(
        default=None,
        metadata={
            "help": "JSONL file of rated rows of an earlier run (`id`, `label`): precision, recall, calibration."
        },
    )
    concepts_prompt: str | None = field(default=None, metadata={"help": "Prompt file; null is ours."})
    narrative_prompt: str | None = field(default=None, metadata={"help": "Prompt file; null is ours."})
    region_caption_prompt: str | None = field(default=None, metadata={"help": "Prompt file; null is ours."})
    dynamic_questions_prompt: str | None = field(default=None, metadata={"help": "Prompt file; null is ours."})
    dynamic_answer_prompt: str | None = field(default=None, metadata={"help": "Prompt file; null is ours."})
    triples_prompt: str | None = field(default=None, metadata={"help": "Prompt file; null is ours."})

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys."""
        yield from super().problems()
        yield from at_least(self, 1, "descriptor_max_new_tokens", "num_triples", "max_new_tokens", "max_regions")
        yield from at_least(self, 0, "num_questions", "threshold")
        for family, described_engine in (self.descriptor_engines or {}).items():
            if family not in FAMILIES:
                remedy = f"The nearest is `{nearest(family, FAMILIES) or FAMILIES[0]}`."
                yield Problem("descriptor_engines", family, f"one of {', '.join(FAMILIES)}", remedy)
            elif not isinstance(described_engine, Mapping):
                yield Problem("descriptor_engines", described_engine, "a mapping for each family", f"See `{family}`.")
        yield from self._template_problems()
        if self.region_detector:
            try:
                load_function(self.region_detector)
            except ValueError as error:
                yield Problem("region_detector", self.region_detector, "a function that can be imported", str(error))
        if self.labels and not Path(self.labels).is_file():
            yield Problem("labels", self.labels, "a file that is there", "Correct the path, or remove the key.")

    def _template_problems(self) -> Iterator[Problem]:
        if self.engine == "hf" and self.region_captions and self.template and not self.template.endswith("_region"):
            remedy = f"Only those draw: set `template: {self.template}_region`, or `region_captions: false`."
            yield Problem("template", self.template, "one that ends in _region", remedy)
        template = self.critic_template or self.template
        if self.critic and not template.endswith("_region") and self.critic_style != "name":
            remedy = "Set it to that of the critic's training, such as `qwen2_vl_region`."
            yield Problem("critic_template", template or None, "one that ends in _region", remedy)


def prompts(row: Row, arguments: Arguments) -> Iterator[tuple[str, str]]:
    """Yield what `dry_run` shows of a row, with stand-ins for what is written on the way."""
    regions = entries_of(row.fields, "regions")
    stand_in = {"concepts": "<concepts>", "narrative": "<narrative>", "pairs": [{"question": "<q>", "answer": "<a>"}]}
    context = described({name: text for name, text in stand_in.items() if _is_on(name, arguments)}, regions)
    count = {"questions": arguments.num_questions}
    for family in families_on(arguments):
        more = context | {"count": count.get(family, 0), "label": "", "asked": "<question>"}
        images = 0 if family == "questions" else 1
        yield PROMPTS[family], render_for(arguments, PROMPTS[family], row, images=images, **more)
    yield (
        "triples",
        render_for(arguments, "triples", row, count=arguments.num_triples, by=arguments.refer_by, **context),
    )


def _is_on(name: str, arguments: Arguments) -> bool:
    return {"pairs": "questions"}.get(name, name) in families_on(arguments)


def parameters(arguments: Arguments) -> dict[str, Any]:
    """Return the parameters that a row's result depends on; the threshold is not among them: no new call is needed."""
    names = [
        "concepts",
        "narrative",
        "region_captions",
        "num_questions",
        "descriptor_engines",
        "num_triples",
        "refer_by",
    ]
    names += ["descriptor_max_new_tokens", "max_new_tokens", "temperature", "top_p", "top_k", "seed"]
    names += ["region_detector", "max_regions", "critic_style", "critic_template"]
    return arguments.parameters(*names)


def work_item(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Return everything the result of a row depends on."""
    critic = digest_path(arguments.critic) if arguments.critic else None
    shown = list(prompts(row, arguments))
    regions = row.fields.get("regions")
    return work_content(
        arguments, row, shown, [arguments.writer], parameters(arguments), regions=regions, critic=critic
    )


class Worker:
    """Does the work of rows."""

    def __init__(self, arguments: Arguments, pool: EnginePool) -> None:
        """Open the engines, the detector, the critic and the journal of the steps."""
        self._localizer = Localizer(arguments, pool)

    async def work(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return for each row its `regions`, `descriptors`, and `triples` with `reason` and the critic's scores."""
        return await self._localizer.work(rows)

    def close(self) -> None:
        """Close the journal of the steps."""
        self._localizer.close()


def finish(
    done: Sequence[tuple[Row, dict[str, Any]]], arguments: Arguments
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return rows of format `region`; write what was dropped, the report and its picture beside the output."""
    labels = read_labels(Path(arguments.labels)) if arguments.labels else {}
    kept: list[dict[str, Any]] = []
    judged: list[dict[str, Any]] = []
    for row, result in done:
        names = tuple(PROMPTS[family] for family in families_on(arguments))
        source = provenance(arguments, row, prompts=(*names, "triples"), parameters=parameters(arguments))
        for number, triple in enumerate(result["triples"]):
            entry = _judged(f"{row.id}/{number}", triple, arguments.threshold)
            judged.append(entry)
            if entry["reason"] == KEPT:
                texts = {name: triple[name] for name in ("question", "answer", "rationale")}
                made = {"id": entry["id"], "images": row.fields.get("images"), "regions": result["regions"], **texts}
                scores = {} if triple["critic"] is None else {"critic": triple["critic"]["accept"]}
                kept.append(made | scores | {"provenance": source})
    dropped = [entry for entry in judged if entry["reason"] != KEPT]
    write_rows(arguments.beside_output(".dropped.jsonl"), dropped, by=arguments.written_by)
    content = count_triples(judged, kept, labels, arguments.threshold)
    report(arguments, {"rows": len(done)} | content)
    if "sweep" in content:
        known = [entry["critic"] for entry in judged if entry["critic"] is not None]
        with written(arguments.beside_output(".critic.png"), by=arguments.written_by) as picture:
            plot_sweep(list(content["sweep"].values()), known, picture)
    shown = {"region_style": arguments.region_style} if arguments.region_style else {}
    cut = {"prefix_cut": True} if arguments.prefix_cut else {}
    share = {"rationale_share": arguments.rationale_share} if arguments.rationale_share != 1 else {}
    return kept, {"": {"formatting": REGION, "target": "answer_rationale"} | shown | cut | share}


def _judged(row_id: str, triple: Mapping[str, Any], threshold: float) -> dict[str, Any]:
    """Return a triple with what became of it under a threshold."""
    score = None if triple["critic"] is None else triple["critic"]["accept"]
    reason = REJECTED if triple["reason"] == KEPT and score is not None and score < threshold else triple["reason"]
    return {**triple, "id": row_id, "reason": reason, "critic": score}
