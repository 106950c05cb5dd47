"""Which kinds of values are at a path over all rows: the count of each, the first of each, and which of them are odd.

Slow and exact. It is asked where the fast way found that no type holds a column.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from .json_text import join
from .problems import Place, RowProblem, show
from .types import MOST_FIELDS, MOST_LEVELS


TEXT, TRUTH, NUMBER, LIST, OBJECT, BYTES = "text", "true or false", "a number", "a list", "an object", "bytes"
FAMILIES = {str: TEXT, bool: TRUTH, int: NUMBER, float: NUMBER, list: LIST, dict: OBJECT, bytes: BYTES}
# Traits of numbers; some do not stand beside each other in one type.
FRACTION, NEGATIVE, INEXACT = "a fraction", "a negative number", "a whole number that a double rounds"
BIG, HUGE = "a whole number of 64 bits without sign", "a whole number of more than 64 bits"
DEEP, WIDE = f"more than {MOST_LEVELS} levels", f"an object with more than {MOST_FIELDS} different keys over all rows"
KEPT_EXAMPLES = 20
Example = tuple[Place, str, Any]


class Node:
    """What is at one path of the rows."""

    def __init__(self, depth: int = 1) -> None:
        """Start with nothing seen."""
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[Example]] = {}
        self.fields: dict[str, Node] = {}
        self.items: Node | None = None
        self._depth = depth
        self._odd: dict[str, str] | None = None

    def add(self, value: Any, place: Place, path: str) -> None:
        """Note a value, and what is in it."""
        if value is None:
            return
        family = FAMILIES[type(value)]
        self._note(family, value, place, path)
        if family is NUMBER:
            for trait in traits(value):
                self._note(trait, value, place, path)
        elif family in (LIST, OBJECT) and self._depth >= MOST_LEVELS:
            self._note(DEEP, value, place, path)
        elif family is LIST:
            self.items = self.items or Node(self._depth + 1)
            for index, item in enumerate(value):
                self.items.add(item, place, f"{path}[{index}]")
        elif family is OBJECT:
            for key, item in value.items():
                if key not in self.fields and len(self.fields) >= MOST_FIELDS:
                    self._note(WIDE, value, place, path)
                    break
                self.fields.setdefault(key, Node(self._depth + 1)).add(item, place, join(path, key))

    def _note(self, kind: str, value: Any, place: Place, path: str) -> None:
        self.counts[kind] += 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < KEPT_EXAMPLES:
            examples.append((place, path, value))

    def usual(self) -> str | None:
        """Return the family of most values, of the first one among equals; None where all are null."""
        return max(
            (kind for kind in self.counts if kind in FAMILIES.values()), key=self.counts.__getitem__, default=None
        )

    def odd(self) -> dict[str, str]:
        """Return the kinds that no type holds beside the usual ones, each with what is expected instead."""
        usual = self.usual()
        if usual is None:
            return {}
        place, path, value = self.examples[usual][0]
        rule = f"{usual}, as in {self.counts[usual]} places (the first: {place}, `{path}`: {show(value)})"
        odd = {kind: rule for kind in self.counts if kind in FAMILIES.values() and kind != usual}
        odd |= {kind: "fewer levels, with a fixed set of keys" for kind in (DEEP, WIDE) if self.counts[kind]}
        for kind, beside in ((HUGE, HUGE), (INEXACT, FRACTION), (BIG, NEGATIVE)):
            if self.counts[kind] and self.counts[beside]:
                other = "" if kind == beside else f" beside {beside} ({_where(self.examples[beside][0])})"
                odd[kind] = f"a number that 64 bits hold exactly{other}"
        return odd

    def problems(self) -> Iterator[RowProblem]:
        """Yield the odd values, at most 20 of each kind at a path."""
        for kind, expected in self.odd().items():
            shown = self.examples[kind]
            more = f" ({self.counts[kind]} such in all)" if self.counts[kind] > 1 else ""
            for place, path, value in shown:
                remedy = "write it the same way everywhere" if kind in FAMILIES.values() else "write it as text"
                yield RowProblem(place, path, f"{show(value)}, {kind}{more}", expected, remedy)
        for node in (*self.fields.values(), *([self.items] if self.items else ())):
            yield from node.problems()

    def find_odd(self, value: Any, path: str) -> Iterator[tuple[str, Any, str, str]]:
        """Yield (path, value, kind, expected) of what is odd in a value, by what was noted before."""
        if value is None:
            return
        if self._odd is None:
            self._odd = self.odd()  # nothing is noted any more
        odd, family = self._odd, FAMILIES[type(value)]
        for kind in (family, *(traits(value) if family is NUMBER else ())):
            if kind in odd:
                yield path, value, kind, odd[kind]
        if DEEP in odd and family in (LIST, OBJECT):
            yield path, value, DEEP, odd[DEEP]
        elif family is LIST and self.items:
            for index, item in enumerate(value):
                yield from self.items.find_odd(item, f"{path}[{index}]")
        elif family is OBJECT:
            for key, item in value.items():
                if key in self.fields:
                    yield from self.fields[key].find_odd(item, join(path, key))
                else:
                    yield path, value, WIDE, odd.get(WIDE, "")
                    return

    def type(self) -> pa.DataType:
        """Return the type that holds all values; only where nothing is odd."""
        usual = self.usual()
        if usual is NUMBER:
            return pa.float64() if self.counts[FRACTION] else pa.uint64() if self.counts[BIG] else pa.int64()
        if usual is LIST:
            return pa.list_(self.items.type() if self.items else pa.null())
        if usual is OBJECT:
            return pa.struct([(key, node.type()) for key, node in self.fields.items()])
        return {None: pa.null(), TEXT: pa.string(), TRUTH: pa.bool_(), BYTES: pa.binary()}[usual]

    def is_odd(self) -> bool:
        """Say whether anything is odd here or below."""
        return next(self.problems(), None) is not None


def traits(number: int | float) -> Iterator[str]:
    """Yield what matters of a number for the types that hold it."""
    if isinstance(number, float):
        yield FRACTION
        return
    if number < 0:
        yield NEGATIVE
    if not -(2**53) <= number <= 2**53:
        yield INEXACT
    if not -(2**63) <= number < 2**64:
        yield HUGE
    elif number >= 2**63:
        yield BIG


def _where(example: Example) -> str:
    place, path, value = example
    return f"{place}, `{path}`: {show(value)}"
