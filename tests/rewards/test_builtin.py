"""Built-in rewards by hand, at their edges, and against plain twins of Reason-RFT's formulas."""

import itertools
import math
import random
import re
import subprocess
import sys

import pytest

from llamafactory_hind.regions.geometry import box_iou as overlap
from llamafactory_hind.rewards import REWARDS, get_reward, symbolic
from llamafactory_hind.rewards.trance import FULL_ONLY, PARTIAL, PENALTY, score_triples


def tagged(answer: str, thought: str = "hm") -> str:
    return f"<think>{thought}</think><answer>{answer}</answer>"


def score(name: str, completion: str, **columns: object) -> float | None:
    """Return the reward of one completion of one row."""
    (reward,) = get_reward(name)([completion], **{key: [value] for key, value in columns.items()})
    return reward


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("<think>a</think><answer>b</answer>", 1.0),
        ("<think></think><answer></answer>", 1.0),
        ("<think>a\nb</think>\n \t<answer>c\nd</answer>", 1.0),
        ("<think>a</think><answer>b</answer>\n", 0.0),  # the ENTIRE completion
        (" <think>a</think><answer>b</answer>", 0.0),
        ("<think>a</think> so <answer>b</answer>", 0.0),
        ("<think>a</think><answer>b", 0.0),
        ("<answer>b</answer>", 0.0),
        ("<THINK>a</THINK><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer><answer>c</answer>", 1.0),  # officially too: `.*?` runs on where it must
        ("", 0.0),
    ],
)
def test_format(completion: str, expected: float) -> None:
    assert score("format", completion) == expected


@pytest.mark.parametrize(
    ("completion", "gold", "expected"),
    [
        (tagged("3"), "3", 1.0),
        (tagged("  3 \n"), " 3 ", 1.0),
        (tagged("3.0"), "3", 0.0),  # with tags, only equal text counts
        (tagged("Red"), "red", 0.0),
        (tagged("3") + tagged("4"), "3", 1.0),  # the first answer
        (tagged("3") + tagged("4"), "4", 0.0),
        (tagged("3"), 3, 1.0),
        (tagged("3"), 3.0, 1.0),
        (tagged("0.5"), 0.5, 1.0),
        (tagged("3"), "<think>x</think><answer> 3 </answer>", 1.0),
        ("3", "3", 1.0),
        ("I count 3 of them.", "3", 1.0),  # no tags: math-verify finds it
        ("I count 4 of them.", "3", 0.0),
        ("$\\frac{6}{2}$", "3", 1.0),
        ("red", "blue", 0.0),
        (" red\n", "red", 1.0),
        ("<answer>3", "3", 0.0),  # half a tag is none, and math-verify finds no expression behind it
        ("It is \\frac{6}{2}.", "3", 1.0),
        ("", "3", 0.0),
        (tagged("3"), None, None),
    ],
)
def test_accuracy(completion: str, gold: object, expected: float | None) -> None:
    assert score("accuracy", completion, answer=gold) == expected


def test_gold_may_stand_in_solution_as_in_reason_rft() -> None:
    assert score("accuracy", tagged("3"), solution="<answer>3</answer>") == 1.0
    assert get_reward("accuracy")([tagged("3")] * 3, answer=["3", None, None], solution=["4", "3", None]) == [
        1,
        1,
        None,
    ]


@pytest.mark.parametrize(
    ("completion", "gold", "expected"),
    [
        (tagged("1/2"), "0.5", 1.0),
        (tagged("$\\frac{1}{2}$"), "0.5", 1.0),
        (tagged("\\frac{1}{2}"), "0.5", 1.0),
        (tagged("2\\sqrt{3}"), "2\\sqrt{3}", 1.0),
        (tagged("2"), "2\\sqrt{3}", 0.0),  # math-verify alone reads both as 2
        (tagged("\\sqrt{12}"), "2\\sqrt{3}", 1.0),
        (tagged("x^2+2x+1"), "(x+1)^2", 1.0),
        (tagged("30^\\circ"), "30", 1.0),
        (tagged("2\\sqrt{3}\\text{ cm}"), "2\\sqrt{3}", 1.0),
        (tagged("\\boxed{7}"), "7", 1.0),
        (tagged("(1,2)"), "$(1,2)$", 1.0),
        (tagged("1<x<2"), "$(1,2)$", 0.0),
        (tagged("B"), "B", 1.0),
        (tagged("A"), "B", 0.0),
        (tagged("red"), "der", 0.0),
        ("so it is 12", "12", 1.0),
        (tagged(""), "12", 0.0),
        (tagged("12"), None, None),
    ],
)
def test_math(completion: str, gold: str | None, expected: float | None) -> None:
    assert score("math", completion, answer=gold) == expected


