"""Which option a model's words name, English and Chinese [ours]: by text, letter or number; never by chance.

`aokvqa.match_choice` is stricter: it reads short answers only, as `metric: aokvqa_choice` and the rewards do.
"""

import re
import unicodedata
from collections.abc import Sequence

from ..formats.texts.layout import answer_or_all
from .aokvqa import LETTERS


WHITE = " \t\n"
QUOTES = "\"'`“”\u2018\u2019"
LETTER_WHOLE = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:、,。]?")  # B   (b)   B.
NUMBER_WHOLE = re.compile(r"[(\[]?(\d+)[)\]]?[.:、,。]?")
BEHIND = re.compile(r"(.+?)\s*[(\[]([A-Za-z])[)\]]\.?", re.DOTALL)  # dog (B)
LEADING = re.compile(
    r"(?:[(\[]([A-Za-z])[)\]]|([A-Z])[.:)、](?!\d)|([a-z])[.:)、](?=\s))[.:、,]?\s*"
)  # (B) dog, B. dog
LETTER_NEXT = re.compile(r"(?:[(\[]([A-Za-z])[)\]]|([A-Z])(?![A-Za-z0-9']))[.:)、,。]?\s*")
NUMBER_NEXT = re.compile(r"[(\[]?(\d+)(?![0-9A-Za-z]|\.\d)")
LONE_LETTER = re.compile(r"(?<![A-Za-z0-9'])(?:[(\[]([A-Za-z])[)\]]|([A-Z]))(?![A-Za-z0-9'])")
IS = r"\s+(?:is|was|would\s+be|should\s+be|must\s+be)"
STATED = re.compile(
    rf"(?:\banswer(?:{IS})?|\b(?:option|choice){IS}|\b(?:choose|pick|select)\b"
    r"|答案(?:应该|应)?(?:是|为|选)?|选项(?:应该|应)?(?:是|为)|(?<!所)(?:应该|应)?选择?(?!项))"
    rf"\s*[:=]?\s*(?:(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)(?:{IS})?\s*[:=]?\s*|选项\s*)*",
    re.IGNORECASE,
)
OPTION_NUMBER = re.compile(r"(?:\b(?:option|choice)|选项)\s*[:#]?\s*(\d+)(?![0-9A-Za-z]|\.\d)", re.IGNORECASE)
NEGATED = re.compile(
    r"(?:\b(?:not|never|no|isn't|aren't|wasn't|doesn't|don't|didn't)\s+(?:\w+\s+)?|不是|没有|并非)$", re.IGNORECASE
)
NEGATION_REACH = 40  # characters
ARTICLE = re.compile(r"\s+(?!(?:and|as|because|but|is|or|seems|since|was|would)\b)[a-z\0]")  # A dog; but: A or B
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
CHINESE_DIGITS = "一二三四五六"
ORDINAL = re.compile(
    rf"\b(?P<english>{'|'.join(ORDINALS)})\s+(?:option|choice|answer)\b|第(?P<chinese>[{CHINESE_DIGITS}\d])(?:个|项)?(?:选项|选择|答案)",
    re.IGNORECASE,
)
BOXED = re.compile(r"\\boxed\{(?:\\text\{)?([^{}]*)\}")


def parse_choice(text: str, choices: Sequence[str], *, first_number: int = 0) -> int | None:
    r"""Return the index of the option that a text names; None where it names none, or several.

    The text in `<answer>` tags counts, else what follows `</think>`, else all; of it the last `\boxed{}`. The first rule that
    speaks decides:

    1. the whole is an option's text (but for capitals, quotes and a last period), a letter, a number, or `dog (B)`;
    2. the last statement such as `the answer is`, `I choose`, `答案是`, `选`: the option's text, letter or number behind it;
    3. a marked letter in front (`B. dog, because ...`);
    4. the options whose texts occur in it, and letters alone and `option 2` elsewhere, if they are one option;
    5. `the second option`, `第二个选项`.

    A letter with another option's text beside it names none. Likeness is never measured.

    Args:
        text: what the model wrote.
        choices: the options' texts.
        first_number: what the first option is called where a number names one; ordinals count from 1.
    """
    options = [_plain(choice) for choice in choices]
    words = _final_words(text)
    if (whole := _whole(words, options, first_number)) is not None:
        return whole
    stated = [_named_next(words[match.end() :], options, first_number) for match in STATED.finditer(words)]
    if any(index is not None for index in stated):
        return [index for index in stated if index is not None][-1]
    if (leading := LEADING.match(words)) and (index := _in_range(_letter(leading), options)) is not None:
        beside = _option_in_front(words[leading.end() :], options)
        return index if beside in (None, index) else None
    named = _mentioned(words, options, first_number)
    if not named:
        named = {_ordinal(match) for match in ORDINAL.finditer(words)} & set(range(len(options)))
    return named.pop() if len(named) == 1 else None


def exact_choice(text: str, choices: Sequence[str], *, first_number: int = 0) -> int | None:
    """Return the index of the option of which a text is the text, the capital letter or the number, unchanged."""
    words = text.strip()
    if choices.count(words) == 1:
        return choices.index(words)
    if len(words) == 1 and words in LETTERS:
        return _in_range(LETTERS.index(words), choices)
    return _in_range(int(words) - first_number, choices) if re.fullmatch(r"[0-9]+", words) else None


