"""The numbers that models write for boxes: text in, tuples of numbers out. Never raises; what is malformed is left out."""

import re
from collections.abc import Iterator


Numbers = tuple[float, ...]

# Digits and blanks are bounded: no text, however hostile, takes more than linear time.
NUMBER = r"(-?(?:[0-9]{1,9}(?:\.[0-9]{0,40})?|\.[0-9]{1,40}))"
BETWEEN = r"(?:\s{0,9},\s{0,9}|\s{1,9})"
GAP = r"\s{0,9}"
PAIR = rf"[\[({{]{GAP}{NUMBER}{BETWEEN}{NUMBER}{GAP}[\])}}]"
# Four numbers after an opening and before a closing sign, of any kind; or the two corners in brackets of their own.
FOUR = re.compile(
    rf"(?<=[\[({{<>;]){GAP}{NUMBER}{BETWEEN}{NUMBER}{BETWEEN}{NUMBER}{BETWEEN}{NUMBER}{GAP}(?=[\])}}<>;])"
    rf"|{PAIR}{GAP},?{GAP}{PAIR}"
)
FULL_WIDTH = str.maketrans("（）【】，\uff1b", "()[],;")  # as models write within Chinese text

LOCATION = re.compile(r"<loc_?([0-9]{1,4})>")
PATCH = re.compile(r"<patch_index_([0-9]{1,4})>")
POINT_TAG = re.compile(r"<points?\b([^<>]{0,20000})>")
ALT = re.compile(r"""\balt\s{0,9}=\s{0,9}("[^"]*"|'[^']*')""")
ATTRIBUTE = re.compile(rf"""\b([xy])([0-9]{{0,4}}){GAP}={GAP}["']?{GAP}{NUMBER}""")


def bracketed_boxes(text: str) -> list[Numbers]:
    """Return every four numbers in brackets of any kind, in the order of the text.

    `[1, 2, 3, 4]`, `[[1 2 3 4]]`, `(1,2),(3,4)`, `<box>1 2 3 4</box>`, `[1,2,3,4;5,6,7,8]` and
    JSON are read; five numbers, numbers without brackets and a text that ends before its bracket
    are not boxes.
    """
    found = FOUR.finditer(text.translate(FULL_WIDTH))
    return [tuple(float(number) for number in match.groups() if number is not None) for match in found]


def location_boxes(text: str) -> list[Numbers]:
    """Return every four `<loc0123>` or `<loc_123>` tokens in a row; the rest of a row, cut off by the end, is left out."""
    return list(_groups(LOCATION, text, 4))


def patch_boxes(text: str) -> list[Numbers]:
    """Return every two `<patch_index_0123>` tokens in a row."""
    return list(_groups(PATCH, text, 2))


def tagged_points(text: str) -> list[Numbers]:
    """Return the points of `<point x="1.0" y="2.0" …>` and `<points x1="1.0" y1="2.0" x2=… …>`."""
    points: list[Numbers] = []
    for tag in POINT_TAG.finditer(text):
        pairs: dict[str, dict[str, float]] = {}
        for letter, index, number in ATTRIBUTE.findall(ALT.sub(" ", tag[1])):
            pairs.setdefault(index, {})[letter] = float(number)
        points += [(pair["x"], pair["y"]) for pair in pairs.values() if len(pair) == 2]
    return points


def _groups(token: re.Pattern[str], text: str, count: int) -> Iterator[Numbers]:
    """Yield so many tokens at a time; a group has nothing but blanks between its tokens."""
    group: list[float] = []
    end = 0
    for match in token.finditer(text):
        if text[end : match.start()].strip():
            group = []
        group.append(float(match[1]))
        end = match.end()
        if len(group) == count:
            yield tuple(group)
            group = []
