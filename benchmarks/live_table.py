"""Tables of benchmarks: rows appear as they are measured, in Markdown, ready for the documentation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.box import MARKDOWN
from rich.console import Console
from rich.live import Live
from rich.table import Table


WIDTH = 200  # letters of a line that is written into a file


@contextmanager
def growing_table(*headings: str) -> Iterator[Callable[..., None]]:
    """Yield a function that adds a row of cells; into a file the table goes whole, also where a measurement fails."""
    table = Table(box=MARKDOWN)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        try:
            yield table.add_row
        finally:
            Console(highlight=False, markup=False, width=WIDTH).print(table)
        return
    # no thread of its own, which would take time from what is measured
    with Live(table, console=console, auto_refresh=False, vertical_overflow="visible") as live:

        def add(*cells: str) -> None:
            table.add_row(*cells)
            live.refresh()

        yield add
