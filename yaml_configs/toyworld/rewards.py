"""A reward of one's own: `reward_funcs: [yaml_configs/toyworld/rewards.py:counted]` (grpo_video.yaml)."""


def counted(completions, answer, **columns):
    """Return 1 for the right number, 0.2 for another one, 0 for anything else; a row without an answer is not scored."""
    scores = []
    for text, gold in zip(completions, answer, strict=True):
        right, number = text.strip() == gold, text.strip().isdecimal()
        scores.append(None if gold is None else 1.0 if right else 0.2 if number else 0.0)
    return scores, {"is_number": [text.strip().isdecimal() for text in completions]}
