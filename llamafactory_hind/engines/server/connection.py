"""One attempt at a call: which server, over HTTP, and what its answer means. What leaves here hides the key.

The client is aiohttp and not the `openai` package: that takes 1.80 ms of CPU a call where all of this takes 0.20, so at a thousand
calls a second one core would not do. It also retries, rests and redacts in ways of its own.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from .api_key import ApiKey
from .endpoints import Endpoint, Endpoints
from .protocol import Reply, error_message, read_reply, refused_parameters
from .retrying import FailedAttempt, classify_status, shorten


CONNECT_SECONDS = 10.0  # [ours] a dead server is noticed long before a slow one is given up


@dataclass(frozen=True)
class UnsupportedParameters:
    """A server does not know some optional parameters: ask again without them."""

    names: Sequence[str]
    message: str


class Connection:
    """The servers of an engine and the way to them.

    Args:
        base_urls: addresses, see `Endpoints`.
        key: sent along.
        timeout: seconds for one attempt.
    """

    def __init__(self, base_urls: Sequence[str], key: ApiKey, *, timeout: float) -> None:
        """Connect to nothing yet."""
        self.endpoints = Endpoints(base_urls)
        self.timeout = timeout
        self._key = key
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls can be sent, from the running event loop."""
        return self._session is not None and not self._session.closed and self._loop is asyncio.get_running_loop()

    def open(self) -> None:
        """Get ready, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the engine bounds its calls itself
            timeout=aiohttp.ClientTimeout(total=self.timeout, sock_connect=min(self.timeout, CONNECT_SECONDS)),
            headers={"Content-Type": "application/json", **self._key.headers()},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Release the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, body: Mapping[str, Any]) -> Reply | FailedAttempt | UnsupportedParameters:
        """Send a body once, to the server whose turn it is."""
        endpoint = self.endpoints.pick()
        answer = await self._post(endpoint, json.dumps(body).encode())
        outcome = answer if isinstance(answer, FailedAttempt) else self._read(endpoint, body, *answer)
        failure = outcome if isinstance(outcome, FailedAttempt) else None
        if failure is not None and failure.unhealthy:
            self.endpoints.failed(endpoint)
        else:
            self.endpoints.worked(endpoint)
        if failure is not None and failure.retry_after is not None:
            self.endpoints.cool_down(endpoint, failure.retry_after)
        return outcome

    async def _post(self, endpoint: Endpoint, payload: bytes) -> tuple[int, bytes, Mapping[str, str]] | FailedAttempt:
        """Return status, body and headers, or why there are none. Errors of aiohttp, which know the key, end here."""
        if self._session is None:
            raise RuntimeError("The engine was closed while calls were under way.")
        try:
            async with self._session.post(
                endpoint.url, data=payload, proxy=endpoint.proxy, allow_redirects=False
            ) as response:
                return response.status, await response.read(), response.headers
        except TimeoutError:
            reason = f"no answer from {endpoint.shown} within the timeout of {self.timeout:g} s"
        except (aiohttp.ClientError, OSError) as error:
            reason = self._key.redact(f"{type(error).__name__}: {error}".replace(endpoint.url, endpoint.shown))
            reason = f"the connection to {endpoint.shown} failed: {shorten(reason)}"
        return FailedAttempt(reason, unhealthy=True)

    def _read(
        self, endpoint: Endpoint, body: Mapping[str, Any], status: int, raw: bytes, headers: Mapping[str, str]
    ) -> Reply | FailedAttempt | UnsupportedParameters:
        if status // 100 == 2:
            return read_reply(raw, self._key)
        message = error_message(raw, self._key)
        if status in (400, 422) and (names := refused_parameters(raw, body)):
            return UnsupportedParameters(names, message)
        if status // 100 == 3:
            target = self._key.redact(headers.get("Location", "nowhere")).partition("?")[0]
            message = f"redirected to {target}; give that address in base_urls"
        elif status == 404:
            message += f" (at {endpoint.shown}: most base_urls end in /v1, and the server must know the model)"
        return classify_status(status, message, headers.get("Retry-After"))
