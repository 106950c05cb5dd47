"""Our stages and their keys: the one place to enter a new stage's dataclass, checks and menu label."""

from .keys.external_ratio import ExternalRatioArguments
from .keys.online import OnlineArguments
from .keys.rows import RowArguments
from .keys.share_prefix import SharedArguments
from .stages.external_grpo import ExternalGrpoArguments, external_grpo_problems
from .stages.gated_distill import GatedDistillArguments, gated_distill_problems
from .stages.grpo import GrpoArguments, grpo_problems
from .stages.kepo import KepoArguments, kepo_problems


STAGES: dict[str, type] = {
    "kepo": KepoArguments,
    "grpo": GrpoArguments,
    "external_grpo": ExternalGrpoArguments,
    "gated_distill": GatedDistillArguments,
}
PAIR_STAGES = {"kepo"}  # stages that read ranking datasets
LABELS = {
    "kepo": "KEPO (HinD: Knowledge Encouragement)",  # two papers call their method KEPO: say whose it is
    "grpo": "GRPO",
    "external_grpo": "GRPO with external actions (Vision-EKIPL)",
    "gated_distill": "Gated distillation with hints (KEPO: Knowledge-Enhanced)",
}
CHECKS = {
    "kepo": kepo_problems,
    "grpo": grpo_problems,
    "external_grpo": external_grpo_problems,
    "gated_distill": gated_distill_problems,
}
SHARED: dict[type, set[str]] = {  # keys of several stages -> the stages that take them
    SharedArguments: {"kepo", "grpo", "external_grpo", "gated_distill"},
    OnlineArguments: {"grpo", "external_grpo", "gated_distill"},
    ExternalRatioArguments: {"external_grpo", "gated_distill"},
}

FINETUNING_ARGUMENTS = (*STAGES.values(), *SHARED)  # become fields of the host's FinetuningArguments
DATA_ARGUMENTS = (RowArguments,)  # become fields of the host's DataArguments
UNBOUNDED = {"gate_threshold"}  # keys whose number may be infinite
