"""How far a server's log-probs may be from the trainer's before the run stops. Pure Python."""

from collections.abc import Sequence


MOST_IN_FLOAT32 = 0.05  # [ours] mean a token; 1e-5 is seen where all is right, 0.2 with one wrong option
MOST_IN_HALF = 0.5  # [ours] 1e-2 to 1e-1 is told of bfloat16


class ServersFailed(RuntimeError):
    """The servers do not do what the run needs; the message says what, and how to go on."""


def mean_difference(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """Return the mean absolute difference over all tokens."""
    pairs = [pair for own, other in zip(ours, theirs, strict=True) for pair in zip(own, other, strict=True)]
    return sum(abs(one - other) for one, other in pairs) / max(len(pairs), 1)


def check_difference(mean: float, *, half: bool) -> None:
    """Stop where the difference is more than rounding.

    Args:
        mean: absolute difference of log-probs a token.
        half: one of both computes in half precision.

    Raises:
        ServersFailed: it is too large, or no number.
    """
    most = MOST_IN_HALF if half else MOST_IN_FLOAT32
    if not mean <= most:
        raise ServersFailed(
            f"rollout_server: the server's log-probs differ from the trainer's by {mean:.3g} a token on average, expected at most "
            f"{most:g}. It serves another model, old weights or another processor, or it runs without `--logprobs-mode "
            "processed_logprobs`. docs/rollouts.md shows its command line."
        )