def test_a_comparison_without_end_does_not_apply(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends itself; None, a warning that shows the text, and the next comparison works."""
    with caplog.at_level("WARNING", "llamafactory.hind.rewards"), monkeypatch.context() as limited:
        limited.setattr(symbolic, "SECONDS", 1.0)  # a process takes the limit as it starts
        symbolic._WORKER.stop()
        assert score("math", tagged("$9^{9^{9^{8}}}$"), answer="5") is None
    assert "9^{9^{9^{8}}}" in caplog.text
    assert score("math", tagged("10/2"), answer="5") == 1.0


def test_the_mathematician_ends_with_its_parent() -> None:
    """A process that was killed leaves none behind: its child's input ends."""
    code = (
        "import os, signal\n"
        "from llamafactory_hind.rewards import get_reward, symbolic\n"
        "get_reward('math')(['1/2'], answer=['0.5'])\n"
        "print(symbolic._WORKER._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    # The output was read to its end, which the child held open as well (its standard error): it has ended.
    assert run.returncode == -9
    assert int(run.stdout) > 0


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("100", "100", 1.0),
        ("104.9", "100", 1.0),
        ("105", "100", 1.0),  # the cosine begins at 1
        ("112.5", "100", 0.5),  # half way
        ("108.75", "100", 0.5 * (math.cos(math.pi / 4) + 1)),
        ("120", "100", 0.0),
        ("121", "100", 0.0),
        ("-100", "100", 0.0),
        ("-95.1", "-100", 1.0),
        ("0", "0", 1.0),  # official: division by zero, 0
        ("0.001", "0", 0.0),
        ("nan", "100", 0.0),  # official: NaN
        ("inf", "100", 0.0),
        ("1e2", "100", 1.0),
        ("a lot", "100", 0.0),
        ("B", "B", 1.0),
        ("B ", " B", 1.0),
        ("A", "B", 0.0),
        ("100 cm", "100", 0.0),  # with tags: a number or equal text
    ],
)
def test_numeric_tolerance(answer: str, gold: str, expected: float) -> None:
    assert score("numeric_tolerance", tagged(answer), answer=gold) == pytest.approx(expected, abs=1e-12)


def test_numeric_tolerance_without_tags() -> None:
    assert score("numeric_tolerance", "112.5", answer="100") == pytest.approx(0.5)
    assert score("numeric_tolerance", "It is 100 cm.", answer="100") == 1.0
    assert score("numeric_tolerance", "It is 112.5 cm.", answer="100") == 0.0


@pytest.mark.parametrize(
    ("answer", "columns", "expected"),
    [
        ("B", {"answer": "moss", "choices": ["fish", "moss"]}, 1.0),
        ("(b) moss", {"answer": "moss", "choices": ["fish", "moss"]}, 1.0),
        ("(A) moss", {"answer": "moss", "choices": ["fish", "moss"]}, 0.0),  # it contradicts itself
        ("Moss.", {"answer": "B", "choices": ["fish", "moss"]}, 1.0),
        ("fish", {"answer": 1, "choices": ["fish", "moss"]}, 0.0),
        ("moss", {"answer": 1, "choices": ["fish", "moss"]}, 1.0),
        ("neither", {"answer": 1, "choices": ["fish", "moss"]}, 0.0),
        ("B", {"answer": "B", "choices": ["A", "B"]}, 1.0),
        ("B", {"answer": "<answer>B</answer>"}, 1.0),
        ("(b) because", {"answer": "B"}, 1.0),
        ("B: because", {"answer": "B.", "choices": None}, 1.0),
        ("Because", {"answer": "B"}, 0.0),
        ("A dog", {"answer": "A"}, 0.0),
        ("", {"answer": "A"}, 0.0),
        ("A", {"answer": None, "choices": ["x"]}, None),
    ],
)
def test_choice(answer: str, columns: dict, expected: float | None) -> None:
    assert score("choice", tagged(answer), **columns) == expected


def test_vqa() -> None:
    """Two of ten: each of the two sees one other (1/3), each of the eight sees two (2/3): (2/3 + 16/3) / 10 = 0.6."""
    answers = ["gills"] * 2 + ["lungs"] * 8
    assert score("vqa", tagged("Gills"), answers=answers) == pytest.approx(0.6)
    assert score("vqa", "the lungs", answers=answers) == 1.0
    assert score("vqa", tagged("fins"), answers=answers) == 0.0
    assert score("vqa", tagged("fins"), answers=None) is None


GOLD = "change_color(0, red), change_shape(1, cube)"


