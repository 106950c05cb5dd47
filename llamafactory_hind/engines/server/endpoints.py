"""Several servers of one model: used in turn, and rested while they keep failing."""

import ipaddress
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass


FAILURES_TO_REST = 5  # [ours] in a row; with one fault in five calls that is rare, with a dead server soon reached
REST_SECONDS = 10.0  # [ours]
# a host with a dot or a port, and nothing in front of it; a key in the wrong place is not shown
LIKE_AN_ADDRESS = re.compile(r"([a-z]+://[^@]*|localhost([:/][^@]*)?|[\w-]+(\.[\w-]+)*(\.[\w-]+|:\d+)(/[^@]*)?)")


@dataclass(eq=False)
class Endpoint:
    """One server.

    Attributes:
        url: of `chat/completions`.
        proxy: as the environment says.
        failures: in a row.
        rests_until: on the clock.
    """

    url: str
    proxy: str | None
    failures: int = 0
    rests_until: float = 0.0

    @property
    def shown(self) -> str:
        """The address for messages, without a query, which may hold a key."""
        return self.url.partition("?")[0]


class Endpoints:
    """The servers of an engine.

    Args:
        base_urls: such as `http://localhost:8000/v1`.
        clock: seconds.
    """

    def __init__(self, base_urls: Sequence[str], *, clock: Callable[[], float] = monotonic) -> None:
        """Read the addresses.

        Raises:
            ValueError: names those that are no addresses.
        """
        if isinstance(base_urls, str) or not base_urls:
            raise ValueError(f"base_urls: got {base_urls!r}, expected a list of one or more, such as ['http://…/v1'].")
        self.all = [Endpoint(*_address(url)) for url in base_urls]
        self._clock = clock
        self._turn = itertools.cycle(self.all)

    def pick(self) -> Endpoint:
        """Return the next server that does not rest, or the one that rested most when all do."""
        now = self._clock()
        for _ in self.all:
            endpoint = next(self._turn)
            if endpoint.rests_until <= now:
                if endpoint.failures >= FAILURES_TO_REST:  # one call tries it, the others wait for what comes of it
                    endpoint.rests_until = now + REST_SECONDS
                return endpoint
        return min(self.all, key=lambda endpoint: endpoint.rests_until)

    def any_available(self) -> bool:
        """Tell whether a server is there that does not rest."""
        now = self._clock()
        return any(endpoint.rests_until <= now for endpoint in self.all)

    def worked(self, endpoint: Endpoint) -> None:
        """Note that a server answered."""
        if endpoint.failures >= FAILURES_TO_REST:
            endpoint.rests_until = 0.0
        endpoint.failures = 0

    def failed(self, endpoint: Endpoint) -> None:
        """Note that a server did not answer, or not with sense."""
        endpoint.failures += 1
        if endpoint.failures >= FAILURES_TO_REST:
            self.cool_down(endpoint, REST_SECONDS)

    def cool_down(self, endpoint: Endpoint, seconds: float) -> None:
        """Leave a server alone for a while, as long as there are others."""
        endpoint.rests_until = max(endpoint.rests_until, self._clock() + seconds)


def _address(base_url: str) -> tuple[str, str | None]:
    """Return the URL of `chat/completions` and the proxy on the way to it."""
    wrong = (
        "expected http:// or https://, a host and a path such as /v1, without a user name or password "
        "(keys come from api_key_env)."
    )
    try:
        parts = urlsplit(base_url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:  # its text repeats what may be a password
        raise ValueError(f"base_urls: got an address whose host or port cannot be read (not shown); {wrong}") from None
    if parts.username or parts.password:
        raise ValueError(f"base_urls: got an address of {host} with a user name or password (not shown); {wrong}")
    if parts.scheme not in ("http", "https") or not host:
        shown = repr(base_url.partition("?")[0]) if LIKE_AN_ADDRESS.fullmatch(base_url) else "a text (not shown)"
        raise ValueError(f"base_urls: got {shown}, {wrong}")
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    url = urlunsplit((parts.scheme, parts.netloc, f"{path}/chat/completions", parts.query, ""))
    proxy = None if _is_loopback(host) or proxy_bypass(host) else getproxies().get(parts.scheme)
    return url, proxy


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
