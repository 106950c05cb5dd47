"""Prompt files: the English ones write what models are trained on, and a prompt that lacks something says so before any call."""

import itertools
import zipfile
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.config.problem import ConfigError
from llamafactory_hind.formats.prompts.files import FOLDER, PromptError
from llamafactory_hind.formats.prompts.wording import build_prompt
from llamafactory_hind.pipelines.runner.command import build_arguments, read_settings
from llamafactory_hind.pipelines.runner.prompting import prompt_version, render
from llamafactory_hind.pipelines.runner.provenance import provenance
from llamafactory_hind.pipelines.runner.rows import Row
from llamafactory_hind.pipelines.runner.run import run_synth
from shared.synth import text_rows, words, write_dataset


ROOT = Path(__file__).resolve().parents[3]


def make_row(**fields: Any) -> Row:
    media = {kind: fields.get(kind, []) for kind in ("images", "videos", "audios")}
    return Row("r1", "rows.json", 1, {"question": "What?", "answer": "fish", **fields}, media)


def make_arguments(folder: Path, **more: Any) -> Any:
    return build_arguments(read_settings(words(folder, "http://localhost:1/v1", **more)))[1]


CHOICES = [None, ["cat", "a {{ dog }}"], ["only one"]]
COTS = [None, "one line", ["step one", "step two"]]
FACTS = [None, ["a fact"], ["a fact", "another <b>"]]
MEDIA = [{}, {"images": ["a.png"]}, {"images": ["a.png", "b.png"], "videos": ["c.mp4"]}, {"audios": ["d.wav"]}]
QUESTIONS = ["What?", "Two\nlines & <tags> {% raw %}", "  spaces kept \n"]


@pytest.mark.parametrize("target", ["cot", "knowledge", "answer"])
def test_english_files_write_what_models_are_trained_on(tmp_path: Path, target: str) -> None:
    """Byte for byte the twin in `formats.prompts.wording`, for every combination of parts."""
    arguments = make_arguments(tmp_path)
    tried = 0
    for choices, cot, facts, media, question in itertools.product(CHOICES, COTS, FACTS, MEDIA, QUESTIONS):
        if target != "answer" and (cot or facts):
            continue
        row = make_row(question=question, choices=choices or [], **media)
        counts = {kind: len(items) for kind, items in media.items()}
        expected = build_prompt(target, question, choices=choices, cot=cot, knowledge=facts, **counts)
        assert render(arguments, target, row, cot=cot, knowledge=facts) == expected
        tried += 1
    assert tried == (324 if target == "answer" else 36)


@pytest.mark.parametrize("target", ["cot", "knowledge", "answer"])
def test_placeholders_in_the_question_stay_where_they_are(tmp_path: Path, target: str) -> None:
    question = "Look at <image> and then at <video>. Which?"
    row = make_row(question=question, images=["a.png"], videos=["b.mp4"])
    expected = build_prompt(target, question, images=1, videos=1)
    assert render(make_arguments(tmp_path), target, row) == expected
    assert expected.startswith("Look at <image>")


def test_chinese_files_have_the_same_parts_in_chinese(tmp_path: Path) -> None:
    arguments = make_arguments(tmp_path, language="zh")
    row = make_row(question="这是什么？", images=["a.png"], choices=["猫", "狗"])
    shown = render(arguments, "answer", row, cot=["第一步", "第二步"], knowledge=["猫会爬树。"])
    assert shown.splitlines() == [
        "<image>这是什么？",
        "选项：(A) 猫 (B) 狗",
        "推理过程：第一步",
        "第二步",
        "相关知识：猫会爬树。",
        "请简要回答。",
    ]
    for name in ("cot", "knowledge"):
        lines = render(arguments, name, row).splitlines()
        assert lines[:2] == ["<image>这是什么？", "选项：(A) 猫 (B) 狗"]
        assert not lines[2].isascii()


