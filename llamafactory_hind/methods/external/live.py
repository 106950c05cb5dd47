"""External actions asked of other models while training runs (Vision-EKIPL, arXiv 2506.06856), beside those in the rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...engines.interface import Request, Sampling
from ..conversation import conversation_of, media_of


if TYPE_CHECKING:
    from ...engines.teachers.cache import TextCache
    from ...engines.teachers.plan import TeacherPlan, TeacherSpec
    from ...engines.teachers.pool import TeacherPool
    from ...trainers.rollouts.records import Rollout


class LiveActions:
    """Asks the model of each row for answers to the prompt as the policy sees it.

    A row gets the same actions in every epoch and in a resumed run: they are written once and kept.

    Args:
        teachers: the other models, one a row.
        cache: keeps what they wrote.
        samples: actions a row.
        temperature: of their sampling; 0 is greedy.
        max_new_tokens: length at which an action is cut, and then refused.
        seed: of their sampling.
    """

    def __init__(
        self,
        teachers: "TeacherPool",
        *,
        cache: "TextCache",
        samples: int,
        temperature: float,
        max_new_tokens: int,
        seed: int,
    ) -> None:
        """Ask nothing yet."""
        self.teachers, self.cache = teachers, cache
        self.names = source_names(teachers.plan)
        self.sampling = Sampling(
            n=samples, temperature=temperature, top_p=1.0, top_k=0, max_new_tokens=max_new_tokens, seed=seed
        )

    def entries(self, rollouts: "Sequence[Rollout]") -> list[list[dict[str, Any]]]:
        """Return the actions of each prompt, as entries of the column `external`; none where the model gave no answer."""
        requests = [_request(rollout) for rollout in rollouts]
        columns = [rollout.columns for rollout in rollouts]
        written = self.teachers.write(requests, columns, self.sampling, cache=self.cache)
        return [
            [
                {
                    "source": self.names[self.teachers.route(row)],
                    "text": found.text,
                    "finish_reason": found.finish_reason,
                }
                for found in completions or []
            ]
            for row, completions in zip(columns, written, strict=True)
        ]


def failed(entries: Sequence[Sequence[Any]]) -> torch.Tensor:
    """Return which prompts got no action, (N,) of 0 and 1."""
    return torch.tensor([float(not some) for some in entries], dtype=torch.float64)


def source_names(plan: "TeacherPlan") -> dict[str, str]:
    """Return teacher -> what its actions are called: the model's own name where no other has it, else the teacher's."""
    models = {name: _model_name(spec) for name, spec in plan.teachers.items()}
    taken = list(models.values())
    return {name: model if taken.count(model) == 1 else name for name, model in models.items()}


def _model_name(spec: "TeacherSpec") -> str:
    if spec.server is not None:
        return spec.server.model
    return Path(spec.model_name_or_path).name if spec.model_name_or_path else spec.kind


def _request(rollout: "Rollout") -> Request:
    conversation = conversation_of(rollout.feature)
    return Request(
        conversation["turns"], system=conversation["system"] or None, key=rollout.row_id, **media_of(rollout)
    )
