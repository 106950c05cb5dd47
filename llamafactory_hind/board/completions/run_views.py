"""The views of a run that wrote completions: groups, a list, one row through training, prompts, two runs side by side.

Each gives the parts of the page, how many entries there are on all pages, and what the line of status says.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..curves.drawing import draw_panel
from ..curves.panels import Panel
from ..curves.reading import RunLog, Series
from ..speech import tr
from . import render
from .opened import OpenedRun
from .overview import Moment, compare, history, prompts
from .query import cards, members
from .records import prompt_text
from .view import NO_COMMON, NO_MATCH, NO_OTHER, NO_ROW, NOT_IN_BOTH, PER_PAGE, View


Shown = tuple[list[str], int, str]  # parts, entries on all pages, what is told
MOST_MOMENTS = 200  # [ours] rows of the table of a history


def groups(run: OpenedRun, view: View) -> Shown:
    """Show groups, each a prompt with all its completions."""
    rows, picked = run.index.rows, run.matching(view.query)
    found = cards(rows, picked)
    told = tr(
        "{picked:,} of {all:,} completions in {groups:,} groups.",
        picked=len(picked),
        all=len(rows),
        groups=len(found),
    )
    hits = set(picked.tolist()) if len(picked) < len(rows) else set()
    shown = of_page(found, PER_PAGE["groups"], view.page)
    return [_card(run, int(card), hits) for card in shown] or [render.line(NO_MATCH)], len(found), told


def completion_list(run: OpenedRun, view: View) -> Shown:
    """Show completions one below the other."""
    rows, picked = run.index.rows, run.matching(view.query)
    told = tr("{picked:,} of {all:,} completions.", picked=len(picked), all=len(rows))
    records = [record for record in run.records(of_page(picked, PER_PAGE["list"], view.page)) if record]
    if not records:
        return [render.line(NO_MATCH)], len(picked), told
    table = render.completions(records, hits=[False] * len(records), head=("step", "row_id"))
    return [table, *[""] * (len(records) - 1)], len(picked), told


def row_history(run: OpenedRun, view: View) -> Shown:
    """Show one row through training: a curve of its mean reward, and its groups."""
    row_id = view.query.row
    if not row_id:
        return [render.line(NO_ROW)], 0, ""
    moments = history(run.index.rows, row_id, view.query)
    if not moments:
        return [render.line(NO_MATCH)], 0, ""
    training = [moment for moment in moments if moment.split == "train" and moment.mean == moment.mean]
    newest = moments[::-1]
    parts = [_curve(row_id, training), render.fold(tr("numbers"), _table_of(newest[:MOST_MOMENTS]))]
    parts += [_card(run, moment.card, set()) for moment in of_page(newest, PER_PAGE["history"], view.page)]
    told = tr("Row {row}: {count:,} groups, the newest first.", row=row_id, count=len(moments))
    return parts, len(moments), told


def _table_of(moments: Sequence[Moment]) -> str:
    cells = [
        [
            render.escape(moment.split),
            render.number(moment.step, "d"),
            render.number(moment.mean),
            render.number(moment.deviation),
            render.number(moment.count, "d"),
        ]
        for moment in moments
    ]
    return render.table(["split", "step", "mean", "std", "rewards"], cells, numeric=(1, 2, 3, 4))


def prompt_list(run: OpenedRun, view: View) -> Shown:
    """Show prompts, those whose rewards differ most first."""
    found = prompts(run.index.rows, view.query, run.found(view.query))
    shown = of_page(found, PER_PAGE["prompts"], view.page)
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
    return parts, len(found), tr("{count:,} prompts, those whose rewards differ most first.", count=len(found))


def comparison(run: OpenedRun, other: OpenedRun | None, view: View) -> Shown:
    """Show the rows that two runs have both met; with a row, its groups side by side. The other run was read."""
    if other is None or other is run:
        return [render.line(NO_OTHER)], 0, ""
    if view.query.row:
        return _both(run, other, view)
    pairs = compare(run.index.rows, other.index.rows, view.query)
    cells = [
        [
            render.link(pair.row_id, row=pair.row_id, view="compare"),
            render.number(pair.first.mean),
            render.number(pair.second.mean),
            render.number(pair.gap, "+.4g"),
            f"{render.number(pair.first.count, 'd')} / {render.number(pair.second.count, 'd')}",
        ]
        for pair in of_page(pairs, PER_PAGE["compare"], view.page)
    ]
    titles = ["row", "mean here", "mean there", "difference", "rewards"]
    parts = [render.table(titles, cells, numeric=(1, 2, 3, 4))] if cells else [render.line(NO_COMMON)]
    told = tr("{count:,} rows are in both runs, the largest difference first.", count=len(pairs))
    return parts, len(pairs), told


def _both(run: OpenedRun, other: OpenedRun, view: View) -> Shown:
    """Show the same row in two runs, at the last step that both have, else at the last of each."""
    mine, theirs = (history(one.index.rows, view.query.row, view.query) for one in (run, other))
    if not mine or not theirs:
        return [render.line(NOT_IN_BOTH)], 0, ""
    common = sorted({moment.step for moment in mine} & {moment.step for moment in theirs})
    shown = []
    for one, moments in ((run, mine), (other, theirs)):
        at = next((moment for moment in moments[::-1] if common and moment.step == common[-1]), moments[-1])
        shown.append(f"<div>{_card(one, at.card, set())}</div>")
    told = (
        tr("Row {row}, at step {step} of both.", row=view.query.row, step=common[-1])
        if common
        else tr("Row {row}, at the last step of each.", row=view.query.row)
    )
    return [f'<div class="hc-two">{"".join(shown)}</div>'], 1, told


def _card(run: OpenedRun, card: int, hits: set[int]) -> str:
    numbers = members(run.index.rows, card)
    records = run.records(numbers)
    there = [(record, int(number) in hits) for record, number in zip(records, numbers, strict=True) if record]
    thumbnails = run.thumbnails(there[0][0]) if there else []
    return render.card([record for record, _ in there], thumbnails, hits=[hit for _, hit in there])


def paged(count: int, size: int, page: int) -> tuple[int, int]:
    """Return how many pages there are, one at least, and the one nearest to `page`."""
    pages = max(math.ceil(count / size), 1)
    return pages, min(max(page, 1), pages)


def of_page(found: Any, size: int, page: int) -> Any:
    """Return what stands on a page; one that is too high is the last."""
    _, page = paged(len(found), size, page)
    return found[(page - 1) * size : page * size]


def _curve(row_id: str, moments: Sequence[Moment]) -> str:
    if len(moments) < 2:
        return ""
    name, series = tr("mean reward"), Series()
    for moment in moments:
        series.add(moment.step, moment.mean)
    log = RunLog(Path(os.devnull))
    log.series[name] = series
    drawn = draw_panel(Panel(tr("row {row}", row=row_id), (name,)), {"row": log})
    return f'<div class="hc-curve">{drawn}</div>'
