"""Tabs of our own in LLaMA Board, behind the host's. A file here is a tab; nothing else is edited.

Each file defines

- `TITLE`: (English, Chinese) name of the tab,
- `ORDER`: tabs stand in the order of these numbers,
- `LABELS`: name of an element -> what it says, as `{"label": (English, Chinese), ...}`; keys are arguments of the element
  (`label`, `info`, `value`, `placeholder`), so a button has `value`; Russian, Korean and Japanese show the English text,
- `build(engine)`: makes the elements of the tab and binds their events; returns name -> element. Names begin with `hind_` and
  differ from those of all other tabs. Elements that it does not return keep their first language;
- `connect(elements)`, which may be left out: binds what reaches into other tabs, when all elements of all tabs are there.

Pages that a tab makes speak with `board.speech.tr`.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ...config.catalogue import Catalogue


TABS = Catalogue(__name__, __path__, "tab")
Words = Mapping[str, tuple[Any, Any]]  # argument of an element -> English, Chinese


def tabs() -> list[tuple[str, ModuleType]]:
    """Return (name, module) of each tab, in their order."""
    found = [(name, TABS.get(name)) for name in TABS.names()]
    return sorted(found, key=lambda entry: entry[1].ORDER)


def tab_name(name: str) -> str:
    """Return what the tab of a file is called among the host's elements."""
    return f"hind_{name}_tab"


def labels() -> dict[str, Words]:
    """Return element -> its words, of all tabs and their elements."""
    found: dict[str, Words] = {}
    for name, module in tabs():
        found |= {tab_name(name): {"label": module.TITLE}, **module.LABELS}
    return found


def build_tabs(engine: Any) -> dict[str, Any]:
    """Create all tabs; must be called right behind the host's last tab, where gradio puts them beside it.

    Args:
        engine: of the Board.

    Returns:
        name -> element, for the manager.
    """
    import gradio as gr

    elements: dict[str, Any] = {}
    for name, module in tabs():
        with gr.Tab(module.TITLE[0], id=tab_name(name), elem_id=tab_name(name)) as tab:
            elements |= module.build(engine)
        elements[tab_name(name)] = tab
    for _, module in tabs():
        if hasattr(module, "connect"):
            module.connect(elements)
    return elements
