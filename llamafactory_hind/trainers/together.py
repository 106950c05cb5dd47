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
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(store, done, grace), daemon=True)
    watch.start()
    try:
        yield
    except KeyboardInterrupt:  # Ctrl-C and SIGTERM mostly reach all, and each has its own way to end
        with suppress(Exception):
            store.compare_set(KEY, "", f"{dist.get_rank()}|it was stopped by a signal")
        raise
    except Exception as error:
        first = _first_failure(store, error)
        if first is not None:
            raise OtherProcessFailed(f"{first}\nThis process, {dist.get_rank()}, ends with it.") from None
        raise
    finally:
        done.set()


def _store() -> Any:
    """Return a connection of our own to what the processes share; None where there is one process alone."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    store = distributed_c10d._get_default_store()
    with suppress(Exception):
        store = store.clone()  # the other one may be waiting for something
    return store


def _first_failure(store: Any, error: BaseException) -> str | None:
    """Tell the others of a failure; return the message of another process where that one failed first."""
    own = f"{dist.get_rank()}|{type(error).__name__}: {error}"
    try:
        # an error of a collective comes from another process, whose message may still be on its way
        if _is_of_a_collective(error):
            _wait_for(store, HEARD)
        first = store.compare_set(KEY, "", own).decode(errors="replace")
    except Exception:  # the process that holds it is gone
        return None
    rank, _, message = first.partition("|")
    if rank != str(dist.get_rank()):
        return f"Process {rank} failed: {message}"
    time.sleep(HEARD)  # this process may hold what the others read
    return None


def _is_of_a_collective(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, dist.DistError) or any(word in text for word in ("gloo", "NCCL", "Connection closed"))


def _wait_for(store: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not store.check([KEY]):
        time.sleep(EVERY / 4)


def _watch(store: Any, done: threading.Event, grace: float) -> None:
    """Look for the failure of another process; end this one where it does not end by itself."""
    while not done.wait(EVERY):
        try:
            if not store.check([KEY]):
                continue
            rank, _, message = store.get(KEY).decode(errors="replace").partition("|")
        except Exception:  # the process that holds it is gone; nothing more can be heard
            return
        if done.wait(grace):
            return
        print(f"Process {rank} failed: {message}\nProcess {os.getpid()} waited for it and is ended.", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
