"""An API key that is sent and never shown: not in a repr, a message, a log or a file."""

import os
import re
from urllib.parse import quote


NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SHOWN_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")  # [ours] what looks like no key
LEAST_IN_TEXTS = 16  # [ours] keys of local servers are words such as EMPTY, which a model may write itself
HIDDEN = "[api key]"


class ApiKey:
    """The key in an environment variable.

    Args:
        variable: its name; None for servers that need no key.
    """

    __slots__ = ("_value", "variable")

    def __init__(self, variable: str | None) -> None:
        """Read the variable.

        Raises:
            ValueError: it is not set, empty, or no name of a variable; no value is shown.
        """
        self.variable = variable
        self._value = None if variable is None else _read(variable)

    def __repr__(self) -> str:
        """Show where the key is."""
        return f"ApiKey({self.variable!r})"

    def __reduce__(self) -> str:
        """Stay out of pickled files.

        Raises:
            TypeError: always.
        """
        raise TypeError("An API key is not pickled; open the engine again where it is needed.")

    def headers(self) -> dict[str, str]:
        """Return the header that carries the key."""
        return {} if self._value is None else {"Authorization": f"Bearer {self._value}"}

    def redact(self, text: str) -> str:
        """Return a message without the key, which some servers echo."""
        if self._value is None:
            return text
        return text.replace(self._value, HIDDEN).replace(quote(self._value, safe=""), HIDDEN)

    def redact_written(self, text: str) -> str:
        """Return a model's text without the key; a key that could be a word is left alone."""
        return text if self._value is None or len(self._value) < LEAST_IN_TEXTS else self.redact(text)


def _read(variable: str) -> str:
    if not NAME.fullmatch(variable) or not (SHOWN_NAME.fullmatch(variable) or variable in os.environ):
        raise ValueError(
            "api_key_env: expected the NAME of an environment variable that is set, such as OPENAI_API_KEY; what was "
            "given is not shown, in case it is the key itself. Export the key under a name, and give the name."
        )
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ValueError(
            f"api_key_env: the environment variable {variable} is not set or empty. `export {variable}=…` before the "
            "run, or leave api_key_env out for a server without keys."
        )
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(
            f"api_key_env: the value of {variable} (not shown) has spaces, line breaks or letters outside ASCII, "
            "which no header can carry. Export it again."
        )
    return value
