"""The line that shows how far a run is: rows, rate, time left, failures, tokens and cost."""

import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

from .engines import EnginePool
from .failures import FailureLog


SECONDS_BETWEEN = 0.5  # [ours] writing the line costs more than many a row


class Progress:
    """A progress bar; its rate and time left are of the rows of this run alone.

    Args:
        name: of the pipeline.
        total: rows of the run.
        known: of them, those that an earlier run finished.
        pool: whose usage is shown.
        failures: whose number is shown.
    """

    def __init__(self, name: str, *, total: int, known: int, pool: EnginePool, failures: FailureLog) -> None:
        """Show nothing yet."""
        self._bar = tqdm(total=total, initial=known, unit="row", desc=name, mininterval=SECONDS_BETWEEN)
        self._pool = pool
        self._failures = failures
        self._shown_at = 0.0

    def advance(self, rows: int = 1) -> None:
        """Count rows whose results are on the disk, or that failed."""
        now = time.monotonic()
        if now - self._shown_at >= SECONDS_BETWEEN:
            self._shown_at = now
            self._bar.set_postfix(self._numbers(), refresh=False)
        self._bar.update(rows)

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        self._bar.write(text)

    def _numbers(self) -> dict[str, object]:
        usage = self._pool.usage
        numbers: dict[str, object] = {"tokens": usage.tokens, "failures": len(self._failures.failed)}
        return numbers if usage.cost is None else numbers | {"cost": f"{usage.cost:.4g}"}

    def __enter__(self) -> Self:
        """Return the progress itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the last numbers."""
        self._bar.set_postfix(self._numbers(), refresh=True)
        self._bar.close()
