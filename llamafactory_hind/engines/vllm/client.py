"""Calls to vLLM servers over HTTP: one attempt each, its errors in words, the least busy server first."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import aiohttp

from ..server.api_key import ApiKey
from ..server.connection import CONNECT_SECONDS
from ..server.endpoints import Endpoints
from ..server.retrying import classify_status, shorten


REST_SECONDS = 5.0  # [ours] that a server which failed is passed over, where there are others


class CallError(Exception):
    """A call without a good answer.

    Attributes:
        reason: for the message.
        status: of the HTTP answer; None where there was none.
        retryable: whether to try again.
    """

    def __init__(self, reason: str, *, status: int | None = None, retryable: bool = True) -> None:
        """Keep the parts."""
        self.reason, self.status, self.retryable = reason, status, retryable
        super().__init__(reason)


@dataclass(eq=False)
class Server:
    """One server.

    Attributes:
        url: without a path.
        proxy: as the environment says.
        load: completions under way.
        rests_until: on the clock.
    """

    url: str
    proxy: str | None
    load: int = 0
    rests_until: float = 0.0


class Client:
    """The way to the servers; everything but the constructor runs in one event loop.

    Args:
        urls: addresses, with or without `/v1`.
        key_variable: name of the environment variable that holds the API key; None sends none.
        timeout: seconds a call.
        turn: which server comes first where all are alike; processes of a run take different ones.
    """

    def __init__(self, urls: Sequence[str], *, key_variable: str | None, timeout: float, turn: int = 0) -> None:
        """Connect to nothing yet.

        Raises:
            ValueError: an address or the variable is wrong.
        """
        try:
            found = Endpoints(urls).all
            self._key = ApiKey(key_variable)
        except ValueError as error:
            told = str(error).replace("base_urls", "rollout_server").replace("api_key_env", "rollout_api_key_env")
            raise ValueError(told) from None
        roots = [endpoint.url.removesuffix("/chat/completions").removesuffix("/v1") for endpoint in found]
        servers = [Server(*pair) for pair in zip(roots, (each.proxy for each in found), strict=True)]
        turn %= len(servers)
        self.servers = [*servers[turn:], *servers[:turn]]
        self.timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    def pick(self) -> Server:
        """Return the server with the least under way; those that failed just now come last."""
        now = monotonic()
        return min(self.servers, key=lambda server: (server.rests_until > now, server.load))

    async def call(
        self, server: Server, method: str, path: str, body: Any = None, *, timeout: float | None = None
    ) -> Any:
        """Send one request and return what the JSON of the answer says; None where the answer is no JSON.

        Raises:
            CallError: no answer, an error, or the time is over.
        """
        seconds = self.timeout if timeout is None else timeout
        data = None if body is None else json.dumps(body).encode()
        limit = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, CONNECT_SECONDS))
        try:
            async with self._open().request(
                method, server.url + path, data=data, proxy=server.proxy, timeout=limit, allow_redirects=False
            ) as response:
                status, raw = response.status, await response.read()
                retry_after = response.headers.get("Retry-After")
        except TimeoutError:
            self._rest(server)
            raise CallError(f"{server.url}{path}: no answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            self._rest(server)
            reason = shorten(self._key.redact(f"{type(error).__name__}: {error}"))
            raise CallError(f"{server.url}{path}: the connection failed: {reason}") from None
        if status // 100 == 2:
            return _parse(raw)
        failed = classify_status(status, shorten(self._key.redact(_message(raw))), retry_after)
        if failed.unhealthy:
            self._rest(server)
        raise CallError(f"{server.url}{path}: {failed.reason}", status=status, retryable=failed.retryable)

    async def all(self, method: str, path: str, body: Any = None, *, timeout: float | None = None) -> list[Any]:
        """Call every server at once; errors as in `call`."""
        calls = (self.call(server, method, path, body, timeout=timeout) for server in self.servers)
        return list(await asyncio.gather(*calls))

    async def is_healthy(self, server: Server) -> bool:
        """Whether a server says that it can work; it rests no more then."""
        try:
            await self.call(server, "GET", "/health", timeout=CONNECT_SECONDS)
        except CallError:
            return False
        server.rests_until = 0.0
        return True

    async def close(self) -> None:
        """Release the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _rest(self, server: Server) -> None:
        server.rests_until = monotonic() + REST_SECONDS

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # the fleet bounds its calls itself
                headers={"Content-Type": "application/json", **self._key.headers()},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _message(raw: bytes) -> str:
    """Return what an error of vLLM says, in any of its shapes."""
    content = _parse(raw)
    if not isinstance(content, dict):
        return raw.decode(errors="replace")
    inner = content.get("error", content)
    return str(inner.get("message") or inner.get("detail") or inner) if isinstance(inner, dict) else str(inner)
