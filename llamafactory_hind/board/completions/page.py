"""The page itself: what a session has chosen goes in, HTML and one line of status come out. No gradio, no model."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...config.problem import ConfigError
from ...storage.atomic import WriteRefused
from ..speech import tr
from . import render, run_views, synthesis_page
from .export import export
from .opened import OpenedRun
from .pictures import PictureReader
from .roots import Entry, Roots
from .run_views import of_page, paged
from .synthesis import Synthesis, pick, reasons
from .view import NO_EXPORT, NO_MATCH, NO_ROW_MATCHES, NOTHING, PER_PAGE, WRITES_NONE, Look, View


OPENED = 4  # [ours] runs whose index stays in memory


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
            return Look(render.page([render.line(tr(NOTHING, roots=roots))]), "")
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
            "list": run_views.completion_list,
            "history": run_views.row_history,
            "prompts": run_views.prompt_list,
            "compare": self._compared,
        }
        parts, count, told = shows.get(view.view, run_views.groups)(run, view)
        size = PER_PAGE.get(view.view, PER_PAGE["groups"])
        pages, page = paged(count, size, view.page)
        full = view.query.order == "newest" and view.view in ("groups", "list") and len(parts) >= size
        status = " ".join(
            [told, tr("Page {page} of {pages}.", page=page, pages=pages) if count else "", *_reading(run, view)]
        ).strip()
        return Look(
            render.page(parts, boxes=view.boxes), status, pages, page, run.busy(view.query), full, _choices(run), "run"
        )

    def _compared(self, run: OpenedRun, view: View) -> run_views.Shown:
        try:
            other = self.open(self.roots.get(view.other)) if view.other else None
        except ValueError as error:
            return [render.line(str(error))], 0, ""
        if other is None:
            return run_views.comparison(run, None, view)
        with other.lock:
            other.advance(replace(view.query, text=""))
            return run_views.comparison(run, other, view)

    def _look_at_output(self, entry: Entry, view: View) -> Look:
        output: Synthesis = self._cached(self._outputs, entry.path, Synthesis)
        items = output.items()
        found = pick(items, state=view.state, reason=view.reason, text=view.query.text)
        pages, page = paged(len(found), PER_PAGE["synth"], view.page)
        pictures = PictureReader(self.media_dir or output.media_dir(self.roots.roots))
        shown = of_page(found, PER_PAGE["synth"], page)
        parts = [synthesis_page.report_block(output.report())]
        parts += [synthesis_page.item_card(item, pictures, output.threshold) for item in shown]
        counts = {state: len(pick(items, state=state)) for state in ("kept", "dropped", "failed")}
        told = tr(
            "{picked:,} of {all:,} rows and texts: {kept:,} kept, {dropped:,} dropped, {failed:,} failed.",
            picked=len(found),
            all=len(items),
            **counts,
        )
        left_out = [_left_out(name, why) for name, why in output.unreadable.items()]
        status = " ".join([told, tr("Page {page} of {pages}.", page=page, pages=pages), *left_out])
        parts += [] if shown else [render.line(NO_ROW_MATCHES)]
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
            return tr(NO_EXPORT)
        run = self.open(entry)
        with run.lock:
            while run.busy(view.query):
                run.advance(view.query)
            picked = run.matching(view.query)
            if not len(picked):
                return tr(NO_MATCH)
            try:
                path, count = export(run.folder, name, kind, run.all_records(picked))
            except (ConfigError, WriteRefused, OSError) as error:
                return str(error)
        told = tr("{count:,} rows written to {path}.", count=count, path=path)
        return f"{told} {tr('Read it with `formatting: rollout`.')}" if kind == "external" else told

    def stop_search(self, view: View) -> None:
        """Stop looking for the text of a view."""
        entry = self.roots.get(view.run or next(iter(self.names()), ""))
        if entry.kind == "run" and view.query.text:
            self.open(entry).search(view.query.text).stopped = True


def _reading(run: OpenedRun, view: View) -> list[str]:
    """Return what a session must know of what is not read yet, or not at all."""
    told = []
    if not run.index.complete:
        counts = {"read": run.index.read, "all": run.index.total or 0}
        told.append(tr("Reading {read:,} of {all:,} files, newest first.", **counts))
    if view.query.text and run.busy(view.query):
        search = run.search(view.query.text)
        counts = {"looked": search.looked, "all": run.index.total or 0}
        told.append(tr("Looked through {looked:,} of {all:,} files for the text.", **counts))
    elif view.query.text and run.search(view.query.text).stopped:
        told.append(tr("The search was stopped."))
    for name, why in list(run.index.unreadable.items())[:3]:
        told.append(_left_out(name, why))
    if len(run.index.unreadable) > 3:
        told.append(tr("{count} more files are left out.", count=len(run.index.unreadable) - 3))
    if run.record is None and run.pictures.media_dir is None:
        told.append(tr("An earlier version wrote this run: it does not say where its media are."))
    return told


def _left_out(name: str, why: str) -> str:
    return tr("Left out: {name} ({why}).", name=name, why=why)


def _choices(run: OpenedRun) -> dict[str, list[str]]:
    rows = run.index.rows
    if not len(rows):
        return {}
    names = {"split": "split", "source": "source", "finish": "finish_reason"}
    return {menu: rows.values(column) for menu, column in names.items()} | {"reward": rows.rewards}