def test_own_files_see_every_column_and_counts(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text(
        "{{ media }}|{{ image_count }}|{{ topic }}|{{ answers | length }}\n  {% if cot %}\nno\n  {% endif %}\nend\n"
    )
    arguments = make_arguments(tmp_path, answer_prompt=file)
    row = make_row(topic="sea", answers=["a", "b"], images=["a.png"])
    assert render(arguments, "answer", row) == "<image>|1|sea|2\nend"


def test_a_field_that_the_pipeline_hides_is_hidden(tmp_path: Path) -> None:
    row = make_row(cot="the row's own reasoning", knowledge="the row's own fact")
    arguments = make_arguments(tmp_path)
    assert "own" in render(arguments, "answer", row)
    assert "own" not in render(arguments, "answer", row, cot=None, knowledge=None)


def test_optional_fields_may_be_asked_for_but_not_printed(tmp_path: Path) -> None:
    """`{{ cot }}` of a row without reasoning must not become the word None in a prompt."""
    file = tmp_path / "mine.jinja"
    file.write_text("first\n{{ cot }}\n")
    with pytest.raises(PromptError, match=r"mine\.jinja, line 2: `cot` is missing in rows\.json, row 1 \(r1\)"):
        render(make_arguments(tmp_path, answer_prompt=file), "answer", make_row())


def run_with_prompt(folder: Path, text: str, rows: list[dict[str, Any]]) -> str:
    """Run with a prompt that cannot work, against a server that is not there; return the message."""
    (folder / "mine.jinja").write_text(text)
    write_dataset(folder, rows)
    with pytest.raises(SystemExit) as error:
        run_synth(words(folder, "http://127.0.0.1:9/v1", answer_prompt=folder / "mine.jinja"))
    assert not (folder / "out").exists(), "found before anything was opened"
    return str(error.value)


def test_a_misspelt_variable_is_told_before_any_call(tmp_path: Path) -> None:
    said = run_with_prompt(tmp_path, "Look.\n\n{{ qestion }}\n", text_rows(30))
    assert "1 problem" in said
    assert "mine.jinja, line 3: got 'qestion'" in said
    assert "The nearest known variable is `question`" in said
    assert "row 3 (r2) and 27 more" in said


def test_a_column_that_one_row_lacks_names_the_row(tmp_path: Path) -> None:
    rows = [row | {"topic": "sea"} for row in text_rows(30)]
    del rows[17]["topic"]
    said = run_with_prompt(tmp_path, "{{ topic }}: {{ question }}", rows)
    assert "got 'topic'" in said
    assert "row 18 (r17)" in said
    assert " more" not in said


def test_other_faults_of_a_prompt_are_told_with_their_line(tmp_path: Path) -> None:
    said = run_with_prompt(tmp_path, "a\n{{ question + 1 }}", text_rows(2))
    assert "mine.jinja, line 2" in said
    assert "TypeError" in said
    reached = run_with_prompt(tmp_path, "{{ question.__class__.__mro__ }}", text_rows(2))
    assert "mine.jinja, line 1" in reached, "a prompt file cannot reach into Python"
    with pytest.raises(ConfigError, match=r"answer_prompt: got .*Line 2"):
        (tmp_path / "mine.jinja").write_text("a\n{% if %}")
        make_arguments(tmp_path, answer_prompt=tmp_path / "mine.jinja")
    with pytest.raises(ConfigError, match=r"answer_prompt: got .*a readable file"):
        make_arguments(tmp_path, answer_prompt=tmp_path / "gone.jinja")


def test_the_version_follows_the_text_and_a_run_keeps_what_it_read_first(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("{{ question }}")
    first = make_arguments(tmp_path, answer_prompt=file)
    version = prompt_version(first, "answer")
    assert len(version) == 12
    file.write_text("{{ question }}!")
    assert render(first, "answer", make_row()) == "What?"
    second = make_arguments(tmp_path, answer_prompt=file)
    assert render(second, "answer", make_row()) == "What?!"
    assert prompt_version(second, "answer") != version == prompt_version(first, "answer")
    assert prompt_version(make_arguments(tmp_path), "answer") != prompt_version(
        make_arguments(tmp_path, language="zh"), "answer"
    )


def test_provenance_says_where_a_row_comes_from(tmp_path: Path) -> None:
    arguments = make_arguments(tmp_path)
    found = provenance(arguments, make_row(), prompts=("answer",), parameters={"seed": 1}, judge="other")
    assert list(found) == [
        *("source_id", "pipeline", "prompt_version", "engine", "model", "adapter", "judge", "parameters"),
    ]
    assert (found["source_id"], found["model"], found["engine"]) == ("r1", "test", "openai")
    assert "source_id" not in provenance(arguments, None, prompts=("answer",))


def test_prompt_files_are_in_the_wheel(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    wheel = next(iter(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])))
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("llamafactory_hind/")]
    packed = {name for name in names if name.endswith(".jinja")}
    assert packed == {str(path.relative_to(ROOT)) for path in FOLDER.rglob("*.jinja")}
    assert f"{FOLDER.relative_to(ROOT)}/zh/answer.jinja" in packed


def test_every_prompt_of_ours_is_there_in_every_language() -> None:
    names = {language: {path.name for path in (FOLDER / language).glob("*.jinja")} for language in ("en", "zh")}
    assert names["en"] == names["zh"] >= {"answer.jinja", "cot.jinja", "knowledge.jinja"}
