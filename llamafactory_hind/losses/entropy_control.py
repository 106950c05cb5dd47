"""A coefficient of the entropy bonus that moves, so that the entropy stays near a target."""


def adapted_coefficient(coefficient: float, entropy: float, *, target: float, step: float) -> float:
    """Move a coefficient by one step towards the target entropy, and not below 0.

    c' = max(c + step, 0) where H < target, max(c - step, 0) where H > target, c where they are equal. This is the adaptive entropy
    control of Skywork-OR1 (arXiv 2505.22312, "MAGIC") [2nd: the formula is told from memory of the report, not read here]; SAC's
    automatic temperature (arXiv 1812.05905, section 5) has the same sign and moves by the size of the difference. That c stays at 0
    or above is [ours].

    Args:
        coefficient: c, of the step that is done.
        entropy: H, the mean entropy in that step, in nats.
        target: in nats.
        step: by which the coefficient moves, above 0.
    """
    if entropy < target:
        return max(coefficient + step, 0.0)
    return max(coefficient - step, 0.0) if entropy > target else coefficient


def active_coefficient(coefficient: float, entropy: float | None, *, target: float) -> float:
    """Return c where the entropy is at most the target, and 0 above it: the bonus never pushes an entropy that is high.

    Args:
        coefficient: c.
        entropy: the last that is known, in nats; None before the first step, where c counts.
        target: in nats.
    """
    return coefficient if entropy is None or entropy <= target else 0.0
