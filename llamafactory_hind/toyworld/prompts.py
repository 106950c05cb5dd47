"""The texts of prompts, the same as the ``hindsight`` format renders (``llamafactory_hind.formats``); pinned by a test."""

ANSWER = "Answer briefly."
KNOWLEDGE = "Write one fact that helps to answer."
REASONING = "Think step by step."


def prompt(
    question: str, instruction: str, *, images: int = 1, cot: list[str] | None = None, facts: list[str] | None = None
) -> str:
    """Render a user turn: media placeholders, question, optional context lines, instruction."""
    lines = ["<image>" * images + question]
    if cot:
        lines.append("Reasoning: " + "\n".join(cot))
    if facts:
        lines.append("Knowledge: " + "\n".join(facts))
    return "\n".join([*lines, instruction])
