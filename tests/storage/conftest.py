"""A file system with little room."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB and 12 names where one may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    sizes = "size=64k,nr_inodes=12"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", sizes, "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)
