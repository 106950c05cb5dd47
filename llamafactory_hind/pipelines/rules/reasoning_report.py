"""What became of generated reasoning: shares that reached the gold answer, by question type, and what refining left; as numbers and drawn."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, Protocol

from ...storage.atomic import write_by
from .refining import Refined


OVERALL = "all"
UNTYPED = "(no type)"


class Judged(Protocol):
    """One text, judged and refined."""

    @property
    def sample(self) -> dict[str, Any]: ...

    @property
    def is_correct(self) -> bool: ...

    @property
    def refined(self) -> Refined: ...

    @property
    def reason(self) -> str | None: ...


def count_reasoning(judged: Sequence[tuple[str | None, Judged]]) -> dict[str, Any]:
    """Return the numbers of the report.

    Args:
        judged: (type of the question, text) of every text that was written.

    Returns:
        `texts`, `correct` and `correct_share` by type and of all, `dropped` by reason, `deleted_sentences` by rule, their share
        of all sentences, `empty_after_refining`, and mean `words` before and after.
    """
    kept = [one for _, one in judged if one.reason is None]
    sentences = sum(one.refined.sentences for one in kept)
    deletions = Counter(deletion.rule for one in kept for deletion in one.refined.deletions)
    groups = dict(_by_type(judged))
    return {
        "texts": {name: len(group) for name, group in groups.items()},
        "correct_share": {name: mean(one.is_correct for one in group) for name, group in groups.items()},
        "dropped": dict(Counter(one.reason for _, one in judged if one.reason is not None).most_common()),
        "sentences": sentences,
        "deleted_sentences": dict(deletions.most_common()),
        "deleted_share": sum(deletions.values()) / max(sentences, 1),
        "empty_after_refining": sum(not one.refined.text for one in kept),
        "words": {
            "written": mean(map(_length, (one.sample["text"] for one in kept))) if kept else 0,
            "refined": mean(map(_length, (one.refined.text for one in kept))) if kept else 0,
        },
    }


def plot_reasoning(report: dict[str, Any], judged: Sequence[tuple[str | None, Judged]], path: Path) -> None:
    """Draw the shares by type, and the lengths before and after refining, into a PNG file."""
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    shares, lengths = figure.subplots(1, 2)
    names, values = list(report["correct_share"]), list(report["correct_share"].values())
    shares.bar_label(shares.bar(names, values, color="#4477aa"), fmt="{:.0%}")
    shares.set(title="Reasoning that reached the gold answer", ylim=(0, 1.1), ylabel="share of texts")
    shares.tick_params(axis="x", rotation=45 if len(names) > 6 else 0)
    kept = [one for _, one in judged if one.reason is None]
    before = [_length(one.sample["text"]) for one in kept]
    after = [_length(one.refined.text) for one in kept]
    lengths.hist([before, after], bins=20, label=["written", "refined"], color=["#bbbbbb", "#4477aa"])
    lengths.set(title="Length", xlabel="words", ylabel="texts")
    lengths.legend()
    write_by(path, lambda file: figure.savefig(file, dpi=120))


def _by_type(judged: Sequence[tuple[str | None, Judged]]) -> Iterator[tuple[str, list[Judged]]]:
    kept = [(kind or UNTYPED, one) for kind, one in judged if one.reason is None]
    for name in sorted({kind for kind, _ in kept}):
        yield name, [one for kind, one in kept if kind == name]
    if kept:
        yield OVERALL, [one for _, one in kept]


def _length(text: str) -> int:
    """Return the number of words; Chinese characters are words."""
    chinese = sum("\u4e00" <= character <= "\u9fff" for character in text)
    return chinese + len(
        "".join(" " if "\u4e00" <= character <= "\u9fff" else character for character in text).split()
    )
