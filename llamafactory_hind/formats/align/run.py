"""What the run says about rows that are being loaded: the host's `align_dataset` is told neither of the model nor of media."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..media.view import MediaView


if TYPE_CHECKING:
    from llamafactory.hparams import DataArguments, ModelArguments


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        template: the host's.
        tokenizer: of the model.
        view: how media are seen.
        cache_dir: of `datasets`; None is its own.
        ours: the stage is ours, or a dataset has one of our formats.
    """

    template: Any
    tokenizer: Any
    view: MediaView
    cache_dir: str | None
    ours: bool = True

    @classmethod
    def of(
        cls,
        template: Any,
        model_args: "ModelArguments",
        data_args: "DataArguments",
        tokenizer: Any = None,
        processor: Any = None,
        *,
        ours: bool = True,
    ) -> "Run":
        """Read the arguments of the host's `get_dataset`."""
        view = MediaView.of(vars(model_args), as_host=bool(getattr(data_args, "media_as_host", False)))
        return cls(template, tokenizer, view, getattr(model_args, "cache_dir", None), ours)


# Set while the host loads the rows of a run.
RUN: ContextVar[Run | None] = ContextVar("RUN", default=None)
