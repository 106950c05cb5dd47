"""What the key `teacher` says, read and refused before anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from teacher_setup import write_yaml

from llamafactory_hind.engines.teachers.plan import TeacherSpec, check_rows, read_teacher_plan


SERVER = {"base_url": "http://localhost:8000/v1", "model": "big"}
SECRET = "sk-verysecretvalue123"


def read(tmp_path: Path, content: Any) -> Any:
    return read_teacher_plan(write_yaml(tmp_path / "teacher.yaml", content))


def test_a_word_is_the_base_or_a_model() -> None:
    assert read_teacher_plan("base").teachers == {"default": TeacherSpec("base")}
    assert read_teacher_plan("Qwen/Qwen2.5-VL-32B").teachers == {
        "default": TeacherSpec("local", "Qwen/Qwen2.5-VL-32B")
    }
    for wrong in ("", "  ", None, 3):
        with pytest.raises(ValueError, match="expected `base`, a model folder or name, or a"):
            read_teacher_plan(wrong)


def test_a_file_describes_one_local_teacher(tmp_path: Path) -> None:
    content = {
        "model_name_or_path": "big", "adapter_name_or_path": "lora", "infer_dtype": "bfloat16", "template": "qwen2_vl",
        "device": "cuda:1", "offload": True,
    }  # fmt: skip
    spec = read(tmp_path, content).teachers["default"]
    assert (spec.kind, spec.model_name_or_path, spec.device, spec.offload) == ("local", "big", "cuda:1", True)
    assert spec.settings == {"adapter_name_or_path": "lora", "infer_dtype": "bfloat16", "template": "qwen2_vl"}
    assert read(tmp_path, {"model_name_or_path": "big", "device": "auto"}).teachers["default"].device is None
    assert read(tmp_path, {"model_name_or_path": "base"}).teachers["default"] == TeacherSpec("base")


def test_a_file_describes_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", SECRET)
    api = {**SERVER, "api_key_env": "TEACHER_KEY", "timeout": 9, "extra_body": {"min_p": 0.1}}
    server = read(tmp_path, {"api": api}).teachers["default"].server
    assert server.base_urls == ("http://localhost:8000/v1",)
    assert (server.model, server.api_key_env, server.timeout, server.extra_body) == (
        "big",
        "TEACHER_KEY",
        9,
        {"min_p": 0.1},
    )
    assert (server.concurrency, server.max_retries, server.deadline) == (16, 3, 300.0)
    assert SECRET not in repr(server)
    two = read(tmp_path, {"api": {"base_urls": ["http://a:1/v1", "http://b:1/v1"], "model": "big"}})
    assert two.teachers["default"].server.base_urls == ("http://a:1/v1", "http://b:1/v1")


def test_rows_are_routed_by_a_column(tmp_path: Path) -> None:
    plan = read(tmp_path, {"route_by": "modality", "teachers": {"MRI": "big", 3: {"api": SERVER}, "default": "base"}})
    assert {name: spec.kind for name, spec in plan.teachers.items()} == {"MRI": "local", "3": "api", "default": "base"}
    assert [plan.route(row) for row in ({"modality": "MRI"}, {"modality": 3}, {"modality": "CT"}, {})] == [
        *("MRI", "3", "default", "default"),
    ]  # fmt: skip
    assert read_teacher_plan("base").route({"modality": "CT"}) == "default"


def test_rows_without_a_teacher_are_listed_with_file_and_row(tmp_path: Path) -> None:
    plan = read(tmp_path, {"route_by": "modality", "teachers": {"MRI": "big", True: "other"}})
    rows = [{"modality": "MRI"}, {"modality": "CT"}, {}, {"modality": True}]
    columns = {"place": [f"rows.json, row {n}" for n in range(4)], "columns": [json.dumps(row) for row in rows]}
    with pytest.raises(ValueError) as raised:
        check_rows(plan, Dataset.from_dict(columns))
    message = str(raised.value)
    assert message.startswith("Rows without a teacher, 2 in all:")
    assert (
        "rows.json, row 1, field `modality`: got 'CT', expected one of MRI, true; add this teacher or `default`"
        in message
    )
    assert "row 2, field `modality`: got None" in message
    good = Dataset.from_dict({name: [values[0], values[3]] for name, values in columns.items()})
    assert check_rows(plan, good) == {"MRI": 1, "true": 1}


def test_a_server_gives_no_distributions(tmp_path: Path) -> None:
    plan = read(tmp_path, {"route_by": "kind", "teachers": {"a": {"api": SERVER}, "default": "base"}})
    plan.require(texts=True, images=True, videos=True)
    with pytest.raises(ValueError) as raised:
        plan.require(texts=True, distributions=True)
    message = str(raised.value)
    assert "teacher 'a' (big) is an `api`, which gives text only" in message
    assert "needs a local teacher (`model_name_or_path`) or `base`" in message
    assert "Set `distill_weight: 0` to use it for hints alone" in message
    assert "default" not in message
    read_teacher_plan("base").require(texts=True, distributions=True, images=True, videos=True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"model_name_or_pth": "big"}, ["model_name_or_pth: unknown key; did you mean `model_name_or_path`?",
                                        "model_name_or_path: got None"]),
        ({"model_name_or_path": "big", "quantisation_bit": 4}, ["did you mean `quantization_bit`?"]),
        ({"model_name_or_path": "big", "quantization_bit": 4, "offload": True}, ["offload: got true with quantization_bit"]),
        ({"model_name_or_path": "big", "offload": "yes"}, ["offload: got 'yes', expected true or false"]),
        ({"model_name_or_path": "base", "infer_dtype": "float16"}, ["takes no other keys"]),
        ({"api": SERVER, "template": "qwen2_vl"}, ["api: expected to stand alone, got template"]),
        ({"api": {"base_url": "localhost"}}, ["api.base_urls: got 'localhost', expected http://", "api.model: got None"]),
        ({"api": {**SERVER, "timeout": 0, "concurency": 3}}, ["api.timeout: got 0", "did you mean `concurrency`?"]),
        ({"api": {**SERVER, "max_retries": 1.5}}, ["api.max_retries: got 1.5, expected a whole number"]),
        ({"api": {**SERVER, "extra_body": {"seed": 1}}}, ["extra_body: got seed, which the engine sets itself"]),
        ({"api": {**SERVER, "api_key_env": "NOT_SET_ANYWHERE"}}, ["NOT_SET_ANYWHERE is not set or empty"]),
        ({"api": 3}, ["api: got int, expected base_url and model"]),
        ({"route_by": "kind"}, ["teachers: expected a mapping"]),
        ({"teachers": {"a": "big"}}, ["route_by: got None, expected the name of a row column"]),
        ({"route_by": "kind", "teachers": {"a": "other.yaml", "b": {"device": 3, "model_name_or_path": "x"}}},
         ["teachers.a: got str", "teachers.b.device: got 3"]),
        ({"route_bye": "kind", "model_name_or_path": "big"}, ["did you mean `route_by`?"]),
        ([1], ["got list, expected keys"]),
    ],
)  # fmt: skip
def test_everything_wrong_is_told_at_once(tmp_path: Path, content: Any, expected: list[str]) -> None:
    path = tmp_path / "teacher.yaml"
    path.write_text(json.dumps(content))  # JSON is YAML
    with pytest.raises(ValueError, match="yaml is wrong") as raised:
        read_teacher_plan(str(path))
    for part in expected:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    "api",
    [
        {**SERVER, "api_key": SECRET},
        {**SERVER, "extra_body": {"api_key": SECRET}},
        {**SERVER, "api_key_env": SECRET},
        {**SERVER, "Authorization": SECRET},
        {**SERVER, "apikey": SECRET},
    ],
)
def test_an_api_key_is_refused_and_never_shown(tmp_path: Path, api: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as raised:
        read(tmp_path, {"api": api})
    assert SECRET not in str(raised.value)
    assert "api_key_env" in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none.yaml cannot be read \(No such file or directory\)"):
        read_teacher_plan(str(tmp_path / "none.yaml"))
    broken = tmp_path / "broken.yml"
    broken.write_text(f"api:\n  api_key: [{SECRET}\n")
    with pytest.raises(ValueError, match="is no YAML") as raised:
        read_teacher_plan(str(broken))
    assert SECRET not in str(raised.value)
    assert raised.value.__suppress_context__
