"""What a `synth` pipeline made: rows that were kept, texts that were dropped and rows that failed, each with its reason."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...storage.rows import iterate


KEPT, DROPPED, FAILED = "kept", "dropped", "failed"
STATES = (KEPT, DROPPED, FAILED)
REPORTS = (".report.json", ".quadrants.json")
MOST_ROWS = 200_000  # [ours] of one file that a page looks at
QUADRANTS = {
    (True, True): "helpful, confident",
    (True, False): "helpful, unsure",
    (False, True): "unhelpful, confident",
    (False, False): "unhelpful, unsure",
}


@dataclass(frozen=True)
class Item:
    """One row or text.

    Attributes:
        state: one of `STATES`.
        reason: why it was dropped or failed; empty for what was kept.
        row_id: of the row.
        fields: all that is known of it.
    """

    state: str
    reason: str
    row_id: str
    fields: Mapping[str, Any]

    def holds(self, text: str) -> bool:
        """Say whether a text occurs anywhere in it, whatever its case."""
        return text.lower() in json.dumps(self.fields, ensure_ascii=False, default=str).lower()


class Synthesis:
    """The files of one output.

    Args:
        output: file of rows.

    Attributes:
        unreadable: name of a file -> why its rows, or some of them, were left out.
    """

    def __init__(self, output: Path) -> None:
        """Read nothing yet."""
        self.output = output
        self._kept: tuple[Any, list[Item]] | None = None
        self.unreadable: dict[str, str] = {}

    def items(self) -> list[Item]:
        """Return everything, in the order kept, dropped, failed; files that changed are read anew."""
        files = [
            self.output,
            *(self.output.with_suffix(ending) for ending in (".samples.jsonl", ".dropped.jsonl", ".failures.jsonl")),
        ]
        identity = [(path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None for path in files]
        if self._kept is None or self._kept[0] != identity:
            self.unreadable = {}
            self._kept = identity, [*self._read(*files)]
        return self._kept[1]

    def _read(self, output: Path, samples: Path, dropped: Path, failures: Path) -> Iterator[Item]:
        kept = samples if samples.exists() else output  # of `knowledge` the samples say more than the pairs
        yield from (Item(KEPT, "", _id(row), row) for row in self._rows(kept))
        for row in self._rows(dropped):
            yield Item(DROPPED, _reason(row), _id(row), row)
        for row in self._rows(failures):
            yield Item(FAILED, str(row.get("reason") or ""), _id(row), row)

    def _rows(self, path: Path) -> Iterator[dict[str, Any]]:
        if not path.exists():
            return
        try:
            for number, row in enumerate(iterate([str(path)], on_bad=lambda problem: self._note(path, problem))):
                if number >= MOST_ROWS:
                    self._note(path, f"only the first {MOST_ROWS} rows are shown")
                    return
                yield row.values
        except Exception as error:  # a file that is written at this moment, or damaged
            self._note(path, error)

    def _note(self, path: Path, why: object) -> None:
        self.unreadable.setdefault(path.name, str(why).splitlines()[0][:200])

    def report(self) -> Mapping[str, Any]:
        """Return the numbers of the pipeline's own report; empty where there is none yet."""
        for ending in REPORTS:
            try:
                found = json.loads(self.output.with_suffix(ending).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(found, dict):
                return found
        return {}

    @property
    def threshold(self) -> float | None:
        """Confidence from which a fact counts as confident, as the report of `knowledge` says."""
        quadrants = self.report().get("quadrants")
        value = quadrants.get("threshold") if isinstance(quadrants, dict) else None
        return float(value) if isinstance(value, int | float) else None

    def media_dir(self, roots: Sequence[Path]) -> Path | None:
        """Return the folder under which the first picture of the output is: that of the output or one above, within the roots."""
        first = next((name for item in self.items() for name in _media(item.fields)), None)
        for folder in self.output.parents:
            if not any(str(folder) == str(root) or str(folder).startswith(str(root) + os.sep) for root in roots):
                return None
            if first is None or (folder / first).exists():
                return folder
        return None


def reasons(items: Sequence[Item]) -> dict[str, int]:
    """Return how often each reason occurs, the commonest first."""
    return dict(Counter(item.reason for item in items if item.reason).most_common())


def pick(items: Sequence[Item], *, state: str = "all", reason: str = "", text: str = "") -> list[Item]:
    """Return the items that a page shows."""
    return [
        item
        for item in items
        if (state in ("all", item.state)) and (not reason or reason == item.reason) and (not text or item.holds(text))
    ]


def facts(item: Item) -> list[Mapping[str, Any]]:
    """Return the facts of a row of `knowledge`, the greedy one first; empty for other rows."""
    greedy, samples = item.fields.get("greedy"), item.fields.get("samples")
    found = [greedy] if isinstance(greedy, dict) else []
    return [*found, *(one for one in samples if isinstance(one, dict))] if isinstance(samples, list) else found


def quadrant(fact: Mapping[str, Any], threshold: float | None) -> str:
    """Return where a fact stands by helpfulness and confidence; empty where one of them is not known."""
    confidence, helpful = fact.get("confidence"), fact.get("helpful")
    if threshold is None or helpful is None or not isinstance(confidence, int | float):
        return ""
    return QUADRANTS[bool(helpful), confidence > threshold]  # as `pipeline: knowledge` counts


def _id(row: Mapping[str, Any]) -> str:
    return str(row.get("id") or row.get("row_id") or "")


def _reason(row: Mapping[str, Any]) -> str:
    if row.get("reason"):
        return str(row["reason"])
    inner = [one.get("reason") for one in row.get("samples") or [] if isinstance(one, dict)]
    return ", ".join(dict.fromkeys(str(reason) for reason in inner if reason))


def _media(fields: Mapping[str, Any]) -> list[str]:
    names = [fields.get("images"), fields.get("videos")]
    flat = [one for some in names for one in (some if isinstance(some, list) else [some])]
    return [one for one in flat if isinstance(one, str) and one]
