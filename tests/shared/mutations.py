"""Malformed configurations: good files of every command, broken at random in the ways that people and programs break them."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml


MODEL = {"model_name_or_path": "nowhere", "template": "qwen2_vl"}
TRAIN = {**MODEL, "dataset": "rows", "output_dir": "out", "do_train": True, "finetuning_type": "full", "seed": 1}
ONLINE = {**TRAIN, "reward_funcs": ["accuracy", "format"], "reward_weights": [1.0, 0.5], "num_generations": 4}
SYNTH = {**MODEL, "dataset": "rows", "output": "rows.json"}
SERVER = {
    "engine": "openai",
    "base_url": "http://127.0.0.1:9/v1",
    "model": "m",
    "dataset": "rows",
    "output": "o.jsonl",
}
BASES: list[tuple[str, dict[str, Any]]] = [
    ("train", {**TRAIN, "stage": "kepo", "kepo_beta": 0.3, "ref_logps_cache": "auto", "share_prefix": "off"}),
    (
        "train",
        {**ONLINE, "stage": "grpo", "kl_beta": 0.1, "ref_model": "other", "deepspeed": {"zero_optimization": {}}},
    ),
    ("train", {**ONLINE, "stage": "external_grpo", "external_ratio": "shaped", "external_max_per_group": 2}),
    ("train", {**ONLINE, "stage": "gated_distill", "teacher": "base", "gate_threshold": 1.0, "hint_samples": 2}),
    ("synth", {**SYNTH, "pipeline": "hindsight", "temperature": 0.7, "batch_size": 2}),
    ("synth", {**SERVER, "pipeline": "answer", "extra_body": {"a": {"b": [1, 2]}}, "price_in": 1.0, "price_out": 2}),
    ("synth", {**SYNTH, "pipeline": "knowledge", "num_samples": 4}),
    ("synth", {**SERVER, "pipeline": "hints"}),
    ("synth", {**SERVER, "pipeline": "external", "reward_funcs": "accuracy"}),
    ("score", {"metric": ["vqa_accuracy"], "predictions": "p.jsonl", "group_by": "type", "answer_pattern": "(.*)"}),
]
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 10**400, -(10**30), 1e308, float("nan"), float("inf"), float("-inf"), "", " ", "\u0000", "\ud800",
    "auto", "x" * 5000, "null", "${nothing}", "${", "???", [], [[]], [None], ["kepo"], [1, "a"], {}, {"a": 1}, {"a": {"b": {}}},
    {1: 2}, {None: 1}, ["a", ["b", ["c"]]], b"\xff", "off", "1e-4", "-.inf", "0x10", "2020-01-01", "a: b", "é" * 10, "🙂",
]  # fmt: skip
STRANGE_KEYS: list[Any] = [
    1, 1.5, None, True, "", " ", "stage", "a.b", "a[0]", "kepo_bata", "x" * 3000, "é", "🙂", "${x}", "--flag", "-h",
]  # fmt: skip
LINES = [
    "stage: {}", "stage: [kepo]", "stage: kepo", "stage:", "? [a, b]\n: c", "1: 2", "~: 1", "yes: no", "a: &a [*a]", "a: *b",
    "&x a: *x", "\tkey: 1", "key:\t1", "key: [", "key: {", "key: '", "- item", "--- ", "...", "%TAG ! x", "!!python/object:os.x {}",
    "k: !!binary zzz", "k: !!set {a}", "k: !!int x", "k: 1_000", "k: 0o17", "k: 2020-01-01", "k: |\n  text", "<<: {a: 1}",
    "<<: *none", "k: ${env:HOME}", "k: ${oc.env:X}", "k: ${k}", "a: ${b}\nb: ${a}", "k: .nan", "k: " + "9" * 5000, "k: " + "[" * 2000,
    "@at", "`tick", "# comment", "k: 'a' b", "key value", ": :", "k: >\n", "\u2028: 1", "\u0007", "k: \x85", "k: {a: 1, a: 2}",
]  # fmt: skip
WORDS = [
    "=", "=1", "a", "-h=1", "--x", "a=", "a==1", "a.b=1", "a.b.c=[1", "a[0]=1", "a={", "a={b", "a='", "stage=", "stage={}", "stage=[kepo]",
    "stage=kepo", "seed=" + "9" * 5000, "seed=nan", "seed=~", "dataset=[a,b]", "dataset={a: 1}", "x=&a [*a]", "é=1", "a b=c", "\t=\t",
    "output_dir.x=1", "reward_funcs=[]", "reward_funcs.0=x", "kepo_beta=1e400", "k=${a}", "k=!!python/name:os.x", "pipeline=[answer]",
    "pipeline={}", "metric=[[]]", "answer_pattern=(", "engine=[hf]", "\ud800=1", "a=\ud800",
]  # fmt: skip


@dataclass(frozen=True)
class Malformed:
    """One command line: a file's name and bytes, and the words after it."""

    command: str
    name: str
    content: bytes
    words: tuple[str, ...]


