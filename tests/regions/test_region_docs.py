"""The page on regions says what the code does."""

import doctest
import re
from pathlib import Path

from llamafactory_hind.regions import CONVENTIONS, format_box


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "regions.md").read_text(encoding="utf-8")


def test_the_examples_run() -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
    test = doctest.DocTestParser().get_doctest(code, {}, "regions.md", "docs/regions.md", 0)
    assert len(test.examples) > 12
    output: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=output.append)
    assert result.failed == 0, "".join(output)


def test_the_table_has_every_convention_as_it_is_written() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| ", PAGE.replace(r"\|", "¦"), flags=re.MULTILINE)
    texts = {name: text.replace("¦", "|") for name, text in rows}
    assert texts == {
        name: format_box(
            (64, 48, 320, 240), image_size=(640, 480), processed_size=(644, 476), convention=name, label="dog"
        )
        for name in CONVENTIONS
    }
