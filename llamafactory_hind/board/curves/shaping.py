"""Points as they are shown: smoothed, and no more of them than a screen has columns."""

from collections.abc import Sequence


POINTS = 800  # of a curve at most
Points = list[tuple[float, float]]


def smooth(values: Sequence[float], weight: float) -> list[float]:
    """Return running means, `m_i = (w s_i + (1 - w) v_i) / (1 - w^(i+1))`: exponential, with the start not drawn to 0.

    Args:
        values: in their order.
        weight: w of what came before, from 0 (nothing is changed) to below 1.

    Raises:
        ValueError: another weight.
    """
    if not 0 <= weight < 1:
        raise ValueError(f"smoothing: got {weight}, expected a number from 0 to below 1.")
    smoothed, total, left = [], 0.0, 1.0
    for value in values:
        total = weight * total + (1 - weight) * value
        left *= weight
        smoothed.append(total / (1 - left))
    return smoothed


def thin_out(points: Sequence[tuple[float, float]], limit: int = POINTS) -> Points:
    """Return at most `limit` points: the first, the last, and of each stretch between the lowest and the highest.

    A peak of one step is kept, which a mean or every tenth point would lose.
    """
    if len(points) <= limit:
        return list(points)
    inner = points[1:-1]
    stretches = max(1, (limit - 2) // 2)
    kept = [points[0]]
    for number in range(stretches):
        start, end = (len(inner) * place // stretches for place in (number, number + 1))
        places = range(start, end)
        if places:
            ends = {min(places, key=lambda i: inner[i][1]), max(places, key=lambda i: inner[i][1])}
            kept += [inner[place] for place in sorted(ends)]
    return [*kept, points[-1]]


def along(
    steps: Sequence[float], values: Sequence[float], axis: tuple[Sequence[float], Sequence[float]] | None
) -> Points:
    """Return (x, value) where x is what another series says of the step: tokens, seconds; without one, the step.

    Args:
        steps: rising.
        values: one a step.
        axis: steps, rising, and x at each; values at other steps are left out.
    """
    if axis is None:
        return list(zip(steps, values, strict=True))
    known = dict(zip(*axis, strict=True))
    return [(known[step], value) for step, value in zip(steps, values, strict=True) if step in known]
