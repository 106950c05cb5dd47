"""Divergence of the policy from a teacher over the whole vocabulary, at the tokens that the policy wrote.

Generalised Jensen-Shannon divergence of on-policy distillation (GKD, arXiv 2306.13649), for the completions that need it (KEPO,
arXiv 2602.00400: those that pass a gate). Both models see the same completion ids; their prompts may differ.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from llamafactory.extras import logging

from ...engines.local.scoring import CHUNK_TOKENS, base_model, computes_in_half
from ...engines.local.towers import TowerCache
from ...losses.distill import linear_jsd
from ...losses.logprobs import linear_logprobs
from ...losses.reduce import wide_dtype
from ...trainers.rollouts.prompt_inputs import PromptInputs
from ...trainers.rollouts.records import padded
from ...trainers.rollouts.scoring import GroupScorer
from .kept import KeptStates


if TYPE_CHECKING:
    from ...engines.interface import Prompt
    from ...engines.teachers.local import LocalTeacher
    from ...engines.teachers.pool import TeacherPool
    from ...trainers.rollouts.batch import RolloutBatch
    from ...trainers.rollouts.records import Rollout

logger = logging.get_logger("llamafactory.hind.methods.distillation.divergence")
ROUTE = "teacher"  # stream: number of each completion's teacher in `Teachers.names`


@dataclass(frozen=True)
class TeacherStates:
    """What one teacher says about some tokens of a micro-batch.

    Attributes:
        places: (m,) of the tokens among the M of the batch.
        hidden: (m, Ht) states of the teacher that predict them.
        weight: (Vt, Ht) of its head.
        head: what else its head has.
        logps: (m,) its log-probs of the tokens, where asked for.
    """

    places: torch.Tensor
    hidden: torch.Tensor
    weight: torch.Tensor
    head: Mapping[str, Any]
    logps: torch.Tensor | None


class Distillation:
    """A `TokenObjective` whose streams are `divergence` and, where asked for, `teacher_logps`; 0 for tokens that need none.

    Args:
        teachers: opened for distributions.
        rows: (R,) bool, the completions that need the teacher, for example those behind an open gate; no other is computed.
        beta: of `losses.distill.generalized_jsd`.
        temperature: of both distributions of the divergence.
        logps_temperature: of `teacher_logps`; None leaves them out.
        prompts_of: what the teacher is shown in place of each prompt of the batch, with the same media or others, or None
            where it is shown the prompts of the policy.
        share_prefix: of the teacher's pass: `auto`, `on` or `off`.
        states_dtype: of the states that `prepare_step` keeps; None is the teacher's own.
    """

    def __init__(
        self,
        teachers: "TeacherPool",
        *,
        rows: Callable[["RolloutBatch"], torch.Tensor],
        beta: float,
        temperature: float,
        logps_temperature: float | None = None,
        prompts_of: "Callable[[RolloutBatch], Sequence[Prompt] | None]" = lambda batch: None,
        share_prefix: str = "auto",
        states_dtype: torch.dtype | None = None,
    ) -> None:
        """Nothing is computed yet."""
        self.kept = KeptStates(states_dtype)
        self.teachers, self.rows, self.prompts_of = teachers, rows, prompts_of
        self.beta, self.temperature, self.logps_temperature = beta, temperature, logps_temperature
        self._passes = {name: TeacherPass(teachers.local(name), name, share_prefix) for name in teachers.names}

    def streams(self, rollouts: "Sequence[Rollout]") -> dict[str, torch.Tensor]:
        """Return what an annotation must carry, name -> (N, G): the teacher of each row where there are several."""
        if len(self.teachers.names) == 1:
            return {}
        numbers = [self.teachers.names.index(self.teachers.route(rollout.columns)) for rollout in rollouts]
        groups = [[float(number)] * len(rollout.texts) for number, rollout in zip(numbers, rollouts, strict=True)]
        return {ROUTE: padded(groups)}

    def prepare_step(self, batches: "Sequence[RolloutBatch]") -> None:
        """Let each teacher read the completions of all micro-batches, one after the other, while its weights stay where they are.

        `prepare` then takes the states from here, also in later passes over the same completions.
        """
        parts = [(name, part) for batch in batches for name, part, _ in self._parts(batch)]
        for name in self.teachers.names:
            mine = [part for taught, part in parts if taught == name]
            if mine:
                with self._passes[name].teacher.ready():
                    for part in mine:
                        self.kept.keep(name, part, *self._passes[name](part))

    def prepare(self, batch: "RolloutBatch") -> list[TeacherStates]:
        """Let each teacher read the completions that need it; their hidden states live until the policy has been compared."""
        return [self._taught(name, part, places) for name, part, places in self._parts(batch)]

    def _parts(self, batch: "RolloutBatch") -> "Iterator[tuple[str, RolloutBatch, torch.Tensor]]":
        """Yield each teacher with the completions that it teaches, and the places (m,) of their tokens among those of the batch."""
        needed = self.rows(batch).to(batch.mask.device)  # (R,)
        if not needed.any():
            return
        prompts = self.prompts_of(batch)
        shown = batch if prompts is None else replace(batch, prompts=list(prompts))
        if len(shown.prompts) != len(batch.prompts):
            raise ValueError(
                f"prompts_of: got {len(shown.prompts)} prompts, expected one for each of {len(batch.prompts)}."
            )
        routes = batch.streams.get(ROUTE)
        for number, name in enumerate(self.teachers.names):
            mine = needed if routes is None else needed & (routes == number)
            if mine.any():
                places = (mine[:, None] & batch.mask)[batch.mask].nonzero()[:, 0]  # (m,) among (M,)
                yield name, shown.take(mine.nonzero()[:, 0]), places

    def _taught(self, name: str, part: "RolloutBatch", places: torch.Tensor) -> TeacherStates:
        hidden, head = self.kept.find(name, part) or self._passes[name](part)
        logps = None
        if self.logps_temperature is not None:
            targets = part.tokens[part.mask].clamp(max=len(head["weight"]) - 1)
            scaled = {**head, "temperature": head["temperature"] * self.logps_temperature}
            logps = linear_logprobs(hidden[None], targets=targets[None], chunk_tokens=CHUNK_TOKENS, **scaled)[0]
        rest = {name: value for name, value in head.items() if name != "weight"}
        return TeacherStates(places, hidden, head["weight"], rest, logps)

    def compute(
        self, hidden: torch.Tensor, head: Mapping[str, Any], targets: torch.Tensor, prepared: list[TeacherStates]
    ) -> dict[str, torch.Tensor]:
        """Return the streams; see `TokenObjective`."""
        wide = wide_dtype(hidden.dtype)
        # where no token is taught the stream still hangs on the policy, its head as well (DDP waits for every parameter), with a
        # gradient of 0
        anchors = [hidden, *([] if prepared else trained(head))]
        divergence = hidden.new_zeros(len(hidden), dtype=wide) + sum(
            each[:0].sum().to(wide) for each in anchors
        )  # (M,)
        logps = divergence.detach().clone()
        rest = {name: value for name, value in head.items() if name != "weight"}
        for taught in prepared:
            values = linear_jsd(
                hidden[taught.places][None],
                head["weight"],
                taught.hidden[None],
                taught.weight,
                beta=self.beta,
                temperature=self.temperature,
                student_head=rest,
                teacher_head=taught.head,
            )[0]
            divergence = divergence.index_put((taught.places,), values.to(wide))
            if taught.logps is not None:
                logps[taught.places] = taught.logps.to(wide)
        return {"divergence": divergence} | ({} if self.logps_temperature is None else {"teacher_logps": logps})

    def clear(self) -> None:
        """Forget the teachers' inputs for the last prompts, and what they said of them."""
        self.kept.clear()
        for teacher in self._passes.values():
            teacher.clear()


