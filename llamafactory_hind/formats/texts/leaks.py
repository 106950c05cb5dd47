"""Texts that say they were given the answer, or a hint: who never sees either must not learn to say so (lists are ours).

HinD's Hindsight-Zero drops such texts; so does exploration with hints (arXiv 2602.00400, whose code has no filter).
"""

import re


TOLD = r"given|provided|stated|supplied|gold|golden|ground[- ]truth|reference|known|expected|mentioned|specified"
GIVEN = rf"(?:{TOLD}|correct)"
ANSWER_GIVEN = [
    rf"\b(?:the|this|that|a|our|your)\s+(?:{TOLD})\s+(?:final\s+)?answers?\b",
    r"\banswers?\s+(?:that\s+)?(?:(?:is|was|were|are|has\s+been|have\s+been|we\s+were|you)\s+)?(?:already\s+)?"
    r"(?:given|provided|stated|supplied|specified)\b",
    r"\b(?:since|because|as|given\s+that|knowing\s+that|if)\s+the\s+(?:final\s+)?answer\s+is\b",
    r"\b(?:the|your|our)\s+(?:final\s+)?answer\s+(?:above|below|tells|says|states|indicates|confirms|suggests|implies|shows)\b",
    rf"\b(?:based\s+on|according\s+to|consistent\s+with|matches|match)\s+the\s+(?:{GIVEN}\s+)?answers?\b",
    r"\b(?:we|i)\s+(?:are|were|am|was|have\s+been)\s+(?:told|given)\b",
    r"\bas\s+(?:the\s+)?(?:hint|answer)s?\s+(?:says|said|suggests?|indicates?|states?)\b",
    r"\b(?:annotators?|ground[- ]truth|gold\s+label)\b",
    r"(?:给定|提供|给出|已知|标准|参考)的?(?:最终)?答案",
    r"(?:根据|按照|由于|因为|既然)(?:该|此|这个)?答案",
    r"答案(?:已经|已)?(?:给出|提供|告诉|表明|说明|提示)",
]
# A model that solves a question may well say these; one that explains a given answer should not.
OF_HINDSIGHT = [
    r"\b(?:the|this|that|a|our|your)\s+correct\s+(?:final\s+)?answers?\b",
    rf"\b(?:from|considering|justif\w+|leads?\s+to|support\w*|explains?)\s+the\s+(?:{GIVEN}\s+)?answers?\b",
    r"正确的?(?:最终)?答案",
]
# `a hint of red`, `shadows hint at …` and 影像提示肺炎 (the image suggests …) speak of the picture.
HINT_GIVEN = [
    r"\b(?:the|this|that|your|our|my|given|provided|teacher'?s?)\s+(?:(?:\w+\s+)?hints?|clues?\s+(?:given|provided))\b(?!\s+(?:of|at)\b)",
    r"\b(?:given|provided)\s+clues?\b",
    r"(?:^|\n)[\s*#]*hints?[\s*]*[:：]",
    r"</?\s*hint\s*>",
    r"\bas\s+hinted\b(?!\s+at\s+by\b)",
    r"\bteachers?\s+(?:says|said|told|tells|suggests?|suggested|mention(?:s|ed))\b",
    r"(?:根据|按照|依据|参考|结合|利用|按)(?:该|此|这个|这条|所?给出?的?|提供的?|上述|以上|题目的?|老师的?)*提示",
    r"(?:给出|提供|上述|以上|题目中?|老师)的?提示",
    r"(?:^|[\n，。])\s*提示\s*[:：]|提示(?:中|里)?(?:说|告诉|给出|指出|提到|写道)|提示信息|(?:正?如|由)提示",
]
PATTERN = re.compile("|".join([*ANSWER_GIVEN, *OF_HINDSIGHT]), re.IGNORECASE)
HINT_PATTERN = re.compile("|".join([*HINT_GIVEN, *ANSWER_GIVEN]), re.IGNORECASE)


def find_leak(text: str) -> str | None:
    """Return the words by which a text says that it was given the answer; None where it does not."""
    found = PATTERN.search(text)
    return found[0] if found else None


def find_hint_leak(text: str) -> str | None:
    """Return the words by which a text says that it was given a hint or the answer; None where it does not.

    Unlike `find_leak` it lets `the correct answer is B` pass: that is how many models say what they have found.
    """
    found = HINT_PATTERN.search(text)
    return found[0].strip() if found else None
