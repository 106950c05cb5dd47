"""One `region` row, read: its pictures' regions and its texts, whose mentions are `<region:k>` whatever form they came in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...config.problem import RowProblem, show
from ...regions.checks import are_numbers
from ...regions.inline import label_problem
from ...regions.tags import find_mentions, mention_problem
from ...regions.token_lists import read_tokens
from ..fields import as_list, entries_of, is_missing


TEXT_FIELDS = ("question", "answer", "rationale", "chosen", "rejected")  # a text, or tokens with nested lists
# A mention in these is written as in the texts; they are not read as lists of tokens.
PLAIN_FIELDS = ("system", "hint")
Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Region:
    """One region of a row.

    Attributes:
        image: number of its picture in `images`, from 0.
        box: (x1, y1, x2, y2) in pixels of the original picture.
        label: what it shows, None where the row does not say.
        polygons: its outline as lists of (x, y) in pixels; empty where there is only the box.
    """

    image: int
    box: tuple[float, float, float, float]
    label: str | None = None
    polygons: tuple[Polygon, ...] = ()


@dataclass(frozen=True)
class RegionRow:
    """A row that has passed `record_problems`; texts hold their mentions as `<region:k>`, k an entry of `regions`.

    Attributes:
        images: as stored.
        regions: what texts may mention.
        question: None where the row has `messages`.
        answer: text; a number became one. None where the row has none, as the next two.
        rationale: why the answer is right.
        critic: score of the row by a critic, 0..1 in LSKD.
        choices: answers to choose from; empty without any.
        messages: turns, each with `role` and `content`; empty where the row has `question`.
        chosen: of a preference pair.
        rejected: of a preference pair.
        external: texts of other models, as in `rollout`.
        system: system text.
        hint: as in `rollout`.
    """

    images: tuple[Any, ...]
    regions: tuple[Region, ...]
    question: str | None = None
    answer: str | None = None
    rationale: str | None = None
    critic: float | None = None
    choices: tuple[str, ...] = ()
    messages: tuple[Mapping[str, str], ...] = ()
    chosen: str | None = None
    rejected: str | None = None
    external: tuple[Mapping[str, Any], ...] = ()
    system: str | None = None
    hint: str | None = None


def read_row(fields: Mapping[str, Any]) -> RegionRow:
    """Return the record of a row.

    Args:
        fields: of the row under our names (`formats.fields.read_fields`); it has passed `record_problems`.
    """
    texts = {name: _text(fields[name]) for name in TEXT_FIELDS if not is_missing(fields.get(name))}
    critic = fields.get("critic")
    return RegionRow(
        images=tuple(as_list(fields.get("images"))),
        regions=tuple(_region(entry) for entry in entries_of(fields, "regions")),
        critic=None if critic is None else float(critic),
        choices=tuple(read_tokens(choice) for choice in entries_of(fields, "choices")),
        messages=tuple({**turn, "content": read_tokens(turn["content"])} for turn in entries_of(fields, "messages")),
        external=tuple(entries_of(fields, "external")),
        **{name: fields[name] for name in PLAIN_FIELDS if not is_missing(fields.get(name))},
        **texts,
    )


def gold_boxes(record: RegionRow) -> dict[str, Any]:
    """Return `boxes` that the answer mentions, and `box_image`, their picture; `boxes` is None where there is no such one."""
    mentioned = [record.regions[index] for index in dict.fromkeys(find_mentions(record.answer or ""))]
    images = {region.image for region in mentioned}
    if len(images) != 1:
        return {"boxes": None}
    return {"boxes": [list(region.box) for region in mentioned], "box_image": images.pop()}


def record_problems(fields: Mapping[str, Any]) -> Iterator[RowProblem]:
    """Yield what is wrong with the regions of a row and with its mentions; whether a box lies in its picture is `box_problems`."""
    regions = fields.get("regions")
    yield from _object_problems("messages", fields.get("messages"), "content", "role")
    yield from _object_problems("external", fields.get("external"), "text", "source")
    yield from _region_problems(regions, len(as_list(fields.get("images"))))
    if regions is not None and not isinstance(regions, list):
        return  # no mention can be right
    count = len(regions or [])
    for path, value in _texts(fields):
        if path in PLAIN_FIELDS and not isinstance(value, str):
            yield RowProblem(path, show(value), "text", "write it as text, or null")
            continue
        try:
            text = _text(value)
        except ValueError as error:
            yield RowProblem(path, *_clauses(f"{error}"))
            continue
        problem = mention_problem(text, count)
        if problem is not None:
            yield RowProblem(path, *_clauses(problem))
    critic = fields.get("critic")
    if critic is not None and not are_numbers([critic], 1):
        yield RowProblem("critic", show(critic), "a finite number, the score of a critic", "write a number or null")


def _object_problems(field: str, value: Any, text: str, other: str) -> Iterator[RowProblem]:
    """Yield what is wrong with the shape of turns or actions; what is in them is for the rules of `rollout`."""
    if is_missing(value):
        return
    form = f'{{"{other}", "{text}"}}'
    if not isinstance(value, list):
        yield RowProblem(field, show(value), f"a list of {form}", "write a list, or null")
        return
    for index, entry in enumerate(value):
        if not isinstance(entry, Mapping):
            yield RowProblem(f"{field}[{index}]", show(entry), form, "write an object")
        elif is_missing(entry.get(text)) or (field == "external" and not isinstance(entry[text], str)):
            remedy = "write it as text, or drop the entry"
            yield RowProblem(f"{field}[{index}].{text}", show(entry.get(text)), "non-empty text", remedy)


def _texts(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every text that may mention regions."""
    for name in (*TEXT_FIELDS, *PLAIN_FIELDS):
        if not is_missing(fields.get(name)):
            yield name, fields[name]
    choices = fields.get("choices")
    for index, choice in enumerate(choices if isinstance(choices, list) else []):
        yield f"choices[{index}]", choice
    messages = fields.get("messages")
    for index, turn in enumerate(messages if isinstance(messages, list) else []):
        if isinstance(turn, Mapping) and not is_missing(turn.get("content")):
            yield f"messages[{index}].content", turn["content"]
    external = fields.get("external")
    for index, entry in enumerate(external if isinstance(external, list) else []):
        if isinstance(entry, Mapping) and isinstance(entry.get("text"), str):
            yield f"external[{index}].text", entry["text"]


