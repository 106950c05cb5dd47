"""Opening the engines that a pipeline asks for. Torch and the host are imported here only, when work is left to do."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from ..engines.interface import Engine


class EngineRoom:
    """Opens engines, each model once.

    Args:
        settings: host keys: template, image_max_pixels, infer_dtype …
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Load nothing yet."""
        self.settings = dict(settings)
        self._weights: dict[str, Any] = {}

    def open_local(self, model: str, *, adapters: tuple[str, ...], batch_size: int) -> "Engine":
        """Return an `hf` engine; engines of one model share its weights, whatever their adapters."""
        from ..engines.loading import load_weights
        from ..engines.local import LocalEngine

        if model not in self._weights:
            self._weights[model] = load_weights(model, settings=self.settings)
        return LocalEngine(self._weights[model], batch_size=batch_size, adapters=adapters)
