"""Checks over the keys a user gave, before anything is parsed or loaded. They find all problems, not the first."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from .keys.host import host_keys, unclassified
from .packages import missing_packages
from .places import place_problems
from .problem import ConfigError, Problem, Words, shorten
from .registry import CHECKS, DATA_ARGUMENTS, FINETUNING_ARGUMENTS, ROWS, SHARED, STAGES, UNBOUNDED
from .sharding import sharding_problems
from .types import describe, fits, nearest


NOT_EXACT = (
    "save_only_model: checkpoints hold weights alone, no optimizer, random numbers or rollouts: a stopped run cannot go on "
    "exactly from them."
)
MOST_COMPARED = 50  # unknown keys that are compared with all known ones; each takes a hundredth of a second


def check_train(
    given: Mapping[str, Any],
    *,
    known: Collection[str],
    host_stages: Collection[str],
    allow_extra_keys: bool = False,
    use_mca: bool = False,
    environ: Mapping[str, str] | None = None,
) -> list[str]:
    """Check the keys given to `llamafactory-cli train`, for our stages and the host's; return warnings.

    Args:
        given: key -> value as the user gave them.
        known: every key that the host's parser takes, ours among them.
        host_stages: the stages the host runs itself.
        allow_extra_keys: the host's ALLOW_EXTRA_ARGS: unknown keys are warnings.
        use_mca: the host's USE_MCA: training with Megatron Core.
        environ: the environment, in which launchers ask for their ways to split a model.

    Raises:
        ConfigError: with every problem found.
    """
    problems = list(wrong_keys(given))
    given = {key: value for key, value in given.items() if isinstance(key, str)}
    stage = given.get("stage", "sft")
    if not isinstance(stage, str):
        given["stage"] = stage = Words(shorten(stage))  # no stage has such a name
    unknown = list(unknown_keys(given, stage, known))
    foreign = list(foreign_keys(given, stage, host_stages))
    wrong = [problem for problem in wrong_values(given) if problem.key not in {other.key for other in foreign}]
    named = {problem.key for problem in wrong}
    problems += [*unknown_stage(stage, [*host_stages, *STAGES]), *foreign, *wrong]
    if stage in STAGES:
        usable = {key: value for key, value in given.items() if key not in named}
        found = [
            *CHECKS[stage](defaults() | usable),
            *host_keys(usable, stage, ROWS[stage]),
            *place_problems(usable),
            *sharding_problems(usable, environ or {}, ROWS[stage]),
            *inexact_resume(usable),
        ]
        problems += [problem for problem in found if problem.key not in named]
        named |= {problem.key for problem in problems}  # what is refused needs no package
        problems += [problem for problem in missing_packages(usable) if problem.key not in named]
        if use_mca:
            problems.append(Problem("USE_MCA", "1", f"it unset with `stage: {stage}`", "Megatron Core is the host's."))
    if not allow_extra_keys:
        problems = unknown + problems
    if problems:
        raise ConfigError(problems)
    warnings = [f"ALLOW_EXTRA_ARGS is set, so this key is ignored: {problem}" for problem in unknown]
    if stage in STAGES:
        warnings += [NOT_EXACT] if given.get("save_only_model") and given.get("save_strategy") != "no" else []
        ours = defaults()
        host_given = [key for key in given if key in known and key not in ours]
        warnings += [
            f"{key}: this key of LLaMA-Factory is newer than `stage: {stage}`, which may ignore it."
            for key in unclassified(host_given, ROWS[stage])
        ]
    return warnings


def inexact_resume(given: Mapping[str, Any]) -> Iterator[Problem]:
    """Find a run that is to go on from checkpoints that cannot be gone on from."""
    checkpoint = given.get("resume_from_checkpoint")
    if given.get("save_only_model") and checkpoint and checkpoint is not False:
        remedy = "Such checkpoints are weights alone: start a new run from them by `model_name_or_path`."
        yield Problem("resume_from_checkpoint", checkpoint, "unset with `save_only_model`", remedy)


def wrong_keys(given: Mapping[Any, Any]) -> Iterator[Problem]:
    """Find keys that are no text: YAML reads `1:`, `on:` and `null:` as a number, as true and as nothing."""
    for key in given:
        if not isinstance(key, str):
            yield Problem(shorten(key), type(key).__name__, "a key that is text", "Put it in quotes, or remove it.")


def stages_of_keys() -> dict[str, set[str]]:
    """Return our stage keys -> the stages that take them."""
    own = {entry.name: {stage} for stage, owner in STAGES.items() for entry in fields(owner)}
    shared = {entry.name: stages for owner, stages in SHARED.items() for entry in fields(owner)}
    return own | shared


def defaults() -> dict[str, Any]:
    """Return our keys -> their defaults."""
    return {entry.name: entry.default for owner in (*FINETUNING_ARGUMENTS, *DATA_ARGUMENTS) for entry in fields(owner)}


def unknown_keys(given: Mapping[str, Any], stage: str, known: Collection[str]) -> Iterator[Problem]:
    """Find the keys that nobody reads, each with the nearest key that somebody does."""
    preferred = {key for key, stages in stages_of_keys().items() if stage in stages}
    for number, (key, value) in enumerate((key, value) for key, value in given.items() if key not in known):
        near = nearest(key, known, preferred) if number < MOST_COMPARED else None
        remedy = (
            f"The nearest key is `{near}`."
            if near
            else "No known key is similar; `llamafactory-cli train -h` lists all."
        )
        yield Problem(key, value, "a known key", remedy)


def unknown_stage(stage: object, stages: Collection[str]) -> Iterator[Problem]:
    """Find a stage that nobody runs."""
    if stage not in stages:
        near = nearest(str(stage), stages)
        yield Problem(
            "stage", stage, "one of " + ", ".join(stages), f"The nearest stage is `{near}`." if near else "Choose one."
        )


def foreign_keys(given: Mapping[str, Any], stage: str, host_stages: Collection[str]) -> Iterator[Problem]:
    """Find our keys of other stages; they would be ignored."""
    if stage not in STAGES and stage not in host_stages:
        return  # the stage itself is the problem
    for key, stages in stages_of_keys().items():
        if key in given and stage not in stages:
            takes = " or ".join(f"`stage: {name}`" for name in sorted(stages))
            yield Problem(key, given[key], takes, f"`stage: {stage}` does not read it; remove it or change the stage.")


def wrong_values(given: Mapping[str, Any]) -> Iterator[Problem]:
    """Find values of our keys that have another type than declared, or are not among the choices."""
    for owner in (*FINETUNING_ARGUMENTS, *DATA_ARGUMENTS):
        types = get_type_hints(owner)
        for entry in fields(owner):
            if entry.name in given and not fits(given[entry.name], types[entry.name]):
                if entry.name in UNBOUNDED and given[entry.name] in (math.inf, -math.inf):
                    continue
                expected = " or ".join(describe(types[entry.name]))
                expected += ", or -.inf" if entry.name in UNBOUNDED else ""
                yield Problem(entry.name, given[entry.name], expected, f"The default is {entry.default!r}.")
