"""`trainers.multitask`: packed rows by hand, packed and plain batches equal in value and gradient, sums by task by a naive loop."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from llamafactory.data.collator import SFTDataCollatorWith4DAttentionMask

from llamafactory_hind.trainers.multitask.collator import MultitaskCollator, Text, packed_rows, texts_of
from llamafactory_hind.trainers.multitask.losses import model_inputs, sums_by_task, token_logps
from llamafactory_hind.trainers.multitask.sharing import longer
from shared.pairs import PairSetup


def text(ids: list[int], learnt: int, task: int = 0) -> Text:
    """A text whose last `learnt` ids are learnt."""
    return Text(ids, [-100] * (len(ids) - learnt) + ids[len(ids) - learnt :], task)


def test_what_texts_share_by_hand() -> None:
    """They share what they begin with, up to the first learnt token and all but one token of the shortest; media must be in it."""
    answer, reason = text([1, 2, 3, 7, 8], 1), text([1, 2, 3, 9, 9, 9], 2, 1)
    (row,) = packed_rows(5, [answer, reason], media_ids={2})
    assert (row.owner, row.prompt, row.texts) == (5, 3, [answer, reason])
    apart = packed_rows(5, [answer, reason], media_ids={7})  # a picture behind the instruction
    assert [(one.prompt, one.texts) for one in apart] == [(4, [answer]), (4, [reason])]
    same = [text([1, 2, 3, 4], 2), text([1, 2, 3, 5], 2, 1)]  # the same instruction, answers that begin alike
    assert packed_rows(0, same, media_ids=set())[0].prompt == 2
    cut = [text([1, 2], 0), text([1, 2, 3], 1, 1)]  # of the first, `cutoff_len` left nothing to learn
    assert packed_rows(0, cut, media_ids=set())[0].prompt == 1


QUESTIONS = {
    "image": ("<image>What does the thing eat?", 1, 0, "moss", "a dax eats moss"),
    "two_images": ("<image><image>Which of the two is red?", 2, 0, "the first one", "it glows"),
    "video": ("<video>What moves first?", 0, 1, "the ring", "the ring starts, then the ball"),
    "text": ("What does a dax fear?", 0, 0, "bells", "they hurt its ears"),
    "late_image": ("Look: ", 1, 0, "a ring", "it is round"),  # the picture stands behind the instruction
    "answer_alone": ("<image>What is it?", 1, 0, "moss", None),
    "reason_alone": ("Why is it?", 0, 0, None, "because"),
}


class Setup(PairSetup):
    """`rows(kinds)` gives one processed row a kind of `QUESTIONS`."""

    @property
    def multitask(self) -> MultitaskCollator:
        return MultitaskCollator(
            template=self.template, model=self.model, pad_to_multiple_of=8, **self.tokenizer_module
        )

    def rows(self, kinds: list[str]) -> list[dict[str, Any]]:
        images = sorted(str(path) for path in (self.world / "images").glob("*.png"))
        clip = str(next((self.world / "clips").glob("*.mp4")))
        return [self._row(kind, images, clip) for kind in kinds]

    def _row(self, kind: str, images: list[str], clip: str) -> dict[str, Any]:
        question, pictures, clips, answer, reason = QUESTIONS[kind]
        late = "<image>" if kind == "late_image" else ""
        row = {"images": images[:pictures], "videos": [clip] * clips, "audios": []}
        row |= {name: [] for name in ("tasks", "lengths", "input_ids", "labels")}
        for task, instruction, target in (("answer", "Answer.", answer), ("cot", "Think.", reason)):
            if target is not None:
                turns = [
                    {"role": "user", "content": f"{question}\n{instruction}{late}"},
                    {"role": "assistant", "content": target},
                ]
                processor, tokenizer = self.tokenizer_module["processor"], self.tokenizer_module["tokenizer"]
                turns = self.template.mm_plugin.process_messages(turns, row["images"], row["videos"], [], processor)
                prompt, response = self.template.encode_oneturn(tokenizer, turns)
                row["tasks"].append(task)
                row["lengths"].append(len(prompt + response))
                row["input_ids"] += prompt + response
                row["labels"] += [-100] * len(prompt) + response
        return row


@pytest.fixture(scope="module")
def setups(small_world: Path) -> Any:
    return partial(Setup, small_world)


@pytest.mark.parametrize(("padding_side", "attention"), [("right", "sdpa"), ("left", "sdpa"), ("right", "eager")])
def test_packed_equals_plain_in_value_and_gradient(setups: Any, padding_side: str, attention: str) -> None:
    """One batch mixes every kind of row; sums by task, and their gradients under other weights for each row and task."""
    setup = setups(attention=attention, padding_side=padding_side)
    kinds = list(QUESTIONS)
    weights = torch.linspace(-1.0, 2.0, 2 * len(kinds)).view(-1, 2)
    found = {}
    for form in ("packed", "plain"):
        setup.model.zero_grad()
        batch = getattr(setup.multitask, f"{form}_batch")(setup.rows(kinds))
        logps = token_logps(setup.model, batch)
        sums, counts = sums_by_task(logps, batch)
        (sums * weights).sum().backward()
        gradients = {name: p.grad.clone() for name, p in setup.model.named_parameters() if p.grad is not None}
        found[form] = (logps[batch["tasks"] >= 0], sums, counts, gradients, batch)
    packed, plain = found["packed"], found["plain"]
    assert packed[4]["input_ids"].shape[0] == len(kinds) + 1  # the late picture alone is computed twice
    assert plain[4]["input_ids"].shape[0] == 2 * len(kinds) - 2
    torch.testing.assert_close(packed[0], plain[0], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(packed[1], plain[1], atol=5e-5, rtol=1e-5)
    assert torch.equal(packed[2], plain[2])
    assert torch.equal(packed[4]["counts"], plain[4]["counts"])
    assert any("visual" in name for name in plain[3])
    assert packed[3].keys() == plain[3].keys()
    for name, gradient in plain[3].items():
        torch.testing.assert_close(packed[3][name], gradient, atol=5e-5, rtol=1e-3, msg=name)


def test_sums_equal_a_loop_over_texts(setups: Any) -> None:
    """Each text alone through the model's own logits, -log softmax at its learnt tokens, summed by hand."""
    setup = setups()
    rows = setup.rows(["image", "text", "answer_alone", "video"])
    batch = setup.multitask.packed_batch(rows)
    sums, counts = sums_by_task(token_logps(setup.model, batch), batch)
    for number, row in enumerate(rows):
        for place, one in enumerate(texts_of(row)):
            alone = {
                **row,
                "tasks": [row["tasks"][place]],
                "lengths": [len(one.ids)],
                "input_ids": one.ids,
                "labels": one.labels,
            }
            single = setup.multitask.plain_batch([alone])
            with torch.no_grad():
                logps = setup.model(**model_inputs(single)).logits[0].log_softmax(-1)
            learnt = [position for position, label in enumerate(one.labels) if label != -100]
            expected = -sum(logps[position - 1, one.labels[position]].item() for position in learnt)
            assert sums[number, one.task].item() == pytest.approx(expected, abs=1e-4)
            assert counts[number, one.task] == len(learnt) > 0
    assert sums[2, 1] == counts[2, 1] == 0  # no reasoning


def test_a_batch_without_two_texts_is_the_hosts(setups: Any) -> None:
    setup = setups()
    collator = setup.multitask
    collator.packed = True
    rows = setup.rows(["answer_alone", "reason_alone"])
    batch = collator(rows)
    assert "segments" not in batch
    assert "segments" in collator([*rows, *setup.rows(["text"])])
    columns = ("input_ids", "labels", "images", "videos", "audios")
    host = SFTDataCollatorWith4DAttentionMask.__call__(
        collator,
        [{**{name: row[name] for name in columns}, "attention_mask": [1] * len(row["input_ids"])} for row in rows],
    )
    for name, value in host.items():
        assert torch.equal(batch[name], value), name


def test_the_longer_row_keeps_its_media(setups: Any) -> None:
    rows = setups().rows(["image", "video"])
    made = longer(rows)
    assert len(made["input_ids"]) == sum(made["lengths"]) == len(made["labels"]) > len(rows[1]["input_ids"])
    assert made["videos"] == rows[1]["videos"]
