"""Which candidates make up a group, by hand; and texts of other models in the layout and the tokens of the policy."""

import math
from pathlib import Path

import pytest
import torch

from llamafactory_hind.formats.texts.layout import has_layout, is_cut, wrap
from llamafactory_hind.methods.external.actions import ActionReader
from llamafactory_hind.methods.external.candidates import Candidates
from llamafactory_hind.methods.external.selection import SelectionRule, select, select_groups
from llamafactory_hind.trainers.rollouts.batch import batch_of
from llamafactory_hind.trainers.rollouts.records import Rollout, Scores
from shared.rollouts import RolloutSetup


NAN = float("nan")
OWN, EXTERNAL = [False] * 4, [True] * 2


def chosen(
    rewards: list[float], selection: str, tie_break: str = "policy_first", most: int | None = None
) -> list[int]:
    """The places kept of four completions of the policy and two external actions (places 4 and 5)."""
    return select(rewards, OWN + EXTERNAL, SelectionRule(selection, tie_break, most, seed=0))


def test_top_reward_keeps_the_best_g() -> None:
    """Rewards 0 1 0.5 0 | 1 0.2: the best four are places 1, 4 (1), 2 (0.5), 5 (0.2)."""
    assert chosen([0, 1, 0.5, 0, 1, 0.2], "top_reward") == [1, 2, 4, 5]
    assert chosen([0, 1, 0.5, 0, 1, 0.2], "top_reward", most=1) == [0, 1, 2, 4]
    assert chosen([0, 1, 0.5, 0, 1, 0.2], "top_reward", most=0) == [0, 1, 2, 3]


def test_ties_have_a_rule() -> None:
    """All rewards equal: the policy's four, or both external actions and the policy's first two."""
    assert chosen([1.0] * 6, "top_reward") == [0, 1, 2, 3]
    assert chosen([1.0] * 6, "top_reward", "external_first") == [0, 1, 4, 5]
    draws = [
        tuple(select([1.0] * 6, OWN + EXTERNAL, SelectionRule("top_reward", "random", None, seed), name="row"))
        for seed in range(300)
    ]
    assert draws[7] == tuple(
        select([1.0] * 6, OWN + EXTERNAL, SelectionRule("top_reward", "random", None, 7), name="row")
    )
    for place in range(6):  # each has 4 of 6 chances: 200 of 300, standard deviation 8
        assert 160 < sum(place in draw for draw in draws) < 240


def test_append_and_replace_worst() -> None:
    """`replace_worst` takes the external actions in whatever their reward; the worst of the policy's, the later of equals, go."""
    assert chosen([0, 1, 0.5, 0, 1, 0.2], "append") == [0, 1, 2, 3, 4, 5]
    assert chosen([0, 1, 0.5, 0, 1, 0.2], "append", most=1) == [0, 1, 2, 3, 4]
    assert chosen([0, 1, 0.5, 0, -1, 0.2], "replace_worst") == [1, 2, 4, 5]
    assert chosen([0, 1, 0.5, 0, -1, 0.2], "replace_worst", most=1) == [0, 1, 2, 5]
    alone = select(
        [0.0, 1.0, 2.0, 3.0, 4.0], [False, False, True, True, True], SelectionRule("replace_worst", "random", None, 0)
    )
    assert alone == [1, 4]  # one of the policy's stays


@pytest.mark.parametrize("selection", ["top_reward", "append", "replace_worst"])
def test_an_action_without_reward_is_left_out(selection: str) -> None:
    assert 4 not in chosen([0, 0, 0, 0, NAN, 1], selection)
    assert chosen([NAN] * 6, selection) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think> <answer>5</answer>\n", "<think>a</think> <answer>5</answer>"),
        ("I see two.\nSo the answer is 5.", "<think>I see two.</think><answer>5</answer>"),
        ("fish", "<think></think><answer>fish</answer>"),
        ("**Answer:** 0.5", "<think></think><answer>0.5</answer>"),
        ("two discs</think>\n\n7", "<think>two discs</think><answer>7</answer>"),
        ("before <answer>8</answer> behind", "<think>before</think><answer>8</answer>"),
        ("<think>a</think><answer>5</answer> Done.", "<think>a</think><answer>5</answer>"),
        ("Answering is hard", "<think></think><answer>Answering is hard</answer>"),
        ("看图\n答案是三。", "<think>看图</think><answer>三</answer>"),
        ("f(x) = {a}\nAnswer: {b}", "<think>f(x) = {a}</think><answer>{b}</answer>"),
    ],
)
def test_a_text_is_put_into_the_layout(text: str, expected: str) -> None:
    assert wrap(text) == expected
    assert has_layout(wrap(text))
    assert wrap(wrap(text)) == wrap(text)


