"""Exploration with hints, with a real tiny Qwen2.5-VL that was taught how to take a hint, real rewards and real teachers."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from llamafactory_hind.engines.interface import Completion, FinishReason, Prompt, Sampling
from llamafactory_hind.engines.local.encoding import collate
from llamafactory_hind.engines.local.engine import LocalEngine
from llamafactory_hind.engines.teachers.cache import TextCache
from llamafactory_hind.engines.teachers.plan import read_teacher_plan
from llamafactory_hind.engines.teachers.pool import TeacherPool
from llamafactory_hind.formats.processors.prompts import PromptProcessor
from llamafactory_hind.methods.external.selection import SelectionRule, select_groups
from llamafactory_hind.methods.hints.explorer import HintExplorer, all_zero, replaceable, rollout_digest
from llamafactory_hind.methods.hints.options import HintOptions
from llamafactory_hind.methods.hints.prompts import HintPrompts, check_rows, hinted_prompt_of
from llamafactory_hind.rewards import load_rewards
from llamafactory_hind.trainers.rollouts.batch import bare_batch, batch_of, prompt_of
from llamafactory_hind.trainers.rollouts.records import Rollout, Scores
from llamafactory_hind.trainers.rollouts.rewards import score_rollouts
from llamafactory_hind.trainers.rollouts.scoring import GroupScorer
from llamafactory_hind.trainers.rollouts.writing import RolloutOptions
from shared.openai_server import Behaviour, OpenAIServer
from shared.rollouts import RolloutSetup


pytestmark = pytest.mark.slow


HINT = "Look at what lies beside it."
MOSS, STONE = (f"<answer>{word}</answer>" for word in ("moss", "stone"))
# question -> what the model says without a hint, and with one; MOSS is right everywhere
QUESTIONS = {
    "What does the dax eat?": (STONE, MOSS),
    "<image>What does the thing eat?": (STONE, MOSS),
    "Which of them is green?": (STONE, STONE),
    "<image>What grows here?": (STONE, f"As the hint says {MOSS}"),
    "What does a wug like?": (MOSS, MOSS),
}
OPTIONS = RolloutOptions(
    num_generations=4, temperature=0.5, top_p=1.0, top_k=0, max_new_tokens=24, num_iterations=1, share_prefix="auto"
)
PROMPTS = HintPrompts.read(hint_prompt=None, hinted_prompt=None, language="en", variant="hint")


@pytest.fixture(scope="module")
def setup(small_world: Path) -> RolloutSetup:
    """The tiny model, taught the answers above."""
    setup = RolloutSetup(small_world)
    loaded = setup.loaded
    examples = []
    for rollout, (plain, hinted) in zip(rollouts_of(setup, group=0), QUESTIONS.values(), strict=True):
        told = hinted_prompt_of(loaded, rollout, PROMPTS.for_student(rollout.feature, HINT))
        for prompt, text in ((rollout.prompt, plain), (told, hinted)):
            ids = [*loaded.tokenizer.encode(text), loaded.tokenizer.eos_token_id]
            examples.append(Prompt(prompt.input_ids, ids, prompt.request))
    inputs, labels = collate(loaded, examples, padding_side="right")
    optimizer = torch.optim.Adam(loaded.model.parameters(), lr=3e-3)
    loss = torch.tensor(1.0)
    while loss > 0.01:  # about 25 steps
        optimizer.zero_grad()
        loss = loaded.model(**inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
    loaded.model.eval()
    return setup


def feature(setup: RolloutSetup, number: int, question: str, **columns: Any) -> dict[str, Any]:
    """A processed row, as `PromptProcessor` makes it."""
    images = sorted(str(path) for path in (setup.world / "images").glob("*.png"))[: question.count("<image>")]
    made = setup._feature(number, "any", question, images, [])
    turns = [{"role": "user", "content": question}]
    return made | {
        "columns": json.dumps({"answer": "moss", "hint": HINT} | columns),
        "conversation": json.dumps({"system": "", "tools": "", "turns": turns}),
    }


def rollouts_of(setup: RolloutSetup, *, group: int = 4, **columns: Any) -> list[Rollout]:
    """A group a question: what the taught model says without a hint."""
    tokenizer, found = setup.loaded.tokenizer, []
    for number, (question, (plain, _)) in enumerate(QUESTIONS.items()):
        made = feature(setup, number, question, **columns)
        ids = [*tokenizer.encode(plain), tokenizer.eos_token_id]
        found.append(
            Rollout(
                made, prompt_of(made), [ids] * group, [plain] * group, [FinishReason.STOP] * group, ["policy"] * group
            )
        )
    return found


REWARDS = load_rewards(["accuracy"], None, timeout=60.0)


def accuracy(rollouts: list[Rollout]) -> Scores:
    """The registered reward, as the stage computes it."""
    return score_rollouts(REWARDS.score, rollouts)


def is_right(scores: Scores) -> torch.Tensor:
    return scores.each["accuracy"] >= 1


def forbidden(*_: Any) -> Any:
    raise AssertionError("nothing is to be asked here")


def explorer(setup: RolloutSetup, **changes: Any) -> HintExplorer:
    """An explorer with K = 2 and three attempts; `changes` are fields of `HintOptions`, or arguments of `HintExplorer`."""
    prompts = {"variant": "hint", "hint_prompt": None, "hinted_prompt": None, "language": "en"}
    prompts = {name: changes.pop(name, value) for name, value in prompts.items()}
    sampling = {"max_new_tokens": changes.pop("hint_tokens", 32), "temperature": changes.pop("hint_temperature", 0.7)}
    fields: dict[str, Any] = {
        "samples": 2, "max_attempts": 3, "trigger": "no_success", "tags": True, "prompts": HintPrompts.read(**prompts),
        "teacher_sampling": Sampling(n=1, top_p=1.0, top_k=0, seed=3, **sampling), "prompts_at_once": 2, "seed": 3,
        "needs_logprob": False,
    }  # fmt: skip
    hints = HintOptions(**{name: changes.pop(name, value) for name, value in fields.items()})
    engine = LocalEngine(
        setup.loaded,
        batch_size=OPTIONS.prompts_at_once(hints.prompts_at_once),
        adapters=None,
        gives_logps=False,
    )
    made = {
        "teachers": None,
        "cache": None,
        "engine": engine,
        "score": accuracy,
        "success": is_right,
        "rollouts": OPTIONS,
    }
    return HintExplorer(setup.loaded, hints=hints, **{**made, **changes})


def texts(found: Any) -> list[list[str]]:
    """The hinted completions of each prompt."""
    return [each.rollout.texts[4:] for each in found.candidates]


def test_only_right_ones_without_a_leak_become_candidates(setup: RolloutSetup) -> None:
    """A hint helps two prompts; one stays wrong, one says that it had a hint, one needs none. K is 2, attempts are 3."""
    rollouts = rollouts_of(setup)
    before = accuracy(rollouts)
    found = explorer(setup).explore(rollouts, before)
    assert texts(found) == [[MOSS, MOSS], [MOSS, MOSS], [], [], []]
    for rollout, each in zip(rollouts, found.candidates, strict=True):
        mine = each.rollout
        assert mine.prompt is rollout.prompt
        assert mine.feature is rollout.feature
        assert (mine.completion_ids[:4], mine.texts[:4]) == (rollout.completion_ids, rollout.texts)
        assert mine.sources == ["policy"] * 4 + ["hinted"] * (len(mine.texts) - 4)
        assert each.logprobs == [0.0] * len(mine.texts)
        for text, ids in zip(mine.texts[4:], mine.completion_ids[4:], strict=True):
            assert setup.loaded.tokenizer.decode(ids[:-1]) == text
            assert ids[-1] in setup.loaded.template.get_stop_token_ids(setup.loaded.tokenizer)
    nan = float("nan")
    rewards = [[0, 0, 0, 0, 1, 1]] * 2 + [[0, 0, 0, 0, nan, nan]] * 2 + [[1, 1, 1, 1, nan, nan]]
    for values in (found.scores.total, found.scores.each["accuracy"]):
        torch.testing.assert_close(values, torch.tensor(rewards, dtype=torch.float64), equal_nan=True)
    assert found.scores.extra["hint"] == [[None] * 4 + [HINT] * 2] * 2 + [[None] * 4] * 3
    assert found.hints == [HINT] * 4 + [None]
    expected = {
        "triggered": [1, 1, 1, 1, 0], "rescued": [1, 1, 0, 0, nan], "injected": [2, 2, 0, 0, nan],
        "attempts": [1, 1, 3, 3, nan], "written": [2, 2, 6, 6, nan], "wrong": [0, 0, 6, 0, nan],
        "leak": [0, 0, 0, 6, nan], "cut": [0, 0, 0, 0, nan], "special_token": [0, 0, 0, 0, nan],
        "hint_failed": [0, 0, 0, 0, nan],
    }  # fmt: skip
    assert set(found.metrics) == {f"hints/{name}" for name in [*expected, "tokens"]}
    for name, values in expected.items():
        assert found.metrics[f"hints/{name}"].tolist() == pytest.approx(values, nan_ok=True), name
    tokens = found.metrics["hints/tokens"].tolist()
    assert tokens[0] == sum(len(ids) for ids in found.candidates[0].rollout.completion_ids[4:])
    assert tokens[4] == 0


def test_every_hint_and_its_fate_are_kept(setup: RolloutSetup) -> None:
    """Of the questions above: accepted at once, never right, a text that leaks, and one that needs no hint."""
    found = explorer(setup).explore(rollouts_of(setup), accuracy(rollouts_of(setup)))
    fates = [[trial["fate"] for trial in trials] for trials in found.trials]
    assert fates == [["accepted"], ["accepted"], ["rejected: wrong"] * 3, ["rejected: leak"] * 3, []]
    assert [trial["attempt"] for trial in found.trials[2]] == [0, 1, 2]
    assert {trial["hint"] for trials in found.trials for trial in trials} == {HINT}
    assert found.trials[0][0]["accepted"] == 2
    assert found.trials[3][0]["leak"] == 2
    for trials, written in zip(found.trials, found.metrics["hints/written"].nan_to_num().tolist(), strict=True):
        assert 2 * len(trials) == written


def test_the_model_is_left_as_it_was(setup: RolloutSetup) -> None:
    rollouts = rollouts_of(setup)[:1]
    setup.model.train()
    entered = []

    class Precision:
        def __enter__(self) -> None:
            entered.append(setup.model.training)

        def __exit__(self, *_: object) -> None: ...

    before = {name: value.clone() for name, value in setup.model.state_dict().items()}
    found = explorer(setup, precision=Precision).explore(rollouts, accuracy(rollouts))
    assert texts(found) == [[MOSS, MOSS]]
    assert entered == [True]
    assert setup.model.training
    assert all(torch.equal(value, before[name]) for name, value in setup.model.state_dict().items())
    setup.model.eval()


def test_without_samples_or_trigger_nothing_is_asked(setup: RolloutSetup) -> None:
    rollouts = rollouts_of(setup)
    scores = accuracy(rollouts)
    silent = {"score": forbidden, "teachers": forbidden}
    for found, given, told in (
        (explorer(setup, samples=0, success=forbidden, **silent).explore(rollouts, scores), rollouts, scores),
        (explorer(setup, **silent).explore(rollouts[4:], accuracy(rollouts[4:])), rollouts[4:], None),
    ):
        assert found.scores is told or told is None
        assert [each.rollout.texts for each in found.candidates] == [rollout.texts for rollout in given]
        assert found.hints == [None] * len(given)
        assert not found.metrics["hints/triggered"].any()
        assert found.metrics["hints/rescued"].isnan().all()


def test_triggers_by_hand() -> None:
    """Four groups: nothing; well-formed but wrong; one right; no reward applies. `all_zero` wants 0 in every reward."""
    nan = float("nan")
    accuracies = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [nan, nan]])
    layout = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [nan, nan]])
    scores = Scores(accuracies + layout, {"accuracy": accuracies, "format": layout})
    assert all_zero(scores).tolist() == [True, False, False, True]

    def free(trigger: str) -> list[int]:
        made = object.__new__(HintExplorer)
        made.hints, made.success = (
            SimpleNamespace(samples=2, trigger=trigger),
            lambda scores: scores.each["accuracy"] >= 1,
        )
        return made._free_slots(scores)[1]

    assert free("no_success") == [2, 2, 0, 0]
    assert free("all_zero") == [2, 0, 0, 0]
    assert free("always") == [2, 2, 1, 0]  # a right one keeps its place


def test_replaceable_by_hand() -> None:
    """What is wrong and has less reward than every right one goes; the wrong one of reward 1 might tie with a right one."""

    def count(rewards: list[float], right: list[int]) -> int:
        return replaceable(torch.tensor(rewards), torch.tensor([bool(value) for value in right]))

    assert count([0.0, 0.0, 0.0], [0, 0, 0]) == 3
    assert count([1.0, 2.0, 0.0], [1, 1, 0]) == 1
    assert count([1.0, 1.0, 0.0], [1, 0, 0]) == 1
    assert count([1.0, 2.0, float("nan")], [1, 0, 0]) == 1
    assert count([1.0, 1.0], [1, 1]) == 0


def test_right_completions_of_the_policy_keep_their_places(setup: RolloutSetup) -> None:
    """Group of the first question with one wrong of four: `always` brings one hinted completion, in the wrong one's place."""
    tokenizer, rollout = setup.loaded.tokenizer, rollouts_of(setup)[0]
    said = [MOSS, STONE, MOSS, MOSS]
    ids = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in said]
    group = [replace(rollout, completion_ids=ids, texts=said), *rollouts_of(setup)[1:2]]
    found = explorer(setup, trigger="always").explore(group, accuracy(group))
    kept, discarded = select_groups(
        found.candidates, found.scores, SelectionRule("replace_worst", "policy_first", None, 0)
    )
    assert [rollout.texts for rollout in kept.rollouts] == [[MOSS] * 4, [STONE, STONE, MOSS, MOSS]]
    assert [rollout.sources for rollout in kept.rollouts] == [
        ["policy"] * 3 + ["hinted"],
        ["policy"] * 2 + ["hinted"] * 2,
    ]
    assert kept.rollouts[0].completion_ids[:3] == [ids[0], ids[2], ids[3]]
    assert kept.scores.extra["hint"][1] == [None, None, HINT, HINT]
    assert [rollout.texts for rollout in discarded.rollouts] == [[STONE], [STONE, STONE]]


