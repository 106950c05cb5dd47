"""Reasoning without the sentences that state its answer (ReasVQA, arXiv 2501.13536; the paper says that, the rules are ours).

What is left are the steps, which help to learn even where they led to a wrong answer. Pure functions over texts.
"""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ...formats.prompts.wording import CHOICE_LETTERS
from .sentences import split_sentences


RULES = ("tags", "letter", "text", "answer", "conclusion")
THOUGHT = re.compile(r"</?think(?:ing)?>", re.IGNORECASE)
ANSWER_BLOCK = re.compile(r"<answer>.*?(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
HEADING = re.compile(r"\A[\s*#_]*(?:reasoning|explanation|推理过程|推理|分析)[\s*#_]*[:：][\s*_]*", re.IGNORECASE)
SAYS = r"\s*(?:is|was|would\s+be|should\s+be|must\s+be|will\s+be|[:：])"
ANSWER = re.compile(
    rf"\banswer(?:\s+to\s+(?:the|this)\s+question)?{SAYS}|\A[\W_]*(?:the\s+)?(?:final\s+|correct\s+)?answer\b"
    r"|\b(?:correct|right|best|final)\s+(?:answer|option|choice)\b"
    r"|\b(?:option|choice)\b[^.]{0,40}\bis\s+(?:correct|right|the\s+best)\b"
    r"|\b(?:i|we)\s+(?:would\s+|will\s+|should\s+|can\s+)?(?:choose|select|pick)\b"
    r"|正确的?(?:答案|选项)|最终答案|答案(?:应该|应)?(?:是|为|选|[:：])|\A[\W_]*答案|(?:应该|应|故|因此|所以)选择?(?!项)",
    re.IGNORECASE,
)
CONCLUSION = re.compile(
    r"\A[\W_]*(?:and\s+)?(?:therefore|thus|hence|so|consequently|accordingly|overall|in\s+(?:conclusion|summary|short)"
    r"|to\s+(?:conclude|sum\s+up|summari[sz]e)|based\s+on\s+(?:this|these|that|all|the\s+above)|it\s+follows\s+that"
    r"|(?:we|i)\s+(?:can\s+)?(?:therefore\s+)?conclude)\b|\A[\W_]*(?:因此|所以|综上|总之|由此|可见|故|总的来说|综合来看)",
    re.IGNORECASE,
)
WORD = re.compile(r"[^\W_]+")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
SHORT_CHINESE = 2  # [ours] characters: like a single English word, too common to tell a statement of the answer


@dataclass(frozen=True)
class Deletion:
    """A sentence that was taken out.

    Attributes:
        place: number of the sentence, from 0.
        rule: one of `RULES`.
        words: by which the rule knew it.
    """

    place: int
    sentence: str
    rule: str
    words: str


@dataclass(frozen=True)
class Refined:
    """Reasoning, refined.

    Attributes:
        text: what is left; empty where every sentence states the answer.
        sentences: how many there were.
    """

    text: str
    sentences: int
    deletions: tuple[Deletion, ...]


def refine(text: str, choices: Sequence[str], stated: Collection[int], *, rules: Collection[str] = RULES) -> Refined:
    """Take out the sentences of a reasoning that state its answer.

    - `tags`: what stands in `<answer>` tags.
    - `letter`: the letter of an option: `(B)`, `option B`, `选项B`, or a letter alone.
    - `text`: the whole text of an option among `stated`, where it has two words or more, or three Chinese characters.
    - `answer`: `the answer is`, `Answer:`, `the correct option`, `I choose`, `答案是`, `应选`.
    - `conclusion`: a sentence that begins with `therefore`, `so`, `因此` … and names an option, or is the last one left.

    Args:
        text: as the model wrote it.
        choices: the options' texts; empty for an open question.
        stated: indices of the options whose texts give the answer away: the one that was reached, and the gold one.
        rules: those to apply.
    """
    if "tags" in rules:
        text, block = _without_answer_block(text)
    else:
        block = ()
    sentences = split_sentences(HEADING.sub("", THOUGHT.sub("\n", text)).strip())
    found: dict[int, Deletion] = {}
    for place, sentence in enumerate(sentences):
        for rule, words in _statements(sentence, choices, stated):
            if rule in rules and place not in found:
                found[place] = Deletion(place, sentence.strip(), rule, words)
    if "conclusion" in rules:
        found |= _last_conclusions(sentences, found)
    kept = [sentence for place, sentence in enumerate(sentences) if place not in found]
    deletions = (*(found[place] for place in sorted(found)), *block)
    return Refined("".join(kept).strip(), len(sentences) + len(block), deletions)


def _without_answer_block(text: str) -> tuple[str, tuple[Deletion, ...]]:
    blocks = [match[0] for match in ANSWER_BLOCK.finditer(text)]
    return ANSWER_BLOCK.sub("", text), tuple(Deletion(-1, block.strip(), "tags", "<answer>") for block in blocks)


def _statements(sentence: str, choices: Sequence[str], stated: Collection[int]) -> list[tuple[str, str]]:
    """Return (rule, words) of every way in which a sentence states an answer."""
    words = unicodedata.normalize("NFKC", sentence)
    found = []
    if choices and (match := _letter_pattern(len(choices)).search(words)):
        found.append(("letter", match[0].strip()))
    for index in sorted(stated):
        if match := _option_in(words, choices[index]):
            found.append(("text", match[0]))
    if match := ANSWER.search(words):
        found.append(("answer", match[0].strip()))
    if (match := CONCLUSION.search(words)) and any(_option_in(words, choice, short=True) for choice in choices):
        found.append(("conclusion", match[0].strip()))
    return found


def _letter_pattern(count: int) -> re.Pattern[str]:
    letter = f"[{CHOICE_LETTERS[0]}-{CHOICE_LETTERS[max(min(count, len(CHOICE_LETTERS)), 1) - 1]}]"
    return re.compile(
        rf"[(\[]{letter}[)\]]|(?<![A-Za-z])(?i:option|choice)s?\s*[:#]?\s*{letter}(?![A-Za-z])"
        rf"|(?:选项|选择|选|答案)\s*:?\s*{letter}(?![A-Za-z])|(?<![A-Za-z]){letter}\s*(?:选项|项)"
        rf"|\A[\W_]*{letter}[\W_]*\Z"
    )


def _option_in(words: str, option: str, *, short: bool = False) -> re.Match[str] | None:
    """Find the text of an option as whole words; short ones only if asked for."""
    text = " ".join(unicodedata.normalize("NFKC", option).split()).strip(" .。!?\"'")
    is_chinese = CHINESE.search(text) is not None
    is_short = len(text) <= SHORT_CHINESE if is_chinese else len(WORD.findall(text)) < 2
    if not text or (is_short and not short):
        return None
    spaced = r"\s+".join(map(re.escape, text.split()))
    before, behind = (r"(?<![^\W_])", r"(?![^\W_])") if not is_chinese else ("", "")
    return re.search(before + spaced + behind, words, re.IGNORECASE)


def _last_conclusions(sentences: Sequence[str], found: dict[int, Deletion]) -> dict[int, Deletion]:
    """Return the conclusions at the end of what is left, one after the other."""
    more: dict[int, Deletion] = {}
    for place in reversed(range(len(sentences))):
        if place in found:
            continue
        match = CONCLUSION.search(unicodedata.normalize("NFKC", sentences[place]))
        if match is None:
            break
        more[place] = Deletion(place, sentences[place].strip(), "conclusion", match[0].strip())
    return more
