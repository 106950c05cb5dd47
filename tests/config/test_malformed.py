"""A thousand malformed command lines: each is refused with our message, or accepted (benchmarks/configurations.py: 10,000)."""

from collections import Counter
from pathlib import Path

import pytest

from shared.mutations import malformed
from shared.outcomes import host_folder, outcome


def test_every_malformed_configuration_is_refused_or_accepted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    host = host_folder()
    ends: Counter[str] = Counter()
    bad = []
    for number, case in enumerate(malformed(11, 1000)):
        ended, why = outcome(case, tmp_path, host)
        ends[ended] += 1
        if ended not in ("accepted", "refused"):
            bad.append(f"{number}: {ended} {case.command} {case.words} {case.content[:300]!r}\n{why}")
    assert not bad, "\n".join(bad[:5])
    assert ends["refused"] > 600
    assert ends["accepted"] > 30


@pytest.mark.parametrize("command", ["train", "synth", "score"])
def test_the_outcome_of_a_fault_is_seen(command: str, tmp_path: Path, monkeypatch) -> None:
    """The control: an error that is none of ours counts as a traceback."""
    from shared import outcomes

    case = next(case for case in malformed(11, 100) if case.command == command)
    monkeypatch.setattr(outcomes, "check", lambda *_: {}[()])
    assert outcome(case, tmp_path, tmp_path)[0] == "traceback"