def luck(rollouts: list[Rollout]) -> Scores:
    """A reward for hinted texts that every other of them gets."""
    totals = [
        [float(source == "hinted" and sum(text.encode()) % 2 == 0) for text, source in zip(each.texts, each.sources, strict=True)]
        for each in rollouts
    ]  # fmt: skip
    width = max(map(len, totals))
    return Scores(torch.tensor([[*row, *[float("nan")] * (width - len(row))] for row in totals]))


def lucky(setup: RolloutSetup, **changes: Any) -> HintExplorer:
    """An explorer of a hot policy, whose luck decides."""
    options = replace(OPTIONS, temperature=1.5)
    given = {"score": luck, "success": lambda scores: scores.total >= 1, "rollouts": options, "max_attempts": 4}
    return explorer(setup, **{**given, **changes})


def ids(found: Any) -> list[list[list[int]]]:
    return [each.rollout.completion_ids[4:] for each in found.candidates]


def test_attempts_are_those_of_a_plain_loop_over_prompts(setup: RolloutSetup) -> None:
    """One prompt after the other, one attempt after the other: write K, keep the good ones, stop at K."""
    rollouts, made = rollouts_of(setup), lucky(setup)
    found = made.explore(rollouts, luck(rollouts))
    expected, attempts = [], []
    for rollout in rollouts:
        good: list[list[int]] = []
        prompt = hinted_prompt_of(setup.loaded, rollout, PROMPTS.for_student(rollout.feature, HINT))
        attempts.append(0)
        for attempt in range(4):
            if len(good) < 2:
                attempts[-1] += 1
                key = f"{rollout.row_id}/{rollout_digest(rollout)}/hinted/{attempt}"
                written: list[Completion] = made.engine.generate_prompts([prompt], [key], made.sampling)[0]
                good += [
                    list(each.token_ids)
                    for each in written
                    if each.finish_reason == FinishReason.STOP and sum(each.text.encode()) % 2 == 0
                ][: 2 - len(good)]
        expected.append(good)
    assert ids(found) == expected
    assert found.metrics["hints/attempts"].tolist() == attempts
    assert max(map(len, expected)) == 2
    assert len(set(attempts)) > 1


