"""Malformed rows: good rows of every format, broken at random in the ways that people and programs break them."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


LONG = "x" * 100_000
STRANGE: list[Any] = [
    None, True, False, 0, -1, 7, 2.5, -0.0, 1e308, float("nan"), float("inf"), float("-inf"), 10**30, -(10**25), "", " ", "\n", "0",
    "NA", "nan", "Infinity", "1e5", "1_000", "007", "true", "null", "2019-05-01", "10:30", "\u0000", "\ud800", "\ufeffa", "a\u2028b", "🙂", LONG,
    "<image>", "<video>", "<audio>", "<|image_pad|>", "<|im_end|>", "<|im_start|>user", "<region:0>", "<region:9>", "<box:0:1,2>", "{{ x }}",
    "{% if %}", "nowhere.png", "images", "/", "rows.jsonl", [], [[]], [None], [""], [1, "a"], [["a", 1]], ["nowhere.png"], {}, {"a": 1},
    {"role": "user"}, {"path": "nowhere.png", "bytes": None}, {"": {}}, [{}], [{"role": "user", "content": None}], {"box": [0, 0, 1, 1]},
]  # fmt: skip
STRANGE_KEYS = (
    "", " ", "a.b", "a[0]", "_prompt", "_columns", "_source", "_images", "input_ids", "labels", "prompts", "completions", "columns", "x" * 300,
    "é", "row_id", "images ", "Question", "\ud800", "\u0000", "__index__", "messages", "system", "tools", "id", "0",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A format in a stage: the entry of `dataset_info.json`, settings of the run, and good rows."""

    name: str
    entry: Mapping[str, Any]
    settings: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]


def kinds(image: str, video: str) -> list[Kind]:
    """Return every format with rows over one picture and one video."""
    asked = {"id": "q", "images": [image], "question": "What is it?", "answer": "moss", "answers": ["moss", "a moss"]}
    written = {"choices": ["moss", "stone"], "cot": ["one", "two"], "knowledge": ["a", "b"], "note": {"a": [1]}}
    pair = {"chosen": ["it eats", "moss"], "rejected": "no", "chosen_confidence": -0.5, "rejected_confidence": None}
    external = [{"source": "m", "text": "<answer>moss</answer>", "logprob": -1.5}]
    prompt = {
        "id": "p",
        "images": [image],
        "prompt": "<image>What?",
        "answer": "2",
        "external": external,
        "hint": "look",
    }
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    region = {"id": "g", "images": [image], "regions": [{"image": 0, "box": [2, 3, 30, 28], "label": "thing"}],
              "question": "What is <region:0>?", "answer": "it is <region:0>", "rationale": "<region:0> says so", "critic": 0.9}  # fmt: skip
    rated = {**region, "label": ["accept", "reject"], "qa_score": 0.8, "r_score": None}
    clip = {"id": "v", "videos": [video], "start": 0.1, "end": 0.9, "question": "Why?", "choices": ["a", "b", "c"], "answer": 1,
            "reasoning": "it moves", "reasoning_correct": True, "type": "CW"}  # fmt: skip
    chat = [*turns, {"role": "assistant", "content": "d"}]
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    openai = {"formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"}, "tags": tags}
    both = {"formatting": "hindsight", "target": "multitask"}
    grpo = {"stage": "grpo", "reward_funcs": ["accuracy"]}
    return [
        Kind("hindsight", both, {"stage": "reason_sft"}, ({**asked, **written}, {**asked, "images": []})),
        Kind("ranking", {"formatting": "hindsight", "ranking": True}, {"stage": "kepo"}, ({**asked, **pair},)),
        Kind("rollout", {"formatting": "rollout"}, grpo, (prompt, {"id": 1, "messages": turns, "answer": [1]})),
        Kind("region", {"formatting": "region", "region_style": "marks"}, {**grpo, "template": "qwen2_vl_region"}, (region,)),
        Kind("rated", {"formatting": "region", "target": "answer_rationale", "region_style": "both"},
             {"stage": "critic", "template": "qwen2_vl_region"}, (rated,)),
        Kind("video_reasoning", {"formatting": "video_reasoning", "target": "multitask"}, {"stage": "reason_sft"}, (clip,)),
        Kind("openai", openai, grpo, ({"messages": chat, "images": []}, {"messages": [{"role": "user", "content": "<image>a"},
             chat[1]], "images": [image]})),
    ]  # fmt: skip


def lines(kind: Kind, draw: random.Random, count: int) -> Iterator[str]:
    """Yield `count` lines of JSON, each a good row with one to four faults; a few are no object or no JSON."""
    for _ in range(count):
        row: Any = json.loads(json.dumps(draw.choice(kind.rows)))
        for _ in range(draw.choice([1, 1, 1, 2, 4])):
            row = _mutated(row, draw)
        text = json.dumps(row, ensure_ascii=draw.random() < 0.7)
        yield _mutated_text(text, draw) if draw.random() < 0.1 else text


def _mutated(row: Any, draw: random.Random) -> Any:
    if draw.random() < 0.01:
        return draw.choice(STRANGE)
    places = list(_places(row))
    if not places:
        return row
    holder, key = draw.choice(places)
    kind = draw.randrange(9)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = [holder[key]]
    elif kind == 2:
        holder[key] = {draw.choice(STRANGE_KEYS): holder[key]}
    elif kind == 3 and isinstance(row, dict):
        row[draw.choice(STRANGE_KEYS)] = draw.choice(STRANGE)
    elif kind == 4:
        other, name = draw.choice(places)
        if other is not holder or key != name:
            holder[key] = json.loads(json.dumps(other[name]))
    elif kind == 5 and isinstance(holder[key], str):
        at = draw.randint(0, len(holder[key]))
        strange = draw.choice([value for value in STRANGE if isinstance(value, str)])
        holder[key] = holder[key][:at] + strange + holder[key][at:]
    elif kind == 6 and isinstance(holder[key], list):
        holder[key] = holder[key] * draw.choice([0, 2, 30])
    else:
        holder[key] = draw.choice(STRANGE)
    return json.loads(json.dumps(row))  # no part stands twice


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (list or object, index or key) below a value."""
    if isinstance(value, dict | list):
        for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from _places(inner)


def _mutated_text(text: str, draw: random.Random) -> str:
    at = draw.randint(0, len(text))
    kind = draw.randrange(5)
    if kind == 0:
        return text[:at]
    if kind == 1:
        return text[:at] + draw.choice(['"', "{", "}", "[", "]", ",", ":", "\\", "null", "NaN", "\u0000"]) + text[at:]
    if kind == 2:
        return text[:at] + text[at + 1 :]
    if kind == 3 and text.startswith("{"):
        return '{"id": 1, "images": null, ' + text[1:]  # keys that stand twice
    return text.replace(": ", ":\t", 1)
