"""Marks what trains."""

from pathlib import Path

import pytest


TRAIN = {"settings", "plain_run"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that take settings for a run, or a run: those of keys and numbers alone stay in `make test-fast`."""
    for item in items:
        if item.path.parent == Path(__file__).parent and TRAIN & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.train)
