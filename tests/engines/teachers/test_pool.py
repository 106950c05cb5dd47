"""Teachers that are real: tiny models and a real server, alike in tokens or refused, failing without stopping a run."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from llamafactory_hind.engines.interface import Completion, Request, Sampling
from llamafactory_hind.engines.local.engine import LocalEngine
from llamafactory_hind.engines.teachers import server as teacher_server
from llamafactory_hind.engines.teachers.cache import TextCache, text_key
from llamafactory_hind.engines.teachers.plan import read_teacher_plan
from llamafactory_hind.engines.teachers.pool import TeacherPool
from llamafactory_hind.toyworld.checkpoint import write_checkpoint
from shared.engines import generate
from shared.openai_server import Behaviour, OpenAIServer
from shared.rollouts import RolloutSetup
from shared.teachers import kept_teacher, open_teachers, settings_of, write_yaml


pytestmark = pytest.mark.slow


SAMPLING = Sampling(n=1, temperature=0.7, top_p=1.0, top_k=0, max_new_tokens=6, seed=3)


@pytest.fixture(scope="module")
def student(small_world: Path) -> RolloutSetup:
    return RolloutSetup(small_world, tuning={"finetuning_type": "lora", "lora_rank": 4, "lora_target": "all"})


@pytest.fixture(scope="module")
def wider(small_world: Path) -> Path:
    """A teacher whose vocabulary is padded further than the student's."""
    return kept_teacher(small_world, words=1088)


def ask(number: int = 0, image: Any = None, key: str | None = "row") -> Request:
    text = ("<image>" if image is not None else "") + f"What is question {number}?"
    images = [] if image is None else [image]
    return Request([{"role": "user", "content": text}], images, key=key and f"{key}-{number}")


# local


def test_a_wider_teacher_with_the_same_tokens_is_frozen_and_writes(
    student: RolloutSetup, wider: Path, small_world: Path
) -> None:
    teachers = open_teachers(student, wider, images=True, videos=True)
    teacher = teachers.local("default")
    assert not any(entry.requires_grad for entry in teacher.loaded.model.parameters())
    assert not teacher.loaded.model.training
    assert teacher.engine.capabilities.distributions
    image = str(next((small_world / "images").glob("*.png")))
    requests = [ask(0, image), ask(1)]
    found = teachers.write(requests, [{}, {}], SAMPLING)
    assert [len(completions) for completions in found] == [1, 1]
    alone = [teachers.write([request], [{}], SAMPLING)[0] for request in requests[::-1]][::-1]
    assert [one[0].token_ids for one in found] == [one[0].token_ids for one in alone]
    assert not teachers.failures


