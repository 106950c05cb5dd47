"""A dry run on the page: the prompts of some rows as they will be sent, with their pictures. Nothing is loaded or called."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from ...config.command import split_names
from ...formats.prompts.files import PromptError
from ...pipelines.runner.command import build_arguments
from ...pipelines.runner.pipeline import checks_itself, needs_answer, needs_question, row_formats
from ...pipelines.runner.rows import read_rows
from ..speech import tr
from .thumbnails import thumbnails


ROWS = 3  # [ours]
STYLE = """<style>
.hind-trial { border: 1px solid var(--border-color-primary); border-radius: 6px; padding: 8px; margin: 8px 0; }
.hind-trial pre { white-space: pre-wrap; color: var(--body-text-color); margin: 4px 0; }
.hind-grey { display: inline-block; max-width: 160px; padding: 8px; background: var(--background-fill-secondary); font-size: 12px; }
</style>"""


def dry_run(settings: Mapping[str, Any], rows: int = ROWS) -> str:
    """Return the prompts of the first rows as HTML.

    Args:
        settings: keys of `synth`.
        rows: of each dataset, at most.

    Raises:
        ConfigError: with every problem of the settings, of the datasets, or of a prompt file.
    """
    pipeline, arguments = build_arguments({**settings, "dry_run": rows})
    found, failures = read_rows(
        split_names(arguments.dataset),
        dataset_dir=arguments.dataset_dir,
        media_dir=arguments.media_dir,
        max_samples=rows,
        needs_answer=needs_answer(pipeline),
        needs_question=needs_question(pipeline),
        checks_itself=checks_itself(pipeline),
        formatting=row_formats(pipeline),
        view=arguments.view,
    )
    folder = Path(arguments.media_dir or arguments.dataset_dir)
    parts = [STYLE]
    for row in found[:rows]:
        parts.append(f'<div class="hind-trial"><b>{escape(row.id)}</b><div>{thumbnails(row.media, folder)}</div>')
        try:
            for title, text in pipeline.prompts(row, arguments):
                parts.append(f"<div><i>{escape(tr(title))}</i></div><pre>{escape(text)}</pre>")
        except PromptError as error:
            parts.append(f"<pre>{escape(str(error))}</pre>")
        parts.append("</div>")
    parts += [
        f"<pre>{escape(tr('{file}, row {row}: ', file=bad.file, row=bad.number) + str(bad.reason))}</pre>"
        for bad in failures
    ]
    return "".join(parts) if found or failures else f"{STYLE}<p>{escape(tr('The datasets have no rows.'))}</p>"
