"""Rewards of one's own: found by name, module or file, called with the columns, checked, limited, summed; errors that say enough."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llamafactory_hind.rewards import REWARDS, RewardError, Rewards, gather_columns, load_rewards


LIMIT = 30.0


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Rewards]:
    """Write a file with the source of a reward `f` and load it."""

    def load(source: str, *, timeout: float = LIMIT, name: str = "own.py") -> Rewards:
        (tmp_path / name).write_text(source, encoding="utf-8")
        return load_rewards([f"{tmp_path / name}:f"], None, timeout=timeout)

    return load


def refusal(rewards: Rewards, completions: list[str], **columns: list) -> str:
    with pytest.raises(RewardError) as error:
        rewards.score(completions, columns)
    return str(error.value)


def test_columns_arrive_and_come_back(own) -> None:
    rewards = own(
        "def f(completions, answer, prompts=None, **columns):\n"
        "    assert columns == {'id': ['a', 'b', 'c']}\n"
        "    right = [None if gold is None else float(text == gold) for text, gold in zip(completions, answer)]\n"
        "    return right, {'length': [len(text) for text in completions], 'prompt': prompts}\n"
    )
    scored = rewards.score(
        ["x", "yy", "z"], {"answer": ["x", "x", None], "id": ["a", "b", "c"], "prompts": ["p", "q", "r"]}
    )
    assert scored.each == {"f": [1.0, 0.0, None]}
    assert scored.total == [1.0, 0.0, None]
    assert scored.extra == {"f/length": [1, 2, 1], "f/prompt": ["p", "q", "r"]}


@pytest.mark.parametrize(
    "signature",
    [
        "completions, **columns",
        "completions",
        "completions, answer",
        "completions, *, answer=None",
        "texts, answer",
        "prompts, completions, **columns",  # TRL's order
        "*texts, **columns",
        "texts, /, **answer",
    ],
)
def test_signatures(own, signature: str) -> None:
    """Completions go to the argument of that name, else to the first; without `**` a function gets what it names."""
    first = "completions" if "completions" in signature else "texts"
    value = f"({first}[0] if {first} and isinstance({first}[0], list) else {first})"
    rewards = own(f"def f({signature}):\n    return [float(len(text)) for text in {value}]\n")
    columns = {"answer": ["1", "2"], "other": [0, 0], "prompts": ["ppp", "pppp"]}
    assert rewards.score(["a", "bb"], columns).each == {"f": [1.0, 2.0]}


def test_coroutines_are_awaited_together(own, tmp_path: Path) -> None:
    """Each waits for the other: one after the other they would wait for ever. The loop serves a second call as well."""
    source = (
        "import asyncio\n"
        "doors = {'f': asyncio.Event(), 'g': asyncio.Event()}\n"
        "async def meet(mine, other, texts):\n"
        "    doors[mine].set()\n"
        "    await doors[other].wait()\n"
        "    return [float(len(text)) for text in texts]\n"
        "async def f(completions):\n    return await meet('f', 'g', completions)\n"
        "async def g(completions):\n    return await meet('g', 'f', completions)\n"
    )
    own(source)
    rewards = load_rewards([f"{tmp_path}/own.py:f", f"{tmp_path}/own.py:g"], [1, 10], timeout=LIMIT)
    for _ in range(2):
        assert rewards.score(["a", "bb"], {}).total == [11.0, 22.0]


def test_an_object_whose_call_is_a_coroutine(own) -> None:
    rewards = own(
        "class F:\n    async def __call__(self, completions):\n        return [2.0 for _ in completions]\nf = F()\n"
    )
    assert rewards.score(["a"], {}).total == [2.0]


def test_coroutines_work_inside_a_running_loop(own) -> None:
    rewards = own("async def f(completions):\n    return [1.0 for _ in completions]\n")

    async def outer() -> list:
        return rewards.score(["a", "b"], {}).total

    assert asyncio.run(outer()) == [1.0, 1.0]


def test_weights_and_rewards_that_do_not_apply(own) -> None:
    """2 * 1 + 0.5 * 1; accuracy alone where it applies alone; None where nothing does."""
    rewards = load_rewards(["accuracy", "format"], [2.0, 0.5], timeout=LIMIT)
    assert (rewards.names, rewards.weights) == (["accuracy", "format"], [2.0, 0.5])
    texts = ["<think></think><answer>3</answer>", "<answer>3</answer>", "<think></think><answer>3</answer>"]
    scored = rewards.score(texts, {"answer": ["3", "4", None]})
    assert scored.total == [2.5, 0.0, 0.5]
    alone = load_rewards(["accuracy"], None, timeout=LIMIT)
    assert alone.weights == [1.0]
    assert alone.score(texts, {"answer": ["3", None, None]}).total == [1.0, None, None]
    assert alone.score([], {"answer": []}).total == []


def test_rows_of_several_datasets_score_together() -> None:
    columns = gather_columns([{"id": 1, "answer": "3"}, {"id": 2, "box": [0, 0, 1, 1]}])
    assert columns == {"id": [1, 2], "answer": ["3", None], "box": [None, [0, 0, 1, 1]]}
    rewards = load_rewards(["accuracy", "box_iou"], None, timeout=LIMIT)
    assert rewards.score(["<answer>3</answer>", "[0, 0, 1, 1]"], columns).each == {
        "accuracy": [1.0, None],
        "box_iou": [None, 1.0],
    }
    # A later batch may hold rows of one of them alone.
    assert rewards.score(["<answer>3</answer>"], {"answer": ["4"]}).each == {"accuracy": [0.0], "box_iou": [None]}


def test_two_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for folder, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "reward.py").write_text(
            "from dataclasses import dataclass\n"
            "@dataclass\nclass Kept:\n    value: float\n"
            f"def score(completions):\n    return [Kept({value}).value for _ in completions]\n"
        )
    rewards = load_rewards([f"{tmp_path}/{folder}/reward.py:score" for folder in "ab"], None, timeout=LIMIT)
    assert list(rewards.score(["x"], {}).each.values()) == [[1.0], [2.0]]
    assert len(set(rewards.names)) == 2


def test_a_file_that_changed_is_read_again_and_names_are_short(own, tmp_path: Path) -> None:
    assert own("def f(completions):\n    return [1.0]\n").score(["a"], {}).total == [1.0]
    assert own("def f(completions):\n    return [2.0]\n").score(["a"], {}).total == [2.0]
    (tmp_path / "more.py").write_text(
        "def f(completions):\n    return [3.0]\ndef accuracy(completions):\n    return [4.0]\n"
    )
    specs = [f"{tmp_path}/own.py:f", f"{tmp_path}/more.py:f", "accuracy", f"{tmp_path}/more.py:accuracy", "format"]
    names = load_rewards(specs, None, timeout=LIMIT).names
    assert names == ["own:f", "more:f", "accuracy", "more:accuracy", "format"]


def test_a_module_of_the_working_folder(tmp_path: Path, run_python) -> None:
    """A console script does not have the working folder on its path; the module is found all the same."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    (tmp_path / "mine" / "judge.py").write_text(
        "def f(completions, **columns):\n    return [0.5 for _ in completions]\n"
    )
    code = (
        "import sys; sys.path.remove('') if '' in sys.path else None\n"
        "from llamafactory_hind.rewards import load_rewards\n"
        "print(load_rewards(['mine.judge:f'], None, timeout=9).score(['a'], {}).total)\n"
    )
    run = run_python("-c", code, cwd=tmp_path)
    assert run.stdout.strip() == "[0.5]", run.stderr


