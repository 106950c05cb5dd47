"""The report of a run: a JSON file beside the output, and the same numbers as a table on the screen."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...storage.atomic import write_json
from ...storage.outputs import written
from .arguments import SynthArguments


if TYPE_CHECKING:
    from rich.table import Table

UNSHOWN = ("provenance",)  # it is in the file


def report(arguments: SynthArguments, content: Mapping[str, Any], *, ending: str = ".report.json") -> None:
    """Write a report beside the output and print it.

    Args:
        arguments: of the run.
        content: name -> text, number, or a mapping of these, such as reason -> rows.
        ending: of the file's name.
    """
    path = arguments.beside_output(ending)
    with written(path, by=arguments.written_by) as temporary:
        write_json(temporary, content)
    from rich.console import Console  # it takes a fifth of what `synth --help` takes

    # a reason or the name of a model may look like rich's markup
    Console(markup=False, emoji=False, highlight=False).print(_table(content, f"pipeline: {arguments.pipeline}"))


def _table(content: Mapping[str, Any], title: str) -> "Table":
    from rich.table import Table

    table = Table(title=title, show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", overflow="fold")
    for name, value in _lines({name: value for name, value in content.items() if name not in UNSHOWN}):
        table.add_row(name, value)
    return table


def _lines(content: Mapping[str, Any], indent: str = "") -> Iterator[tuple[str, str]]:
    """Yield a line for each value; the values of a mapping are indented below its name."""
    for name, value in content.items():
        title = indent + name.replace("_", " ")
        if isinstance(value, Mapping):
            yield title, "" if value else "none"
            yield from _lines(value, indent + "  ")
        else:
            yield title, f"{value:.4g}" if isinstance(value, float) else str(value)
