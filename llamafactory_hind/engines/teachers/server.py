"""A teacher behind a server, asked from a loop that does nothing else: whatever the server does, training goes on.

No call raises or hangs: a request that fails after its retries comes back as a `Failure`. A server that answers nothing at all is
left alone for a while, then asked once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from llamafactory.extras import logging

from ...formats.media.view import PIXEL_KEYS
from ..interface import Completion, Request, Sampling
from ..server.engine import OpenAIEngine
from ..server.loop import LoopThread
from ..server.retrying import CallFailed
from .interface import Failure
from .plan import Server


logger = logging.get_logger("llamafactory.hind.engines.teachers.server")
SKIPPED_CALLS = 10  # [ours] calls of `write` that a server which answered nothing is left alone
GRACE = 10.0  # [ours] seconds beyond the deadline after which the loop itself counts as dead


class ServedTeacher:
    """A teacher that writes; it gives no distributions.

    Args:
        server: what the teacher's file says.
        name: for the log.
        settings: host keys of the student's run: limits of media.
    """

    def __init__(self, server: Server, *, name: str, settings: Mapping[str, Any]) -> None:
        """Call nothing yet."""
        self.server, self.name = server, name
        media = {key: settings.get(key) for key in (*PIXEL_KEYS, "video_fps", "video_maxlen", "media_as_host")}
        self.identity = [server.model, dict(server.extra_body), media]
        self._options = {
            "model": server.model,
            "base_urls": server.base_urls,
            "api_key_env": server.api_key_env,
            "concurrency": server.concurrency,
            "timeout": server.timeout,
            "max_retries": server.max_retries,
            "extra_body": server.extra_body,
            **{key: media[key] for key in PIXEL_KEYS},
            "video_fps": media["video_fps"],
            "video_max_frames": media["video_maxlen"],
            "media_as_host": bool(media["media_as_host"]),
        }
        self.engine = OpenAIEngine(**self._options)
        self._thread: LoopThread | None = None
        self._skip = 0  # calls still to be left out
        self._away = False

    def write(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion] | Failure]:
        """Write for every request that the server answers; the others fail, one by one."""
        if not requests:
            return []
        if self._skip:
            self._skip -= 1
            return [Failure("skipped", "the server is left alone for a while")] * len(requests)
        if not self._away:
            found = self._ask(requests, sampling, retries=self.server.max_retries)
        else:  # one request, once: waiting for all of them again would cost every step
            found = self._ask(requests[:1], sampling, retries=0)
            if not _nothing(found) and len(requests) > 1:
                found += self._ask(requests[1:], sampling, retries=self.server.max_retries)
            elif _nothing(found):
                found += [Failure("skipped", "the server is still away")] * (len(requests) - 1)
        self._judge(found)
        return found

    def close(self) -> None:
        """Release connections and end the loop."""
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.run(self.engine.close(), GRACE)
            except Exception as error:  # nothing depends on it any more
                logger.info_rank0(f"teacher {self.name!r}: connections were not released ({error}).")
            thread.stop()

    def _judge(self, found: Sequence[list[Completion] | Failure]) -> None:
        """Leave a server alone that answered nothing; take it back once it answers."""
        if _nothing(found):
            self._skip, self._away = SKIPPED_CALLS, True
            last = next(one.reason for one in found if isinstance(one, Failure))
            logger.warning_rank0(
                f"teacher {self.name!r} answers nothing ({last}); going on without hints, and asking it again after "
                f"{SKIPPED_CALLS} further calls."
            )
        elif self._away:
            self._away = False
            logger.info_rank0(f"teacher {self.name!r} answers again.")

    def _ask(
        self, requests: Sequence[Request], sampling: Sampling, *, retries: int
    ) -> list[list[Completion] | Failure]:
        self.engine.max_retries = retries
        self._thread = self._thread or LoopThread()
        deadline = self.server.deadline
        try:
            found: list[list[Completion] | Failure] = self._thread.run(
                self._all(requests, sampling, deadline), deadline + GRACE
            )
            return found
        except Exception as error:  # the loop is dead or stuck: another one, with connections of its own
            self._thread, self.engine = None, OpenAIEngine(**self._options)
            return [Failure("loop", f"{type(error).__name__}: {error}")] * len(requests)

    async def _all(
        self, requests: Sequence[Request], sampling: Sampling, deadline: float
    ) -> list[list[Completion] | Failure]:
        tasks = [asyncio.ensure_future(self._one(request, sampling)) for request in requests]
        _, late = await asyncio.wait(tasks, timeout=deadline)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        too_late = Failure("deadline", f"no answer within {deadline:g} s")
        return [too_late if task in late else task.result() for task in tasks]

    async def _one(self, request: Request, sampling: Sampling) -> list[Completion] | Failure:
        try:
            (completions,) = await self.engine.generate([request], sampling)
            return completions
        except CallFailed as error:
            return Failure(_kind(error), str(error))
        except Exception as error:  # a medium that cannot be read, or anything else: this request alone
            return Failure("request", f"{type(error).__name__}: {error}")


def _nothing(found: Sequence[list[Completion] | Failure]) -> bool:
    """Whether the server answered none of the requests, for reasons of its own."""
    return all(isinstance(one, Failure) and one.kind != "request" for one in found)


def _kind(error: CallFailed) -> str:
    if error.status is not None:
        return f"http {error.status}"
    if "within the timeout" in error.reason:
        return "timeout"
    return "connection" if error.reason.startswith("the connection") else "nonsense"
