"""One field for every key of our stages, made from the dataclasses of `config`, and for keys of the host that they need."""

import types
from collections.abc import Collection
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..config.checks import stages_of_keys
from ..config.keys.rows import RowArguments
from ..config.registry import FINETUNING_ARGUMENTS, ROWS, STAGES


PREFIX = "hind_"  # of names among the host's elements, which has a `temperature` of its own
BASIC = (  # [ours] keys that are shown before the others, in this order
    "reward_funcs",
    "reward_weights",
    "num_generations",
    "max_new_tokens",
    "rollout_temperature",
    "kl_beta",
    "teacher",
    "gate_reward",
    "gate_threshold",
    "hint_samples",
    "external_selection",
    "external_teacher",
    "kepo_beta",
    "kepo_loss",
    "reason_weight",
    "evaluate_answers",
    "media_dir",
    "eval_dataset",
    "max_steps",
    "skip_bad_rows",
)


GROUPS = {  # [ours] group -> beginnings of the keys in it, in the order of the page; what fits none is of rollouts
    "rewards": ("reward_", "overlong_", "group_reward_", "temporal_", "advantage_"),
    "rollouts": (),
    "teacher": ("teacher", "gate_", "distill_", "rl_weight", "step_weighting"),
    "hints": ("hint",),
    "external": ("external_",),
    "pairs": ("kepo_", "ref_logps"),
    "texts": ("reason_", "evaluate_", "critic_", "itc_", "itm_", "lm_", "label_smoothing"),
    "data": (
        *("media_", "eval_dataset", "skip_", "control_", "video_", "curriculum_", "seed", "save_", "max_steps"),
        "ref_model",
    ),
}


@dataclass(frozen=True)
class Field:
    """A key as a form shows it.

    Attributes:
        key: as in YAML.
        kind: `choice`, `flag`, `whole`, `number`, `list`, `numbers` or `text`.
        choices: of `choice`.
        default: an untouched field has it, and an untouched field is not written.
        nullable: null is a value of its own.
        help: one or two sentences.
        stages: that take the key.
    """

    key: str
    kind: str
    default: Any
    help: str
    stages: frozenset[str]
    choices: tuple[str, ...] = ()
    nullable: bool = False

    @property
    def name(self) -> str:
        """Its name among the host's elements."""
        return PREFIX + self.key

    @property
    def group(self) -> str:
        """The name of the group that it stands in."""
        return next((name for name, beginnings in GROUPS.items() if self.key.startswith(beginnings)), "rollouts")

    @property
    def basic(self) -> bool:
        """Whether it is shown before the others."""
        return self.key in BASIC


@cache
def board_fields() -> tuple[Field, ...]:
    """Return all fields: the basic ones first, in their order, then the others in the order of the dataclasses."""
    stages = stages_of_keys()
    found = [
        _field(entry.name, get_type_hints(owner)[entry.name], entry.default, entry.metadata["help"], stages)
        for owner in (*FINETUNING_ARGUMENTS, RowArguments)
        for entry in dataclass_fields(owner)
    ]
    found += HOST_FIELDS
    return tuple(sorted(found, key=lambda field: BASIC.index(field.key) if field.basic else len(BASIC)))


def fields_of(stage: str) -> list[Field]:
    """Return the fields of a stage; none for a stage of the host."""
    return [field for field in board_fields() if stage in field.stages]


def _field(key: str, declared: Any, default: Any, text: str, stages: dict[str, set[str]]) -> Field:
    nullable, kind, choices = kind_of(declared)
    return Field(key, kind, default, text, frozenset(stages.get(key, STAGES)), choices, nullable)


def kind_of(declared: Any) -> tuple[bool, str, tuple[str, ...]]:
    """Return whether null is allowed, the kind, and the choices."""
    nullable = False
    if get_origin(declared) in (Union, types.UnionType):
        options = [option for option in get_args(declared) if option is not type(None)]
        nullable = len(options) < len(get_args(declared))
        if len(options) > 1:
            return nullable, "text", ()
        declared = options[0]
    if get_origin(declared) is Literal:
        return nullable, "choice", tuple(str(choice) for choice in get_args(declared))
    if get_origin(declared) is list:
        return nullable, "list" if get_args(declared)[0] is str else "numbers", ()
    return nullable, {bool: "flag", int: "whole", float: "number"}.get(declared, "text"), ()


def _host_field(key: str, kind: str, text: str, rows: Collection[str] | None = None) -> Field:
    stages = frozenset(stage for stage, read in ROWS.items() if rows is None or read in rows)
    return Field(key, kind, None, text, stages, nullable=True)


HOST_FIELDS = (
    _host_field("media_dir", "text", "Folder of images, videos and audios; empty is the dataset folder."),
    _host_field("eval_dataset", "list", "Datasets to evaluate on; empty is none."),
    _host_field("max_steps", "whole", "Optimiser steps; empty trains for the epochs above."),
    _host_field(
        "max_new_tokens", "whole", "Length at which a completion is cut; empty is 1024.", ["prompts", "multitask"]
    ),
    _host_field(
        "ref_model", "text", "Model that the policy is held to; empty is the model as loaded.", ["pairs", "prompts"]
    ),
    _host_field("video_fps", "number", "Frames a second that are sampled from videos; empty is 2."),
    _host_field("video_maxlen", "whole", "Frames of a video at most; empty is 128."),
    _host_field("save_total_limit", "whole", "Checkpoints that are kept; empty keeps all."),
    _host_field("seed", "whole", "Seed of all random numbers; empty is 42."),
)