def test_prompts_alone_in_any_batch_and_once_more_draw_the_same(setup: RolloutSetup) -> None:
    rollouts = rollouts_of(setup)[:3]
    together = ids(lucky(setup).explore(rollouts, luck(rollouts)))
    again = ids(lucky(setup).explore(rollouts[::-1], luck(rollouts[::-1])))[::-1]
    alone = [ids(lucky(setup).explore([rollout], luck([rollout])))[0] for rollout in rollouts]
    assert together == again == alone
    assert any(together)
    later = [replace(rollout, completion_ids=[[7, 8]] * 4) for rollout in rollouts]  # the policy writes something else
    assert ids(lucky(setup).explore(later, luck(later))) != together
    assert ids(lucky(setup, seed=4).explore(rollouts, luck(rollouts))) != together


def test_log_probs_are_those_under_the_prompt_without_a_hint(setup: RolloutSetup) -> None:
    """The hinted prompt is longer; what is learnt is log p(sampled ids | own prompt), and q was under the other, both at T = 0.5."""
    rollouts = rollouts_of(setup)[:2]
    found = explorer(setup, needs_logprob=True).explore(rollouts, accuracy(rollouts))
    kept, _ = select_groups(
        found.candidates, found.scores, SelectionRule("replace_worst", "policy_first", None, 0, "behavior")
    )
    batch = batch_of(kept, device=torch.device("cpu"))
    with torch.no_grad():
        scorer = GroupScorer(setup.loaded, temperature=OPTIONS.temperature, share_prefix="off")
        learnt = scorer(setup.model, batch)

    def by_hand(prompt: Prompt, completion: list[int]) -> torch.Tensor:
        inputs, _ = collate(setup.loaded, [Prompt(prompt.input_ids, completion, prompt.request)], padding_side="right")
        with torch.no_grad():
            logits = setup.model(**inputs, use_cache=False).logits[0] / OPTIONS.temperature
        start = len(prompt.input_ids)
        logps = logits[start - 1 : start + len(completion) - 1].log_softmax(-1)
        return logps.gather(-1, torch.tensor(completion)[:, None])[:, 0]

    checked = 0
    for row, source in enumerate(batch.sources):
        if source == "policy":
            assert batch.streams["behavior_logp"][row] == 0
            continue
        rollout, completion = rollouts[int(batch.owners[row])], batch.completion(row)
        torch.testing.assert_close(
            learnt[row][batch.mask[row]], by_hand(rollout.prompt, completion), atol=1e-4, rtol=0
        )
        hinted = hinted_prompt_of(setup.loaded, rollout, PROMPTS.for_student(rollout.feature, HINT))
        assert len(hinted.input_ids) > len(rollout.prompt.input_ids)
        q = by_hand(hinted, completion).sum()
        assert batch.streams["behavior_logp"][row] == pytest.approx(q.item(), abs=1e-4)
        assert abs(q - learnt[row].sum()) > 1  # with a hint it is far likelier
        checked += 1
    assert checked == 4


