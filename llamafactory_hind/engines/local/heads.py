"""Small heads on a model that the host loads: saved beside its weights, or beside those of its adapter, in a file of their own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ...storage.atomic import write_by
from .scoring import base_model


class SavedHeads(nn.Module):
    """Heads that know how to build themselves anew.

    Attributes:
        FILE: their name in a folder.
        STAGE: of which run they come.
    """

    FILE: ClassVar[str]
    STAGE: ClassVar[str]
    width: int

    def about(self) -> dict[str, Any]:
        """Return the arguments of the constructor, kept beside the weights."""
        raise NotImplementedError

    def save(self, folder: "str | Path", *, state: Mapping[str, torch.Tensor] | None = None) -> None:
        """Write the heads into a folder; `state` in place of their own weights."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in (state or self.state_dict()).items()}
        about = {name: str(value) for name, value in self.about().items()}
        metadata = {"format": "pt", self.STAGE: json.dumps(about)}
        write_by(Path(folder) / self.FILE, lambda file: save_file(tensors, file, metadata=metadata))

    @classmethod
    def load(cls, folder: "str | Path") -> Self:
        """Read the heads that `save` wrote.

        Raises:
            ValueError: there are none.
        """
        path = Path(folder) / cls.FILE
        if not path.is_file():
            raise ValueError(
                f"{cls.STAGE}: got {folder} without {cls.FILE}, expected the output folder of `stage: {cls.STAGE}`. Train one."
            )
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()[cls.STAGE])
        heads = cls(**{name: int(value) if value.isdigit() else value for name, value in about.items()})
        heads.load_state_dict(load_file(path))
        return heads


class WithHeads(nn.Module):
    """A model with heads, as one module: what wraps it for several processes sees all weights that are trained.

    Args:
        body: as the host loads it; PEFT included.
        heads: on its hidden states.
    """

    def __init__(self, body: nn.Module, heads: SavedHeads) -> None:
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


def folder_of_heads(kind: type[SavedHeads], folders: "list[str]") -> str | None:
    """Return the first folder that has heads of this kind."""
    return next((folder for folder in folders if (Path(folder) / kind.FILE).is_file()), None)
