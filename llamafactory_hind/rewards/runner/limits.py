"""Calls with a time limit: functions where they are, coroutines on a loop in the background."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any


SPARE_SECONDS = 1.0  # for the loop to end a coroutine itself, which it cannot where the coroutine blocks it


class OutOfTime(BaseException):
    """A call took longer than it may. No `Exception`: a reward that catches all of those must not turn it into a 0."""


def call_within(seconds: float, function: Callable[[], Any]) -> Any:
    """Return what a function returns.

    The main thread calls it itself, under an alarm, because libraries with alarms of their own (math-verify) work nowhere
    else. Any other thread waits for a thread that calls it.

    Raises:
        OutOfTime: it took longer. In another thread than the main one, and in a C function, it then still runs.
    """
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        return _under_alarm(seconds, function)
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()  # it can still be settled when nobody waits any more
    threading.Thread(target=_settle, args=(future, function), daemon=True).start()
    return _wait(future, seconds)


class Loop:
    """An event loop in a thread of its own, started when it is needed: clients keep their connections between calls."""

    def __init__(self) -> None:
        """Start nothing."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, seconds: float, make: Callable[[], Awaitable[Any]]) -> "Future[Any]":
        """Begin to await what `make` returns; at most for so many seconds."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True).start()
        return asyncio.run_coroutine_threadsafe(_await_within(seconds, make), self._loop)

    def result(self, seconds: float, future: "Future[Any]") -> Any:
        """Return the result.

        Raises:
            OutOfTime: it took longer.
        """
        return _wait(future, seconds + SPARE_SECONDS)


async def _await_within(seconds: float, make: Callable[[], Awaitable[Any]]) -> Any:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await make()
    except TimeoutError:
        if limit.expired():
            raise OutOfTime from None
        raise


def _under_alarm(seconds: float, function: Callable[[], Any]) -> Any:
    def stop(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return function()
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)


def _settle(future: "Future[Any]", function: Callable[[], Any]) -> None:
    try:
        result = function()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _wait(future: "Future[Any]", seconds: float) -> Any:
    with contextlib.suppress(TimeoutError):
        future.exception(seconds)
    if not future.done():
        future.cancel()
        raise OutOfTime
    return future.result()
