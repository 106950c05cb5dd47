"""An event loop in a thread of its own: code that waits, as a training loop does, calls servers through it."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any


GRACE = 10.0  # [ours] seconds that the thread has to end


class LoopThread:
    """An event loop in a thread of its own, which ends with the process.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str = "teacher") -> None:
        """Start it."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any], timeout: float | None) -> Any:
        """Return what a coroutine returns.

        Args:
            work: runs in the thread.
            timeout: seconds; None waits as long as the coroutine does.

        Raises:
            TimeoutError: it did not end in time.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed
            work.close()
            raise
        try:
            return future.result(timeout)
        except FutureTimeoutError:
            if future.done():  # the coroutine's own
                raise
            future.cancel()
            raise TimeoutError(f"no result within {timeout:g} s") from None
        except BaseException:  # Ctrl-C: what is under way is of no use any more
            future.cancel()
            raise

    def stop(self) -> None:
        """End the loop and wait a little for its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(GRACE)
        if not self._thread.is_alive():
            self._loop.close()