def _region_problems(regions: Any, images: int) -> Iterator[RowProblem]:
    if regions is None:
        return
    if not isinstance(regions, list):
        remedy = 'write [{"image": 0, "box": [x1, y1, x2, y2], "label": "…"}]'
        yield RowProblem("regions", show(regions), "a list of regions", remedy)
        return
    for index, entry in enumerate(regions):
        path = f"regions[{index}]"
        if not isinstance(entry, Mapping):
            yield RowProblem(path, show(entry), '{"image", "box", "label"}', "write an object")
            continue
        yield from _entry_problems(path, entry, images)


def _entry_problems(path: str, entry: Mapping[str, Any], images: int) -> Iterator[RowProblem]:
    image = entry.get("image", 0)
    image = 0 if image is None else image
    if not isinstance(image, int) or isinstance(image, bool) or not 0 <= image < images:
        several = f"0 to {images - 1}, for the row has {images} images"
        known = {0: "an image in the row", 1: "0, for the row has one image"}.get(images, several)
        yield RowProblem(f"{path}.image", show(image), known, "correct the number, or add the image")
    yield from _corner_problems(f"{path}.box", entry.get("box"))
    label = entry.get("label")
    problem = None
    if label is not None:
        problem = label_problem(label) if isinstance(label, str) else f"got {show(label)}, expected text. Write it."
    if problem is not None:
        yield RowProblem(f"{path}.label", *_clauses(problem))
    yield from _polygon_problems(f"{path}.polygons", entry.get("polygons"))


def _corner_problems(path: str, box: Any) -> Iterator[RowProblem]:
    if not isinstance(box, (list, tuple)):
        remedy = "write the left top and the right bottom corner as a list"
        yield RowProblem(path, show(box), "a list [x1, y1, x2, y2] in pixels of the original picture", remedy)
    elif not are_numbers(box, 4):
        remedy = "write the left top and the right bottom corner"
        yield RowProblem(path, show(box), "four finite numbers [x1, y1, x2, y2]", remedy)
    elif box[2] <= box[0] or box[3] <= box[1]:
        remedy = "write the left top corner first; [x, y, width, height] becomes [x, y, x + width, y + height]"
        yield RowProblem(path, show(box), "x1 < x2 and y1 < y2", remedy)


def _polygon_problems(path: str, polygons: Any) -> Iterator[RowProblem]:
    if polygons is None:
        return
    if not isinstance(polygons, list):
        yield RowProblem(path, show(polygons), "a list of polygons", "write [[[x, y], …], …], or null")
        return
    for index, polygon in enumerate(polygons):
        points = polygon if isinstance(polygon, (list, tuple)) else []
        if len(points) < 3 or not all(are_numbers(point, 2) for point in points):
            expected = "three points [x, y] or more"
            yield RowProblem(f"{path}[{index}]", show(polygon), expected, "correct it, or leave it to the box")


def _region(entry: Mapping[str, Any]) -> Region:
    left, top, right, bottom = map(float, entry["box"])
    polygons = entry.get("polygons") or []
    return Region(
        image=entry.get("image") or 0,
        box=(left, top, right, bottom),
        label=entry.get("label"),
        polygons=tuple(tuple((float(x), float(y)) for x, y in polygon) for polygon in polygons),
    )


def _text(value: Any) -> str:
    """Return a text, a number or a list of tokens as text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return read_tokens(value)


def _clauses(sentence: str) -> tuple[str, str, str]:
    """Return got, expected and remedy of a sentence `got …, expected …. Do this.` of `regions`."""
    where, _, rest = sentence.rpartition("got ") if sentence.startswith("token") else ("", "", sentence[4:])
    got, _, rest = rest.partition(", expected ")
    expected, _, remedy = rest.partition(". ")
    return (
        f"{got} ({where.rstrip(': ')})" if where else got,
        expected.rstrip("."),
        (remedy.rstrip(".") or "correct it"),
    )