def correct_options(choices: Sequence[str], answer: int | str) -> set[int]:
    """Return the indices of the correct option: of all options with its text, where it is given as a text.

    Args:
        choices: the options' texts.
        answer: the text of an option, its letter, or its index from 0, as a number or as digits.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(answer, str):
        same = {index for index, choice in enumerate(choices) if _plain(choice) == _plain(answer)}
        index = exact_choice(answer, choices)
    else:
        same = set()
        index = _in_range(answer, choices) if isinstance(answer, int) and not isinstance(answer, bool) else None
    if not same and index is None:
        expected = f"one of {list(choices)}, its letter, or its index from 0 to {len(choices) - 1}"
        raise ValueError(f"answer: got {answer!r:.160}, expected {expected}.")
    return same or {index for index in (index,) if index is not None}


def _final_words(text: str) -> str:
    words = answer_or_all(text)
    if words == text.strip():
        words = words.rpartition("</think>")[2]
    boxed = BOXED.findall(words)
    words = unicodedata.normalize("NFKC", boxed[-1] if boxed else words)
    return re.sub(r"[*`]+", "", words).strip()


def _plain(text: str) -> str:
    words = unicodedata.normalize("NFKC", text).strip().strip(QUOTES).rstrip(".。").strip()
    return " ".join(words.casefold().split())


def _in_range(index: int | None, choices: Sequence[str]) -> int | None:
    return index if index is not None and 0 <= index < len(choices) else None


def _letter(match: re.Match[str]) -> int:
    return LETTERS.index(next(group for group in match.groups() if group).upper())


def _whole(words: str, options: Sequence[str], first_number: int) -> int | None:
    if options.count(_plain(words)) == 1:
        return options.index(_plain(words))
    if match := LETTER_WHOLE.fullmatch(words):
        return _in_range(_letter(match), options)
    if match := NUMBER_WHOLE.fullmatch(words):
        return _in_range(int(match[1]) - first_number, options)
    if match := BEHIND.fullmatch(words):
        index = _in_range(LETTERS.index(match[2].upper()), options)
        return index if index is not None and options[index] == _plain(match[1]) else None
    return None


def _named_next(words: str, options: Sequence[str], first_number: int) -> int | None:
    """Return the option that is at the very start of the words: its text, else its letter, else its number."""
    words = words.lstrip(WHITE + QUOTES)
    if (index := _option_in_front(words, options)) is not None:
        return index
    if match := LETTER_NEXT.match(words):
        index = _in_range(_letter(match), options)
        beside = _option_in_front(words[match.end() :], options)
        return index if beside in (None, index) else None
    if match := NUMBER_NEXT.match(words):
        return _in_range(int(match[1]) - first_number, options)
    return None


def _option_in_front(words: str, options: Sequence[str]) -> int | None:
    """Return the option with whose text the words begin, an article before it aside; the longest, if it is one alone."""
    spoken = " ".join(words.casefold().split())
    for start in (spoken, re.sub(r"^(?:an?|the)\s+", "", spoken)):
        fitting = [index for index, option in enumerate(options) if option and _occurrence(option).match(start)]
        longest = max((len(options[index]) for index in fitting), default=0)
        fitting = [index for index in fitting if len(options[index]) == longest]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _occurrence(option: str) -> re.Pattern[str]:
    """Return the pattern of an option's text; where it begins or ends with a Latin letter or digit, as a whole word."""
    before = r"(?<![a-z0-9])" if option[0].isascii() and option[0].isalnum() else ""
    behind = r"(?![a-z0-9])" if option[-1].isascii() and option[-1].isalnum() else ""
    return re.compile(before + re.escape(option) + behind, re.IGNORECASE)


def _mentioned(words: str, options: Sequence[str], first_number: int) -> set[int]:
    """Return the options whose text, letter or number occurs, a text within a longer option's text and negated ones aside."""
    rest, named = " ".join(words.split()), set()
    for index in sorted(range(len(options)), key=lambda index: -len(options[index])):
        if options[index]:
            pattern = _occurrence(options[index])
            if any(not _is_negated(rest, match.start()) for match in pattern.finditer(rest)):
                named |= {other for other, option in enumerate(options) if option == options[index]}
            rest = pattern.sub(lambda match: "\0" * len(match[0]), rest)
    for match in LONE_LETTER.finditer(rest):
        article = match[2] == "A" and ARTICLE.match(rest, match.end())
        letter = _in_range(_letter(match), options)
        if letter is not None and match[2] != "I" and not article and not _is_negated(rest, match.start()):
            named.add(letter)
    numbers = [match for match in OPTION_NUMBER.finditer(rest) if not _is_negated(rest, match.start())]
    return named | ({int(match[1]) - first_number for match in numbers} & set(range(len(options))))


def _is_negated(words: str, place: int) -> bool:
    return NEGATED.search(words[max(0, place - NEGATION_REACH) : place]) is not None


def _ordinal(match: re.Match[str]) -> int:
    if word := match["english"]:
        return ORDINALS.index(word.lower())
    digit = match["chinese"]
    return CHINESE_DIGITS.index(digit) if digit in CHINESE_DIGITS else int(digit) - 1
