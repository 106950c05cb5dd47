"""What calls to a server came to: calls, tokens, money. Pure Python."""

from dataclasses import dataclass


@dataclass(eq=False)
class Usage:
    """Counts of one engine.

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
        """Add to the counts by name."""
        for name, count in counts.items():
            setattr(self, name, getattr(self, name) + count)

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
