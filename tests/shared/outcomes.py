"""How a command line ends in the check that is made before the host is imported: accepted, refused, or badly."""

import signal
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llamafactory_hind import config
from llamafactory_hind.attach.early import answer_ours, check_train_words
from llamafactory_hind.config.command import read_settings
from llamafactory_hind.config.keys.declared import HostKeys, package_folder, train_keys
from llamafactory_hind.config.problem import ConfigError

from .mutations import Malformed


LIMIT = 20  # seconds after which a check hangs


class Hangs(BaseException):
    """The check took too long."""


def host_folder() -> Path:
    folder = package_folder("llamafactory")
    assert folder is not None
    return folder


def outcome(case: Malformed, folder: Path, host: Path) -> tuple[str, str]:
    """Return how a case ends, `accepted`, `refused`, `hangs` or `traceback`, and what is said."""
    file = folder / case.name
    file.write_bytes(case.content)
    words = [str(file), *case.words]

    def alarm(*_: Any) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(LIMIT)
    try:
        check(case.command, words, host)
    except ConfigError as error:
        signal.alarm(0)
        return judged(error)
    except Hangs:
        return "hangs", ""
    except BaseException:
        return "traceback", traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return "accepted", ""


def check(command: str, words: list[str], host: Path) -> None:
    """Check as the command does, before the host is imported and again when the host has read the file."""
    if command != "train":
        answer_ours(command, words)
        return
    check_train_words(words, host)
    known = train_keys(host)
    assert known is not None
    given: Mapping[Any, Any] = read_settings(words, usage="", resolve=False)
    check_given(given, known)


def check_given(given: Mapping[Any, Any], known: HostKeys) -> None:
    config.check_train(given, known=known.keys | config.OUR_KEYS, host_stages=known.stages)


def judged(error: ConfigError) -> tuple[str, str]:
    """Return `refused` for a message that a user can use: not empty, each problem with key and what to do, and not endless."""
    text = str(error)
    whole = all(problem.expected and problem.remedy is not None for problem in error.problems)
    if not error.problems or not whole or len(text) > 200_000 or "Traceback" in text:
        return "traceback", text[:2000]
    return "refused", text
