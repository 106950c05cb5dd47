"""How a gold text is read: as a whole by a rule of its kind, or by math-verify where that reads all of it; never a part [ours].

math-verify takes the expression that it finds in a text. Of the gold `1, 2, 3` it takes 3, of `5 cm` 5, of `2019-05-01` a
difference. An answer that shares this part alone would be right.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple


NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?%?"
PLAIN_NUMBER = re.compile(rf"(?=.*\d){NUMBER}")
THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?%?")
DATE = re.compile(r"\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2\d{4}")
COLON = re.compile(r"\d+(?:\.\d+)?(?:\s*:\s*\d+(?:\.\d+)?)+(?:\s*[ap]\.?m\.?)?", re.IGNORECASE)
TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}")
QUANTITY = re.compile(
    rf"(?P<number>(?=[-+.]*\d){NUMBER}|[-+]?\d+\s*/\s*\d+)\s*(?P<unit>[A-Za-zµμ°Ω$€£¥][A-Za-zµμ°Ω/^0-9²³·]*\.?)"
)
MONEY = re.compile(rf"(?P<unit>[$€£¥])\s*(?P<number>(?=[-+.]*\d){NUMBER})")
WORDS = re.compile(r"[A-Za-z]{2}|[^\W\d_a-zA-Zµμ°Ωπ]")
COMMAND = re.compile(r"\\[A-Za-z]+")
BRACKETS = {"(": ")]", "[": ")]", "{": "}"}

Equal = Callable[[str, str], bool | None]


class Gold(NamedTuple):
    """A gold text and its kind.

    Attributes:
        kind: `mathematics`, `list`, `set`, `date`, `time or ratio`, `quantity` or `text`.
        text: without dollar signs around it.
        parts: of a list or set, the entries; of a quantity, number and unit; of what has colons, the numbers.
    """

    kind: str
    text: str
    parts: tuple[str, ...] = ()


def read_gold(text: str) -> Gold:
    """Return how a gold text is read.

    - `list`: entries with commas between them, without brackets. `1,000` is one number.
    - `set`: the same in braces.
    - `date`: year, month and day.
    - `time or ratio`: numbers with colons between them.
    - `quantity`: a number with one unit, or with a sign of money.
    - `text`: anything else with words.
    - `mathematics`: all others, tuples and intervals in brackets among them; math-verify reads them whole.
    """
    plain = _bare(text)
    braces = re.fullmatch(r"\\?\{(.*?)\\?\}", plain, re.DOTALL)
    entries = _split(braces[1] if braces else plain)
    if braces and len(entries) > 1:
        return Gold("set", plain, entries)
    if DATE.fullmatch(plain):
        return Gold("date", plain)
    if COLON.fullmatch(plain):
        return Gold("time or ratio", plain, _colon_parts(plain))
    if (quantity := _quantity(plain)) is not None:
        return Gold("quantity", plain, quantity)
    if len(entries) > 1 and not THOUSANDS.fullmatch(plain) and not _has_sentence(entries):
        return Gold("list", plain, entries)
    if WORDS.search(COMMAND.sub(" ", plain)):
        return Gold("text", plain)
    return Gold("mathematics", plain)


def compare(gold: Gold, answer: str, equal: Equal) -> bool | None:
    """Say whether an answer is the whole gold text; None where `equal` has no result.

    Args:
        gold: of any kind but `mathematics`.
        answer: a text; of a sentence, what has the form of the gold text is taken, the last one.
        equal: compares two entries, or two numbers.
    """
    plain = _bare(answer)
    if gold.kind in ("list", "set"):
        return _equal_entries(gold, plain, equal)
    if gold.kind == "date":
        return _last(DATE, plain, lambda found: _digits(found) == _digits(gold.text))
    if gold.kind == "time or ratio":
        return _last(COLON, plain, lambda found: _equal_colons(gold.parts, _colon_parts(found)))
    if gold.kind == "quantity":
        return _equal_quantity(gold.parts, plain, equal)
    return _words(plain) == _words(gold.text)


def describe_golds(texts: Iterable[str]) -> list[tuple[str, int, list[str]]]:
    """Return (kind, how many, two examples) for the kinds of gold texts that there are, the most frequent first."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for text in texts:
        kind = read_gold(text).kind
        counts[kind] += 1
        shown = examples.setdefault(kind, [])
        if len(shown) < 2 and text not in shown:
            shown.append(text)
    return [(kind, count, examples[kind]) for kind, count in counts.most_common()]


def _bare(text: str) -> str:
    """Return a text without white space, and without dollar signs or a box of LaTeX around it."""
    text = text.strip()
    while True:
        inside = re.fullmatch(r"\$+([^$]*)\$+|\\\((.*)\\\)|\\\[(.*)\\\]|\\boxed\{(.*)\}", text, re.DOTALL)
        if inside is None:
            return text
        text = next(group for group in inside.groups() if group is not None).strip()


def _split(text: str) -> tuple[str, ...]:
    """Return the parts between commas and semicolons that are in no bracket; `1,000` stays whole within `1,000, 2,000`."""
    parts, depth, start = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if depth == 0 and (sign in ";\uff0c\uff1b\u3001" or (sign == "," and not _groups_digits(text, place))):
            parts.append(text[start:place].strip())
            start = place + 1
    parts.append(text[start:].strip())
    if len(parts) > 1 and (last := re.fullmatch(r"(?:(\S+)\s+)?(?:and|or)\s+(\S.*)", parts[-1], re.DOTALL)):
        parts[-1:] = [part for part in last.groups() if part is not None]
    return tuple(parts) if all(parts) else (text,)