def malformed(seed: int, count: int) -> Iterator[Malformed]:
    """Yield `count` command lines, the same for the same seed; most are wrong, some are not."""
    draw = random.Random(seed)
    for _ in range(count):
        command, base = draw.choice(BASES)
        settings = dict(base)
        for _ in range(draw.choice([0, 1, 1, 2, 4])):
            _mutate(settings, draw)
        suffix = draw.choice([".yaml", ".yaml", ".yml", ".json"])
        content = _written(settings, suffix)
        for _ in range(draw.choice([0, 0, 1, 1, 2])):
            content = draw.choice(TEXT_MUTATIONS)(content, draw)
        words = tuple(draw.choice(WORDS) for _ in range(draw.choice([0, 0, 0, 1, 2])))
        yield Malformed(command, "config" + suffix, content, words)


def _mutate(settings: dict[Any, Any], draw: random.Random) -> None:
    key = draw.choice(list(settings) or ["seed"])
    kind = draw.randrange(6)
    if kind == 0:
        settings.pop(key, None)
    elif kind == 1:
        settings[draw.choice(STRANGE_KEYS)] = draw.choice(STRANGE)
    elif kind == 2:
        settings[key] = [settings.get(key)]
    elif kind == 3:
        settings[key] = {key: settings.get(key)}
    else:
        settings[key] = draw.choice(STRANGE)


def _written(settings: dict[Any, Any], suffix: str) -> bytes:
    if suffix == ".json":
        text = json.dumps({str(key): value for key, value in settings.items()}, default=str)
    else:
        try:
            text = yaml.dump(settings, allow_unicode=True, sort_keys=False)
        except (TypeError, ValueError):
            text = repr(settings)
    return text.encode("utf-8", errors="surrogatepass")


def _line(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    lines.insert(draw.randint(0, len(lines)), draw.choice(LINES).encode("utf-8", errors="surrogatepass"))
    return b"\n".join(lines)


def _twice(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    return b"\n".join([*lines, draw.choice(lines)])


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randint(0, len(content))]


def _byte(content: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(content))
    return content[:at] + bytes([draw.randrange(256)]) + content[at + draw.randint(0, 1) :]


def _bomb(content: bytes, draw: random.Random) -> bytes:
    levels = [b"l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    levels += [b"l%d: &l%d [%s]" % (n, n, b", ".join([b"*l%d" % (n - 1)] * 9)) for n in range(1, 9)]
    return content + b"\n" + b"\n".join(levels)


TEXT_MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    _line,
    _line,
    _line,
    _twice,
    _cut,
    _byte,
    _byte,
    _bomb,
    lambda content, draw: b"\xef\xbb\xbf" + content,
    lambda content, draw: content.decode("utf-8", "replace").encode("utf-16"),
    lambda content, draw: "é".encode("latin-1") + content,
    lambda content, draw: b"",
    lambda content, draw: b"- " + content.replace(b"\n", b"\n  "),
    lambda content, draw: content.replace(b": ", b":\t"),
    lambda content, draw: content.replace(b"\n", b"\r\n"),
    lambda content, draw: content + b"\n---\n" + content,
    lambda content, draw: b"[" * draw.randint(1, 5000) + content,
]
