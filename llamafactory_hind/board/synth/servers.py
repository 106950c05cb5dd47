"""Whether the Board may start what calls a server: whoever reaches it could send a key of this machine to any address."""

from collections.abc import Mapping
from typing import Any

from ..network import ON, listens_beyond_loopback


ALLOW = "LLAMAFACTORY_HIND_BOARD_SERVERS"  # 1: also when the Board listens beyond loopback
REFUSED = (
    "engine: got openai, expected `engine: hf`, because this Board can be reached from other machines, and whoever reaches it "
    "could send a key of this machine to any address. Start the Board with GRADIO_SERVER_NAME=127.0.0.1, or allow it with "
    f"{ALLOW}=1."
)


def servers_allowed(environ: Mapping[str, str]) -> bool:
    """Say whether a job may call a server."""
    return environ.get(ALLOW, "0").lower() in ON or not listens_beyond_loopback(environ)


def calls_a_server(settings: Any) -> bool:
    """Say whether settings name a server anywhere: of the run, or of one of its engines."""
    if isinstance(settings, Mapping):
        named = settings.get("engine") == "openai" or settings.get("base_url")
        return bool(named) or any(calls_a_server(value) for value in settings.values())
    return isinstance(settings, list) and any(calls_a_server(value) for value in settings)
