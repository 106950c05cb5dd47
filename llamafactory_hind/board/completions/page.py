"""The page itself: what a session has chosen goes in, HTML and one line of status come out. No gradio, no model."""

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...config.problem import ConfigError
from ...storage.atomic import WriteRefused
from ..curves.drawing import draw_panel
from ..curves.panels import Panel
from ..curves.reading import RunLog, Series
from . import render, synthesis_page
from .export import export
from .opened import OpenedRun
from .overview import compare, history, prompts
from .pictures import PictureReader
from .query import Query, cards, members
from .records import prompt_text
from .roots import Entry, Roots
from .synthesis import Synthesis, pick, reasons


VIEWS = ("groups", "list", "history", "prompts", "compare")
PER_PAGE = {"groups": 8, "list": 25, "history": 8, "prompts": 25, "compare": 25, "synth": 15}
OPENED = 4  # runs whose index stays in memory
NOTHING = (
    "Nothing here yet. Start a run in Train, or open a run of the command line below one of these folders: {roots}."
)
WRITES_NONE = "This run wrote no completions: stages that learn from given texts have none. Curves shows its numbers."
NO_MATCH = "No completion matches. Clear the filters."
NO_ROW = "Write the id of a row into Row, or click `history of the row` in a group."
NO_OTHER = "Choose a second run in Compare with."


@dataclass(frozen=True)
class View:
    """What a session has chosen.

    Attributes:
        run: name of an entry; empty is the latest.
        other: the run that is compared with it.
        view: one of `VIEWS`.
        query: the filters.
        page: from 1.
        boxes: draw them.
        state: of rows of `synth`: `all`, `kept`, `dropped`, `failed`.
        reason: of rows of `synth`; empty is all.
    """

    run: str = ""
    other: str = ""
    view: str = VIEWS[0]
    query: Query = field(default_factory=Query)
    page: int = 1
    boxes: bool = True
    state: str = "all"
    reason: str = ""


@dataclass(frozen=True)
class Look:
    """What a page shows.

    Attributes:
        html: of the page.
        status: one line.
        pages: how many there are.
        page: that is shown: one that is too high is the last.
        busy: more is being read; look again soon.
        full: the page cannot change by what is still being read.
        choices: name of a menu -> what it offers.
        kind: of the entry, see `roots.Entry`; empty where there is none.
    """

    html: str
    status: str
    pages: int = 1
    page: int = 1
    busy: bool = False
    full: bool = False
    choices: dict[str, list[str]] = field(default_factory=dict)
    kind: str = ""


