"""Question, answer and rationale read from what a model wrote, and what is wrong with each."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ...formats.media.fields import count_placeholders
from ...regions.tags import find_mentions, write_mention


KEPT = "kept"
_LABELS = {
    "question": ("question", "问题"),
    "answer": ("answer", "答案"),
    "rationale": ("rationale", "reason", "理由"),
}
_PARTS = {word: part for part, words in _LABELS.items() for word in words}
_HEAD = re.compile(rf"^[\s*#>\-\d.、)]*({'|'.join(_PARTS)})\s*\d*\**\s*[:：]\**\s*", re.IGNORECASE)
_NUMBERS = re.compile(r"\[\s*(\d{1,4}(?:\s*[,，、]\s*\d{1,4})*)\s*\]")
_FORM = re.compile(r"^[.…\s]*$")  # the dots of the form that a prompt shows


@dataclass(frozen=True)
class Triple:
    """One question with its answer and rationale; regions are `<region:k>`, and an absent part is empty."""

    question: str
    answer: str
    rationale: str


def parse_triples(text: str) -> list[Triple]:
    """Return the triples of a text in the form of our prompts, in English or Chinese.

    A question begins a triple. A line without a label goes on with the part before it. `[2]` and `[0, 2]` become mentions.
    """
    return [Triple(**{part: _mentions(" ".join(lines)) for part, lines in parts.items()}) for parts in _split(text)]


def _split(text: str) -> Iterator[dict[str, list[str]]]:
    parts: dict[str, list[str]] | None = None
    current = ""
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            current = _PARTS[head[1].lower()]
            if current == "question":
                if parts:
                    yield parts
                parts = {part: [] for part in _LABELS}
            line = line[head.end() :]
        if parts is not None and current and line.strip():
            parts[current].append(line.strip())
    if parts:
        yield parts


def _mentions(text: str) -> str:
    def write(match: re.Match[str]) -> str:
        return ", ".join(write_mention(int(number)) for number in re.findall(r"\d+", match[1]))

    return _NUMBERS.sub(write, text).strip()


def judge_triple(triple: Triple, *, regions: int, prompt: str, known: Collection[str]) -> str:
    """Return `kept`, or why a triple does not become a row.

    Args:
        triple: as read.
        regions: how many the picture has.
        prompt: that asked for it; lines of it are no answers.
        known: questions of this picture that are kept already.
    """
    parts = (triple.question, triple.answer, triple.rationale)
    lines = {line.strip() for line in prompt.splitlines()}
    checks = {
        "a part is missing": not all(parts),
        "the form of the prompt": any(_FORM.match(part) for part in parts),
        "a region that is not there": any(number >= regions for part in parts for number in find_mentions(part)),
        "copied from the prompt": any(_plain(part) in lines for part in parts),
        "the answer repeats the question": triple.answer.lower().strip(" .?。？")
        == triple.question.lower().strip(" .?。？"),
        "media placeholder in the text": any(any(count_placeholders(part).values()) for part in parts),
        "like a tag": any("<box:" in part or re.search(r"<region(?!:\d+>)", part) for part in parts),
        "asked already": triple.question in known,
    }
    return next((reason for reason, failed in checks.items() if failed), KEPT)


def _plain(text: str) -> str:
    """Return a text as a prompt writes its regions."""
    return re.sub(r"<region:(\d+)>", r"[\1]", text)


def parse_questions(text: str, count: int) -> list[str]:
    """Return the first questions of a list, one a line, numbers and dashes in front removed."""
    lines = (re.sub(r"^[\s\-*•\d.、)]+", "", line).strip() for line in text.splitlines())
    return list(dict.fromkeys(line for line in lines if line))[:count]
