"""`formats.prompts.wording`: the exact bytes that models are trained on."""

import subprocess
import sys

import pytest
from llamafactory.extras import constants

from llamafactory_hind.formats.media.fields import PLACEHOLDERS
from llamafactory_hind.formats.prompts.wording import build_prompt, join_lines


QUESTION = "What does it eat?"


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        ("knowledge", {"images": 1}, "<image>What does it eat?\nWrite one fact that helps to answer."),
        ("cot", {"images": 2, "videos": 1}, "<image><image><video>What does it eat?\nThink step by step."),
        ("answer", {"audios": 1}, "<audio>What does it eat?\nAnswer briefly."),
        ("answer", {}, "What does it eat?\nAnswer briefly."),
        (
            "knowledge",
            {"images": 1, "choices": ["moss", "tin"]},
            "<image>What does it eat?\nChoices: (A) moss (B) tin\nWrite one fact that helps to answer.",
        ),
        (
            "answer",
            {"choices": ["moss", "tin"], "cot": ["It is a dax.", "So moss."], "knowledge": "A dax eats moss."},
            (
                "What does it eat?\nChoices: (A) moss (B) tin\nReasoning: It is a dax.\nSo moss.\nKnowledge: A dax eats moss.\n"
                "Answer briefly."
            ),
        ),
        ("answer", {"knowledge": ["one", "two"]}, "What does it eat?\nKnowledge: one\ntwo\nAnswer briefly."),
        ("answer", {"cot": "one", "knowledge": []}, "What does it eat?\nReasoning: one\nAnswer briefly."),
    ],
)
def test_prompts_are_byte_exact(target: str, options: dict, expected: str) -> None:
    assert build_prompt(target, QUESTION, **options) == expected


def test_a_question_that_places_its_media_keeps_them() -> None:
    question = "Is <image> the same as <image>?"
    assert build_prompt("answer", question, images=2) == question + "\nAnswer briefly."


@pytest.mark.parametrize("media", [{"images": 1}, {"images": 3}, {}, {"images": 2, "videos": 1}])
def test_placeholders_that_do_not_match_are_refused(media: dict) -> None:
    with pytest.raises(ValueError, match=r"question: got placeholders .*'images': 2.*expected"):
        build_prompt("answer", "Is <image> the same as <image>?", **media)


def test_refusals_name_what_is_expected() -> None:
    with pytest.raises(ValueError, match=r"got 'answers', expected one of answer, cot, knowledge"):
        build_prompt("answers", QUESTION)
    with pytest.raises(ValueError, match="for 'answer' only"):
        build_prompt("cot", QUESTION, knowledge=["fact"])
    with pytest.raises(ValueError, match="got 27 of them, expected at most 26"):
        build_prompt("answer", QUESTION, choices=["x"] * 27)


def test_lines_are_joined_by_newlines() -> None:
    assert join_lines(["a", "b"]) == "a\nb"
    assert join_lines("a b") == "a b"
    assert join_lines(None) == ""


def test_placeholders_are_the_hosts() -> None:
    host = {kind: getattr(constants, f"{kind.upper()}_PLACEHOLDER") for kind in ("image", "video", "audio")}
    assert {f"{kind}s": placeholder for kind, placeholder in host.items()} == PLACEHOLDERS


def test_prompts_need_no_host() -> None:
    """Pipelines read them; with LLaMA-Factory, torch and datasets out of reach the import still works."""
    hidden = "".join(f"sys.modules['{name}'] = None; " for name in ("llamafactory", "torch", "datasets"))
    code = f"import sys; {hidden}from llamafactory_hind.formats.prompts.wording import build_prompt; print(build_prompt('cot', 'q'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
    assert run.stdout == "q\nThink step by step.\n", run.stderr
