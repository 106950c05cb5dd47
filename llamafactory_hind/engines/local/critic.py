"""A critic: any (vision-)language model the host loads, its last hidden states pooled, and three small heads on top.

LSKD (arXiv 2312.04837) puts the heads on a Q-Former's outputs; on a language model the pooling is ours [ours].
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ...storage.atomic import write_by
from ..interface import Prompt, Request
from .encoding import collate, encode
from .scoring import base_model, head_replaced, output_head


if TYPE_CHECKING:
    from .weights import LoadedModel

FILE = "critic_heads.safetensors"  # beside the weights of the model or of its adapter
POOLINGS = ("last", "mean")


class CriticOutput(NamedTuple):
    """What a critic says of N texts: `accept` (N, 2) logits, rejected first; `qa` and `rationale` (N,) scores. All float32."""

    accept: torch.Tensor
    qa: torch.Tensor
    rationale: torch.Tensor


class CriticHeads(nn.Module):
    """The three heads of LSKD's critic: a linear layer for acceptance, Linear-ReLU-Linear(1) for each score.

    Args:
        width: of the hidden states.
        pooling: how they become one vector a text, of `POOLINGS`.
    """

    def __init__(self, width: int, *, pooling: str) -> None:
        """Draw the weights as torch does."""
        super().__init__()
        self.width, self.pooling = width, pooling
        self.accept = nn.Linear(width, 2)
        self.qa = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.rationale = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, pooled: torch.Tensor) -> CriticOutput:
        """Score pooled states (N, H)."""
        pooled = pooled.to(self.accept.weight.dtype)
        scores = (self.qa(pooled).squeeze(-1), self.rationale(pooled).squeeze(-1))
        return CriticOutput(self.accept(pooled).float(), *(score.float() for score in scores))

    def save(self, folder: "str | Path", *, state: Mapping[str, torch.Tensor] | None = None) -> None:
        """Write the heads into a folder; `state` in place of their own weights."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in (state or self.state_dict()).items()}
        about = {"width": str(self.width), "pooling": self.pooling}
        metadata = {"format": "pt", "critic": json.dumps(about)}
        write_by(Path(folder) / FILE, lambda file: save_file(tensors, file, metadata=metadata))

    @classmethod
    def load(cls, folder: "str | Path") -> "CriticHeads":
        """Read the heads that `save` wrote.

        Raises:
            ValueError: there are none.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise ValueError(
                f"critic: got {folder} without {FILE}, expected the output folder of `stage: critic`. Train one."
            )
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["critic"])
        heads = cls(int(about["width"]), pooling=about["pooling"])
        heads.load_state_dict(load_file(path))
        return heads


class Critic(nn.Module):
    """A model with heads, as one module: what wraps it for several processes sees all weights that are trained.

    Args:
        body: as the host loads it; PEFT included.
        heads: on its last hidden states.
    """

    def __init__(self, body: nn.Module, heads: CriticHeads) -> None:
        """Put both together."""
        super().__init__()
        self.body, self.heads = body, heads

    @property
    def config(self) -> Any:
        """That of the model; the Trainer and DeepSpeed read it."""
        return self.body.config

    @property
    def generation_config(self) -> Any:
        """That of the model."""
        return getattr(self.body, "generation_config", None)

    @property
    def _no_split_modules(self) -> Any:
        """The blocks that FSDP2 splits apart."""
        return getattr(self.body, "_no_split_modules", None)

    def get_base_model(self) -> nn.Module:
        """Return the transformers model inside, as a model with an adapter does."""
        return base_model(self.body)

    def forward(self, **inputs: Any) -> CriticOutput:
        """Score the N texts of a batch as the host's collator makes it, without `labels`."""
        return self.heads(pooled_states(self.body, inputs, pooling=self.heads.pooling))


def pooled_states(model: nn.Module, inputs: Mapping[str, Any], *, pooling: str) -> torch.Tensor:
    """Return one vector a text, (N, H), of the hidden states that the output head would see; no logits are computed.

    Args:
        model: a causal language model.
        inputs: with `attention_mask` (N, T), padded on either side.
        pooling: `last` (of the last token, which has seen all others) or `mean` (over all tokens).
    """
    mask = inputs["attention_mask"].bool()  # (N, T)
    found: list[torch.Tensor] = []

    def compute(hidden: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        found.append(_pool(hidden, mask, pooling))
        return hidden[..., :1]  # stands where logits stood

    with head_replaced(model, compute):
        model(**inputs, use_cache=False, return_dict=True)
    return found[0]


def _pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    if pooling == "last":
        places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
        last = torch.where(mask, places, -1).max(1).values  # (N,)
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    weights = mask.unsqueeze(-1)
    summed = torch.where(weights, hidden.float(), 0.0).sum(1)
    return summed / weights.sum(1)


def hidden_width(model: nn.Module) -> int:
    """Return the width H of the states that the output head sees."""
    head = output_head(model)
    base = getattr(head, "base_layer", head)
    return int(getattr(base, "in_features", 0) or base.weight.shape[1])


@dataclass(frozen=True)
class CriticScore:
    """What a critic says of one text.

    Attributes:
        accept: probability that the majority of raters accepts it, softmax of the first head.
        qa: score of question and answer.
        rationale: score of the rationale.
    """

    accept: float
    qa: float
    rationale: float


class CriticScorer:
    """Scores texts with a trained critic, in batches.

    Args:
        loaded: model, tokenizer, processor and template.
        heads: of the critic.
        batch_size: texts computed at a time.
        adapters: paths of the adapters that it was trained with.
    """

    def __init__(
        self, loaded: "LoadedModel", heads: CriticHeads, *, batch_size: int, adapters: Sequence[str] = ()
    ) -> None:
        """Load adapters that are not there yet; compute nothing."""
        self.loaded, self.batch_size, self.adapters = loaded, batch_size, tuple(adapters)
        if self.adapters:
            loaded.add_adapters(self.adapters)
        weight = next(loaded.model.parameters())
        self.heads = heads.to(weight.device).eval()

    def score(self, requests: Sequence[Request]) -> list[CriticScore]:
        """Score requests whose last turn is `formats.prompts.wording.critic_turn`; batches hold texts of like length."""
        prompts = [encode(self.loaded, request) for request in requests]
        order = sorted(range(len(prompts)), key=lambda place: prompts[place].length)
        found: dict[int, CriticScore] = {}
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            found |= dict(zip(places, self._score([prompts[place] for place in places]), strict=True))
        return [found[place] for place in range(len(prompts))]

    @torch.no_grad()
    def _score(self, prompts: Sequence[Prompt]) -> list[CriticScore]:
        inputs, _ = collate(self.loaded, prompts, padding_side="right")
        model = self.loaded.model
        training = model.training
        model.eval()
        try:
            with self.loaded.active(self.adapters):
                said = self.heads(pooled_states(model, inputs, pooling=self.heads.pooling))
        finally:
            model.train(training)
        accept = said.accept.softmax(-1)[:, 1]
        columns = (accept.tolist(), said.qa.tolist(), said.rationale.tolist())
        return [CriticScore(*values) for values in zip(*columns, strict=True)]