def test_a_hint_that_changes_nothing_has_a_ratio_of_one(setup: RolloutSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hinted prompt is the prompt: q is pi, so (pi(text) / q(text))^(1/n) is 1, at any temperature and under any top_p."""
    monkeypatch.setattr(
        "llamafactory_hind.methods.hints.explorer.hinted_prompt_of", lambda loaded, rollout, turns: rollout.prompt
    )

    def hinted_wins(rollouts: list[Rollout]) -> Scores:
        return Scores(torch.tensor([[float(source == "hinted") for source in each.sources] for each in rollouts]))

    rollouts = rollouts_of(setup)[:2]
    for temperature, top_p in ((0.7, 1.0), (0.9, 0.9)):
        options = replace(OPTIONS, temperature=temperature, top_p=top_p)
        changes = {"score": hinted_wins, "success": lambda scores: scores.total > 0}
        found = explorer(setup, needs_logprob=True, rollouts=options, **changes).explore(
            rollouts, hinted_wins(rollouts)
        )
        scorer = GroupScorer(setup.loaded, temperature=temperature, share_prefix="off")
        checked = 0
        for candidates in found.candidates:
            ids = candidates.rollout.completion_ids[4:]
            if not ids:
                continue
            batch = bare_batch([candidates.rollout.prompt], [ids], device=torch.device("cpu"))
            with torch.no_grad():
                logps = scorer(setup.model, batch).double().sum(1)
            q = torch.tensor(candidates.logprobs[4:], dtype=torch.float64)
            ratios = ((logps - q) / batch.mask.sum(1)).exp()
            assert ratios.tolist() == pytest.approx([1.0] * len(ids), abs=1e-4)
            checked += len(ids)
        assert checked


# teachers


def plan_of(folder: Path, url: str, **more: Any) -> str:
    lines = [f"  base_url: {url}", "  model: large", *(f"  {key}: {value}" for key, value in more.items())]
    (folder / "teacher.yaml").write_text("\n".join(["api:", *lines, ""]))
    return str(folder / "teacher.yaml")


def server_teachers(setup: RolloutSetup, folder: Path, url: str) -> TeacherPool:
    plan = read_teacher_plan(plan_of(folder, url, max_retries=0, timeout=30))
    return TeacherPool(plan, setup.loaded, settings={"template": "qwen2_vl"}, distributions=False, images=True)


def test_a_server_writes_hints_and_what_fails_is_asked_again(setup: RolloutSetup, tmp_path: Path) -> None:
    """The first hint for each row has no tags, or breaks the prompt; the second is good. Cached, another run asks for nothing."""
    rollouts = rollouts_of(setup, hint=None)[:2]
    asked: Counter[str] = Counter()

    def answer(body: dict[str, Any], number: int) -> str:
        question = json.dumps(body["messages"])
        asked[question] += 1
        bad = "<hint>See <|image_pad|>.</hint>" if "image_url" in question else "Let me think."
        return bad if asked[question] == 1 else f"Sure. <hint> {HINT} </hint>"

    with OpenAIServer(Behaviour(answer=answer)) as server:
        teachers = server_teachers(setup, tmp_path, server.url)
        cache = TextCache(tmp_path / "hints", process=0)
        found = explorer(setup, teachers=teachers, cache=cache).explore(rollouts, accuracy(rollouts))
        calls = server.calls
        cache.close()
        again = TextCache(tmp_path / "hints", process=0)
        resumed = explorer(setup, teachers=teachers, cache=again).explore(rollouts, accuracy(rollouts))
        again.close()
        teachers.close()
        bodies = list(server.bodies)
        assert (calls, server.calls) == (4, 4)
    assert ids(resumed) == ids(found)
    assert texts(found) == [[MOSS, MOSS]] * 2
    assert found.hints == [HINT] * 2
    assert found.metrics["hints/hint_failed"].tolist() == [1, 1]
    fates = [[trial["fate"] for trial in trials] for trials in found.trials]
    assert fates == [["failed: no hint in it", "accepted"], ["failed: special token", "accepted"]]
    assert [trials[0]["hint"] for trials in found.trials] == ["Let me think.", "<hint>See <|image_pad|>.</hint>"]
    assert found.metrics["hints/attempts"].tolist() == [1, 1]
    shown = [json.dumps(body["messages"]) for body in bodies]
    assert all("The correct answer is: moss" in text for text in shown)
    assert sum("image_url" in text for text in shown) == 2
    assert all(body["max_tokens"] == 32 for body in bodies if "max_tokens" in body)


def test_a_teacher_that_is_gone_costs_hints_and_no_more(setup: RolloutSetup, tmp_path: Path) -> None:
    rollouts = rollouts_of(setup, hint=None)[:2]
    rollouts.append(rollouts_of(setup)[0])  # brings its own hint
    with OpenAIServer(Behaviour()) as server:
        url = server.url
    teachers = server_teachers(setup, tmp_path, url)
    found = explorer(setup, teachers=teachers).explore(rollouts, accuracy(rollouts))
    teachers.close()
    assert texts(found) == [[], [], [MOSS, MOSS]]
    assert found.hints == [None, None, HINT]
    assert found.metrics["hints/hint_failed"].tolist() == [3, 3, 0]
    assert [trial["fate"] for trial in found.trials[0]] == ["failed: no answer"] * 3
    assert found.metrics["hints/attempts"].tolist() == [0, 0, 1]


def test_a_row_with_a_hint_asks_no_teacher_and_one_without_is_left_alone(setup: RolloutSetup) -> None:
    rollouts = [rollouts_of(setup)[0], rollouts_of(setup, hint=None)[1]]
    found = explorer(setup).explore(rollouts, accuracy(rollouts))
    assert texts(found) == [[MOSS, MOSS], []]
    assert found.metrics["hints/attempts"].tolist() == [1, 0]


def test_a_local_teacher_sees_picture_and_answer(setup: RolloutSetup) -> None:
    """A model as it lies on disk; untrained it writes nonsense, which `hint_tags: false` takes and tags refuse."""
    rollouts = rollouts_of(setup, hint=None)[1:2]
    plan = read_teacher_plan(str(setup.world / "tiny"))
    teachers = TeacherPool(plan, setup.loaded, settings={"template": "qwen2_vl"}, distributions=False, images=True)
    seen = []
    write = teachers.write
    teachers.write = lambda requests, *rest, **more: (seen.extend(requests), write(requests, *rest, **more))[1]
    found = explorer(setup, teachers=teachers, tags=False, max_attempts=1, hint_tokens=24).explore(
        rollouts, accuracy(rollouts)
    )
    bare = explorer(setup, teachers=teachers, max_attempts=1).explore(rollouts, accuracy(rollouts))
    assert found.metrics["hints/hint_failed"].item() + found.metrics["hints/attempts"].item() == 1
    assert bare.metrics["hints/hint_failed"].item() == 1
    assert list(seen[0].images) == list(rollouts[0].prompt.request.images)
    assert (
        seen[0].messages[-1]["content"].startswith("<image>What does the thing eat?\n\nThe correct answer is: moss\n")
    )
    teachers.close()


# prompts


QUESTION = "<image>Which way does it point? Answer with <think> and <answer>."
HINTED = {
    ("en", "hint"): """<image>Which way does it point? Answer with <think> and <answer>.

Hint: Look at the tip.
Answer as you were asked to above, and reason from what you see and know. Write as someone who finds the answer alone: mention neither a hint nor that you were helped.""",
    ("en", "hint_and_answer"): """<image>Which way does it point? Answer with <think> and <answer>.

Hint: Look at the tip.
The correct answer is: B
Answer as you were asked to above, and reason from what you see and know. Write as someone who finds the answer alone: mention neither a hint nor that the answer was given.""",
    ("zh", "hint"): """<image>Which way does it point? Answer with <think> and <answer>.

提示：Look at the tip.
请按上面的要求作答，从你所看到和知道的内容出发进行推理。请像独自找到答案那样写：既不要提到有提示，也不要提到得到过帮助。""",
    ("zh", "hint_and_answer"): """<image>Which way does it point? Answer with <think> and <answer>.

提示：Look at the tip.
正确答案是：B
请按上面的要求作答，从你所看到和知道的内容出发进行推理。请像独自找到答案那样写：既不要提到有提示，也不要提到答案是事先给出的。""",
}
ASKED = {
    "en": """<image>Which way does it point? Answer with <think> and <answer>.
Choices: (A) up (B) left

The correct answer is: B

Do not answer the question: it is put to a student who could not answer it, and who does not see the correct answer.
Write ONE hint that leads the student there by looking and thinking: what to look at, which fact to recall, which step comes first. One to three sentences.
Do not name the correct answer, and do not say which choice it is.
Write the hint between <hint> and </hint>.""",
    "zh": """<image>Which way does it point? Answer with <think> and <answer>.
选项：(A) up (B) left

正确答案是：B

请不要回答这个问题：它是出给一名没有答对、也看不到正确答案的学生的。
请写一条提示，引导学生通过观察和思考得出答案：应当看哪里，应当想起什么事实，第一步该做什么。一到三句话。
不要说出正确答案，也不要说出是哪个选项。
把提示写在 <hint> 和 </hint> 之间。""",
}


@pytest.mark.parametrize(("language", "variant"), HINTED)
def test_prompts_are_these(setup: RolloutSetup, language: str, variant: str) -> None:
    """Text for text, and token for token what the dataset's own processing makes of a row with that prompt."""
    prompts = HintPrompts.read(hint_prompt=None, hinted_prompt=None, language=language, variant=variant)
    made = feature(setup, 0, QUESTION, answer="B", choices=["up", "left"])
    (turn,) = prompts.for_student(made, "Look at the tip.")
    assert turn == {"role": "user", "content": HINTED[language, variant]}
    rollout = Rollout(made, prompt_of(made), [], [], [], [])
    expected = feature(setup, 0, HINTED[language, variant])
    found = hinted_prompt_of(setup.loaded, rollout, [turn])
    assert found.input_ids == expected["prompt_input_ids"]
    assert list(found.request.images) == made["images"]
    assert prompts.for_teacher(made) == [{"role": "user", "content": ASKED[language]}]
    listed = feature(setup, 0, QUESTION + " (A) up (B) left", answer="B", choices=["up", "left"])
    assert "Choices" not in prompts.for_teacher(listed)[0]["content"]  # they stand in the question


def processed(setup: RolloutSetup, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Aligned rows through the processor of the stage."""
    from llamafactory.hparams import DataArguments

    loaded = setup.loaded
    processor = PromptProcessor(
        loaded.template, loaded.tokenizer, loaded.processor, DataArguments(template="qwen2_vl", cutoff_len=512)
    )
    names = ("_prompt", "_response", "_system", "_tools", "_images", "_videos", "_audios", "_columns", "_source")
    features = processor.preprocess_dataset({name: [row.get(name) for row in rows] for name in names})
    return [dict(zip(features, values, strict=True)) for values in zip(*features.values(), strict=True)]


def aligned(*turns: str, system: str = "", **columns: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {
        "_prompt": [{"role": roles[place % 2], "content": text} for place, text in enumerate(turns)],
        "_response": [], "_system": system, "_tools": "", "_columns": json.dumps(columns), "_source": "rows.json, row 7",
    }  # fmt: skip


def test_system_and_earlier_turns_stay(setup: RolloutSetup) -> None:
    talk = ("Count.", "What?", "The discs.")
    hinted = (*talk[:2], HINTED["en", "hint"].replace(QUESTION, talk[2]))
    made, expected = processed(
        setup, aligned(*talk, system="Be brief.", answer="2"), aligned(*hinted, system="Be brief.")
    )
    turns = PROMPTS.for_student(made, "Look at the tip.")
    assert [turn["content"] for turn in turns] == list(hinted)
    rollout = Rollout(made, prompt_of(made), [], [], [], [])
    assert hinted_prompt_of(setup.loaded, rollout, turns).input_ids == expected["prompt_input_ids"]
    assert "Be brief." in setup.loaded.tokenizer.decode(expected["prompt_input_ids"])


def test_prompts_that_cannot_be_rendered_are_told_before_a_model_is_loaded(
    setup: RolloutSetup, tmp_path: Path
) -> None:
    rows = processed(setup, aligned("Count.", hint="Look."), aligned("Count.", answer="2"), aligned("Count."))
    assert check_rows(rows[:2], PROMPTS, has_teacher=True) == 1
    assert check_rows(rows, PROMPTS, has_teacher=False) == 1
    with pytest.raises(ValueError, match=r"hint\.jinja, line 6: `answer` is missing in rows\.json, row 7"):
        check_rows(rows, PROMPTS, has_teacher=True)
    both = HintPrompts.read(hint_prompt=None, hinted_prompt=None, language="en", variant="hint_and_answer")
    with pytest.raises(ValueError, match=r"hinted\.jinja, line 5: `answer` is missing"):
        check_rows(rows[:1], both, has_teacher=False)
    (tmp_path / "mine.jinja").write_text("{{ hint }}")
    lost = HintPrompts.read(
        hint_prompt=None, hinted_prompt=str(tmp_path / "mine.jinja"), language="en", variant="hint"
    )
    with pytest.raises(ValueError, match="media placeholders"):
        check_rows([feature(setup, 0, QUESTION)], lost, has_teacher=False)
    (tmp_path / "mine.jinja").write_text("{{ question }} {{ hint }} {{ answer }}")
    told = HintPrompts.read(
        hint_prompt=None, hinted_prompt=str(tmp_path / "mine.jinja"), language="en", variant="hint"
    )
    with pytest.raises(ValueError, match="`answer` is missing"):  # this variant does not show it
        check_rows([feature(setup, 0, QUESTION)], told, has_teacher=False)
    with pytest.raises(ValueError, match="PromptProcessor"):
        PROMPTS.for_student({"row_id": "a", "columns": "{}"}, "Look.")
