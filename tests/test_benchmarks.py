"""The benchmarks keep running: each measures a case of a few tokens here, so that a change of the package cannot break one unseen."""

import importlib
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest


BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NAMES = sorted(path.stem for path in BENCHMARKS.glob("*.py"))

pytestmark = pytest.mark.slow


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(request.param)


@pytest.mark.train  # importing takes no step, but some of them import trainers
@pytest.mark.parametrize("benchmark", NAMES, indirect=True)
def test_can_be_imported(benchmark: ModuleType) -> None:
    assert benchmark.__doc__


@pytest.mark.train
@pytest.mark.parametrize("benchmark", ["kepo"], indirect=True)
def test_kepo_beside_dpo(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    case = benchmark.Case(pairs=2, side=4, text=8, answer=4, vocabulary=64, layers=2)
    monkeypatch.setitem(benchmark.CASES, "tiny", case)
    found = benchmark.measure_time("tiny", 1)
    assert found["ratio"] > 0
    assert found["max_logp_difference"] < 1e-5


@pytest.mark.train
@pytest.mark.parametrize("benchmark", ["reason_sft"], indirect=True)
def test_reason_sft_beside_sft(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same loss and gradients, in rows of other lengths."""
    case = benchmark.Case(pairs=2, side=4, text=8, answer=4, vocabulary=64, layers=2, reason=9)
    monkeypatch.setitem(benchmark.CASES, "tiny", case)
    found = benchmark.measure_time("tiny", 1)
    assert found["ratio"] > 0
    assert found["loss_difference"] < 1e-5
    assert found["max_gradient_difference"] < 1e-5


@pytest.mark.train
@pytest.mark.parametrize("benchmark", ["lskd"], indirect=True)
def test_three_pairs_beside_all(benchmark: ModuleType, small_world: Path) -> None:
    """Shared and apart: the same gradients."""
    loaded = benchmark.build_loaded(str(small_world / "tiny"), 64, 1)
    found = benchmark.measure(loaded, rows=2, side=4, words=5, rounds=1)
    assert found["all"] > 0
    assert found["gradient_difference"] < 1e-5


@pytest.mark.train
@pytest.mark.parametrize("benchmark", ["grpo"], indirect=True)
def test_grpo_beside_trl(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, small_world: Path) -> None:
    monkeypatch.setitem(benchmark.CASES, "tiny", benchmark.Case(side=4, words=5, layers=2, new_tokens=6))
    found = benchmark.measure_time("tiny", 1, small_world)
    assert found["ratio"] > 0
    assert found["ours_generation"] > 0


@pytest.mark.train
@pytest.mark.parametrize("benchmark", ["gpu"], indirect=True)
def test_on_a_gpu_tried_on_the_cpu(
    benchmark: ModuleType, small_world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both sides take real steps over the same tokens; the table is Markdown."""
    found = benchmark.main(["--tiny", "--runs", "1", "--world", str(small_world)])
    for side in ("ours", "trl"):
        assert all(found[side][key] > 0 for key in ("written", "learnt", "seconds", "peak"))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines if "--" not in line] == ["side", "ours", "trl", "vllm"]


@pytest.mark.parametrize("benchmark", ["distill"], indirect=True)
def test_distillation_beside_full_logits(benchmark: ModuleType) -> None:
    sizes = Namespace(tokens=16, vocab=200, hidden=16, teacher_hidden=24, rounds=1, threads=1)
    found = benchmark.compare(sizes, frozen=True)
    assert found["value_difference"] < 1e-5
    assert found["gradient_difference"] < 1e-5


@pytest.mark.parametrize("benchmark", ["video"], indirect=True)
def test_clips_beside_whole_files(benchmark: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "v.mp4"
    benchmark.write_file(file, 4, (64, 48), 0)
    spans = benchmark.draw_spans([(str(file), 4)], 3)
    spans[1] |= {"start": 0.5, "end": 2.1}  # a file of four seconds has no span of three to ten
    assert benchmark.check_exact(spans, 3) == 3
    ours, host = benchmark.measure("ours", "short", spans), benchmark.measure("host", "short", spans)
    assert ours["clips"] == host["clips"] == 1
    assert 0 < ours["frames"] <= host["frames"]


@pytest.mark.parametrize("benchmark", ["rank"], indirect=True)
def test_choices_together_beside_apart(benchmark: ModuleType, small_world: Path) -> None:
    loaded = benchmark.build_loaded(str(small_world / "tiny"), 64, 2)
    found = benchmark.measure(loaded, 3, 4, 1)
    assert found["ratio"] > 0
    assert found["difference"] < 1e-4


@pytest.mark.parametrize("benchmark", ["seeds"], indirect=True)
def test_a_seed_begins_with_an_empty_folder(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A world is built in an empty folder alone, so a seed's log and its YAML files lie beside it."""
    monkeypatch.setattr(benchmark, "WORK", tmp_path / "work")
    file = tmp_path / "mine.py"
    file.write_text("print('ran')")
    assert benchmark.start_seed(str(file), 7) == 0
    benchmark.move_configs(benchmark.folder(7))
    assert not benchmark.folder(7).exists()
    assert benchmark.log_of(str(file), 7).read_text() == "ran\n"
