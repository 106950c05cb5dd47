"""Shared by all tests: no network, one thread, and the host's command line as a user calls it."""

import os
import socket
import subprocess
import sys
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
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


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The offline world of size `small`: scenes, clips, rows, an untrained tiny Qwen2.5-VL in `tiny/`."""
    from llamafactory_hind.toyworld.build import build

    out = tmp_path_factory.mktemp("world")
    build(out, seed=0, size="small")
    return out


@pytest.fixture
def pair_setup(small_world: Path):
    """Builder of `shared.pairs.PairSetup`s over the small world."""
    from shared.pairs import PairSetup

    return lambda **options: PairSetup(small_world, **options)
