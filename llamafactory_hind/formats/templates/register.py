"""Names `<template>_region` for every template of the host that takes pictures, through the host's own registries."""

import copy
from dataclasses import fields
from types import ModuleType
from typing import Any

from .conventions import SUFFIX
from .plugin import RegionPlugin


def register_templates(templates: ModuleType, plugins: ModuleType) -> None:
    """Register a region-aware twin of every template whose plugin takes pictures; nothing of the host's is changed.

    Args:
        templates: `llamafactory.data.template`.
        plugins: `llamafactory.data.mm_plugin`.
    """
    names = {kind: name for name, kind in plugins.PLUGINS.items()}
    for name, template in list(templates.TEMPLATES.items()):
        plugin = template.mm_plugin
        if plugin.image_token is None or name.endswith(SUFFIX) or name + SUFFIX in templates.TEMPLATES:
            continue
        given = {entry.name: copy.deepcopy(getattr(template, entry.name)) for entry in fields(template)}
        given["mm_plugin"] = _twin(plugin, names[type(plugin)], name, plugins)
        templates.register_template(name=name + SUFFIX, template_class=type(template), **given)


def _twin(plugin: Any, plugin_name: str, template: str, plugins: ModuleType) -> Any:
    """Return a region-aware plugin with the tokens of a host's one."""
    if plugin_name + SUFFIX not in plugins.PLUGINS:
        plugins.register_mm_plugin(plugin_name + SUFFIX, _region_class(type(plugin)))
    given = {entry.name: getattr(plugin, entry.name) for entry in fields(plugin)}
    twin = plugins.get_mm_plugin(name=plugin_name + SUFFIX, **given)
    twin.template_name = template
    return twin


def _region_class(kind: type) -> type:
    name = f"Region{kind.__name__}"
    made = type(name, (RegionPlugin, kind), {"__module__": __name__, "__doc__": f"Region-aware `{kind.__name__}`."})
    globals()[name] = made  # where pickle looks it up: workers and caches of `datasets` take plugins along
    return made
