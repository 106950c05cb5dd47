"""A row that cannot be turned into a batch in the middle of a run: named, and under `skip_bad_rows` replaced.

The check has opened every medium, but a file may be lost or damaged afterwards. Another row of the same data set stands in for such
a row, so that every process takes as many steps, with as many rows, as if nothing had happened: none waits for another. Which row it
is depends on the rows alone [ours]; a resumed run makes the same choice. It is marked (`STANDS_IN`), so that it can be given no weight.
"""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.extras import logging

from ..formats.fields import columns_of
from ..formats.media.fields import MEDIA_FIELDS
from ..formats.problems import BadRow, BadRowsError, append_to_side_file
from ..formats.processors.guarding import problem_of
from ..formats.processors.origin import PLACE, SIDE_FILE, STANDS_IN


if TYPE_CHECKING:
    from .host import HostArguments

logger = logging.get_logger("llamafactory.hind.trainers.row_guard")
Feature = Mapping[str, Any]
FILE = "bad_rows/in_training.jsonl"
TRIES = 100  # [ours] rows that are tried in the place of a bad one
NOT_OF_A_ROW = (MemoryError, torch.OutOfMemoryError)
WHERE = ", row "  # between file and number of a place


class RowGuard:
    """Finds the rows that made a batch fail, and good ones in their place.

    Args:
        collate: makes a batch of rows, or fails.
        sets: of rows, of the run; a stream has none that could be asked for.
        skips: bad rows of every data set are replaced; else those of data sets that say so (`side_file`). Others stop the run.
        side_file: where replaced rows are listed.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], *sets: Any, skips: bool, side_file: str) -> None:
        """Nothing is tried yet."""
        self.collate, self.skips, self.side_file = collate, skips, side_file
        self.sets = [rows for rows in sets if hasattr(rows, "__len__")]
        self._bad: dict[str, BadRow] = {}
        self._mates: dict[str, list[tuple[Any, int]]] = {}

    @classmethod
    def of(cls, args: "HostArguments", collate: Callable[[list[Any]], Any], *sets: Any) -> "RowGuard":
        """Read `skip_bad_rows` and the output folder of a run."""
        skips = bool(getattr(args.data, "skip_bad_rows", False))
        return cls(collate, *sets, skips=skips, side_file=f"{args.training.output_dir}/{FILE}")

    def __len__(self) -> int:
        """Return how many bad rows this process has met."""
        return len(self._bad)

    def skips_row(self, feature: Feature) -> bool:
        """Say whether bad rows of the data set of this row are skipped."""
        return self.skips or bool(feature.get(SIDE_FILE))

    def replace(self, features: Sequence[Feature], error: Exception) -> list[Any]:
        """Return a batch that failed, with other rows in the place of the bad ones.

        Args:
            features: processed rows.
            error: with which the batch failed; it is raised again where no row of it fails alone.

        Raises:
            BadRowsError: bad rows are not skipped, or no good one was found.
        """
        good = self.good(features)
        if all(one is other for one, other in zip(good, features, strict=True)):
            raise error
        return good

    def good(self, features: Sequence[Feature]) -> list[Any]:
        """Try every row alone; return them with others in the place of the bad ones. Errors as in `replace`."""
        bad = self.find(features)
        if not bad:
            return list(features)
        if kept := [row for place, row in bad.items() if not self.skips_row(features[place])]:
            raise BadRowsError(kept, dataset="of this run", checked=None, side_file=self.side_file)
        for place, row in bad.items():
            self._list(_key(features[place]), row)
        others = [feature for place, feature in enumerate(features) if place not in bad]
        return [self._other(feature, others) if place in bad else feature for place, feature in enumerate(features)]

    def find(self, features: Sequence[Feature]) -> dict[int, BadRow]:
        """Try every row alone; return those that fail, by their places."""
        tried = ((place, self._bad_row(feature)) for place, feature in enumerate(features))
        return {place: row for place, row in tried if row is not None}

    def _bad_row(self, feature: Feature) -> BadRow | None:
        key = _key(feature)
        if key in self._bad:
            return self._bad[key]
        try:
            self.collate([feature])
        except NOT_OF_A_ROW:
            raise
        except Exception as error:
            media = {kind: feature.get(kind) for kind in MEDIA_FIELDS}
            name = _name(feature)
            file, _, number = name.rpartition(WHERE)
            is_numbered = bool(file) and number.isdigit()
            problem = problem_of(error, media)
            return BadRow(
                file if is_numbered else name, int(number) if is_numbered else None, (problem,), columns_of(feature)
            )
        return None

    def _list(self, key: str, row: BadRow) -> None:
        if key in self._bad:
            return
        self._bad[key] = row
        append_to_side_file(self.side_file, row)
        logger.warning(
            f"A row went bad after the check; another row takes its place (so far {len(self)} in this process, listed in "
            f"{self.side_file}):\n{row}"
        )

    def _other(self, feature: Feature, others: Sequence[Feature]) -> Any:
        """Return a good row of the same data set in the place of a bad one, found from a place that its name decides.

        Args:
            feature: the bad row.
            others: the good rows of its batch; one of a stream has nothing else in its place.
        """
        mates = self._rows_of(str(feature.get(SIDE_FILE) or ""))
        start = zlib.crc32(_key(feature).encode())
        for step in range(min(len(mates), TRIES)):
            rows, place = mates[(start + step) % len(mates)]
            if self._bad_row(rows[place]) is None:
                return {**rows[place], STANDS_IN: True}
        if others and not self.sets:
            return {**others[start % len(others)], STANDS_IN: True}
        rows = list(self._bad.values())
        raise BadRowsError(
            rows, dataset="of this run (no good row was found in their place)", checked=None, side_file=None
        )

    def _rows_of(self, side_file: str) -> list[tuple[Any, int]]:
        """Return where the rows of a data set stand: the set, and the place in it."""
        if side_file not in self._mates:
            self._mates[side_file] = [
                (rows, place) for rows in self.sets for place, own in enumerate(_side_files(rows)) if own == side_file
            ]
        return self._mates[side_file]


def _side_files(rows: Any) -> list[str]:
    names = getattr(rows, "column_names", None)
    if names is None:
        return [str(row.get(SIDE_FILE) or "") for row in rows]
    return list(rows[SIDE_FILE]) if SIDE_FILE in names else [""] * len(rows)


def _name(feature: Feature) -> str:
    return str(feature.get(PLACE) or feature.get("row_id") or "a row without a name")


def _key(feature: Feature) -> str:
    """Tell rows apart: by their place, by what is in them where that names a file alone (rows of a stream)."""
    place = str(feature.get(PLACE) or "")
    if WHERE in place:
        return place
    content = {name: value for name, value in feature.items() if name != STANDS_IN}
    return json.dumps(content, sort_keys=True, default=repr)


@dataclass
class GuardedCollator:
    """In front of a collator of ours: a `guard` puts other rows in the place of those that cannot be read, or names them.

    Attributes:
        guard: None lets the errors of rows through.
    """

    guard: RowGuard | None = None

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch of these rows, or of others in the place of bad ones."""
        if self.guard is None:
            return self.collate(features)
        try:
            return self.collate(features)
        except NOT_OF_A_ROW:
            raise
        except Exception as error:
            return self.collate(self.guard.replace(features, error))

    def collate(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch of these very rows, or fail."""
        raise NotImplementedError


def stand_ins(features: Sequence[Feature]) -> list[int]:
    """Return the places of the rows that stand in for bad ones."""
    return [place for place, feature in enumerate(features) if feature.get(STANDS_IN)]


def weights_of(features: Sequence[Feature]) -> dict[str, torch.Tensor]:
    """Return `weights` (N,) float32 for a batch, 0 for a row that stands in for a bad one; nothing where there is none."""
    places = stand_ins(features)
    if not places:
        return {}
    weights = torch.ones(len(features))
    weights[places] = 0.0
    return {"weights": weights}
