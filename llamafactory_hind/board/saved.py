"""Saved configurations of the Board: they hold changed fields alone, and load where keys have come or gone."""

from collections.abc import Callable, Mapping
from typing import Any

from .fields import PREFIX, board_fields
from .speech import tr
from .values import shown


IDS = f"train.{PREFIX}"  # what ids of our fields begin with


def only_changed(saved: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return a configuration without the fields of other stages, and without untouched ones.

    A Board without our fields can then load what a stage of the host saved, and a renamed key troubles few files.
    """
    untouched = {f"{IDS}{field.key}": shown(field) for field in board_fields() if stage in field.stages}
    return {
        name: value
        for name, value in saved.items()
        if not name.startswith(IDS) or (name in untouched and value != untouched[name])
    }


def known_ids(saved: Mapping[str, Any], warn: Callable[[str], Any]) -> dict[str, Any]:
    """Return a saved configuration with untouched fields at their defaults and without keys that are no longer there.

    Args:
        saved: element id -> value.
        warn: shows one line about the keys that are left out.
    """
    ours = {f"{IDS}{field.key}": shown(field) for field in board_fields()}
    unknown = sorted(name.removeprefix(IDS) for name in saved if name.startswith(IDS) and name not in ours)
    if unknown:
        told = "The saved configuration has keys that this version does not know; they are left out: {keys}."
        warn(tr(told, keys=", ".join(unknown)))
    return {**ours, **{name: value for name, value in saved.items() if name in ours or not name.startswith(IDS)}}