def _groups_digits(text: str, place: int) -> bool:
    """Whether a comma groups the digits of one number: three follow it at once, and the text is not a list without spaces."""
    if ", " not in text and not THOUSANDS.fullmatch(text):
        return False
    return bool(re.search(r"\d$", text[:place]) and re.match(r"\d{3}(?!\d)", text[place + 1 :]))


def _has_sentence(entries: tuple[str, ...]) -> bool:
    """Whether an entry has three words or more: the commas are those of a sentence."""
    return any(len(re.findall(r"[A-Za-z]{2,}", COMMAND.sub(" ", entry))) > 2 for entry in entries)


def _quantity(text: str) -> tuple[str, str] | None:
    plain = re.sub(r"\\[ ,;!]|~|\\(?=[%$])", "", TEXT_COMMAND.sub(r" \1", text)).strip()
    found = QUANTITY.fullmatch(plain) or MONEY.fullmatch(plain)
    if found is None or (
        re.fullmatch(r"[a-zA-Z]\d*|pi|e\d+", found["unit"]) and found["unit"] not in UNITS_OF_ONE_LETTER
    ):
        return None  # 3x is algebra
    return found["number"], found["unit"]


UNITS_OF_ONE_LETTER = {"m", "g", "s", "h", "l", "L", "N", "J", "W", "V", "A", "K", "C", "F"}


def _equal_quantity(gold: tuple[str, ...], answer: str, equal: Equal) -> bool | None:
    """Equal numbers, and the same unit or none."""
    found = _quantity(answer)
    if found is None:
        bare = PLAIN_NUMBER.fullmatch(answer) or re.fullmatch(r"[-+]?\d+\s*/\s*\d+", answer)
        if bare:
            return equal(gold[0], answer)
        inside = [match for match in [*QUANTITY.finditer(answer), *MONEY.finditer(answer)] if match["number"]]
        if not inside:
            return False
        last = max(inside, key=lambda match: match.start())
        found = last["number"], last["unit"]
    return _unit(found[1]) == _unit(gold[1]) and equal(gold[0], found[0])


def _unit(text: str) -> str:
    text = text.rstrip(".").replace("²", "^2").replace("³", "^3")
    return text if len(text) <= 3 else text.casefold().removesuffix("s")  # mW is not MW; Metres is metre


def _equal_entries(gold: Gold, answer: str, equal: Equal) -> bool | None:
    if gold.kind == "list":
        outer = re.fullmatch(r"[(\[](.*)[)\]]", answer, re.DOTALL)
        inner = outer[1] if outer and len(_split(outer[1])) == len(gold.parts) else answer
    else:
        braces = re.fullmatch(r"\\?[({\[](.*?)\\?[)}\]]", answer, re.DOTALL)
        inner = braces[1] if braces else answer
    entries = list(_split(inner))
    if (
        len(gold.parts) == 2
        and len(entries) == 1
        and (pair := re.fullmatch(r"(\S.*?)\s+and\s+(\S.*)", inner, re.DOTALL))
    ):
        entries = list(pair.groups())  # two need no comma
    if len(entries) != len(gold.parts) and _has_sentence((answer,)):
        entries = _entries_of_sentence(answer)
    if len(entries) != len(gold.parts):
        return False
    if gold.kind == "list":
        return _all(equal(one, other) for one, other in zip(gold.parts, entries, strict=True))
    for wanted in gold.parts:  # each entry once
        place = next((place for place, entry in enumerate(entries) if equal(wanted, entry)), None)
        if place is None:
            return False
        del entries[place]
    return True


def _entries_of_sentence(text: str) -> list[str]:
    """Return the numbers of the last list in a sentence."""
    number = rf"(?=[-+.]*\d){NUMBER}"
    runs = re.findall(rf"{number}(?:\s*,\s*(?:and\s+)?{number}|\s+and\s+{number})+", text)
    return [part.strip() for part in re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+", runs[-1])] if runs else []


def _all(results: Iterable[bool | None]) -> bool | None:
    found = list(results)
    return False if False in found else None if None in found else True


def _last(form: re.Pattern[str], text: str, test: Callable[[str], bool]) -> bool:
    found = [match[0] for match in form.finditer(text)]
    return bool(found) and test(found[-1])


def _digits(text: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", text)]


def _colon_parts(text: str) -> tuple[str, ...]:
    half = re.search(r"[ap](?=\.?m\.?\s*$)", text, re.IGNORECASE)
    return (*re.findall(r"\d+(?:\.\d+)?", text), *([half[0].casefold()] if half else []))


def _equal_colons(gold: tuple[str, ...], answer: tuple[str, ...]) -> bool:
    """The same numbers; a ratio of two is also equal to the ratio in lower terms, which a time (two digits behind) is not."""
    halves = [parts[-1] in ("a", "p") for parts in (gold, answer)]
    if any(halves):
        return all(halves) and gold[-1] == answer[-1] and _equal_colons(gold[:-1], answer[:-1])
    one, other = [float(part) for part in gold], [float(part) for part in answer]
    if one == other:
        return True
    is_time = len(gold[-1]) == 2 or len(answer[-1]) == 2 or len(gold) != 2
    return not is_time and len(other) == 2 and one[0] * other[1] == one[1] * other[0] != 0


def _words(text: str) -> str:
    return " ".join(TEXT_COMMAND.sub(r"\1", text).split()).strip(" .。").casefold()
