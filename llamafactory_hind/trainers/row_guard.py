"""A row that cannot be turned into a batch in the middle of training: named, and under `skip_bad_rows` replaced.

The check has opened every medium, but a file may be lost or damaged afterwards. Another row takes the place of such a row, so
that every process takes as many steps, with as many rows, as if nothing had happened: none waits for another. Which row it is
depends on the rows alone [ours]; a resumed run makes the same choice.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.extras import logging

from ..formats.fields import columns_of
from ..formats.media.fields import MEDIA_FIELDS
from ..formats.problems import BadRow, BadRowsError, append_to_side_file
from ..formats.processors.guarding import problem_of


if TYPE_CHECKING:
    from .host import HostArguments

logger = logging.get_logger("llamafactory.hind.trainers.row_guard")
Feature = Mapping[str, Any]
TRIES = 100  # [ours] rows that are tried in the place of a bad one
NOT_OF_A_ROW = (MemoryError, torch.OutOfMemoryError)


class RowGuard:
    """Finds the rows that made a batch fail, and good ones in their place.

    Args:
        collate: makes a batch of rows, or fails.
        rows: of the run; a stream has none that could be asked for.
        skips: bad rows are replaced; else they stop the run.
        side_file: where replaced rows are listed.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], rows: Any, *, skips: bool, side_file: str) -> None:
        """Nothing is tried yet."""
        self.collate, self.rows, self.skips, self.side_file = collate, rows, skips, side_file
        self._bad: dict[str, BadRow] = {}

    @classmethod
    def of(cls, args: "HostArguments", collate: Callable[[list[Any]], Any], rows: Any) -> "RowGuard":
        """Read `skip_bad_rows` and the output folder of a run."""
        skips = bool(getattr(args.data, "skip_bad_rows", False))
        return cls(collate, rows, skips=skips, side_file=f"{args.training.output_dir}/bad_rows/in_training.jsonl")

    def __len__(self) -> int:
        """Return how many bad rows this process has met."""
        return len(self._bad)

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
        if not self.skips:
            raise BadRowsError(list(bad.values()), dataset="of this run", checked=None, side_file=self.side_file)
        for row in bad.values():
            self._list(row)
        return [self._other(feature) if place in bad else feature for place, feature in enumerate(features)]

    def find(self, features: Sequence[Feature]) -> dict[int, BadRow]:
        """Try every row alone; return those that fail, by their places."""
        tried = ((place, self._bad_row(feature)) for place, feature in enumerate(features))
        return {place: row for place, row in tried if row is not None}

    def _bad_row(self, feature: Feature) -> BadRow | None:
        name = _name(feature)
        if name in self._bad:
            return self._bad[name]
        try:
            self.collate([feature])
        except NOT_OF_A_ROW:
            raise
        except Exception as error:
            media = {kind: feature.get(kind) for kind in MEDIA_FIELDS}
            file, _, number = name.rpartition(", row ")
            is_numbered = bool(file) and number.isdigit()
            problem = problem_of(error, media)
            return BadRow(
                file if is_numbered else name, int(number) if is_numbered else None, (problem,), columns_of(feature)
            )
        return None

    def _list(self, row: BadRow) -> None:
        if row.place in self._bad:
            return
        self._bad[row.place] = row
        append_to_side_file(self.side_file, row)
        logger.warning(
            f"A row went bad after the check; another row takes its place (so far {len(self)} in this process, listed in "
            f"{self.side_file}):\n{row}"
        )

    def _other(self, feature: Feature) -> Any:
        """Return a good row in the place of a bad one, found from a place that its name decides."""
        count = len(self.rows) if hasattr(self.rows, "__len__") else 0
        start = zlib.crc32(_name(feature).encode())
        for step in range(min(count, TRIES)):
            other = self.rows[(start + step) % count]
            if self._bad_row(other) is None:
                return other
        rows = list(self._bad.values())
        raise BadRowsError(
            rows, dataset="of this run (no good row was found in their place)", checked=None, side_file=None
        )


def _name(feature: Feature) -> str:
    return str(feature.get("place") or feature.get("row_id") or "a row without a name")
