"""The `region` row format (LSKD, arXiv 2312.04837): text that points into pictures."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar, cast

from llamafactory.data.data_utils import Role

from ...config.problem import RowProblem, show
from ...regions.checks import check_box
from ..align.tables import FOR_EVALUATION
from ..converter import RowConverter, extra_columns
from ..fields import as_list, read_fields
from ..media.check import MediaCheck
from ..media.drawn import picture_size, with_drawing
from ..media.fields import count_placeholders
from ..rollout.rows import turns_of
from ..templates.conventions import BY_PROCESSOR, BY_TEMPLATE, SUFFIX
from . import rows
from .cutting import cut_text, whole_text
from .options import DRAWN, RegionOptions
from .record import RegionRow, gold_boxes, read_row, record_problems
from .showing import Showing, show_regions


BOXED = ("coordinates", "both")  # styles whose texts hold boxes for the template to write


@dataclass
class Converter(RowConverter):
    """Turn a `region` row into one example, its regions shown as the dataset says.

    Boxes stand in its texts in pixels of the original picture (`regions.inline`); a region-aware
    template writes them as the model does, and draws what the names of pictures ask for.

    Attributes:
        evaluation: the dataset is an `eval_dataset`: nothing is shuffled.

    Raises:
        ValueError: the entry is wrong, or its `region_style` needs a region-aware template.
    """

    ROWS: ClassVar[ModuleType] = rows
    evaluation: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Read the options and check the template."""
        super().__post_init__()
        self.evaluation = FOR_EVALUATION.get()
        style, template = self._region_options.region_style, getattr(self.data_args, "template", None) or ""
        if (style in BOXED or style in DRAWN) and not template.endswith(SUFFIX):
            raise ValueError(
                f"Dataset {self.dataset_attr.dataset_name}: got `template: {template or 'null'}` with `region_style: "
                f"{style}`, expected one that ends in {SUFFIX}: only those write boxes in the model's terms and draw. "
                f"Set `template: {template or 'qwen2_vl'}{SUFFIX}`, or `region_style: name`."
            )
        if style in BOXED and template.removesuffix(SUFFIX) not in {*BY_TEMPLATE, *BY_PROCESSOR}:
            raise ValueError(
                f"Dataset {self.dataset_attr.dataset_name}: got `region_style: {style}` with `template: {template}`, "
                "expected a family with a published form of boxes. Set `region_style: marks`, `crop` or `name`."
            )

    @property
    def _region_options(self) -> RegionOptions:
        return cast(RegionOptions, self.options)  # those of `ROWS`

    def examples(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the one example of a good row, leaving the row as it is."""
        options = self._region_options
        fields = read_fields(row, options)
        record = read_row(fields)
        showing = show_regions(record, options, seed=self._seed(fields))
        system, turns = turns_of(rows.as_prompt(fields, record, write=showing.write))
        target = self._target(fields)
        responses = _responses(record, options, target, showing)
        if options.prefix_cut and not self.evaluation and responses:
            turns[-1]["content"], responses[0] = self._cut(fields, record, target, showing)
        if options.target == "rationale" and not options.ranking:
            turns[-1]["content"] += f"\nAnswer: {showing.write(record.answer or '')}"
        place = count_placeholders(turns[0]["content"])["images"]  # where added pictures go
        turns[0]["content"] += showing.crop_lines
        media = self._aligned_media(fields)
        media["_images"] = _shown_pictures(media["_images"] or [], showing, place) or None
        yield {
            "_prompt": turns,
            "_response": [{"role": Role.ASSISTANT.value, "content": text} for text in responses],
            "_system": system,
            "_tools": fields.get("tools", ""),
            **media,
            "_columns": extra_columns(self._columns(row, fields, record, showing, place)),
        }

    def problems(self, row: Mapping[str, Any], media: MediaCheck) -> Iterator[RowProblem]:
        """Yield everything that is wrong with a row."""
        problems = list(super().problems(row, media))
        yield from problems
        fields = read_fields(row, self.options)
        if any(problem.field.startswith("images[") for problem in problems) or any(record_problems(fields)):
            return
        pictures = self._opened_media(fields)["images"]
        as_host = bool(getattr(self.data_args, "media_as_host", False))
        yield from box_problems(read_row(fields), [picture_size(picture, as_host=as_host) for picture in pictures])
        if self._region_options.region_style in DRAWN:
            for index, picture in enumerate(pictures):
                if not isinstance(picture, str):
                    remedy = "save it as a file, or use another `region_style`"
                    yield RowProblem(f"images[{index}]", "embedded data", "a path: regions are drawn on files", remedy)

    def _target(self, fields: Mapping[str, Any]) -> str:
        """Return what the assistant turn of a row is: the rationale may be left out of some rows of a training set."""
        options = self._region_options
        if options.target != "answer_rationale" or options.rationale_share == 1 or self.evaluation:
            return options.target
        kept = random.Random(f"rationale {self._stream(fields)}").random() < options.rationale_share
        return "answer_rationale" if kept else "answer"

    def _cut(self, fields: Mapping[str, Any], record: RegionRow, target: str, showing: Showing) -> tuple[str, str]:
        """Return the last turn and the response of a row whose text is cut; mentions are written behind the cut, so none is cut."""
        _, turns = turns_of(rows.as_prompt(fields, record, write=str))
        rationale = record.rationale if target == "answer_rationale" else None
        text = whole_text(turns[-1]["content"], record.answer or "", rationale)
        first, rest = cut_text(text, seed=f"cut {self._stream(fields)}")
        return showing.write(first), showing.write(rest)

    def _seed(self, fields: Mapping[str, Any]) -> str | None:
        shuffles = self._region_options.region_shuffle and not self.evaluation
        return self._stream(fields) if shuffles else None

    def _stream(self, fields: Mapping[str, Any]) -> str:
        """Name the random stream of a row."""
        return f"{self._region_options.region_seed} {json.dumps(fields, sort_keys=True, default=repr)}"

    def _columns(
        self, row: Mapping[str, Any], fields: Mapping[str, Any], record: RegionRow, showing: Showing, place: int
    ) -> dict[str, Any]:
        """Return the columns for rewards and stages: texts as the model reads them, and the boxes of the gold answer."""
        names = {column: field for field, column in self.options.columns}
        nothing = {names.get(column, column): None for column in row}  # null stays: "does not apply"
        texts = {name: getattr(record, name) for name in ("question", "answer", "rationale", "chosen", "rejected")}
        shown: dict[str, Any] = {name: showing.write(text) for name, text in texts.items() if text is not None}
        if isinstance(fields.get("answer"), (int, float)):
            shown["answer"] = fields["answer"]
        prompt = rows.as_prompt(fields, record, write=showing.write)
        shown |= {name: prompt[name] for name in ("messages", "external", "hint") if name in prompt}
        if record.choices:
            shown["choices"] = [showing.write(choice) for choice in record.choices]
        gold = {} if fields.get("box") or fields.get("boxes") else gold_boxes(record)
        if gold.get("box_image", -1) >= place:  # pictures that are cut out stand before it
            gold["box_image"] += len(showing.crops)
        return nothing | dict(fields) | shown | gold | {"region_order": list(showing.order)}


def box_problems(record: RegionRow, sizes: list[tuple[int, int]]) -> Iterator[RowProblem]:
    """Yield the regions that do not lie in their picture; `sizes` are (width, height) of the row's pictures."""
    for index, region in enumerate(record.regions):
        width, height = sizes[region.image]
        if check_box(region.box, (width, height)) is not None:
            expected = f"a box within image {region.image}, which is {width} x {height} pixels"
            remedy = "write it in pixels of the original picture; `regions.clamp_box` cuts what sticks out a little"
            yield RowProblem(f"regions[{index}].box", show(list(region.box)), expected, remedy)


def _responses(record: RegionRow, options: RegionOptions, target: str, showing: Showing) -> list[str]:
    if options.ranking:
        return [showing.write(text or "") for text in (record.chosen, record.rejected)]
    text = rows.answer_turn(record, target, write=showing.write)
    return [] if text is None else [text]


def _shown_pictures(pictures: list[Any], showing: Showing, place: int) -> list[Any]:
    """Return the pictures of a row, drawn on; those that are cut out stand behind the first `place`."""
    shown = [
        with_drawing(picture, showing.drawings[index]) if index in showing.drawings else picture
        for index, picture in enumerate(as_list(pictures))
    ]
    added = [with_drawing(pictures[image], {"crop": list(box)}) for image, box in showing.crops]
    return [*shown[:place], *added, *shown[place:]]
