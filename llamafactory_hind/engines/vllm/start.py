"""What is asked of servers before anything is written: that they are there, new enough, and serve one model."""

import asyncio
from typing import Any

from llamafactory.extras import logging

from .agreement import ServersFailed
from .client import CallError, Client, Server
from .protocol import LEAST_VERSION, read_version


logger = logging.get_logger("llamafactory.hind.engines.vllm.start")


async def check_servers(client: Client) -> str:
    """Return the name under which all servers serve the model.

    Raises:
        ServersFailed: one does not answer, is too old, or serves another model than the others.
    """
    try:
        found = await asyncio.gather(*(_look(client, server) for server in client.servers))
    except CallError as error:
        hint = " Is the key right?" if error.status in (401, 403) else " Is it running? docs/rollouts.md starts one."
        raise ServersFailed(f"rollout_server: {error.reason}.{hint}") from error
    names = sorted({name for name, _ in found})
    if len(names) > 1:
        raise ServersFailed(
            f"rollout_server: the servers serve {', '.join(names)}, expected one model under one name."
        )
    logger.info_rank0(
        f"rollout_server: vLLM {', '.join(sorted({version for _, version in found}))} serves {names[0]!r}."
    )
    return names[0]


async def _look(client: Client, server: Server) -> tuple[str, str]:
    """Return name of the model and version of a server."""
    version = str((await client.call(server, "GET", "/version") or {}).get("version"))
    known = read_version(version)
    if known is not None and (0, 0) < known < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise ServersFailed(f"rollout_server: {server.url} is vLLM {version}, expected {least} or newer.")
    listed: Any = (await client.call(server, "GET", "/v1/models") or {}).get("data") or []
    names = [entry["id"] for entry in listed if entry.get("parent") is None]
    if not names:
        raise ServersFailed(f"rollout_server: {server.url} lists no model, expected the one that is trained.")
    return str(names[0]), version
