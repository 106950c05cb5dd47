"""Commands in processes that are forked from one which has imported already: importing takes most of a short command.

For tests that are about what a process does, not about how it is started: `stages.command` starts the real one.
"""

import atexit
import multiprocessing
import os
import socket
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path


PRELOADED = (
    "llamafactory.train.tuner",
    "llamafactory_hind.attach.commands",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
    "deepspeed",
    "tensorboard",
)
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(PRELOADED))
_STARTED: "list[Processes]" = []


@atexit.register
def _kill_what_a_failed_test_left() -> None:
    for started in _STARTED:  # Python would wait for them
        started.kill()


class Processes:
    """Processes of one command, ranks of one run where there are several; their output is in the file `log`."""

    def __init__(self, code: str, argv: list[str], log: Path, *, ranks: int = 1, **environment: str) -> None:
        """Start them: each runs `code` with `sys.argv` = ["command", *argv] and with more in its environment."""
        self.log = log
        log.write_text("")
        environments = [{}] if ranks == 1 else _environments(ranks)
        self._processes: list[BaseProcess] = [
            _CONTEXT.Process(target=_run, args=(code, argv, {**os.environ, **environment, **own}, str(log)))
            for own in environments
        ]
        _STARTED.append(self)
        for process in self._processes:
            process.start()

    def running(self) -> bool:
        """Whether none has ended."""
        return all(process.is_alive() for process in self._processes)

    def kill(self) -> None:
        """SIGKILL, without a word."""
        for process in self._processes:
            if process.is_alive():
                process.kill()
                process.join()

    def ended_well(self) -> bool:
        """Whether all have ended, with status 0."""
        return all(process.exitcode == 0 for process in self._processes)

    def wait(self) -> list[int | None]:
        """Wait until all have ended, well or not; return how."""
        for process in self._processes:
            process.join()
        return [process.exitcode for process in self._processes]

    def finish(self) -> str:
        """Wait for the end and return the output; where one fails, the others, which wait for it, are stopped."""
        while self.running():
            self._processes[0].join(0.05)
        while any(process.is_alive() for process in self._processes) and not self._failed():
            time.sleep(0.05)
        if self._failed():
            self.kill()
        text = self.log.read_text(errors="replace")
        assert not self._failed(), text[-3000:]
        return text

    def _failed(self) -> bool:
        return any(process.exitcode for process in self._processes)


def _environments(ranks: int) -> list[dict[str, str]]:
    """Return what `torchrun` gives its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    common |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def _run(code: str, argv: list[str], environment: dict[str, str], log: str) -> None:
    """In the new process: output into a file, then the code as a program."""
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["command", *argv]
    exec(compile(code, "<command>", "exec"), {"__name__": "__main__"})