def trained(head: Mapping[str, Any]) -> list[torch.Tensor]:
    """Return the tensors of a head that require a gradient."""
    tensors = [head.get("weight"), head.get("bias"), *(head.get("lora") or ())[:2]]
    return [each for each in tensors if isinstance(each, torch.Tensor) and each.requires_grad]


class TeacherPass:
    """One teacher's pass over completions, its way chosen and proved on the first ones as the policy's is.

    Args:
        teacher: a model in this process.
        name: for messages.
        share_prefix: `auto`, `on` or `off`.
    """

    def __init__(self, teacher: "LocalTeacher", name: str, share_prefix: str) -> None:
        """Nothing is known about the model yet."""
        self.teacher, self.name = teacher, name
        self.inputs = PromptInputs(teacher.loaded)
        self.scorer = GroupScorer(
            teacher.loaded, temperature=1.0, share_prefix=share_prefix, collate_prompts=self.inputs
        )
        # what the student's towers see is remembered by the trainer
        self.media = TowerCache(*([] if teacher.is_base else [teacher.loaded.model]))
        self._mode_selected = False
        self._head: tuple[torch.device, dict[str, Any]] | None = None

    @torch.no_grad()
    def __call__(self, batch: "RolloutBatch") -> tuple[torch.Tensor, dict[str, Any]]:
        """Return hidden states (m, Ht) of the tokens `batch.tokens[batch.mask]` and the head, on the batch's device."""
        device = batch.tokens.device
        with self.teacher.ready() as model, self.media.active():
            there = cast(torch.device, base_model(model).device)
            shown = self._readable(batch, there)
            if not self.scorer.covers(shown):  # the first, a longer one, or another kind of row
                self._select_mode(model, shown)
            hidden, head = self.scorer.hidden(model, shown)
            return hidden.to(device), self._placed(head, device)

    def clear(self) -> None:
        """Forget the last prompts."""
        self.inputs.clear()
        self.media.clear()

    def _readable(self, batch: "RolloutBatch", device: torch.device) -> "RolloutBatch":
        """Return the batch on the teacher's device; ids in the padding of a larger vocabulary stand for nothing in either."""
        pad = self.teacher.loaded.tokenizer.pad_token_id
        tokens = batch.tokens.masked_fill(batch.tokens >= self.teacher.words, pad)
        return replace(
            batch, tokens=tokens.to(device), mask=batch.mask.to(device), owners=batch.owners.to(device), streams={},
            advantages=batch.advantages.to(device),
        )  # fmt: skip

    def _select_mode(self, model: torch.nn.Module, batch: "RolloutBatch") -> None:
        before = self.scorer.mode if self._mode_selected else None
        reason = self.scorer.select_mode(model, batch, half=computes_in_half(model))
        if not self.scorer.chunked:
            raise ValueError(
                f"teacher {self.name!r}: the output head of {type(base_model(model)).__name__} turns hidden states into logits in "
                "a way that is not known here, so no divergence can be computed. Leave its head out of quantisation, or take "
                "another teacher."
            )
        if self.scorer.mode != before:
            self.scorer.log_mode(reason)
        self._mode_selected = True

    def _placed(self, head: dict[str, Any], device: torch.device) -> dict[str, Any]:
        """Return the head where the policy's is; the copy of one on another device is kept, for it never changes."""
        weight = head["weight"].detach()  # outlives an offloaded teacher
        if weight.device == device:
            return {**head, "weight": weight, "lora": _detached(head["lora"])}
        if self._head is None or self._head[0] != device:
            lora = head["lora"]
            moved = None if lora is None else (lora[0].detach().to(device), lora[1].detach().to(device), lora[2])
            bias = None if head["bias"] is None else head["bias"].detach().to(device)
            self._head = (device, {**head, "weight": weight.to(device), "bias": bias, "lora": moved})
        return self._head[1]


def _detached(
    lora: tuple[torch.Tensor, torch.Tensor, float] | None,
) -> tuple[torch.Tensor, torch.Tensor, float] | None:
    return None if lora is None else (lora[0].detach(), lora[1].detach(), lora[2])
