"""Which metrics share a panel, and what a panel says where something is wrong."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..speech import tr
from .reading import RunLog


LOSSES = ("answer", "reason", "policy", "distill", "kl", "itc", "itm", "lm")
PANELS = (  # [ours] title -> metrics, or patterns of them, that are drawn together; a metric goes to the first panel that has it
    ("loss", ("loss", "eval_loss")),
    ("losses", tuple(f"loss/{name}" for name in LOSSES)),
    ("evaluation losses", tuple(f"eval_loss/{name}" for name in LOSSES)),
    ("reward", ("reward", "eval_reward", "eval_reward_mean@*")),
    ("pair rewards", ("rewards/chosen", "rewards/rejected", "rewards/margins")),
    ("pair rewards, evaluation", ("eval_rewards/chosen", "eval_rewards/rejected", "eval_rewards/margins")),
    ("accuracy", ("accuracy", "eval_accuracy", "*accuracy/answer", "*rewards/accuracies")),
    ("ranking of good rows", ("eval_auroc", "eval_average_precision", "eval_calibration_error")),
    ("error of the scores", ("mse/*", "eval_mse/*")),
    ("rewards one by one", ("rewards/*",)),
    ("rewards one by one, evaluation", ("eval_rewards/*",)),
    ("spread of rewards", ("reward_std", "advantage_abs", "zero_variance_share")),
    ("KL and clipping", ("kl", "clip/high", "clip/low", "clip/region", "ratio")),
    ("entropy", ("entropy",)),
    ("entropy bonus", ("entropy_coef",)),
    ("length", ("completion_length", "eval_completion_length")),
    ("cut completions", ("truncated_share", "eval_truncated_share")),
    ("gate", ("gate/pass_rate", "gate/prompts_without")),
    ("tokens behind the gate", ("gate/tokens",)),
    ("divergence", ("divergence/*",)),
    ("hints", ("hints/triggered", "hints/written", "hints/injected", "hints/rescued", "hints/kept_share")),
    ("hints that failed", ("hints/hint_failed", "hints/leak", "hints/cut", "hints/wrong", "hints/special_token")),
    ("rewards by source", ("source/*/reward",)),
    ("kept by source", ("source/*/kept", "source/*/offered")),
    ("ratio by source", ("source/*/ratio", "source/*/probability")),
    ("advantage by source", ("source/*/advantage",)),
    ("clipped by source", ("source/*/clip",)),
    ("external actions", ("external/*",)),
    ("order of frames", ("temporal/*",)),
    ("groups drawn again", ("resampled", "resampled/failed")),
    ("confidence", ("confidence/gap_before", "confidence/gap_now")),
    ("confidence, evaluation", ("eval_confidence/gap_before", "eval_confidence/gap_now")),
    ("log-probabilities", ("logps/*", "eval_logps/*")),
    ("seconds a step", ("timing/*",)),
    ("learning rate", ("lr",)),
    ("gradient norm", ("grad_norm",)),
    ("tokens a second", ("tokens_per_second", "throughput")),
    ("memory in GiB", ("peak_memory_gib", "vram_*")),
)
WRONG = {  # metric -> value, and what it means where the last point has it
    "zero_variance_share": (1.0, "all completions of every group have the same reward: nothing is learnt"),
    "truncated_share": (1.0, "every completion is cut at max_new_tokens"),
    "gate/pass_rate": (0.0, "the gate opens for no completion"),
    "external/kept_share": (0.0, "no external action is kept"),
}
HINTS_FAIL = "hints are asked for and none is accepted"


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
    left = sorted({name for log in logs.values() for name, series in log.series.items() if series.values})
    placed = []
    for title, patterns in PANELS:
        names = [name for pattern in patterns for name in left if fnmatchcase(name, pattern)]
        names = list(dict.fromkeys(names))
        left = [name for name in left if name not in names]
        placed.append((title, tuple(names)))
    placed += [(name, (name,)) for name in left]
    return [Panel(title, names, tuple(_remarks(names, logs))) for title, names in placed if names]


def _remarks(names: Collection[str], logs: Mapping[str, RunLog]) -> Iterator[str]:
    for run, log in logs.items():
        for name in names:
            value = log.last(name)
            if name in WRONG and value == WRONG[name][0]:
                yield f"{run}: {tr(WRONG[name][1])}"
        if "hints/triggered" in names and (log.last("hints/triggered") or 0) > 0 and log.last("hints/written") == 0:
            yield f"{run}: {tr(HINTS_FAIL)}"
