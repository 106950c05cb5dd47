"""Write, judge, write again: what a pipeline does whose texts may be of no use."""

from collections.abc import Callable, Sequence

from ...engines.interface import Engine, Request, Sampling
from .row import Row


Attempt = dict[str, str]  # `text`, stripped, and `finish_reason`, as they are in the journal


async def write_until(
    engine: Engine,
    rows: Sequence[Row],
    *,
    request: Callable[[Row], Request],
    sampling: Callable[[int], Sampling],
    accepted: Callable[[Row, Attempt], bool],
    max_attempts: int,
) -> list[list[Attempt]]:
    """Write a text for each row; those whose text is not accepted are asked for again, together.

    Args:
        engine: that writes.
        rows: any number of them; none makes no call.
        request: what is asked for a row, the same in every attempt.
        sampling: of attempt 0, 1, ...; one text each.
        accepted: whether a text ends the attempts of its row.
        max_attempts: of each row, at least 1.

    Returns:
        For each row its attempts in order, the accepted one, or the last, at the end.
    """
    attempts: list[list[Attempt]] = [[] for _ in rows]
    waiting = list(range(len(rows)))
    for number in range(max_attempts):
        if not waiting:
            break
        written = await engine.generate([request(rows[index]) for index in waiting], sampling(number))
        for index, (completion,) in zip(waiting, written, strict=True):
            attempts[index].append({"text": completion.text.strip(), "finish_reason": completion.finish_reason})
        waiting = [index for index in waiting if not accepted(rows[index], attempts[index][-1])]
    return attempts