class Browser:
    """Shows runs and outputs of `synth` under some folders; one for all sessions.

    Args:
        roots: folders that may be looked into.
        media_dir: where media are looked for in place of what the runs say, for runs that were moved; None is what they say.
    """

    def __init__(self, roots: Sequence[Path], *, media_dir: Path | None = None) -> None:
        """Open nothing yet."""
        self.roots, self.media_dir = Roots(roots), media_dir
        self._lock = threading.Lock()
        self._opened: OrderedDict[Path, OpenedRun] = OrderedDict()
        self._outputs: OrderedDict[Path, Synthesis] = OrderedDict()

    def names(self, *, anew: bool = False) -> list[str]:
        """Return the names of all entries, the latest first."""
        return [entry.name for entry in self.roots.entries(anew=anew)]

    def run_names(self) -> list[str]:
        """Return the names of the entries that have completions."""
        return [entry.name for entry in self.roots.entries() if entry.kind == "run"]

    def look(self, view: View) -> Look:
        """Return a page; never raises for what a session has chosen."""
        entries = self.roots.entries()
        if not entries:
            roots = ", ".join(str(root) for root in self.roots.roots)
            return Look(render.page([render.line(NOTHING.format(roots=roots))]), "")
        try:
            entry = self.roots.get(view.run) if view.run else entries[0]
        except ValueError as error:
            return Look(render.page([render.line(str(error))]), "")
        if entry.kind == "empty":
            return Look(render.page([render.line(WRITES_NONE)]), "", kind=entry.kind)
        if entry.kind == "synth":
            return self._look_at_output(entry, view)
        run = self.open(entry)
        with run.lock:
            run.advance(view.query)
            run.read_record()
            return self._look_at_run(run, view)

    def open(self, entry: Entry) -> OpenedRun:
        """Return a run, opened once for all sessions."""
        return self._cached(self._opened, entry.path, lambda path: OpenedRun(path, self.media_dir))

    def _cached(self, opened: OrderedDict[Path, Any], path: Path, make: Callable[[Path], Any]) -> Any:
        with self._lock:
            if path not in opened:
                opened[path] = make(path)
            opened.move_to_end(path)
            while len(opened) > OPENED:
                opened.popitem(last=False)
            return opened[path]

    def _look_at_run(self, run: OpenedRun, view: View) -> Look:
        shows = {
            "list": self._list,
            "history": self._history,
            "prompts": self._prompts,
            "compare": self._compare,
        }
        parts, count, told = shows.get(view.view, self._groups)(run, view)
        size = PER_PAGE.get(view.view, PER_PAGE["groups"])
        pages, page = _paged(count, size, view.page)
        full = view.query.order == "newest" and view.view in ("groups", "list") and len(parts) >= size
        status = " ".join([told, f"Page {page} of {pages}." if count else "", *_reading(run, view)]).strip()
        return Look(
            render.page(parts, boxes=view.boxes), status, pages, page, run.busy(view.query), full, _choices(run), "run"
        )

    def _groups(self, run: OpenedRun, view: View) -> tuple[list[str], int, str]:
        rows, picked = run.index.rows, run.matching(view.query)
        found = cards(rows, picked)
        told = f"{len(picked):,} of {len(rows):,} completions in {len(found):,} groups."
        hits = set(picked.tolist()) if len(picked) < len(rows) else set()
        _, page = _paged(len(found), PER_PAGE["groups"], view.page)
        shown = _of_page(found, PER_PAGE["groups"], page)
        return [self._card(run, int(card), hits) for card in shown] or [render.line(NO_MATCH)], len(found), told

    def _card(self, run: OpenedRun, card: int, hits: set[int]) -> str:
        numbers = members(run.index.rows, card)
        records = run.records(numbers)
        there = [(record, int(number) in hits) for record, number in zip(records, numbers, strict=True) if record]
        thumbnails = run.thumbnails(there[0][0]) if there else []
        return render.card([record for record, _ in there], thumbnails, hits=[hit for _, hit in there])

    def _list(self, run: OpenedRun, view: View) -> tuple[list[str], int, str]:
        rows, picked = run.index.rows, run.matching(view.query)
        told = f"{len(picked):,} of {len(rows):,} completions."
        _, page = _paged(len(picked), PER_PAGE["list"], view.page)
        records = [record for record in run.records(_of_page(picked, PER_PAGE["list"], page)) if record]
        if not records:
            return [render.line(NO_MATCH)], len(picked), told
        table = render.completions(records, hits=[False] * len(records), head=("step", "row_id"))
        return [table, *[""] * (len(records) - 1)], len(picked), told

    def _history(self, run: OpenedRun, view: View) -> tuple[list[str], int, str]:
        rows, row_id = run.index.rows, view.query.row
        if not row_id:
            return [render.line(NO_ROW)], 0, ""
        moments = history(rows, row_id, view.query)
        if not moments:
            return [render.line(NO_MATCH)], 0, ""
        training = [moment for moment in moments if moment.split == "train" and moment.mean == moment.mean]
        newest = moments[::-1]
        _, page = _paged(len(newest), PER_PAGE["history"], view.page)
        shown = _of_page(newest, PER_PAGE["history"], page)
        cells = [
            [
                render.escape(moment.split),
                render.number(moment.step, "d"),
                render.number(moment.mean),
                render.number(moment.deviation),
                render.number(moment.count, "d"),
            ]
            for moment in newest[:200]
        ]
        numbers = render.table(["split", "step", "mean", "std", "rewards"], cells, numeric=(1, 2, 3, 4))
        parts = [_curve(row_id, training), render.fold("numbers", numbers)]
        parts += [self._card(run, moment.card, set()) for moment in shown]
        return parts, len(moments), f"Row {row_id}: {len(moments):,} groups, the newest first."

    def _prompts(self, run: OpenedRun, view: View) -> tuple[list[str], int, str]:
        found = prompts(run.index.rows, view.query, run.found(view.query))
        _, page = _paged(len(found), PER_PAGE["prompts"], view.page)
        shown = _of_page(found, PER_PAGE["prompts"], page)
        records = run.records([prompt.latest for prompt in shown])
        cells = [
            [
                render.link(prompt.row_id, row=prompt.row_id, view="history"),
                f'<div class="hc-answer">{render.escape(prompt_text(record))}</div>',
                render.number(prompt.deviation),
                render.number(prompt.mean),
                render.number(prompt.count, "d"),
                render.number(prompt.last_step, "d"),
            ]
            for prompt, record in zip(shown, records, strict=True)
        ]
        titles = ["row", "prompt", "std of rewards", "mean", "rewards", "last step"]
        parts = [render.table(titles, cells, numeric=(2, 3, 4, 5))] if cells else [render.line(NO_MATCH)]
        return parts, len(found), f"{len(found):,} prompts, those whose rewards differ most first."

    def _compare(self, run: OpenedRun, view: View) -> tuple[list[str], int, str]:
        try:
            other = self.open(self.roots.get(view.other)) if view.other else None
        except ValueError as error:
            return [render.line(str(error))], 0, ""
        if other is None or other is run:
            return [render.line(NO_OTHER)], 0, ""
        with other.lock:
            other.advance(replace(view.query, text=""))
            if view.query.row:
                return self._both(run, other, view)
            pairs = compare(run.index.rows, other.index.rows, view.query)
        _, page = _paged(len(pairs), PER_PAGE["compare"], view.page)
        cells = [
            [
                render.link(pair.row_id, row=pair.row_id, view="compare"),
                render.number(pair.first.mean),
                render.number(pair.second.mean),
                render.number(pair.gap, "+.4g"),
                f"{render.number(pair.first.count, 'd')} / {render.number(pair.second.count, 'd')}",
            ]
            for pair in _of_page(pairs, PER_PAGE["compare"], page)
        ]
        titles = ["row", "mean here", "mean there", "difference", "rewards"]
        parts = (
            [render.table(titles, cells, numeric=(1, 2, 3, 4))] if cells else [render.line("No row is in both runs.")]
        )
        return parts, len(pairs), f"{len(pairs):,} rows are in both runs, the largest difference first."

    def _both(self, run: OpenedRun, other: OpenedRun, view: View) -> tuple[list[str], int, str]:
        """Show the same row in two runs, at the last step that both have, else at the last of each."""
        mine, theirs = (history(one.index.rows, view.query.row, view.query) for one in (run, other))
        if not mine or not theirs:
            return [render.line("The row is not in both runs.")], 0, ""
        common = sorted({moment.step for moment in mine} & {moment.step for moment in theirs})
        cards_shown = []
        for one, moments in ((run, mine), (other, theirs)):
            at = next((moment for moment in moments[::-1] if common and moment.step == common[-1]), moments[-1])
            cards_shown.append(f"<div>{self._card(one, at.card, set())}</div>")
        step = f"step {common[-1]} of both" if common else "the last step of each"
        return [f'<div class="hc-two">{"".join(cards_shown)}</div>'], 1, f"Row {view.query.row}, at {step}."

    def _look_at_output(self, entry: Entry, view: View) -> Look:
        output: Synthesis = self._cached(self._outputs, entry.path, Synthesis)
        items = output.items()
        found = pick(items, state=view.state, reason=view.reason, text=view.query.text)
        pages, page = _paged(len(found), PER_PAGE["synth"], view.page)
        pictures = PictureReader(self.media_dir or output.media_dir(self.roots.roots))
        shown = _of_page(found, PER_PAGE["synth"], page)
        parts = [synthesis_page.report_block(output.report())]
        parts += [synthesis_page.item_card(item, pictures, output.threshold) for item in shown]
        states = ", ".join(f"{len(pick(items, state=state)):,} {state}" for state in ("kept", "dropped", "failed"))
        left_out = [f"Left out: {name} ({why})." for name, why in output.unreadable.items()]
        status = " ".join(
            [f"{len(found):,} of {len(items):,} rows and texts: {states}. Page {page} of {pages}.", *left_out]
        )
        parts += [] if shown else [render.line("No row matches. Clear the filters.")]
        return Look(
            render.page(parts, boxes=view.boxes),
            status,
            pages,
            page,
            choices={"reason": [*reasons(items)]},
            kind="synth",
        )

    def export(self, view: View, name: str, kind: str) -> str:
        """Write what the filters pick to a file below the run; return one line: where, or why not."""
        try:
            entry = self.roots.get(view.run or next(iter(self.names()), ""))
        except ValueError as error:
            return str(error)
        if entry.kind != "run":
            return "Only completions are exported: the output of `synth` is a file of rows already."
        run = self.open(entry)
        with run.lock:
            while run.busy(view.query):
                run.advance(view.query)
            picked = run.matching(view.query)
            if not len(picked):
                return NO_MATCH
            try:
                path, count = export(run.folder, name, kind, run.all_records(picked))
            except (ConfigError, WriteRefused, OSError) as error:
                return str(error)
        return f"{count:,} rows written to {path}." + (
            " Read it with `formatting: rollout`." if kind == "external" else ""
        )

    def stop_search(self, view: View) -> None:
        """Stop looking for the text of a view."""
        entry = self.roots.get(view.run or next(iter(self.names()), ""))
        if entry.kind == "run" and view.query.text:
            self.open(entry).search(view.query.text).stopped = True


