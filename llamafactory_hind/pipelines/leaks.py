"""Texts that say they were given the answer: a generator that never sees it must not learn to say so (HinD, Hindsight-Zero; list is ours)."""

import re


GIVEN = r"(?:given|provided|stated|supplied|gold|golden|correct|ground[- ]truth|reference|known|expected|mentioned|specified)"
LEAKS = [
    rf"\b(?:the|this|that|a|our|your)\s+{GIVEN}\s+(?:final\s+)?answers?\b",
    r"\banswers?\s+(?:that\s+)?(?:(?:is|was|were|are|has\s+been|have\s+been|we\s+were|you)\s+)?(?:already\s+)?"
    r"(?:given|provided|stated|supplied|specified)\b",
    r"\b(?:since|because|as|given\s+that|knowing\s+that|if)\s+the\s+(?:final\s+)?answer\s+is\b",
    r"\b(?:the|your|our)\s+(?:final\s+)?answer\s+(?:above|below|tells|says|states|indicates|confirms|suggests|implies|shows)\b",
    r"\b(?:based\s+on|according\s+to|from|considering|consistent\s+with|matches|match|justif\w+|leads?\s+to|support\w*|explains?)"
    rf"\s+the\s+(?:{GIVEN}\s+)?answers?\b",
    r"\b(?:we|i)\s+(?:are|were|am|was|have\s+been)\s+(?:told|given)\b",
    r"\bas\s+(?:the\s+)?(?:hint|answer)s?\s+(?:says|said|suggests?|indicates?|states?)\b",
    r"\b(?:annotators?|ground[- ]truth|gold\s+label)\b",
    r"(?:给定|提供|给出|已知|正确|标准|参考)的?(?:最终)?答案",
    r"(?:根据|按照|由于|因为|既然)(?:该|此|这个)?答案",
    r"答案(?:已经|已)?(?:给出|提供|告诉|表明|说明|提示)",
]
PATTERN = re.compile("|".join(LEAKS), re.IGNORECASE)


def find_leak(text: str) -> str | None:
    """Return the words by which a text says that it was given the answer; None where it does not."""
    found = PATTERN.search(text)
    return found[0] if found else None
