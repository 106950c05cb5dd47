"""How the regions of a row are shown: what stands for a mention in text, and what is drawn on which picture."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...regions.inline import write_inline
from ...regions.tags import find_mentions, replace_mentions
from ..media.fields import PLACEHOLDERS
from .options import DRAWN, RegionOptions
from .record import Region, RegionRow


SHUFFLE_USED = 0.5  # LSKD: share of rows whose own regions are shuffled; in the others all that are known are drawn


@dataclass(frozen=True)
class Showing:
    """The regions of one row as they are shown.

    Attributes:
        order: indices into the row's `regions` that are shown; a place in it is the region's number.
        write: text with mentions `<region:k>` -> text as the model reads it.
        drawings: number of a picture -> what is drawn on it, see `media.drawn`.
        crops: (number of a picture, box) of the pictures that are added, in the order of `order`.
    """

    order: tuple[int, ...]
    write: Callable[[str], str]
    drawings: dict[int, dict[str, Any]]
    crops: tuple[tuple[int, Sequence[float]], ...]

    @property
    def crop_lines(self) -> str:
        """Lines that place the added pictures in the prompt; empty without any."""
        return "".join(f"\nregion {number}: {PLACEHOLDERS['images']}" for number in range(len(self.crops)))


def show_regions(row: RegionRow, options: RegionOptions, *, seed: str | None = None) -> Showing:
    """Return how a row is shown.

    Regions are numbered from 0 in the order in which they are drawn, as in LSKD: those that the
    prompt mentions, in stored order; all of them where it mentions none, or the answer others.

    Args:
        row: its record.
        options: of its dataset.
        seed: what the augmentation of this row is drawn from; None for evaluation and without
            `region_shuffle`: stored order.
    """
    order = _order(row, seed)
    numbers = {index: number for number, index in enumerate(order)}
    style = options.region_style
    names = names_of(row.regions, numbers)

    def mention(index: int) -> str:
        region = row.regions[index]
        place = write_inline(region.box, image=region.image, label=region.label)
        written = {"marks": f"[{numbers[index]}]", "both": f"[{numbers[index]}] {place}", "coordinates": place}
        return {**written, "crop": f"region {numbers[index]}", "name": names[index]}[style]

    shown = [row.regions[index] for index in order]
    drawn = _drawings(shown, options.region_marks) if style in DRAWN and style != "crop" else {}
    crops = tuple((region.image, region.box) for region in shown) if style == "crop" else ()
    return Showing(order, lambda text: replace_mentions(text, mention), drawn, crops)


def names_of(regions: Sequence[Region], numbers: dict[int, int]) -> dict[int, str]:
    """Return the words for each region: its label, with a number where several have the same; `region 0` without one [ours]."""
    counts = Counter(region.label for region in regions)
    seen: Counter[str | None] = Counter()
    names = {}
    for index, region in enumerate(regions):
        seen[region.label] += 1
        if region.label is None:
            names[index] = f"region {numbers.get(index, index)}"
        else:
            names[index] = region.label + (f" {seen[region.label]}" if counts[region.label] > 1 else "")
    return names


def texts_of(row: RegionRow) -> list[str]:
    """Return every text of a row that may mention regions."""
    return [*_prompt_texts(row), *_answer_texts(row)]


def _prompt_texts(row: RegionRow) -> list[str]:
    turns = [turn["content"] for turn in row.messages]
    return [text for text in (row.question, row.system, *row.choices, *turns) if text is not None]


def _answer_texts(row: RegionRow) -> list[str]:
    singles = (row.answer, row.rationale, row.chosen, row.rejected, row.hint)
    external = [entry["text"] for entry in row.external if isinstance(entry.get("text"), str)]
    return [text for text in (*singles, *external) if text is not None]


def _order(row: RegionRow, seed: str | None) -> tuple[int, ...]:
    everything = list(range(len(row.regions)))
    asked = sorted({index for text in _prompt_texts(row) for index in find_mentions(text)})
    told = {index for text in _answer_texts(row) for index in find_mentions(text)}
    # To draw a region that the answer alone mentions, and no other, would give the answer away.
    used = asked if asked and told <= set(asked) else everything
    if seed is None:
        return tuple(used)
    chance = random.Random(seed)
    order = list(used if chance.random() < SHUFFLE_USED else everything)
    chance.shuffle(order)
    return tuple(order)


def _drawings(shown: Sequence[Region], marks: str) -> dict[int, dict[str, Any]]:
    drawings: dict[int, dict[str, Any]] = {}
    for number, region in enumerate(shown):
        drawing = drawings.setdefault(region.image, {"marks": marks, "numbers": [], "boxes": []})
        drawing["numbers"].append(number)
        drawing["boxes"].append(list(region.box))
        if marks == "polygons":
            drawing.setdefault("polygons", []).append([list(map(list, polygon)) for polygon in region.polygons])
    return drawings