def _paged(count: int, size: int, page: int) -> tuple[int, int]:
    """Return how many pages there are, one at least, and the one nearest to `page`."""
    pages = max(math.ceil(count / size), 1)
    return pages, min(max(page, 1), pages)


def _of_page(found: Any, size: int, page: int) -> Any:
    return found[(page - 1) * size : page * size]


def _curve(row_id: str, moments: Sequence[Any]) -> str:
    if len(moments) < 2:
        return ""
    series = Series()
    for moment in moments:
        series.add(moment.step, moment.mean)
    log = RunLog(Path(os.devnull))
    log.series["mean reward"] = series
    drawn = draw_panel(Panel(f"row {row_id}", ("mean reward",)), {"row": log})
    return f'<div class="hc-curve">{drawn}</div>'


def _reading(run: OpenedRun, view: View) -> list[str]:
    """Return what a session must know of what is not read yet, or not at all."""
    told = []
    if not run.index.complete:
        told.append(f"Reading {run.index.read:,} of {run.index.total or 0:,} files, newest first.")
    if view.query.text and run.busy(view.query):
        search = run.search(view.query.text)
        told.append(f"Looked through {search.looked:,} of {run.index.total or 0:,} files for the text.")
    elif view.query.text and run.search(view.query.text).stopped:
        told.append("The search was stopped.")
    for name, why in list(run.index.unreadable.items())[:3]:
        told.append(f"Left out: {name} ({why}).")
    if len(run.index.unreadable) > 3:
        told.append(f"{len(run.index.unreadable) - 3} more files are left out.")
    if run.record is None and run.pictures.media_dir is None:
        told.append("An earlier version wrote this run: it does not say where its media are.")
    return told


def _choices(run: OpenedRun) -> dict[str, list[str]]:
    rows = run.index.rows
    if not len(rows):
        return {}
    names = {"split": "split", "source": "source", "finish": "finish_reason"}
    return {menu: rows.values(column) for menu, column in names.items()} | {"reward": rows.rewards}