def test_everything_wrong_with_names_and_weights_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import not_there\ndef f(completions): pass\n")
    (tmp_path / "good.py").write_text("limit = 3\ndef score(completions): pass\n")
    specs = [
        *("acuracy", "format", "format", f"{tmp_path}/gone.py:f", f"{tmp_path}/broken.py:f", f"{tmp_path}/good.py"),
        *(f"{tmp_path}/good.py:scor", f"{tmp_path}/good.py:limit", "no_such_package.x:f", "json:dumbs"),
    ]
    with pytest.raises(RewardError) as error:
        load_rewards(specs, [1.0, float("nan"), True], timeout=-1)
    message = str(error.value)
    for said in (
        "reward 'acuracy': unknown. Did you mean `accuracy`? Registered: accuracy, box_iou",
        "reward 'format': given twice",
        "gone.py (No such file or directory)",
        "broken.py cannot be imported: ModuleNotFoundError: No module named 'not_there'; a file cannot import",
        "got a file, expected",
        "nothing of that name, expected a function. Did you mean `score`? It has score.",
        "has a int, expected a function",
        "no_such_package.x cannot be imported",
        "Did you mean `dumps`",
        "reward_weights[1]: got nan",
        "reward_weights[2]: got True",
        "reward_weights: got 3 for 10 rewards",
        "timeout: got -1",
    ):
        assert said in message
    with pytest.raises(RewardError, match="expected at least one"):
        load_rewards([], None, timeout=1)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(completions): return 1.0", "it returned 1.0 (float), expected a list"),
        ("def f(completions): return None", "it returned None (NoneType)"),
        ("def f(completions): return 'good'", "it returned 'good' (str)"),
        ("def f(completions): return [1.0]", "it returned 1 values for 2 completions"),
        ("def f(completions): return [1.0] * 3", "it returned 3 values for 2 completions"),
        ("def f(completions): return ['1', '2']", "it returned '1' (str) for completion 0, expected a finite float"),
        ("def f(completions): return [1.0, True]", "it returned True (bool) for completion 1"),
        ("def f(completions): return [1.0, float('nan')]", "it returned nan (float) for completion 1"),
        ("def f(completions): return [float('inf'), 0]", "it returned inf (float) for completion 0"),
        ("def f(completions): return (1.0, 0.0)", "it returned (1.0, 0.0), expected a list"),
        (
            "def f(completions): return [1.0, 1.0], {'n': [1]}",
            "its column 'n' for the log is [1] (list), expected a name",
        ),
        (
            "def f(completions, gold): return [1.0, 1.0]",
            "it has an argument `gold`, and the rows have no such column",
        ),
        ("def f(completions, answr): return [1.0, 1.0]", "did you mean `answer`?"),
        ("def f(): return [1.0, 1.0]", "it takes no completions, expected a function f(completions, **columns)"),
        ("def f(completions, **columns): return columns['gold']", "row 'r1', completion 'text': KeyError: 'gold'"),
    ],
)
def test_a_wrong_reward_is_found_on_the_first_row(own, source: str, said: str) -> None:
    with pytest.raises(RewardError) as error:
        own(source + "\n").check({"id": "r1", "answer": "3"}, "text")
    assert "reward `f`: " in str(error.value)
    assert said in str(error.value)


