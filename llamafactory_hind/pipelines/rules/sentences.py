"""Texts as sentences, English and Chinese, such that the pieces put together are the text [ours]."""

import re


END = re.compile(
    r"""[.!?…]+["'\u201d\u2019)\]]*(?=\s|$)"""  # English: a mark, and white space behind it
    r"|[。\uff01？\uff1b]+[\u201d\u2019』」）]*"  # Chinese: no white space
    r"|\n+"
)
# Words whose period ends no sentence, and the number of an item of a list.
ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:e\.g|i\.e|cf|vs|mr|mrs|ms|dr|st|fig|no|approx|sec|min|a\.m|p\.m)\.$", re.IGNORECASE
)
ITEM_NUMBER = re.compile(r"(?:^|\n)\s*(?:step\s+)?\d{1,2}\.$", re.IGNORECASE)


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, each with the white space behind it; joined, they are the text."""
    sentences, start = [], 0
    for match in END.finditer(text):
        before = text[start : match.end()]
        if match[0] == "." and (ABBREVIATION.search(before) or ITEM_NUMBER.search(before)):
            continue
        end = match.end() + len(text[match.end() :]) - len(text[match.end() :].lstrip())
        if end > start and text[start:end].strip():
            sentences.append(text[start:end])
            start = end
        elif sentences:
            sentences[-1] += text[start:end]
            start = end
    if text[start:]:
        sentences.append(text[start:])
    return sentences