@pytest.mark.parametrize(
    ("answer", "partial", "full", "penalty"),
    [
        ("change_color(0, red), change_shape(1, cube)", 1.0, 1.0, 1.0),
        ("change_shape(1,'cube') and change_color(0,   'red')", 1.0, 1.0, 1.0),  # any order, quotes
        ("change_color(0, red)", 0.5, 0.5, 0.5),  # w = 1 / 2
        ("change_color(0, red), change_color(0, red)", 0.25, 0.25, 0.25),  # u = 1 / 2
        ("change_color(0, blue)", 0.25, 0.0, -0.125),  # function and object
        ("change_color(5, red)", 0.25, 0.0, -0.125),  # function and value
        ("change_color(5, blue)", 0.125, 0.0, -0.25),  # function
        ("change_size(0, red)", 0.0, 0.0, 0.0),  # object and value without the function
        ("change_color(0, red), change_shape(1, ball), change_size(1, big)", 1.5 / 3, 1 / 3, 0.75 / 3),
        ("change_color(0, red), change_color(0, blue)", 0.5, 0.5, 0.5),  # the gold one is used up
        ("red", 0.0, 0.0, 0.0),
        ("", 0.0, 0.0, 0.0),
    ],
)
def test_trance(answer: str, partial: float, full: float, penalty: float) -> None:
    for name, expected in (("trance", partial), ("trance_full", full), ("trance_penalty", penalty)):
        assert score(name, tagged(answer, thought="change_color(0, red)"), answer=GOLD) == pytest.approx(expected)


def test_trance_reads_all_where_no_answer_is_marked_and_the_answer_alone_where_it_is() -> None:
    assert score("trance", "first change_color(0, red), then change_shape(1, cube)", answer=GOLD) == 1.0
    # Officially an answer with a newline is none, and the thought is scored.
    assert score("trance", tagged("\nchange_size(1, big)\n", thought=GOLD), answer=GOLD) == 0.0
    assert score("trance", tagged("x"), answer=None) is None


def test_trance_twin() -> None:
    """Counts of agreement, a pair at a time, where no order matters: no function with two candidates on either side."""
    rng = random.Random(0)
    for _ in range(300):
        functions = [f"f{number}" for number in range(5)]
        gold = [(name, rng.choice("01"), rng.choice("rb")) for name in rng.sample(functions, rng.randint(1, 4))]
        written = [(name, rng.choice("01"), rng.choice("rb")) for name in rng.sample(functions, rng.randint(1, 4))]
        written += rng.sample(written, rng.randint(0, len(written)))
        unique = set(written)
        weight = len(unique) / len(written) / max(len(unique), len(gold))
        for credits in (PARTIAL, FULL_ONLY, PENALTY):
            expected = 0.0
            for one, other in itertools.product(unique, gold):
                if one == other:
                    expected += credits.full
                elif one[:2] == other[:2]:
                    expected += credits.function_object
                elif one[0] == other[0] and one[2] == other[2]:
                    expected += credits.function_value
                elif one[0] == other[0]:
                    expected += credits.function
            assert score_triples(written, gold, credits) == pytest.approx(weight * expected, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("[0, 0, 10, 10]", {"box": [0, 0, 10, 10]}, 1.0),
        ("[0, 0, 10, 10]", {"box": [5, 0, 15, 10]}, 50 / 150),
        ("[0, 0, 10, 10]", {"box": [10, 0, 20, 10]}, 0.0),
        ('{"bbox_2d": [5, 0, 15, 10]}', {"box": [0, 0, 10, 10]}, 50 / 150),
        ("(0,0),(10,10)", {"box": [0.0, 0.0, 10.0, 5.0]}, 0.5),
        ("(0.5, 0, 1, 1.0)", {"box": [0, 0, 1, 1]}, 0.5),
        ("[10, 10, 0, 0]", {"box": [0, 0, 10, 10]}, 0.0),  # corners in the wrong order
        ("at 0 0 10 10", {"box": [0, 0, 10, 10]}, 0.0),
        ("[0, 0, 10, 10] [0, 0, 10, 10]", {"box": [0, 0, 10, 10]}, 0.5),  # one too many
        ("[0, 0, 10, 10]", {"boxes": [[0, 0, 10, 10], [20, 0, 30, 10]]}, 0.5),  # one missing
        ("[20, 0, 30, 10] [0, 0, 10, 5]", {"boxes": [[0, 0, 10, 10], [20, 0, 30, 10]]}, 0.75),
        ("[0, 0, 1, 1]", {"box": None}, None),
    ],
)
def test_box_iou(answer: str, gold: dict, expected: float | None) -> None:
    assert score("box_iou", tagged(answer), **gold) == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("answer", "columns", "expected"),
    [
        # The gold box is (64, 48, 320, 240) of 640 x 480: a tenth to a half of both sides.
        ("[100, 100, 500, 500]", {"convention": "qwen3_vl"}, 1.0),
        ("[100, 100, 500, 300]", {"convention": "qwen3_vl"}, 0.5),
        ("<loc0102><loc0102><loc0512><loc0307> dog", {"convention": "paligemma"}, 0.5),  # y first: x ends at 0.3
        ('{"bbox_2d": [128, 96, 640, 480]}', {"convention": "qwen2_5_vl", "processed_size": [1280, 960]}, 1.0),
        ("[64, 48, 320, 240]", {"convention": "qwen3_vl"}, 0.1727),  # pixels read as thousandths: not the gold box
        ("[64, 48, 320, 240]", {"convention": None}, 1.0),  # as it is
        ("[64, 48, 320", {"convention": "qwen3_vl"}, 0.0),
        ("nowhere", {"convention": "qwen3_vl"}, 0.0),
    ],
)
def test_box_iou_in_pixels_of_the_original(answer: str, columns: dict, expected: float) -> None:
    """Pixels as thousandths: (40.96, 23.04, 204.8, 115.2), of it 140.8 x 67.2 shared; / (49152 + 15099.5 - 9461.8) = 0.1727."""
    found = score("box_iou", tagged(answer), box=[64, 48, 320, 240], image_size=[640, 480], **columns)
    assert found == pytest.approx(expected, abs=0.004)


