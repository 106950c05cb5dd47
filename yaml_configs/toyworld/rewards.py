"""A reward of one's own: `reward_funcs: [yaml_configs/toyworld/rewards.py:counted]` (grpo_video.yaml)."""


def counted(completions, answer, **columns):
    """Return 1 for the right number, 0.2 for another digit, 0 for anything else; a row without an answer is not scored."""
    scores, digits = [], [text.strip() in set("0123456789") for text in completions]
    for text, digit, gold in zip(completions, digits, answer, strict=True):
        scores.append(None if gold is None else 1.0 if text.strip() == gold else 0.2 * digit)
    return scores, {"is_digit": digits}
