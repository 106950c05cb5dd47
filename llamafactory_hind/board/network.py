"""Who can reach the host's Board, and what is said where that is more than this machine."""

from collections.abc import Mapping

from .completions.places import is_loopback
from .labels import NOTICES


ON = ("1", "true", "y", "yes", "on")


def listens_beyond_loopback(environ: Mapping[str, str]) -> bool:
    """Say whether the host's Board listens to more than this machine; by itself it listens to all."""
    if environ.get("GRADIO_SHARE", "0").lower() in ON:
        return True
    return not is_loopback(environ.get("GRADIO_SERVER_NAME", "0.0.0.0"))


def notice_of_the_network(environ: Mapping[str, str]) -> str:
    """Return one line where the Board listens beyond this machine, else ""; it has no password."""
    return NOTICES["hind_open"][0] if listens_beyond_loopback(environ) else ""