def test_box_iou_of_rows_of_several_models() -> None:
    columns = {
        "box": [[0, 0, 320, 480], None, [0, 0, 320, 480]],
        "convention": ["qwen3_vl", "no such", None],
        "image_size": [[640, 480], None, None],
    }
    texts = ["[0, 0, 500, 1000]", "[0, 0, 1, 1]", "[0, 0, 320, 480]"]
    assert get_reward("box_iou")(texts, **columns) == [1.0, None, 1.0]


def test_overlap_is_symmetric_and_safe() -> None:
    first, second = (0, 0, 4, 2), (1, 1, 6, 3)
    assert overlap(first, second) == overlap(second, first) == pytest.approx(3 / 15)
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


@pytest.mark.parametrize(
    ("name", "columns", "said"),
    [
        ("accuracy", {"answers": ["3"]}, "needs a column `answer` or `solution`; the rows have answers. Did you mean"),
        ("accuracy", {}, "the rows have none"),
        ("accuracy", {"answer": True}, "column `answer`: got True, expected a text that is not blank, or a number"),
        ("math", {"answer": " "}, "column `answer`: got ' ', expected a text"),
        ("numeric_tolerance", {"solution": ["3"]}, "column `solution`: got"),
        ("trance", {"answer": "red"}, "expected triples such as"),
        ("choice", {"answer": "bird", "choices": ["a fish", "a moss"]}, "one of ['a fish', 'a moss'], its letter"),
        ("choice", {"answer": "C", "choices": ["fish", "moss"]}, "got 'C'"),
        ("choice", {"answer": "moss"}, "give the column `choices`"),
        ("vqa", {"answer": "x"}, "needs a column `answers`"),
        ("vqa", {"answers": "x"}, "column `answers`: got 'x', expected a list of texts"),
        ("box_iou", {"box": [0, 0, 10]}, "column `box`: got [0, 0, 10], expected four numbers"),
        ("box_iou", {"box": [5, 0, 5, 10]}, "x1 < x2"),
        (
            "box_iou",
            {"box": [0, 0, 5, 5], "convention": "qwen3"},
            "column `convention`: got 'qwen3', which is unknown",
        ),
        (
            "box_iou",
            {"box": [0, 0, 5, 5], "convention": "qwen3_vl"},
            "column `image_size`: got None, expected (width, height)",
        ),
        (
            "box_iou",
            {"box": [0, 0, 5, 5], "convention": "qwen2_5_vl", "image_size": [9, 9]},
            "column `processed_size`: got None",
        ),
        ("box_iou", {"box": [0, 0, 5, 5], "convention": "molmo", "image_size": [9, 9]}, "which writes points"),
    ],
)
def test_a_gold_value_that_is_none_is_refused_and_never_scored(name: str, columns: dict, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        score(name, tagged("3"), **columns)


def test_an_unknown_name_lists_the_known_ones_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean `accuracy`") as error:
        get_reward("acuracy")
    for name in ("accuracy", "format", "math", "choice", "numeric_tolerance", "trance", "vqa", "box_iou"):
        assert name in str(error.value)


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_every_reward_states_its_rule_and_scores_nothing_for_nothing(name: str) -> None:
    assert (REWARDS[name].__doc__ or "").startswith("Return ")
    assert get_reward(name)([], answer=[], answers=[], box=[], spans=[]) == []


def test_no_torch_is_imported(run_python) -> None:
    code = "import sys, llamafactory_hind.rewards; print({'torch', 'transformers', 'llamafactory'} & set(sys.modules))"
    run = run_python("-c", code, env={"LLAMAFACTORY_HIND_DISABLE": "1"})
    assert run.stdout.strip() == "set()", run.stdout + run.stderr
