"""A job as the page shows it: how far it is, why it failed, what it left, and the end of its log. All escaped."""

from html import escape

from ..failing import reason_of
from ..jobs.state import JobState
from ..speech import tr
from .results import kept_rows


NOTHING = "No job yet. Choose a pipeline, fill in what it needs, and start it."
HEIGHT = 400  # [ours] pixels of the log
STYLE = f"""<style>
.hind-log {{ max-height: {HEIGHT}px; overflow: auto; display: flex; flex-direction: column-reverse;
  border: 1px solid var(--border-color-primary); border-radius: 6px; }}
.hind-log pre {{ white-space: pre-wrap; overflow-wrap: anywhere; color: var(--body-text-color); margin: 8px; font-size: 12px; }}
.hind-why {{ white-space: pre-wrap; color: var(--error-text-color, #b00020); font-weight: 600; }}
</style>"""
PHASES = {
    "running": "● running",
    "finished": "✓ finished",
    "failed": "✗ failed",
    "stopped": "■ stopped",
    "lost": "ended; nobody saw how",
}


def job_page(state: JobState | None) -> str:
    """Return a job as HTML: one status line, a bar, the reason of a failure, the log in a box that begins at its end."""
    if state is None:
        return f'<p role="status">{escape(tr(NOTHING))}</p>'
    code = "" if state.code is None else tr(", exit status {code}", code=state.code)
    who = tr(", started by {who}", who=state.by) if state.by else ""
    parts = [
        STYLE,
        f'<div role="status" aria-live="polite"><b>{escape(state.title)}</b>: {escape(tr(PHASES[state.phase]))}',
    ]
    parts.append(f"{escape(code)}{escape(who)}{escape(_kept(state))}</div>")
    if state.progress is not None:
        bar = state.progress
        parts.append(
            f'<div><progress max="{max(bar.total, 1)}" value="{bar.done}" style="width:100%"></progress>'
            f"{escape(bar.name)}: {escape(tr('{done} of {all}', done=bar.done, all=bar.total))} · {escape(bar.rest)}</div>"
        )
    if state.phase == "failed":
        parts.append(f'<div class="hind-why">{escape(reason_of(state.log))}</div>')
    log = escape(tr("log"))
    parts.append(f'<div class="hind-log" tabindex="0" aria-label="{log}"><pre>{escape(state.log)}</pre></div>')
    return "".join(parts)


def _kept(state: JobState) -> str:
    if state.phase not in ("stopped", "failed", "lost") or "output" not in state.settings:
        return ""
    rows = kept_rows(state.settings)
    return tr(". {count} rows are kept; Resume goes on from there", count=rows) if rows else ""
