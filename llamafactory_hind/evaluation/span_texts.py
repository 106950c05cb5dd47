"""Spans of time in a model's words, English and Chinese [ours]."""

import re
import unicodedata

from .spans import Span


SECONDS = r"(?:seconds?|secs?|s(?![A-Za-z])|秒钟?)"
CLOCK = r"(?:\d+:)?\d+:\d{1,2}(?:\.\d+)?"  # mm:ss, h:mm:ss
MINUTES = rf"\d+\s*(?:minutes?|mins?|m(?![A-Za-z])|分钟?)\s*(?:and\s+)?\d+(?:\.\d+)?\s*{SECONDS}"  # 1 min 30 s
ALONE = r"(?<![\dA-Za-z.\-])(?<!\d:)"  # not within another number, nor negative
TIME = rf"{ALONE}((?:{CLOCK}|{MINUTES}|\d+(?:\.\d+)?)(?:\s*{SECONDS})?)(?![\d:]|\.\d)"
SECOND_TIME = TIME.removeprefix(ALONE)  # may come after a dash
SIGN = r"\s*[-–—~到至]\s*"
WORD = r"\s+(?:to|until|till|through)\s+"
FORMS = (
    rf"[\[(]\s*{TIME}(?:\s*[,;]\s*|{SIGN}|{WORD}){SECOND_TIME}\s*[\])]",  # [3.2, 7.5]
    rf"<\s*{TIME}\s*>\s*(?:to|and|[-–—~,到至和])?\s*<\s*{SECOND_TIME}\s*>",  # <3.2><7.5>
    rf"{TIME}(?:{SIGN}|{WORD}){SECOND_TIME}",  # from 3.2 to 7.5 seconds; 00:03 - 00:07
    rf"\bbetween\s+{TIME}\s+and\s+{SECOND_TIME}",
    rf"\A\s*(?:from\s+)?{TIME}\s+and\s+{SECOND_TIME}\s*\.?\s*\Z",  # as the whole answer: elsewhere it may count things
    rf"{TIME}\s*[和与]\s*{SECOND_TIME}\s*之间",
    rf"\bstart[^\d\n]{{0,20}}{TIME}[^\d\n]{{0,20}}\bend[^\d\n]{{0,20}}{SECOND_TIME}",  # {"start": 3.2, "end": 7.5}
    rf"开始[^\d\n]{{0,10}}{TIME}[^\d\n]{{0,10}}结束[^\d\n]{{0,10}}{SECOND_TIME}",
)
SPAN = re.compile("|".join(FORMS), re.IGNORECASE)


def parse_spans(text: str) -> list[Span]:
    """Return the spans of a text in seconds, in its order; one may end before it starts.

    Read are `[3.2, 7.5]`, `(3.2, 7.5)`, `<3.2><7.5>`, `3.2 to 7.5`, `3.2 - 7.5`, `between 3.2 and 7.5`, `3.2 and 7.5` as the whole text, `start ... end ...`, `3.2 到 7.5`,
    `3.2 和 7.5 之间`, `开始 ... 结束 ...`, with or without a unit of seconds; a time may be `mm:ss`, `h:mm:ss` or `1 min 30 s`. One time
    alone is no span.
    """
    found = []
    for match in SPAN.finditer(unicodedata.normalize("NFKC", text)):
        start, end = (seconds_of(time) for time in match.groups() if time is not None)
        found.append((start, end))
    return found


def seconds_of(time: str) -> float:
    """Return a time as seconds: `7.5`, `7.5 s`, `01:30`, `1:00:30`, `1 min 30 s`."""
    total = 0.0
    for part in re.findall(r"\d+(?:\.\d+)?", time):
        total = 60 * total + float(part)
    return total
