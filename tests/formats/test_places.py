"""Rows keep the file and the number that their author sees, also behind lines that cannot be read and in folders of parts."""

import json
from pathlib import Path

from shared.formats import FormatSetup


def test_a_line_that_cannot_be_read_counts(tmp_path: Path) -> None:
    setup = FormatSetup(tmp_path, skip_bad_rows=True)
    good = json.dumps({"id": "a", "prompt": "Is it?", "answer": "1"})
    (tmp_path / "rows.jsonl").write_text(f'"no object"\n{good}\n{{"prompt": 7}}\n{good}\n')
    rows = setup.align(None, file_name="rows.jsonl", formatting="rollout")
    assert list(rows["_source"]) == [f"{tmp_path}/rows.jsonl, row {number}" for number in (2, 4)]
    assert [entry["row"] for entry in setup.skipped()] == [1, 3]


def test_rows_of_a_folder_are_named_by_their_part(tmp_path: Path) -> None:
    setup = FormatSetup(tmp_path)
    (tmp_path / "parts").mkdir()
    for part in range(2):
        rows = [json.dumps({"id": f"{part}{row}", "prompt": "Is it?"}) for row in range(2)]
        (tmp_path / "parts" / f"{part}.jsonl").write_text("\n".join(rows))
    found = list(setup.align(None, file_name="parts", formatting="rollout")["_source"])
    assert found == [f"{tmp_path}/parts/{part}.jsonl, row {row}" for part in range(2) for row in (1, 2)]
