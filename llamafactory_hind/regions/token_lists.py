"""Text as VCR and LSKD store it: a list of tokens in which a nested list of integers mentions regions."""

import re
from collections.abc import Sequence
from typing import Any

from .checks import shorten
from .tags import write_mention


# VCR splits clitics and punctuation off: `does n't`, `it 's`, `why ?`.
BLANK_BEFORE = re.compile(r"\s+(?=[,.?']|n't\b)")


def read_tokens(tokens: Any) -> str:
    """Return a list of tokens as text: `["Why", "does", [0, 2], "smile", "?"]` is `Why does <region:0> and <region:2> smile?`.

    Tokens are joined by blanks; the blank before `, . ? ' n't` goes [r2c]. Numbers in a mention
    may be texts, as in LSKD's older files. A text instead of a list is returned as it is.

    Raises:
        ValueError: not a list, a token that is neither text nor list, or a mention without numbers
            of 0 or above.
    """
    if isinstance(tokens, str):
        return tokens
    if not isinstance(tokens, (list, tuple)):
        raise ValueError(f"got {shorten(tokens)}, expected a text or a list of tokens.")
    words = [_word(token, place) for place, token in enumerate(tokens)]
    return BLANK_BEFORE.sub("", " ".join(words))


def _word(token: Any, place: int) -> str:
    if isinstance(token, str):
        return token
    if isinstance(token, (list, tuple)) and token:
        return " and ".join(write_mention(number) for number in _numbers(token, place))
    raise _wrong(token, place)


def _numbers(mention: Sequence[Any], place: int) -> list[int]:
    """Return the numbers of a mention; they are integers, or texts of digits."""
    texts = [
        str(number) if isinstance(number, (int, str)) and not isinstance(number, bool) else "" for number in mention
    ]
    if not all(re.fullmatch(r"[0-9]{1,6}", text) for text in texts):
        raise _wrong(mention, place)
    return [int(text) for text in texts]


def _wrong(token: Any, place: int) -> ValueError:
    expected = "a text, or a list of the numbers of regions, such as [0, 2]"
    return ValueError(f"token {place}: got {shorten(token)}, expected {expected}. Correct or remove the token.")
