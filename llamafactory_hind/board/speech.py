"""The words that our pages are made of, in the language of the page that asks: English, or Chinese where that was chosen.

A page is made inside `speaking(language)`; `tr` of an English text is then that text or its entry in `chinese.TEXTS`. Texts of
files (completions, names of rewards, errors) are shown as they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .chinese import TEXTS


_language: ContextVar[str] = ContextVar("language", default="en")


@contextmanager
def speaking(language: Any) -> Iterator[None]:
    """Let `tr` speak a language of the Board; all but `zh` show English, as the labels do."""
    token = _language.set(str(language))
    try:
        yield
    finally:
        _language.reset(token)


def tr(text: str, /, **values: Any) -> str:
    """Return a text in the language of the page, with its `{names}` filled in."""
    said = TEXTS.get(text, text) if _language.get() == "zh" else text
    return said.format(**values) if values else said


def pairs(values: Any) -> list[tuple[str, str]]:
    """Return the entries of a menu, (what is shown, value)."""
    return [(tr(value), value) for value in values]


def both(values: Any) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the entries of a menu in English and in Chinese."""
    return [(value, value) for value in values], [(TEXTS.get(value, value), value) for value in values]