def test_a_cached_text_is_scored_again_and_a_teacher_that_changed_writes_anew(
    student: RolloutSetup, wider: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two later runs over one cache: the same teacher is not asked again; one whose weights moved unseen is."""
    requests = [ask(number) for number in range(3)]

    def run(teachers: TeacherPool, number: int) -> tuple[list[Any], int]:
        cache = TextCache(tmp_path / "texts", process=number)
        asked: list[int] = []
        teacher = teachers.local("default")
        write = teacher.write
        monkeypatch.setattr(teacher, "write", lambda some, sampling: asked.append(len(some)) or write(some, sampling))
        found = teachers.write(requests, [{}] * 3, SAMPLING, cache=cache)
        cache.close()
        return found, sum(asked)

    first, asked = run(open_teachers(student, wider), 0)
    assert asked == 3
    again, asked = run(open_teachers(student, wider), 1)
    assert asked == 0
    assert again == first
    other = open_teachers(student, wider)
    with torch.no_grad():
        for entry in other.local("default").loaded.model.lm_head.parameters():
            entry.add_(torch.randn(entry.shape, generator=torch.Generator().manual_seed(0)), alpha=0.3)
    assert run(other, 2)[1] == 3


def test_offloaded_weights_come_back_and_give_the_same(student: RolloutSetup, wider: Path, tmp_path: Path) -> None:
    file = write_yaml(tmp_path / "teacher.yaml", {"model_name_or_path": str(wider), "offload": True})
    offloaded, kept = open_teachers(student, file), open_teachers(student, wider)
    before = [entry.data_ptr() for entry in offloaded.local("default").loaded.model.parameters()]
    first, second = (teachers.write([ask()], [{}], SAMPLING)[0] for teachers in (offloaded, kept))
    assert first[0].token_ids == second[0].token_ids
    assert before == [entry.data_ptr() for entry in offloaded.local("default").loaded.model.parameters()]


def test_the_base_is_the_student_with_its_adapter_off(student: RolloutSetup, small_world: Path) -> None:
    teachers = open_teachers(student, "base")
    teacher = teachers.local("default")
    assert teacher.loaded is student.loaded
    for name, entry in student.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(entry, std=0.5)
    student.model.train()
    trained = {name for name, entry in student.model.named_parameters() if entry.requires_grad}
    plain = open_teachers(student, small_world / "tiny")  # the same weights, loaded again
    first, second = (each.write([ask()], [{}], SAMPLING)[0] for each in (teachers, plain))
    assert first[0].token_ids == second[0].token_ids
    assert student.model.training
    assert trained == {name for name, entry in student.model.named_parameters() if entry.requires_grad}
    adapted = generate(LocalEngine(student.loaded, batch_size=1, adapters=None), [ask()], SAMPLING)[0]
    assert adapted[0].token_ids != first[0].token_ids


def test_the_base_of_a_fully_trained_student_is_a_copy(small_world: Path) -> None:
    full = RolloutSetup(small_world)
    teacher = open_teachers(full, "base").local("default")
    assert teacher.loaded is not full.loaded
    torch.testing.assert_close(teacher.loaded.model.lm_head.weight, full.model.lm_head.weight.detach())
    assert teacher.loaded.model.lm_head.weight.data_ptr() != full.model.lm_head.weight.data_ptr()


def test_another_tokenizer_is_refused(student: RolloutSetup, tmp_path: Path) -> None:
    """The texts differ, so the merges and with them the ids do; its names would fit."""
    write_checkpoint(tmp_path / "other", ["entirely other words make other merges, always"] * 30, seed=0)
    with pytest.raises(ValueError) as raised:
        open_teachers(student, tmp_path / "other")
    message = str(raised.value)
    assert "does not read tokens as the student does" in message
    assert "ids stand for different ones" in message
    assert "`distill_weight: 0`" in message
    open_teachers(student, tmp_path / "other", distributions=False)  # hints are text


def test_other_image_tokens_are_refused(student: RolloutSetup, small_world: Path, tmp_path: Path) -> None:
    """224 x 336 pixels are 8 x 12 = 96 tokens of 28 x 28; at most 128 x 128 pixels leave 4 x 6 of them; 56 x 56 are 4 in both."""
    content = {"model_name_or_path": str(small_world / "tiny"), "image_max_pixels": 128 * 128}
    with pytest.raises(ValueError, match="pictures: 2 of them are 100 tokens to the student, 28 to the teacher"):
        open_teachers(student, write_yaml(tmp_path / "teacher.yaml", content))
    same = settings_of(student, image_max_pixels=128 * 128)  # the student's own limit is the teacher's default
    teacher = open_teachers(student, small_world / "tiny", settings=same, distributions=False).local("default")
    assert teacher.loaded.processor.image_max_pixels == 128 * 128


def test_other_stop_tokens_are_refused(student: RolloutSetup, small_world: Path, tmp_path: Path) -> None:
    content = {"model_name_or_path": str(small_world / "tiny"), "template": "qwen2_vl"}
    teachers = open_teachers(student, write_yaml(tmp_path / "teacher.yaml", content))
    from llamafactory_hind.engines.teachers.tokenization import check_same_tokenization

    other = teachers.local("default").loaded
    other.tokenizer.eos_token = "<|endoftext|>"
    with pytest.raises(ValueError, match="stop tokens: the student's ids are"):
        check_same_tokenization(student.loaded, other, name="default")


# a server


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(
        Behaviour(answer=lambda body, number: f"<hint>look {body.get('seed', 0) % 97}</hint>")
    ) as running:
        yield running


def served(server: OpenAIServer, folder: Path, **api: Any) -> TeacherPool:
    content = {"api": {"base_url": server.url, "model": "test", "max_retries": 0, "timeout": 60.0, **api}}
    plan = read_teacher_plan(write_yaml(folder / "teacher.yaml", content))
    return TeacherPool(plan, None, settings={"image_max_pixels": 4096, "video_fps": None}, distributions=False)


def test_a_server_writes_hints_and_is_shown_the_picture(server: OpenAIServer, tmp_path: Path) -> None:
    teachers = served(server, tmp_path)
    found = teachers.write([ask(0, Image.new("RGB", (8, 8))), ask(1)], [{}, {}], SAMPLING)
    assert all(one[0].text.startswith("<hint>look ") for one in found)
    kinds = {
        part["type"] for body in server.bodies for part in body["messages"][0]["content"] if isinstance(part, dict)
    }
    assert "image_url" in kinds
    assert [one[0].text for one in found][1] == teachers.write([ask(1)], [{}], SAMPLING)[0][0].text
    teachers.close()
    with pytest.raises(ValueError, match="distributions over given tokens"):
        TeacherPool(teachers.plan, None, settings={}, distributions=True)


@pytest.mark.parametrize(
    ("kind", "counted"),
    [("hang", "timeout"), ("schema", "nonsense"), ("error", "http 500"), ("cut", "nonsense"), ("reset", "connection")],
)
def test_what_fails_is_none_and_counted(server: OpenAIServer, tmp_path: Path, kind: str, counted: str) -> None:
    server.behaviour.faults, server.behaviour.kinds = 1.0, (kind,)
    teachers = served(server, tmp_path, timeout=0.3 if kind == "hang" else 60.0)
    assert teachers.write([ask(0), ask(1)], [{}, {}], SAMPLING) == [None, None]
    assert teachers.failures == {counted: 2}
    teachers.close()


def test_a_request_that_cannot_be_made_fails_alone(server: OpenAIServer, tmp_path: Path) -> None:
    teachers = served(server, tmp_path)
    found = teachers.write([ask(0, str(tmp_path / "none.png")), ask(1)], [{}, {}], SAMPLING)
    assert found[0] is None
    assert found[1] is not None
    assert teachers.failures == {"request": 1}
    assert teachers.write([ask(2)], [{}], SAMPLING)[0] is not None  # nothing speaks against the server
    teachers.close()


def test_a_step_never_waits_beyond_the_deadline(server: OpenAIServer, tmp_path: Path) -> None:
    server.behaviour.script = lambda number, body: None
    server.behaviour.faults, server.behaviour.kinds = 1.0, ("hang",)
    teachers = served(server, tmp_path, timeout=1000.0, deadline=0.3, max_retries=5)
    assert teachers.write([ask(0), ask(1)], [{}, {}], SAMPLING) == [None, None]
    assert teachers.failures == {"deadline": 2}
    teachers.close()


def test_a_dead_loop_is_replaced(server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_server, "GRACE", 0.3)
    monkeypatch.setattr(teacher_server, "SKIPPED_CALLS", 0)
    teachers = served(server, tmp_path, deadline=60.0)
    assert teachers.write([ask(0)], [{}], SAMPLING)[0] is not None
    stuck = teachers._opened["default"]
    stuck._thread.stop()
    patient, stuck.server = stuck.server, replace(stuck.server, deadline=0.2)
    assert teachers.write([ask(1)], [{}], SAMPLING) == [None]
    stuck.server = patient
    assert teachers.failures == {"loop": 1}
    assert teachers.write([ask(2)], [{}], SAMPLING)[0] is not None
    teachers.close()


def test_a_server_that_is_gone_is_left_alone_and_taken_back(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_server, "SKIPPED_CALLS", 2)
    teachers = served(server, tmp_path, timeout=60.0)
    wrong: list[Any] = [(503, {}, "{}")]
    server.behaviour.script = lambda number, body: wrong[0] if wrong else None
    three = [ask(0), ask(1), ask(2)]
    assert teachers.write(three, [{}] * 3, SAMPLING) == [None] * 3
    assert server.calls == 3
    for _ in range(2):
        assert teachers.write(three, [{}] * 3, SAMPLING) == [None] * 3
    assert server.calls == 3  # left alone
    assert teachers.write(three, [{}] * 3, SAMPLING) == [None] * 3
    assert server.calls == 4  # one request tried it
    assert teachers.failures == {"http 503": 4, "skipped": 8}
    for _ in range(2):
        teachers.write(three, [{}] * 3, SAMPLING)
    wrong.clear()
    assert None not in teachers.write(three, [{}] * 3, SAMPLING)
    assert None not in teachers.write(three, [{}] * 3, SAMPLING)
    teachers.close()


def test_a_server_that_disappears_mid_run(tmp_path: Path) -> None:
    with OpenAIServer() as running:
        teachers = served(running, tmp_path, timeout=60.0)
        assert teachers.write([ask(0)], [{}], SAMPLING)[0] is not None
    assert teachers.write([ask(1)], [{}], SAMPLING) == [None]
    assert teachers.failures == {"connection": 1}
    teachers.close()


def test_rows_go_to_their_own_teacher(
    student: RolloutSetup, wider: Path, server: OpenAIServer, tmp_path: Path
) -> None:
    api = {"api": {"base_url": server.url, "model": "test"}}
    content = {"route_by": "kind", "teachers": {"far": api, "near": {"model_name_or_path": str(wider)}}}
    teachers = open_teachers(student, write_yaml(tmp_path / "teacher.yaml", content), distributions=False)
    rows = [{"kind": "near"}, {"kind": "far"}, {"kind": "near"}]
    found = teachers.write([ask(0), ask(1), ask(2)], rows, SAMPLING)
    assert [bool(one[0].token_ids) for one in found] == [True, False, True]
    assert server.calls == 1
    with pytest.raises(ValueError, match="'far' is a server"):
        teachers.local("far")
    teachers.close()


# the cache


def test_hints_are_found_again_after_reopening(server: OpenAIServer, tmp_path: Path) -> None:
    teachers = served(server, tmp_path)
    picture = tmp_path / "picture.png"
    Image.new("RGB", (8, 8), (1, 2, 3)).save(picture)
    requests = [ask(0, str(picture)), ask(1)]
    cache = TextCache(tmp_path / "hints", process=0)
    first = teachers.write(requests, [{}, {}], SAMPLING, cache=cache)
    cache.close()
    again = TextCache(tmp_path / "hints", process=1)
    assert teachers.write(requests[::-1], [{}, {}], SAMPLING, cache=again) == first[::-1]
    assert server.calls == 2  # both were found
    server.behaviour.faults, server.behaviour.kinds = 1.0, ("error",)
    assert teachers.write([ask(1), ask(7)], [{}, {}], SAMPLING, cache=again) == [first[1], None]
    again.close()
    kept = [line for file in (tmp_path / "hints").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert len(kept) == 2  # a failure is not kept, and nothing twice
    teachers.close()


def test_a_key_holds_everything_a_text_depends_on(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (8, 8), (1, 2, 3)).save(picture)
    other = tmp_path / "other.png"
    Image.new("RGB", (8, 8), (3, 2, 1)).save(other)
    keys = [
        text_key("m", ask(0, str(picture)), SAMPLING),
        text_key("n", ask(0, str(picture)), SAMPLING),
        text_key("m", ask(1, str(picture)), SAMPLING),
        text_key("m", ask(0, str(picture), key="b"), SAMPLING),
        text_key("m", ask(0, str(other)), SAMPLING),
        text_key("m", ask(0, Image.open(other)), SAMPLING),
        text_key("m", ask(0, Image.new("RGB", (4, 16), (3, 2, 1))), SAMPLING),
        text_key("m", ask(0, {"path": str(other), "bytes": None}), SAMPLING),
        text_key("m", ask(0, other.read_bytes()), SAMPLING),
        text_key(
            "m", ask(0, str(picture)), Sampling(n=1, temperature=0.7, top_p=1.0, top_k=0, max_new_tokens=6, seed=4)
        ),
    ]
    assert len(set(keys)) == len(keys)
    assert text_key("m", ask(0, Image.open(other)), SAMPLING) == keys[5]
    moved = tmp_path / "moved.png"
    os.rename(other, moved)
    assert text_key("m", ask(0, moved.read_bytes()), SAMPLING) == keys[8]


def test_a_kill_costs_at_most_the_line_under_way(tmp_path: Path, run_python: Any) -> None:
    """A process keeps two texts and is killed while it writes the third; the next one goes on behind them."""
    code = (
        "import os, signal; from pathlib import Path\n"
        "from llamafactory_hind.engines.interface import Completion\n"
        "from llamafactory_hind.engines.teachers.cache import TextCache\n"
        f"cache = TextCache(Path({str(tmp_path)!r}), process=0)\n"
        "for key in 'ab': cache.keep(key, [Completion('text of ' + key, (1, 2), -0.5, 'stop')])\n"
        'os.write(cache._journal._log._file.fileno(), b\'{"key": "c", "resu\')\n'
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert run_python("-c", code).returncode == -signal.SIGKILL
    cache = TextCache(tmp_path, process=0)
    assert cache.find("b")
    assert cache.find("a") == [Completion("text of a", (1, 2), -0.5, "stop")]
    assert cache.find("c") is None
    cache.keep("c", [Completion("half a pair \ud83d", (), None, "length", 3)])
    cache.close()
    again = TextCache(tmp_path, process=1)
    assert [bool(again.find(key)) for key in "abc"] == [True] * 3
    assert again.find("c")[0].tokens == 3
