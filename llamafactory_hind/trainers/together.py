"""Processes of one run end together: where one fails, the others hear of it, say what it said, and do not wait for it for ever.

A process that waits in a collective does not see that another one is gone: with NCCL it waits for `ddp_timeout`, which the host sets to
years. Launchers end the others where they can; this works without one, and gives all of them the first message.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch.distributed as dist
from torch.distributed import distributed_c10d


KEY = "llamafactory_hind/failed"
EVERY = 1.0  # seconds between two looks [ours]
HEARD = 3 * EVERY  # until all others have looked [ours]
GRACE = 20.0  # for a process that hears of it to end by itself [ours]


class OtherProcessFailed(RuntimeError):
    """This process ends because another one has failed."""


@contextmanager
def ends_together(*, grace: float = GRACE) -> Iterator[None]:
    """End all processes of the group where the block fails in one of them.

    Args:
        grace: seconds until a process that is stuck in a collective is ended.

    Raises:
        OtherProcessFailed: what failed here was waiting for a process that had failed before; with its message.
    """
    store = _store()
    if store is None:
        yield
        return
    watch = _Watch(store, grace)
    watch.start()
    try:
        yield
    except KeyboardInterrupt:  # Ctrl-C and SIGTERM mostly reach all, and each has its own way to end
        watch.tell("it was stopped by a signal")
        raise
    except Exception as error:
        first = watch.first_failure(error)
        if first is not None:
            raise OtherProcessFailed(f"{first}\nThis process, {dist.get_rank()}, ends with it.") from None
        raise
    finally:
        watch.done.set()


def _store() -> Any:
    """Return a connection of our own to what the processes share; None where there is one process alone."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    store = distributed_c10d._get_default_store()
    with suppress(Exception):
        store = store.clone()  # the other one may be waiting for something
    return store


class _Watch(threading.Thread):
    """Looks for the failure of another process, and ends this one where it does not end by itself.

    Args:
        store: shared by the processes.
        grace: seconds that this one has.

    Attributes:
        done: set when this process has ended its block.
    """

    def __init__(self, store: Any, grace: float) -> None:
        """Nothing has failed."""
        super().__init__(daemon=True)
        self.store, self.grace = store, grace
        self.rank = dist.get_rank()
        self.done = threading.Event()
        self._heard: str | None = None

    def run(self) -> None:
        """Look every second."""
        while not self.done.wait(EVERY):
            try:
                self._look()
            except Exception:  # the process that holds the store is gone; nothing more can be heard
                return
            if self._heard is not None:
                break
        if self._heard is None or self.done.wait(self.grace):
            return
        print(f"{self._heard}\nProcess {self.rank} waited for it and is ended.", file=sys.stderr, flush=True)
        os._exit(1)

    def tell(self, message: str) -> None:
        """Let the others know why this process ends, if it is the first one."""
        with suppress(Exception):
            self.store.compare_set(KEY, "", f"{self.rank}|{message}")

    def first_failure(self, error: Exception) -> str | None:
        """Tell the others of a failure; return what another process said that failed before, None where this one is the first."""
        if _is_of_a_collective(error):  # it comes from another process, whose message may still be on its way
            self._await_message()
        self.tell(f"{type(error).__name__}: {error}")
        with suppress(Exception):
            self._look()
        self.done.set()
        if self._heard is None:
            time.sleep(HEARD)  # this process may hold what the others read
        return self._heard

    def _look(self) -> None:
        if self._heard is None and self.store.check([KEY]):
            rank, _, message = self.store.get(KEY).decode(errors="replace").partition("|")
            if rank != str(self.rank):
                self._heard = f"Process {rank} failed: {message}"

    def _await_message(self) -> None:
        end = time.monotonic() + HEARD
        with suppress(Exception):
            while time.monotonic() < end and self._heard is None:
                self._look()
                time.sleep(EVERY / 4)


def _is_of_a_collective(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, dist.DistError) or any(word in text for word in ("gloo", "NCCL", "Connection closed"))
