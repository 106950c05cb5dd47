"""The texts of prompts: those of the ``hindsight`` format, and those of the world's own prompt files (pinned by tests)."""

from ..formats.prompts.wording import INSTRUCTIONS, build_prompt
from ..formats.texts.layout import TEMPLATE


ANSWER, KNOWLEDGE, REASONING = INSTRUCTIONS["answer"], INSTRUCTIONS["knowledge"], INSTRUCTIONS["cot"]
THINKING = "Think, then answer."  # of the styles; pinned to the prompt files of `hints` and `gated_distill`


def prompt(
    question: str, instruction: str, *, images: int = 1, cot: list[str] | None = None, facts: list[str] | None = None
) -> str:
    """Render a user turn: media placeholders, question, optional context lines, instruction."""
    return build_prompt("answer", question, images=images, cot=cot, knowledge=facts).removesuffix(ANSWER) + instruction


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
    return TEMPLATE.format(thought=" ".join(thoughts), answer=answer)


def asking_hint(answer: str) -> str:
    """The instruction to a teacher that is shown the gold answer."""
    return f"The answer is {answer}. {KNOWLEDGE}"


def hint(sentence: str) -> str:
    """A hint as the teacher writes it."""
    return f"<hint>{sentence}</hint>"
