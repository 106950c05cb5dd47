"""Damaged files: the right rows or a named error, no hang and no end of the interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


SCRIPT = Path(__file__).with_name("rows_fuzz.py")
ROOT = SCRIPT.parent.parent.parent


@pytest.mark.slow
def test_damaged_files_end_in_named_errors(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, "0", "3000"], env=environment, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr
    outcomes = json.loads(run.stdout)
    assert sum(count for counts in outcomes.values() for count in counts.values()) == 3000
    # The damage reaches all readers, and does not make everything unreadable.
    assert all(counts.get("whole") for counts in outcomes.values())
    assert all(len(counts) > 1 for counts in outcomes.values())