def test_check_tells_of_all_rewards_and_returns_what_they_scored(own, tmp_path: Path) -> None:
    own("def f(completions): return [1.0]\n")
    rewards = load_rewards(["accuracy", "vqa", f"{tmp_path}/own.py:f"], None, timeout=LIMIT)
    with pytest.raises(RewardError) as error:
        rewards.check({"solution": "3"}, "3")
    assert "Rewards were tested on a row of the data." in str(error.value)
    assert "reward `vqa`: " in str(error.value)
    assert "needs a column `answers`" in str(error.value)
    assert "reward `f`: it returned 1 values for 2 completions" in str(error.value)
    assert load_rewards(["accuracy"], None, timeout=LIMIT).check({"solution": "3"}, "3").total == [1.0, 1.0]


def test_numpy_scores_are_taken(own) -> None:
    rewards = own("import numpy\ndef f(completions): return numpy.array([0.5, 1.0], dtype='float32')\n")
    assert rewards.score(["a", "b"], {}).total == [0.5, 1.0]
    assert "np.True_" in refusal(own("import numpy\ndef f(completions): return [numpy.bool_(True)]\n"), ["a"])


def test_a_failure_names_reward_row_and_completion(own) -> None:
    """The second of three fails: it is found, also for a coroutine; a long completion is shortened in its middle."""
    bad = "x" * 300
    for prefix in ("", "async "):
        rewards = own(
            prefix + "def f(completions, **c):\n    return [1 / (300 - len(text)) for text in completions]\n"
        )
        message = refusal(rewards, ["a", bad, "c"], id=["r1", "r2", "r3"])
        assert "reward `f`: row 'r2', completion 'xxx" in message
        assert "ZeroDivisionError: division by zero" in message
        assert len(message) < 400


