"""The media of a row on the page, as the tab of completions shows them: pixels alone, or a grey box that says why not."""

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..completions.pictures import PictureReader, Thumbnail, frames_of
from ..speech import tr


HEIGHT = 120  # [ours] pixels on the page


def thumbnails(media: Mapping[str, Sequence[Any]], folder: Path) -> str:
    """Return the pictures and frames of a row as HTML.

    Args:
        media: kind -> names that can be opened from here.
        folder: that files must lie under, links resolved.
    """
    whole = {kind: [_absolute(name) for name in names] for kind, names in media.items()}
    return "".join(_shown(thumbnail) for thumbnail in frames_of(PictureReader(Path(folder).resolve()), whole))


def _absolute(name: Any) -> Any:
    """The reader takes names as they are in rows, below the folder; a whole path stays one."""
    if isinstance(name, list):
        return [_absolute(part) for part in name]
    return os.path.abspath(name) if isinstance(name, str | os.PathLike) else name


def _shown(thumbnail: Thumbnail) -> str:
    name = escape(thumbnail.name)
    if thumbnail.why:
        return f'<span class="hind-grey">{name}: {escape(tr(thumbnail.why))}</span>'
    return f'<img src="{escape(thumbnail.url)}" alt="{name}" style="height:{HEIGHT}px;margin:2px">'
