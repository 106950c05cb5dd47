"""What went wrong with a call, and how long to wait before the next. Pure Python.

Waiting and counting are our own and not `tenacity`: that takes 0.05 ms of CPU a call, a quarter of what the whole call takes, and knows
neither several servers nor a seed that must be drawn anew.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ...config.problem import shorten_text


FIRST_WAIT = 0.5  # seconds [ours], doubled with every retry
LONGEST_WAIT = 30.0  # [ours]
LONGEST_RETRY_AFTER = 600.0  # [ours] a server that asks for more has run out of quota: fail now
RETRIED = {408, 409, 425, 429}
SHOWN_CHARACTERS = 300

_jitter = random.Random()  # apart from the seeded global one


class CallFailed(RuntimeError):
    """A call that was given up.

    Attributes:
        reason: of the last attempt.
        status: of its HTTP answer; None where there was none, or it was well but made no sense.
        attempts: how many were made.
    """

    def __init__(self, reason: str, *, status: int | None, attempts: int) -> None:
        """Compose the message."""
        self.reason = reason
        self.status = status
        self.attempts = attempts
        super().__init__(f"{reason} (given up after {attempts} attempt{'s' * (attempts > 1)})")


@dataclass(frozen=True)
class FailedAttempt:
    """One attempt that went wrong.

    Attributes:
        reason: for the message.
        status: of an HTTP answer that is an error.
        retryable: whether to try again.
        retry_after: seconds the server asks for.
        unhealthy: whether it speaks against the server.
        resample: whether the same seed would give the same useless text.
    """

    reason: str
    status: int | None = None
    retryable: bool = True
    retry_after: float | None = None
    unhealthy: bool = False
    resample: bool = False


def classify_status(status: int, message: str, retry_after: str | None) -> FailedAttempt:
    """Return what an HTTP error means: 408, 409, 425, 429 and 5xx pass, others stay."""
    asked = None if retry_after is None else read_retry_after(retry_after)
    retryable = status in RETRIED or status >= 500
    reason = f"the server answered {status}: {message}"
    if retryable and asked is not None and asked > LONGEST_RETRY_AFTER:
        retryable = False
        reason += f"; it asks to wait {asked:.0f} s, which is more than {LONGEST_RETRY_AFTER:.0f}"
    return FailedAttempt(reason, status, retryable, asked, unhealthy=status >= 500)


def backoff(attempt: int, retry_after: float | None) -> float:
    """Return the seconds before attempt 1, 2 … after the first: what the server asks for, else doubled each time.

    Spread at random, so that calls which failed together do not come back together.
    """
    if retry_after is not None:
        return retry_after * _jitter.uniform(1.0, 1.1)
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 30)) * _jitter.uniform(0.5, 1.0)


def read_retry_after(text: str) -> float | None:
    """Return the seconds of a `Retry-After` header, a number or a date; None for nonsense."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return None
        zoned = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (zoned - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if seconds == seconds else None  # "nan" is a number to float


def shorten(text: str) -> str:
    """Return a text as one line that fits in a message."""
    line = " ".join(text.split())
    return shorten_text(line, limit=SHOWN_CHARACTERS)
