"""The rewards that have a name: those that the files of this folder list as `REWARDS`."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..config.catalogue import Catalogue
from ..config.types import nearest


def collect_rewards(files: Catalogue) -> dict[str, Callable[..., Any]]:
    """Return name -> reward of every file of a package that defines `REWARDS`.

    Raises:
        ValueError: two files give a reward the same name.
    """
    found: dict[str, Callable[..., Any]] = {}
    owners: dict[str, str] = {}
    for file in files.names():
        rewards = getattr(files.get(file), "REWARDS", {}) if file != "registry" else {}
        for name in rewards:
            if name in owners:
                raise ValueError(
                    f"reward {name!r}: defined in {owners[name]}.py and in {file}.py; rename one of them."
                )
            owners[name] = file
        found |= rewards
    return dict(sorted(found.items()))


REWARDS = collect_rewards(Catalogue(__package__, import_module(__package__).__path__, "reward"))


def get_reward(name: str) -> Callable[..., Any]:
    """Return a registered reward: `f(completions, **columns)` -> a float or None (does not apply) for each completion.

    Raises:
        ValueError: there is none of that name; the message lists those there are.
    """
    if name not in REWARDS:
        near = nearest(name, REWARDS, at_least=0.5)
        hint = f" Did you mean `{near}`?" if near else ""
        own = "one of your own is `package.module:function` or `path/to/file.py:function`"
        raise ValueError(f"reward {name!r}: unknown.{hint} Registered: {', '.join(sorted(REWARDS))}; {own}.")
    return REWARDS[name]
