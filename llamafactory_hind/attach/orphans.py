"""Processes of a distributed run end with the command that started them, also when it is killed without a word (SIGKILL).

The host waits for `torchrun`, and `torchrun` for its processes; without this they would train on, and hold their devices.
"""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path


PR_SET_PDEATHSIG = 1  # of prctl(2): the signal that the kernel sends when the parent ends


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM at the parent's end, in `torchrun` and in the processes that it starts; Linux alone can."""
    if sys.platform != "linux" or not is_of_torchrun(sys.orig_argv):
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


def is_of_torchrun(argv: Sequence[str]) -> bool:
    """Tell `torchrun` and the host's launcher from what else inherits their environment, such as workers of rewards."""
    scripts = [Path(word) for word in argv[1:] if not word.startswith("-")][:1]
    return any(script.name == "torchrun" or script.parts[-2:] == ("llamafactory", "launcher.py") for script in scripts)
