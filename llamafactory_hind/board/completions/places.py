"""Which folders the Board may look into, and who can reach a server."""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path


ROOTS = "LLAMAFACTORY_HIND_ROOTS"  # folders, separated as in PATH


def board_roots(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the folders that the Board's pages look into: those of `LLAMAFACTORY_HIND_ROOTS`, else the one that it was started in."""
    named = [Path(folder).expanduser() for folder in environ.get(ROOTS, "").split(os.pathsep) if folder]
    return named or [Path.cwd()]


def is_loopback(host: str) -> bool:
    """Say whether nobody but this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def who_reaches(host: str, port: int) -> str:
    """Return one line that says who can open a page."""
    if is_loopback(host):
        return f"Open http://{host}:{port} (this machine alone reaches it)."
    return (
        f"Open http://{host}:{port}. Everybody who reaches this machine can read these runs and their pictures, without a "
        "password. Leave `--host` out for this machine alone."
    )
