"""Stages of the host, with our package and without: the same elements, the same YAML, byte for byte."""

import subprocess
import sys
from pathlib import Path

import pytest


pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_the_board_of_the_host_is_left_alone(root: Path) -> None:
    run = subprocess.run([sys.executable, str(root / "tests" / "hosts" / "board.py")], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "6 stages as without us" in run.stdout
