"""The texts of prompts, pinned by a test to those of the ``hindsight`` format and of the world's own prompt file."""

ANSWER = "Answer briefly."
KNOWLEDGE = "Write one fact that helps to answer."
REASONING = "Think step by step."
THINKING = "Think, then answer."  # of the styles; pinned to the prompt files of `hints` and `gated_distill`


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


def hindsight(answer: str) -> str:
    """The instruction of Hindsight-Zero: the gold answer is shown."""
    return f"The answer is {answer}. Explain."


def written_hindsight(steps: list[str], facts: list[str], answer: str) -> str:
    """What is written then: steps, facts, and the answer they lead to."""
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))
    listed = "\n".join(f"- {fact}" for fact in facts)
    return f"Reasoning:\n{numbered}\nKnowledge:\n{listed}\nAnswer: {answer}"


def worked(thoughts: list[str], answer: str) -> str:
    """A thought and an answer in the layout that `rewards.layout` reads."""
    return f"<think>{' '.join(thoughts)}</think><answer>{answer}</answer>"


def asking_hint(answer: str) -> str:
    """The instruction to a teacher that is shown the gold answer."""
    return f"The answer is {answer}. {KNOWLEDGE}"


def hint(sentence: str) -> str:
    """A hint as the teacher writes it."""
    return f"<hint>{sentence}</hint>"
