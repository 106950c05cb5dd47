"""A pause of Python's garbage collector while rows are parsed.

Values of JSON hold no circles, so that reference counting alone frees them; the collector would only look through hundreds of
thousands of new objects again and again, which takes longer than parsing them.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused_collection() -> Iterator[None]:
    """Switch the collector off inside, and on again behind, where it was on."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