def test_a_text_that_was_cut_shows() -> None:
    assert is_cut("<think>two discs, and")
    assert is_cut("<think>a</think><answer>5")
    assert not is_cut("<think>a</think><answer>5</answer>")
    assert not is_cut("just 5")


@pytest.fixture(scope="module")
def setup(small_world: Path) -> RolloutSetup:
    return RolloutSetup(small_world)


def test_an_action_has_the_tokens_that_the_policy_would_have_sampled(setup: RolloutSetup) -> None:
    """Token for token the assistant turn of `sft` up to its stop token; as sampled, it decodes to the text."""
    loaded, text = setup.loaded, "<think>A dax.</think><answer>2</answer>"
    ids = ActionReader(loaded, max_new_tokens=64).encode(text)
    turns = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": text}]
    _, trained = loaded.template.encode_oneturn(loaded.tokenizer, turns)
    assert ids == trained[: len(ids)]
    assert ids[-1] in loaded.template.get_stop_token_ids(loaded.tokenizer)
    assert loaded.tokenizer.decode(ids[:-1]) == text
    assert not loaded.tokenizer.decode(trained[len(ids) :]).strip()


def test_what_cannot_be_learnt_from_is_refused_and_counted(setup: RolloutSetup) -> None:
    reader = ActionReader(setup.loaded, max_new_tokens=40)
    stop = setup.loaded.tokenizer.decode([reader.encode("a")[-1]])
    good = "<think></think><answer>2</answer>"
    texts = [good, "<think>cut", good + " " + "word " * 200, f"<think>{stop}</think><answer>2</answer>", "two " * 60]
    texts += ["<think><|image_pad|></think><answer>2</answer>"]
    entries = [{"source": "other", "text": text, "logprob": None} for text in texts]
    entries.append({"source": "other", "text": good, "logprob": None, "finish_reason": "length"})
    actions, refused = reader.read({"external": entries})
    assert [action.text for action in actions] == [good, good]  # what stands behind the answer is not learnt
    assert refused == {"truncated": 2, "too_long": 1, "special_token": 2}
    assert reader.read({"external": None}) == ([], {})


def test_groups_of_different_sizes_become_one_batch(setup: RolloutSetup) -> None:
    """Two prompts, 2 + 1 and 2 + 0 candidates, appended: five completions, each with its own advantage and log q."""
    features = setup.features(("text", "image"))
    rollouts = setup.rollouts(features, group=2)
    first = rollouts[0]
    joined = Rollout(
        first.feature, first.prompt, [*first.completion_ids, [30, 31]], [*first.texts, "x"], ["stop"] * 3,
        ["policy", "policy", "other"],
    )  # fmt: skip
    candidates = [Candidates(joined, [0.0, 0.0, -3.0]), Candidates(rollouts[1], [0.0, 0.0])]
    scores = Scores(torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, NAN]]), {}, {"words": [[1, 2, 3], [4, 5]]})
    kept, discarded = select_groups(candidates, scores, SelectionRule("append", "policy_first", None, 0, "behavior"))
    assert discarded is None
    batch = batch_of(kept, device=torch.device("cpu"))
    assert batch.owners.tolist() == [0, 0, 0, 1, 1]
    assert batch.sources == ["policy", "policy", "other", "policy", "policy"]
    assert batch.streams["behavior_logp"].tolist() == [0, 0, -3, 0, 0]
    assert batch.completion(2) == [30, 31]
    kept, discarded = select_groups(candidates, scores, SelectionRule("top_reward", "policy_first", None, 0))
    assert [rollout.sources for rollout in kept.rollouts] == [["policy", "other"], ["policy", "policy"]]
    assert kept.scores.extra == {"words": [[1, 3], [4, 5]]}
    assert discarded is not None
    assert [rollout.texts for rollout in discarded.rollouts] == [[first.texts[1]], []]
    assert math.isnan(discarded.advantages[0, 0])
