"""The file of reference log-probs: an own one is read or made anew, any other stays as it is."""

from pathlib import Path

import pytest

from llamafactory_hind.config.problem import ConfigError
from llamafactory_hind.trainers.pairs.reference import ReferenceCache


@pytest.mark.parametrize(
    "content", [b"my notes\n", b'[{"id": 1}]\n', b'{"id": 1}\n', b'{"id": 1, "format": "png"}\n', b"PAR1\x15\xff"]
)
def test_a_file_that_is_no_cache_is_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="ref_logps_cache"):
        ReferenceCache(file, {"model": "m"}, writable=True)
    assert file.read_bytes() == content


def test_a_line_that_a_kill_cut_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "cache.jsonl"
    ReferenceCache(file, {"model": "m"}, writable=True).add([("a", -1.0, -2.0), ("b", -3.0, -4.0)])
    with open(file, "a") as opened:
        opened.write('["c", -1')
    assert ReferenceCache(file, {"model": "m"}, writable=True).values == {"a": (-1.0, -2.0), "b": (-3.0, -4.0)}
    assert ReferenceCache(file, {"model": "other"}, writable=True).values == {}