def test_a_failure_of_the_batch_alone_says_so(own) -> None:
    rewards = own("def f(completions):\n    assert len(completions) == 1, 'one at a time'\n    return [1.0]\n")
    message = refusal(rewards, ["a", "b"], row_id=["r1", "r2"])
    assert "2 completions of rows 'r1', 'r2' together, but not one by one: AssertionError: one at a time" in message


def test_a_bad_gold_value_names_its_row() -> None:
    rewards = load_rewards(["trance"], None, timeout=LIMIT)
    message = refusal(rewards, ["a", "b"], answer=["f(0, x)", "red"], id=[7, 8])
    assert "reward `trance`: row 8, completion 'b': ValueError: gold answer: got 'red', expected triples" in message


SLOW = {
    "blocking": "import time\ndef f(completions):\n    time.sleep(600)\n",
    "swallowing": (
        "import time\ndef f(completions):\n    try:\n        time.sleep(600)\n"
        "    except Exception:\n        return [0.0 for _ in completions]\n"
    ),
    "waiting": "import asyncio\nasync def f(completions):\n    await asyncio.sleep(600)\n",
    "busy": "def f(completions):\n    while True: pass\n",
}


@pytest.mark.parametrize("kind", sorted(SLOW))
def test_a_reward_that_takes_too_long_is_stopped_and_never_scores(own, kind: str) -> None:
    rewards = own(SLOW[kind], timeout=0.3)
    began = time.monotonic()
    message = refusal(rewards, ["a", "b"], id=["r1", "r1"])
    assert "reward `f`: took longer than 0.3 s for 2 completions of row 'r1'" in message
    assert time.monotonic() - began < 60


def test_a_time_limit_of_its_own_is_no_overrun(own) -> None:
    message = refusal(own("async def f(completions):\n    raise TimeoutError('the judge is silent')\n"), ["a"])
    assert "TimeoutError: the judge is silent" in message
    assert "took longer" not in message


def test_the_limit_holds_in_other_threads(own) -> None:
    rewards = own("import threading\ndef f(completions):\n    threading.Event().wait(20)\n", timeout=0.3)
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(refusal(rewards, ["a"], id=["r1"])))
    thread.start()
    thread.join(60)
    assert "took longer than 0.3 s" in told[0]


def test_math_verify_of_ones_own_works(own) -> None:
    """Its own limits are signals, which the main thread alone can take: there it is called."""
    source = (
        "from math_verify import parse, verify\n"
        "def f(completions, answer):\n"
        "    return [float(verify(parse(g), parse(t))) for t, g in zip(completions, answer)]\n"
    )
    assert own(source).score(["1/2", "3"], {"answer": ["0.5", "4"]}).total == [1.0, 0.0]


def test_inputs_that_do_not_fit_are_refused() -> None:
    rewards = load_rewards(["format"], None, timeout=LIMIT)
    assert "column `answer`: got 1 values for 2 completions" in refusal(rewards, ["a", "b"], answer=["3"])
    assert "completion 0: got None, expected text" in refusal(rewards, [None], answer=["3"])
    with pytest.raises(RewardError, match="rename the column"):
        rewards.score(["a"], {"completions": ["b"]})


def test_the_example_of_the_docs_works(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "rewards.md").read_text(encoding="utf-8")
    example = page.split("```python\n")[1].split("```")[0]
    assert len(example.splitlines()) <= 10
    (tmp_path / "short.py").write_text(example, encoding="utf-8")
    rewards = load_rewards([f"{tmp_path}/short.py:short"], None, timeout=LIMIT)
    texts = ["<answer>fish</answer>", "<answer>a fish</answer>", "<answer>moss</answer>", "x"]
    scored = rewards.score(texts, {"answer": ["fish", "fish", "fish", None], "id": [1, 2, 3, 4]})
    assert scored.each == {"short": [1.0, 0.5, 0.0, None]}
    assert scored.extra == {"short/words": [1, 2, 1, 1]}


def test_every_reward_has_a_line_in_the_docs() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "rewards.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in REWARDS)
