"""What calls to a server came to: calls, tokens, money. Pure Python."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


# (whole, part) pairs: while a part is counted separately, what its whole counts in this context goes to it as well.
_PARTS: ContextVar[tuple[tuple["Usage", "Usage"], ...]] = ContextVar("usage_parts", default=())


@dataclass(eq=False)
class Usage:
    """Counts of one engine, or of a part of its work.

    Attributes:
        price_in: currency units per million prompt tokens; None where no cost is asked for.
        price_out: the same for tokens written.
        calls: HTTP requests sent, repeated ones included.
        retries: those that were sent because another had gone wrong.
        failures: calls given up, after all retries.
        prompt_tokens: as the server counted them; answers that had to be thrown away are in it, they are paid for.
        completion_tokens: likewise.
        unmetered: answers whose tokens the server did not count; with any, tokens and cost are lower bounds.
    """

    price_in: float | None = None
    price_out: float | None = None
    calls: int = 0
    retries: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unmetered: int = 0

    def __post_init__(self) -> None:
        """Refuse prices that give no cost.

        Raises:
            ValueError: one price without the other, or a negative one.
        """
        prices = (self.price_in, self.price_out)
        if (prices[0] is None) != (prices[1] is None) or any(price is not None and price < 0 for price in prices):
            raise ValueError(
                f"price_in, price_out: got {prices}, expected two numbers of 0 or more (currency units per million "
                "tokens), or neither. Give both."
            )

    @property
    def cost(self) -> float | None:
        """Currency units spent; None without prices."""
        if self.price_in is None or self.price_out is None:
            return None
        return (self.prompt_tokens * self.price_in + self.completion_tokens * self.price_out) / 1e6

    def add(self, **counts: int) -> None:
        """Add to the counts by name, and to those of the part that is counted separately in this context."""
        for usage in (self, *(part for whole, part in _PARTS.get() if whole is self)):
            for name, count in counts.items():
                setattr(usage, name, getattr(usage, name) + count)

    @contextmanager
    def separate(self) -> Iterator["Usage"]:
        """Count what is done inside once more, apart from the rest: one row of many that run at the same time.

        Tasks that are started inside belong to it.
        """
        part = Usage(self.price_in, self.price_out)
        token = _PARTS.set((*_PARTS.get(), (self, part)))
        try:
            yield part
        finally:
            _PARTS.reset(token)

    def as_record(self) -> dict[str, int | float | None]:
        """Return the counts and the cost, for a row of a file."""
        names = ("calls", "retries", "failures", "prompt_tokens", "completion_tokens", "unmetered")
        return {**{name: getattr(self, name) for name in names}, "cost": self.cost}

    def report(self) -> str:
        """Return everything in one line."""
        least = "at least " if self.unmetered else ""
        line = (
            f"{self.calls:,} calls ({self.retries:,} retries, {self.failures:,} given up), "
            f"{least}{self.prompt_tokens:,} prompt + {self.completion_tokens:,} completion tokens"
        )
        if self.unmetered:
            line += f" (the server counted none in {self.unmetered:,} answers)"
        return line if self.cost is None else f"{line}, cost {least}{self.cost:.4f}"
