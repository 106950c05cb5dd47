"""Which metrics share a panel, and what a panel says where something is wrong."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from .reading import RunLog


PANELS = (  # [ours] title -> metrics that are drawn together, in this order
    ("loss", ("loss", "eval_loss")),
    ("losses", ("loss/answer", "loss/reason", "loss/policy", "loss/distill", "loss/itc", "loss/itm", "loss/lm")),
    ("evaluation losses", ("eval_loss/answer", "eval_loss/reason")),
    ("reward", ("reward", "eval_reward")),
    ("spread of rewards", ("reward_std", "zero_variance_share")),
    ("KL and clipping", ("kl", "clip/high", "clip/low")),
    ("entropy", ("entropy",)),
    ("length", ("completion_length", "truncated_share")),
    ("gate", ("gate/pass_rate", "gate/tokens")),
    ("hints", ("hints/triggered", "hints/written", "hints/kept", "hints/hint_failed")),
    ("pair rewards", ("rewards/chosen", "rewards/rejected", "rewards/margins", "accuracy")),
    ("confidence", ("confidence/gap_before", "confidence/gap_now")),
    ("time", ("timing/rollout", "timing/reward", "timing/loss")),
    ("learning rate", ("lr",)),
    ("throughput", ("tokens_per_second", "throughput")),
    ("memory", ("peak_memory_gib",)),
)
WRONG = {  # metric -> value, and what it means where the last point has it
    "zero_variance_share": (1.0, "all completions of every group have the same reward: nothing is learnt"),
    "truncated_share": (1.0, "every completion is cut at max_new_tokens"),
    "gate/pass_rate": (0.0, "the gate opens for no completion"),
}


@dataclass(frozen=True)
class Panel:
    """A panel: its title, its metrics, and remarks about them."""

    title: str
    metrics: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def panels_of(logs: Mapping[str, RunLog]) -> list[Panel]:
    """Return the panels that have a number in any run; metrics without a place of their own get a panel each, by name.

    Args:
        logs: name of the run -> its log.
    """
    there = {name for log in logs.values() for name, series in log.series.items() if series.values}
    placed = [(title, tuple(name for name in names if name in there)) for title, names in PANELS]
    known = {name for _, names in placed for name in names}
    alone = [(name, (name,)) for name in sorted(there - known)]
    return [Panel(title, names, tuple(_remarks(names, logs))) for title, names in [*placed, *alone] if names]


def _remarks(names: Collection[str], logs: Mapping[str, RunLog]) -> Iterator[str]:
    for run, log in logs.items():
        for name in names:
            series, wrong = log.series.get(name), WRONG.get(name)
            if series is not None and wrong is not None and series.values and series.values[-1] == wrong[0]:
                yield f"{run}: {wrong[1]}"
