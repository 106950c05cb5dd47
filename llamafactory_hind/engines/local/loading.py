"""The host's loaders of models, whole in every process: ZeRO-3 splits the policy later, and no reference or teacher."""

from functools import wraps
from typing import TYPE_CHECKING, Any

from llamafactory.model import load_model as host_load_model
from llamafactory.train.trainer_utils import create_ref_model as host_create_ref_model

from .zero3 import loaded_whole


if TYPE_CHECKING:
    from transformers import PreTrainedModel


@wraps(host_load_model)
def load_model(*args: Any, **kwargs: Any) -> "PreTrainedModel":
    """Load a model as the host does."""
    with loaded_whole():
        return host_load_model(*args, **kwargs)


@wraps(host_create_ref_model)
def create_ref_model(*args: Any, **kwargs: Any) -> Any:
    """Load the reference model as the host does."""
    with loaded_whole():
        return host_create_ref_model(*args, **kwargs)
