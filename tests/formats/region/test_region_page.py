"""The page on the format says what the code does, and its pictures are there."""

import json
import re
from pathlib import Path

from llamafactory_hind.formats.region.options import STYLES, RegionOptions
from llamafactory_hind.formats.region.record import read_row, record_problems
from llamafactory_hind.formats.region.showing import show_regions
from llamafactory_hind.formats.templates.conventions import BY_PROCESSOR, BY_TEMPLATE, SUFFIX
from llamafactory_hind.regions.coordinates import format_box
from llamafactory_hind.regions.inline import replace_inline


DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "formats" / "region.md").read_text(encoding="utf-8")


def test_the_table_of_styles_is_what_the_code_writes() -> None:
    row = json.loads(re.search(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)[1])
    assert not list(record_problems(row))
    record = read_row(row)
    told = dict(re.findall(r"^\| `(\w+)`[^|]*\| `(.*?)`[ ,]", PAGE, flags=re.MULTILINE))
    for style in STYLES:
        text = show_regions(record, RegionOptions(region_style=style)).write(record.question)
        shown = replace_inline(
            text, lambda one: format_box(one.box, image_size=(320, 200), convention="qwen3_vl", label=one.label)
        )
        assert told[style] == shown


def test_every_template_with_a_convention_is_named() -> None:
    assert all(f"`{name}{SUFFIX}`" in PAGE for name in (*BY_TEMPLATE, *BY_PROCESSOR))


def test_pictures_are_there_and_small() -> None:
    names = re.findall(r"\]\(\.\./(pictures/[\w.]+)\)", PAGE)
    assert len(names) == 5
    assert all(0 < (DOCS / name).stat().st_size < 100_000 for name in names)
