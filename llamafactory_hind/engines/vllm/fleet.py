"""Requests to the servers of a run until each is answered well: sent again, to another server, or after a server was mended.

A server that lost its weights (restarted, another name, another version) gets them again from the folder of the last sync. A server
that is away is waited for. A group is learnt from whole or not at all.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamafactory.extras import logging

from ..server.retrying import backoff
from .agreement import ServersFailed
from .client import CallError, Client, Server
from .protocol import GENERATE, Asked, Choice, Weights, WrongAnswer, read_answer
from .sync import Publisher


logger = logging.get_logger("llamafactory.hind.engines.vllm.fleet")
REQUESTS_AT_ONCE = 256  # [ours] of a process; the server has a queue of its own
LOOK_SECONDS = 1.0  # [ours] between two looks at a server that is away


@dataclass(frozen=True)
class Published:
    """The weights that all servers were given last.

    Attributes:
        label: of this version.
        folder: that holds them.
    """

    label: str
    folder: Path


class Fleet:
    """All servers of a run, seen from one process.

    Args:
        client: the way to them.
        publisher: how they get weights.
        max_retries: times that a request is sent again, before and after servers were mended.
        patience: seconds that servers which are away are waited for.
    """

    def __init__(self, client: Client, publisher: Publisher, *, max_retries: int, patience: float) -> None:
        """Nothing is published yet."""
        self.client, self.publisher = client, publisher
        self.max_retries, self.patience = max_retries, patience
        self.published: Published | None = None
        self._locks: dict[Server, asyncio.Lock] = {}
        self._room: asyncio.Semaphore | None = None

    @property
    def weights(self) -> Weights:
        """What requests ask for now."""
        if self.published is None:
            raise RuntimeError("rollout_server: asked to write before it was given weights.")
        return self.publisher.weights(self.published.label)

    async def publish(self, label: str, folder: Path) -> None:
        """Give all servers new weights, then take the old ones away.

        Raises:
            ServersFailed: one does not take them.
        """
        before, self.published = self.published, Published(label, folder)
        for rest in range(self.max_retries, -1, -1):
            try:
                await asyncio.gather(*map(self.renew, self.client.servers))
                break
            except CallError as error:
                if not rest or not error.retryable:
                    raise ServersFailed(f"rollout_server: the weights were not taken: {error.reason}.") from error
                await self._mend(error.reason, everyone=True)
        if before is not None:
            await self._retire(before.label)

    async def renew(self, server: Server) -> None:
        """Give a server the weights of the last sync; one call at a time."""
        assert self.published is not None
        async with self._locks.setdefault(server, asyncio.Lock()):
            await self.publisher.publish(server, self.published.label, self.published.folder)

    async def write(self, asked: Asked) -> list[Choice]:
        """Return the completions of a request.

        Raises:
            ServersFailed: no server answers well, whatever was tried.
        """
        self._room = self._room or asyncio.Semaphore(REQUESTS_AT_ONCE)
        async with self._room:
            reason = await self._try(asked)
            if isinstance(reason, str):
                await self._mend(reason)
                reason = await self._try(asked)
        if isinstance(reason, str):
            raise ServersFailed(f"rollout_server: {reason} (given up after {2 * (self.max_retries + 1)} attempts).")
        return reason

    async def _try(self, asked: Asked) -> list[Choice] | str:
        """Send a request some times; return why there is no good answer."""
        reason = ""
        for attempt in range(1, self.max_retries + 2):
            server, weights = self.client.pick(), self.weights
            server.load += asked.n
            try:
                answer = await self.client.call(server, "POST", GENERATE, asked.body(weights))
                return read_answer(answer, asked, weights)
            except WrongAnswer as error:
                reason = f"{server.url} gave {error.reason}"
                if not error.retryable:
                    raise ServersFailed(f"rollout_server: {reason}.") from None
                stale = error.stale
            except CallError as error:
                reason, stale = error.reason, error.status == 404
                if not error.retryable and not stale:
                    raise ServersFailed(f"rollout_server: {_explained(error)}.") from None
            finally:
                server.load -= asked.n
            if stale:
                await self._renew_quietly(server)
            elif attempt <= self.max_retries:
                await asyncio.sleep(backoff(attempt, None))
        return reason

    async def _renew_quietly(self, server: Server) -> None:
        """Give a server its weights again; where that fails, the next attempt says why."""
        logger.warning(f"{server.url} no longer has the weights of this run; it gets them again.")
        try:
            await self.renew(server)
        except CallError as error:
            logger.warning(f"{server.url} does not take the weights: {error.reason}.")
            if not error.retryable:
                raise ServersFailed(f"rollout_server: {error.reason}.") from error

    async def _mend(self, reason: str, *, everyone: bool = False) -> None:
        """Wait until a server, or every server, is there again and has its weights.

        Raises:
            ServersFailed: none came back in time.
        """
        logger.warning(f"rollout_server: {reason}. Waiting up to {self.patience:g} s for a server.")
        loop = asyncio.get_running_loop()
        end = loop.time() + self.patience
        while True:
            healthy = [server for server in self.client.servers if await self.client.is_healthy(server)]
            if healthy and (not everyone or len(healthy) == len(self.client.servers)):
                for server in healthy:
                    await self._renew_quietly(server)
                return
            if loop.time() >= end:
                raise ServersFailed(
                    f"rollout_server: {reason}, and {'not every' if everyone else 'no'} server came back within {self.patience:g} s."
                )
            await asyncio.sleep(min(LOOK_SECONDS, max(0.0, end - loop.time())))

    async def _retire(self, label: str) -> None:
        retire: Callable[[Server], Any] = lambda server: self.publisher.retire(server, label)
        found = await asyncio.gather(*map(retire, self.client.servers), return_exceptions=True)
        for error in found:
            if isinstance(error, BaseException) and not isinstance(error, CallError):
                raise error

    async def close(self) -> None:
        """Take the weights away and release the connections."""
        if self.published is not None:
            await self._retire(self.published.label)
        await self.client.close()


def _explained(error: CallError) -> str:
    if error.status == 403:
        return f"{error.reason}. Start the server with `--enable-scale-out`"
    return error.reason
