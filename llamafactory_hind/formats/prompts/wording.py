"""The prompts of the `hindsight` format (HinD, arXiv 2511.11132; wording is ours), in the one place where they are written.

Pure Python: training rows and pipelines build byte-identical prompts from here, with or without LLaMA-Factory.
"""

from collections.abc import Sequence

from ..media.fields import PLACEHOLDERS, count_placeholders


INSTRUCTIONS = {
    "answer": "Answer briefly.",
    "cot": "Think step by step.",
    "knowledge": "Write one fact that helps to answer.",
}
CHOICE_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def join_lines(text: str | Sequence[str] | None) -> str:
    """Return steps or facts as one text, one a line; a text stays as it is and None is ''."""
    if text is None:
        return ""
    return text if isinstance(text, str) else "\n".join(text)


def format_choices(choices: Sequence[str]) -> str:
    """Return `Choices: (A) first (B) second …`.

    Raises:
        ValueError: there are more choices than letters.
    """
    if len(choices) > len(CHOICE_LETTERS):
        raise ValueError(f"choices: got {len(choices)} of them, expected at most {len(CHOICE_LETTERS)} (A to Z).")
    return "Choices: " + " ".join(
        f"({letter}) {choice}" for letter, choice in zip(CHOICE_LETTERS, choices, strict=False)
    )


def build_prompt(
    target: str,
    question: str,
    *,
    choices: Sequence[str] | None = None,
    cot: str | Sequence[str] | None = None,
    knowledge: str | Sequence[str] | None = None,
    images: int = 0,
    videos: int = 0,
    audios: int = 0,
) -> str:
    r"""Return the user turn for one target.

    `{media}{question}[\nChoices: (A) … (B) …][\nReasoning: {cot}][\nKnowledge: {knowledge}]\n{instruction}`

    Args:
        target: `answer`, `cot` or `knowledge`.
        question: its own placeholders are kept where they are; without any, one a medium is put in front.
        choices: texts of a multiple choice question.
        cot: reasoning to show, for the target `answer` only.
        knowledge: facts to show, for the target `answer` only.
        images: number of images.
        videos: number of videos.
        audios: number of audios.

    Raises:
        ValueError: unknown target, context with another target than `answer`, or placeholders that do not match the media.
    """
    if target not in INSTRUCTIONS:
        raise ValueError(f"target: got {target!r}, expected one of {', '.join(sorted(INSTRUCTIONS))}.")
    if target != "answer" and (cot or knowledge):
        raise ValueError(f"context: got cot or knowledge in a prompt for {target!r}, expected it for 'answer' only.")
    media = {"images": images, "videos": videos, "audios": audios}
    found = count_placeholders(question)
    prefix = ""
    if not any(found.values()):
        prefix = "".join(PLACEHOLDERS[kind] * number for kind, number in media.items())
    elif found != media:
        raise ValueError(f"question: got placeholders {found}, expected {media}, or none at all.")
    lines = [prefix + question]
    if choices:
        lines.append(format_choices(choices))
    if cot:
        lines.append(f"Reasoning: {join_lines(cot)}")
    if knowledge:
        lines.append(f"Knowledge: {join_lines(knowledge)}")
    return "\n".join([*lines, INSTRUCTIONS[target]])


def critic_turn(prompt: str, answer: str) -> str:
    """Return what a critic reads: the prompt with the answer, and the rationale in it, behind it.

    LSKD's critic reads `{question} Answer: {answer} Rationale: {rationale}`; the line breaks are ours [ours].
    """
    return f"{prompt}\nAnswer: {answer}"
