"""Shared by all tests: no network, one thread, the small world, and the host's command line as a user calls it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


os.environ.setdefault("OMP_NUM_THREADS", "1")
for switch in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "WANDB_DISABLED"):
    os.environ.setdefault(switch, "1")

ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail any connection that leaves this machine."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address):
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"A test tried to reach {address}; tests run without a network.")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(autouse=True)
def training_is_marked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that takes an optimiser step without the marker `train`: `make test-fast` would train."""
    if "torch" not in sys.modules or request.node.get_closest_marker("train"):
        yield
        return
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    def refuse(*_: object) -> None:
        raise AssertionError("A test that trains a model needs the marker `train`.")

    hook = register_optimizer_step_pre_hook(refuse)
    yield
    hook.remove()


SECONDS = {"slow": 15.0, "train": 4.0}  # of a test with this marker, roughly; of any other, a tenth of one
IN_A_SLOW_FILE = 2.0  # of a test whose whole file is marked as slow


def seconds_of(item: pytest.Item) -> float:
    if not any(marker.name in SECONDS for marker in item.own_markers) and item.get_closest_marker("slow"):
        return IN_A_SLOW_FILE
    return max([SECONDS[marker.name] for marker in item.iter_markers() if marker.name in SECONDS], default=0.1)


@pytest.hookimpl(trylast=True)  # once all are marked, and those not asked for are gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first: one that begins last would keep one worker busy when the others are done."""
    files: dict[Path, float] = {}
    for item in items:
        files[item.path] = files.get(item.path, 0.0) + seconds_of(item)
    items.sort(key=lambda item: -files[item.path])
    skip_without_gpu(items)


def skip_without_gpu(items: list[pytest.Item]) -> None:
    """Skip the gpu tests where there is no device; torch is imported only if there are any."""
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def run_python():
    """Run Python with code or a module in a fresh process, as any user's process starts; return the finished process."""

    def run(*args: str, env: dict[str, str] | None = None, cwd: Path | str = "/", timeout: float = 300):
        return subprocess.run(
            [sys.executable, *args],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def host_cli():
    """Run the host's own `llamafactory-cli`, unmodified, in a fresh process; return the finished process."""
    programs = Path(
        sys.executable
    ).parent  # where the host looks for torchrun through PATH, as in an activated environment

    def run(*args: str, env: dict[str, str] | None = None, cwd: Path | str = "/", timeout: float = 600):
        return subprocess.run(
            [str(programs / "llamafactory-cli"), *args],
            env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **(env or {})},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def build_small_world(folder: Path) -> None:
    from llamafactory_hind.toyworld.build import build

    build(folder, seed=0, size="small")


@pytest.fixture(scope="session")
def small_world() -> Iterator[Path]:
    """The offline world of size `small`: scenes, clips, rows, an untrained tiny Qwen2.5-VL in `tiny/`; to be read only."""
    from shared.store import contents, kept

    world = kept("world", build_small_world)
    before = contents(world)
    yield world
    assert contents(world) == before, f"a test wrote into {world}, which all tests share: delete it, mend the test"


@pytest.fixture
def pair_setup(small_world: Path):
    """Builder of `shared.pairs.PairSetup`s over the small world."""
    from shared.pairs import PairSetup

    return lambda **options: PairSetup(small_world, **options)
